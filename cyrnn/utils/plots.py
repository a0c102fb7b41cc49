"""plot_model: a model as a picture of its layers. Reference: ``keras.utils.plot_model``, Keras 3."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

_DIRECTIONS = ("TB", "BT", "LR", "RL")
_PER_LETTER, _PER_LINE = 0.09, 0.24  # inches of a box
_APART = 0.5  # inches between boxes
_MOST_INCHES = 400.0  # of a side of a picture


class Plotted(Protocol):
    """What is needed of a model."""

    @property
    def name(self) -> str: ...

    def rows(self) -> list[Any]: ...


@dataclass
class Box:
    """A layer in the picture: its lines of text, and the boxes that arrows come from."""

    lines: list[str]
    inputs: list[int] = field(default_factory=list)

    @property
    def width(self) -> float:
        """In inches."""
        return max(0.8, _PER_LETTER * max(map(len, self.lines)) + 0.2)

    @property
    def height(self) -> float:
        """In inches."""
        return _PER_LINE * len(self.lines) + 0.15


def plot_model(
    model: Plotted,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> None:
    """Draw the layers of a model, and which of them takes what others return, to a file.

    Graphviz' program ``dot`` draws it where there is one, else matplotlib: ``pip install "cyrnn[plot]"``.

    Parameters
    ----------
    model : Sequential, Functional or a custom model
    to_file : str or os.PathLike
        The end decides the format, such as ``.png``, ``.svg`` and ``.pdf``. A ``.dot`` file is a text for Graphviz, and
        needs neither of the two.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        Whether boxes have the shapes of outputs, the dtype policies, the names, the activations, and whether layers are
        trained.
    rankdir : {"TB", "BT", "LR", "RL"}
        Where arrows point to: from top to bottom, and so on.
    expand_nested : bool
        Only False is supported: draw the models inside alone.
    dpi : int
        Dots per inch of a picture.

    Raises
    ------
    ValueError
        For other arguments.
    ImportError
        If there is neither ``dot`` nor matplotlib.
    OSError
        If the file cannot be written.
    """
    if not hasattr(model, "rows") or isinstance(model, type):
        raise ValueError(f"model must be a model of cyrnn, got {type(model).__name__}")
    if rankdir not in _DIRECTIONS:
        raise ValueError(f"rankdir must be one of {', '.join(map(repr, _DIRECTIONS))}, got {rankdir!r:.100}")
    if expand_nested:
        raise ValueError("expand_nested=True is not supported: plot the models inside alone")
    if not isinstance(dpi, int) or not 1 <= dpi <= 2400:
        raise ValueError(f"dpi must be an integer from 1 to 2400, got {dpi!r:.100}")
    path = Path(to_file)
    if len(path.suffix) < 2:
        raise ValueError(f"to_file must end in a format, such as .png, got {os.fspath(path)!r}")
    shown = {"name": show_layer_names, "shape": show_shapes, "dtype": show_dtype}
    shown |= {"activation": show_layer_activations, "trainable": show_trainable}
    boxes = _boxes(model, shown)
    if path.suffix == ".dot":
        path.write_text(dot_text(boxes, rankdir, dpi), "utf-8")
        return
    program = shutil.which("dot")
    if program is None:
        _draw(boxes, path, rankdir, dpi)
        return
    command = [program, f"-T{path.suffix[1:]}", "-o", os.fspath(path.absolute())]
    done = subprocess.run(command, input=dot_text(boxes, rankdir, dpi).encode(), capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"Graphviz cannot draw {os.fspath(path)}: {done.stderr.decode(errors='replace')[:500]}")


def _boxes(model: Plotted, shown: dict[str, bool]) -> list[Box]:
    """The boxes, those of inputs before those that take them."""
    rows = model.rows()
    numbers = {row.layer.name: number for number, row in enumerate(rows)}
    boxes = [Box(_lines(row, shown)) for row in rows]
    if getattr(model, "all_layers", None) is not None:  # of a Sequential
        for number in range(1, len(boxes)):
            boxes[number].inputs.append(number - 1)
        return boxes
    for row, box in zip(rows, boxes, strict=True):
        sources = (re.sub(r"\[\d+\]\[\d+\]$", "", source) for source in row.inputs)
        box.inputs = list(dict.fromkeys(numbers[name] for name in sources if name in numbers))
    return boxes


def _lines(row: Any, shown: dict[str, bool]) -> list[str]:
    layer = row.layer
    kind = getattr(layer, "class_name", type(layer).__name__)
    lines = [f"{layer.name} ({kind})" if shown["name"] else kind]
    activation = getattr(layer, "activation", None)
    if shown["activation"] and activation is not None:
        lines.append(f"activation: {getattr(activation, 'name', getattr(activation, '__name__', activation))}")
    if shown["shape"]:
        lines.append(f"output: {row.output_shape}")
    if shown["dtype"]:
        policy = getattr(layer, "dtype_policy", None)
        lines.append(f"dtype: {'-' if policy is None else policy.name}")
    if shown["trainable"]:
        lines.append(f"trainable: {row.trainable}")
    return ["".join(letter if letter.isprintable() else "?" for letter in line)[:80] for line in lines]


def dot_text(boxes: Sequence[Box], rankdir: str, dpi: int) -> str:
    """The picture in the language of Graphviz."""
    text = [f"digraph {{ rankdir={rankdir}; dpi={dpi}; node [shape=box, fontname=Helvetica];"]
    for number, box in enumerate(boxes):
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
        text.append(f'  n{number} [label="{label}"];')
    text += [f"  n{source} -> n{number};" for number, box in enumerate(boxes) for source in box.inputs]
    return "\n".join([*text, "}", ""])


# ---------------------------------------------------------------- matplotlib


def _draw(boxes: Sequence[Box], path: Path, rankdir: str, dpi: int) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plot_model needs Graphviz' program `dot`, or matplotlib: pip install 'cyrnn[plot]'; "
            "it writes .dot files without"
        ) from error
    across = rankdir in ("LR", "RL")
    places, along, wide = _placed(boxes, across)
    turned = {n: (y, x) if across else (x, y) for n, (x, y) in places.items()}  # from the left, and from the top
    width, height = (along, wide) if across else (wide, along)
    figure = Figure(figsize=(min(max(width, 1), _MOST_INCHES), min(max(height, 1), _MOST_INCHES)), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, max(width, 1))
    axes.set_ylim(max(height, 1), 0)
    axes.set_axis_off()
    if rankdir in ("BT", "RL"):
        turned = {n: (width - x, y) if across else (x, height - y) for n, (x, y) in turned.items()}
    for number, box in enumerate(boxes):
        for source in box.inputs:
            _arrow(axes, boxes, turned, source, number, rankdir)
    frame = {"boxstyle": "square,pad=0.35", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}
    for number, box in enumerate(boxes):
        x, y = turned[number]
        axes.text(x, y, "\n".join(box.lines), ha="center", va="center", fontsize=9, bbox=frame, parse_math=False)
    figure.savefig(path)


def _arrow(axes: Any, boxes: Sequence[Box], places: Any, source: int, target: int, rankdir: str) -> None:
    """An arrow from the side of a box to that of another."""
    (x, y), (to_x, to_y) = places[source], places[target]
    if rankdir in ("LR", "RL"):
        sign = 1 if rankdir == "LR" else -1
        begin, end = (x + sign * boxes[source].width / 2, y), (to_x - sign * boxes[target].width / 2, to_y)
    else:
        sign = 1 if rankdir == "TB" else -1
        begin, end = (x, y + sign * boxes[source].height / 2), (to_x, to_y - sign * boxes[target].height / 2)
    axes.annotate("", xy=end, xytext=begin, arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 0.8})


def _placed(boxes: Sequence[Box], across: bool) -> tuple[dict[int, tuple[float, float]], float, float]:
    """Where the middle of each box is: beside the others of its level, and along the arrows; and both lengths."""
    levels: dict[int, list[int]] = defaultdict(list)
    level_of: dict[int, int] = {}
    for number in _in_order(boxes):
        level_of[number] = max((level_of[source] + 1 for source in boxes[number].inputs), default=0)
        levels[level_of[number]].append(number)
    beside = {n: (box.height if across else box.width) + _APART for n, box in enumerate(boxes)}
    deep = {n: (box.width if across else box.height) + _APART for n, box in enumerate(boxes)}
    wide = max((sum(beside[n] for n in level) for level in levels.values()), default=0)
    places: dict[int, tuple[float, float]] = {}
    along = 0.0
    for _, level in sorted(levels.items()):
        sources = {n: [places[source][0] for source in boxes[n].inputs] for n in level}
        level.sort(key=lambda n: sum(sources[n]) / len(sources[n]) if sources[n] else 0)
        depth = max(deep[n] for n in level)
        at = (wide - sum(beside[n] for n in level)) / 2
        for number in level:
            places[number] = (at + beside[number] / 2, along + depth / 2)
            at += beside[number]
        along += depth
    return places, along, wide


def _in_order(boxes: Sequence[Box]) -> list[int]:
    """The numbers of the boxes, each after those that arrows come from."""
    done: dict[int, None] = {}
    for first in range(len(boxes)):
        pending = [first]
        while pending:
            number = pending[-1]
            waits = [source for source in boxes[number].inputs if source not in done]
            if waits:
                pending += waits
            else:
                done[pending.pop()] = None
    return list(done)
