"""A model as a table of its layers, as Keras prints it: names and classes, output shapes, parameters."""

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.operations import Operation
from cyrnn.models.executor import Call
from cyrnn.models.programs.parts import Partition, ProgramPart

_LEAST_LENGTH = 40  # of lines in a terminal that is narrower
_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_PLAIN = str.maketrans("┏━┳┓┃┡╇┩│├─┼┤└┴┘…", "+-++|+++|+-+++++.")  # for terminals without these characters


@dataclass(frozen=True)
class Row:
    """A layer or operation in the table."""

    layer: Any
    shape: Any = None  # of its output, or several in a structure; None if it is not known
    level: int = 0  # in how many models of the table it is
    inputs: Sequence[str] = ()  # the outputs of other layers that it is called with: ``name[call][output]``

    @property
    def name(self) -> str:
        """The name and the class."""
        begin = "   " * self.level + "└ " if self.level else ""
        kind = self.layer.class_name if isinstance(self.layer, Operation) else type(self.layer).__name__
        return f"{begin}{_printable(self.layer.name)} ({kind})"

    @property
    def output_shape(self) -> str:
        """The shape of the output, in brackets if there are several; a question mark if it is not known."""
        if self.shape is None:
            return "?"
        found = [f"({', '.join(map(str, shape))})" for shape in nest.leaves_of_shapes(self.shape)]
        return found[0] if len(found) == 1 else f"[{', '.join(found)}]"

    @property
    def parameters(self) -> str:
        """The number of the weights' elements."""
        if not isinstance(self.layer, Layer):
            return "0"
        return f"{self.layer.count_params():,}" if self.layer.built else "0 (unbuilt)"

    @property
    def trainable(self) -> str:
        """Y or N, or - for what has no weights."""
        if not isinstance(self.layer, Layer) or not self.layer.weights:
            return "-"
        return "Y" if self.layer.trainable else "N"


@dataclass(frozen=True)
class Column:
    """A column of the table: its header, what it says of a row, and how lines are put in its width."""

    header: str
    text: Callable[[Row], str]
    put: Callable[[str, int], str] = str.ljust


_NAME = Column("Layer (type)", lambda row: row.name)
_SHAPE = Column("Output Shape", lambda row: row.output_shape)
_PARAMETERS = Column("Param #", lambda row: row.parameters, str.rjust)
_INPUTS = Column("Connected to", lambda row: ", ".join(row.inputs) or "-")
_TRAINABLE = Column("Trainable", lambda row: row.trainable, str.center)


def summary(
    name: str,
    rows: list[Row],
    weights: Iterable[np.ndarray],
    trainable_weights: Iterable[np.ndarray],
    optimizer: Iterable[np.ndarray] | None = None,
    *,
    connected: bool,
    show_trainable: bool,
    line_length: int | None,
    positions: Sequence[float] | None,
    notes: Sequence[str] = (),
) -> str:
    """The table, the numbers of parameters and the notes, as text that ends with a line break.

    See `ModelOfLayers.summary`.
    """
    columns = [_NAME, _SHAPE, _PARAMETERS, *([_INPUTS] if connected else [])]
    places = list(positions or ([0.3, 0.56, 0.74, 1.0] if connected else [0.45, 0.8, 1.0]))
    length = 108 if connected else 88
    if show_trainable:
        columns, places, length = [*columns, _TRAINABLE], [*(place * 0.9 for place in places), 1.0], length + 12
    import shutil  # late, for it imports all kinds of archives

    length = line_length or max(_LEAST_LENGTH, min(length, shutil.get_terminal_size().columns - 4))
    if len(places) != len(columns):
        raise ValueError(f"positions must hold the ends of {len(columns) - show_trainable} columns, got {positions!r}")
    table = _table(columns, rows, _widths(places, length))
    below = _totals(list(weights), list(trainable_weights), None if optimizer is None else list(optimizer))
    below += [line for note in notes for line in _note(note, length)]
    return "\n".join([f'Model: "{_printable(name)}"', *table, *below, ""])


