"""What the command line says of an error, and with which exit code it ends."""

import contextlib
import errno
import os
from collections.abc import Iterator

from cyrnn.cli.text import printable

WRONG, BUG, INTERRUPTED = 2, 70, 130  # exit codes; 70 is EX_SOFTWARE of sysexits.h, 130 is SIGINT's in a shell
_LONGEST = 2000  # characters


@contextlib.contextmanager
def during(what: str) -> Iterator[None]:
    """Within the block, running out of memory says `what` was being done: "reading x.npy"."""
    try:
        yield
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        text = f": {error}" if str(error) else ""
        raise MemoryError(f"out of memory while {what}{text}") from error


def report(error: Exception) -> tuple[str, int]:
    """A line about the error, and the exit code. With CYRNN_DEBUG=1 the line follows the traceback."""
    text = " ".join(str(error).split())
    if _is_expected(error):
        line, code = printable(text or type(error).__name__, _LONGEST), WRONG
    else:
        said = printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, _LONGEST)
        line, code = f"an error in cyrnn itself: {said}", BUG
    if os.environ.get("CYRNN_DEBUG", "") in ("", "0"):
        return line if code != BUG else f"{line} (set CYRNN_DEBUG=1 for the traceback)", code
    import traceback

    return f"{''.join(traceback.format_exception(error))}{line}", code


def _is_expected(error: Exception) -> bool:
    """Whether the caller, a file or the machine may be the cause."""
    if isinstance(error, ImportError):  # of an extra that is not installed
        return (error.name or "").partition(".")[0] != "cyrnn"
    return isinstance(error, (ValueError, TypeError, OSError, MemoryError))
