"""Text for a terminal: no control characters of files, and no lines that are wider than it."""

import os
import sys
from collections.abc import Mapping, Sequence

_MOST_ROWS = 1000
_WIDEST = 100  # characters of a cell
_COLUMNS = 80  # where there is no terminal
_NARROWEST = 4  # that a column is made so that a table fits


def printable(text: object, most: int = _WIDEST) -> str:
    """`text` with escapes for what is not printable, or not in the terminal's encoding, cut to about `most`."""
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 3] + "..."
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def examples(*lines: str) -> str:
    """Lines of a shell below a help text."""
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str] = ()) -> None:
    """Print columns under their names, those in `numbers` to the right; columns that are all empty are left out.

    At a terminal, cells that are too wide for the table to fit take several lines.
    """
    shown = [[printable(cell) for cell in row] for row in [head, *rows[:_MOST_ROWS]]]
    columns = [n for n in range(len(head)) if any(row[n] for row in shown[1:])]
    widths = _fitting({n: max(len(row[n]) for row in shown) for n in columns}, _room())
    for row in shown:
        cells = {n: _lines(row[n], width) for n, width in widths.items()}
        for number in range(max(map(len, cells.values()), default=0)):
            parts = {n: lines[number] if number < len(lines) else "" for n, lines in cells.items()}
            texts = [
                text.rjust(widths[n]) if head[n] in numbers else text.ljust(widths[n]) for n, text in parts.items()
            ]
            print(f"  {'  '.join(texts)}".rstrip())
    if len(rows) > _MOST_ROWS:
        print(f"  ... and {len(rows) - _MOST_ROWS:,} more")


def _room() -> int | None:
    """The characters of a line; None where lines may have any length, as in pipes and files."""
    return columns() if sys.stdout.isatty() else None


def columns() -> int:
    """The characters of a line of the terminal: what `shutil.get_terminal_size` says, whose module takes longer."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _COLUMNS  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # there is none, or it is closed, detached or no terminal
        return _COLUMNS


def _fitting(widths: Mapping[int, int], room: int | None) -> dict[int, int]:
    """The widths of columns, the widest ones smaller until a line with spaces between them has room."""
    found = dict(widths)
    while room is not None and found and sum(found.values()) + 2 * len(found) > room:
        widest = max(found, key=found.__getitem__)
        if found[widest] <= _NARROWEST:
            break
        found[widest] -= 1
    return found


def _lines(text: str, width: int) -> list[str]:
    """A cell in lines of a width, at spaces where there are some."""
    if len(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False)