def html(name: str, rows: list[Row], weights: Iterable[np.ndarray]) -> str:
    """The table for a notebook."""
    lines = []
    for row in rows:
        kind = row.layer.class_name if isinstance(row.layer, Operation) else type(row.layer).__name__
        parts = [row.layer.name, kind, row.output_shape, row.parameters, ", ".join(row.inputs)]
        lines.append(f"<tr>{''.join(f'<td>{_escaped(part)}</td>' for part in parts)}</tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("Layer", "Type", "Output Shape", "Param #", "Connected to"))
    total = sum(weight.size for weight in weights)
    title = f"<b>Model: {_escaped(name)}</b>, {total:,} parameters"
    return f"<div>{title}<table><tr>{heads}</tr>{''.join(lines)}</table></div>"


def _escaped(text: str) -> str:
    return _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def program_notes(partition: Partition | None) -> list[str]:
    """What a call runs as: a text for each program, with its layers, and for each layer that Python calls, in order.

    `partition` is None where that is not known.
    """
    if partition is None:
        return ["Programs: not known, as the model has its own `call`, or is not built yet"]
    notes, number = [], 0
    for part in partition.parts:
        if isinstance(part, ProgramPart):
            number, names = number + 1, dict.fromkeys(call.layer.name for call in part.calls)
            notes.append(f"Program {number}: {ops_of([part])} in {part.lowered.dtype}, of {', '.join(names)}")
        elif isinstance(part, Call):
            notes.append(f"Python calls {part.layer.name}: {partition.reasons.get(part, 'programs are switched off')}")
    return notes


def ops_of(programs: Sequence[ProgramPart]) -> str:
    """How many ops the programs have together, as a text."""
    count = sum(part.lowered.program.ops for part in programs)
    return f"{count} op{'s' * (count != 1)}"


def rows_in_range(rows: list[Row], names: Sequence[str] | None) -> list[Row]:
    """The rows from the first layer whose name matches one pattern to the last one that matches another.

    Raises ValueError if no layer matches, or it is not two patterns.
    """
    if names is None:
        return rows
    if not isinstance(names, (list, tuple)) or len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"layer_range must hold two names or patterns of names, got {names!r}")
    first, last = ([n for n, row in enumerate(rows) if re.match(name, row.layer.name)] for name in names)
    if not first or not last:
        raise ValueError(f"layer_range {names!r} must match names of layers: {[row.layer.name for row in rows]}")
    begin, end = sorted([min(first), max(last)]) if min(first) <= max(last) else (min(last), max(first))
    return rows[begin : end + 1]


def show(text: str) -> None:
    """Write to the standard output; with plain characters for lines where it has no others."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(_PLAIN)
    sys.stdout.write(text)


# ------------------------------------------------------------ the table


def _widths(places: Sequence[float], length: int) -> list[int]:
    """The widths of the columns' texts, whose ends are at these parts of a line. Raises ValueError."""
    ends = [int(place * length) for place in places]
    widths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    too_wide = 3 * len(widths) + 1  # spaces and lines beside the texts
    for number in range(len(widths)):
        share = round(too_wide / (len(widths) - number))
        widths[number] -= share
        too_wide -= share
    if min(widths) < 1:
        raise ValueError(f"line_length must leave each column a character, got {length}")
    return widths


def _table(columns: list[Column], rows: list[Row], widths: list[int]) -> list[str]:
    def rule(begin: str, line: str, between: str, end: str) -> str:
        return begin + between.join(line * (width + 2) for width in widths) + end

    headers = [_wrapped(column.header, width) for column, width in zip(columns, widths, strict=True)]
    height = max(map(len, headers))
    headers = [[""] * (height - len(lines)) + lines for lines in headers]  # at the bottom of the row
    bodies = [
        [_wrapped(column.text(row), width) for column, width in zip(columns, widths, strict=True)] for row in rows
    ]
    parts = [_lines(columns, cells, widths, "│") for cells in bodies]
    between = rule("├", "─", "┼", "┤")
    table = [rule("┏", "━", "┳", "┓"), *_lines(columns, headers, widths, "┃"), rule("┡", "━", "╇", "┩")]
    for number, lines in enumerate(parts):
        table += [between, *lines] if number else lines
    return [*table, rule("└", "─", "┴", "┘")]


def _lines(columns: list[Column], cells: list[list[str]], widths: list[int], edge: str) -> list[str]:
    height = max(map(len, cells))
    filled = [cell + [""] * (height - len(cell)) for cell in cells]
    lines = []
    for texts in zip(*filled, strict=True):
        parts = (column.put(text, width) for column, text, width in zip(columns, texts, widths, strict=True))
        lines.append(f"{edge} {f' {edge} '.join(parts)} {edge}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of a width; words that are longer are cut."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _totals(weights: list[np.ndarray], trainable: list[np.ndarray], optimizer: list[np.ndarray] | None) -> list[str]:
    """Lines with the numbers of elements; the variables of an optimizer are among all, as in Keras."""
    ids = {id(weight) for weight in trainable}
    others = [weight for weight in weights if id(weight) not in ids]
    kinds = {"Total": weights + (optimizer or []), "Trainable": trainable, "Non-trainable": others}
    if optimizer is not None:
        kinds["Optimizer"] = optimizer
    return [
        f" {kind} params: {sum(weight.size for weight in found):,} ({_bytes(sum(weight.nbytes for weight in found))})"
        for kind, found in kinds.items()
    ]


def _note(text: str, length: int) -> list[str]:
    """A text below the table in lines of a length."""
    return textwrap.wrap(_printable(text), length, initial_indent=" ", subsequent_indent="   ", break_on_hyphens=False)


def _printable(name: str) -> str:
    """A name or text, which a file may have chosen, with escapes in the place of control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _bytes(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} {_UNITS[-1]}"
