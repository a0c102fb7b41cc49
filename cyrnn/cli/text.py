"""Text from files, made safe for a terminal: no control characters, and not too long."""

import sys
from collections.abc import Sequence

_MOST_ROWS = 1000
_WIDEST = 100  # characters of a cell


def printable(text: object, most: int = _WIDEST) -> str:
    """`text` with escapes for what is not printable, or not in the terminal's encoding, cut to about `most`."""
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 3] + "..."
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str] = ()) -> None:
    """Print columns under their names, those in `numbers` to the right; columns that are all empty are left out."""
    shown = [[printable(cell) for cell in row] for row in [head, *rows[:_MOST_ROWS]]]
    columns = [n for n in range(len(head)) if any(row[n] for row in shown[1:])]
    widths = {n: max(len(row[n]) for row in shown) for n in columns}
    for row in shown:
        cells = [row[n].rjust(widths[n]) if head[n] in numbers else row[n].ljust(widths[n]) for n in columns]
        print(f"  {'  '.join(cells)}".rstrip())
    if len(rows) > _MOST_ROWS:
        print(f"  ... and {len(rows) - _MOST_ROWS:,} more")
