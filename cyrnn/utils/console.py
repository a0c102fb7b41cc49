"""What training writes to the standard output."""

import os
import sys


def can_rewrite() -> bool:
    """Whether a line that was written can be written again: in a terminal and in a notebook, not in a file."""
    stream = sys.stdout
    if type(stream).__module__.startswith("ipykernel.") or "PYCHARM_HOSTED" in os.environ:
        return True
    return hasattr(stream, "isatty") and stream.isatty()


def write(text: str) -> None:
    """Write to the standard output, if there is one, and show it at once. What it cannot encode becomes ``=``."""
    stream = sys.stdout
    if stream is None:  # a process without a console
        return
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        text = text.replace("━", "=")
        stream.write(text.encode(error.encoding, "replace").decode(error.encoding))
    stream.flush()
