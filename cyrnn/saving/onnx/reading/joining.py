"""Signals joined along an axis of the file, and parts of one."""

from cyrnn import layers
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.arranging import Form, apart, file_order, in_file_order, same_form
from cyrnn.saving.onnx.reading.reader import Part, Reader
from cyrnn.saving.onnx.reading.values import Axes, Signal, described, has_batch, item, of_length, size


def joined(reader: Reader, parts: list[Signal], axis: int) -> Signal:
    """Several signals along this axis. Raises ModelFileError unless their other axes fit each other."""
    first, *others = parts
    if not others:
        return first
    shapes = " and ".join(sorted({described(part.axes) for part in parts})[:4])
    if any(len(x.axes) != len(first.axes) or x.tensor.dtype != first.tensor.dtype for x in others):
        raise ModelFileError(f"its inputs must have as many axes, and one dtype, got {shapes}")
    if any(has_batch(x.axes[axis]) for x in parts):
        raise ModelFileError(f"it joins batches, axis {axis} of {shapes}")
    total = None if None in (lengths := [size(x.axes[axis]) for x in parts]) else sum(n for n in lengths if n)
    place = _outermost(first, axis)
    if place is None or any(
        _outermost(x, axis) != place or not same_form(_without(x, axis), _without(first, axis)) for x in others
    ):
        parts = [in_file_order(reader, part) for part in parts]
        rest = _common([(*x.axes[:axis], *x.axes[axis + 1 :]) for x in parts])
        axes: Axes = (*rest[:axis], of_length(total), *rest[axis:])
        stored, place = file_order(axes), len(file_order(axes[:axis]))
    else:
        new, inner = of_length(total), first.stored[place][len(first.axes[axis]) :]
        axes = (*first.axes[:axis], new, *first.axes[axis + 1 :])
        stored = (*first.stored[:place], new + inner, *first.stored[place + 1 :])
    directions = axis if all(x.directions == axis for x in parts) and not has_batch(axes[0]) else None
    return Signal(_concatenated(reader, [part.tensor for part in parts], place), stored, axes, directions)


def _outermost(x: Signal, axis: int) -> int | None:
    """The axis of the tensor that runs over this axis of the file outermost; where that has length 1, the last one."""
    wanted = x.axes[axis]
    if not wanted:
        return len(x.stored) - 1 if x.stored else None
    return next((n for n, stored in enumerate(x.stored) if stored[: len(wanted)] == wanted), None)


def _without(x: Signal, axis: int) -> Form:
    """The form of a signal but for one axis of the file."""
    place, gone = _outermost(x, axis) or 0, len(x.axes[axis])
    stored = (*x.stored[:place], x.stored[place][gone:], *x.stored[place + 1 :])
    return stored, (*x.axes[:axis], *x.axes[axis + 1 :])


def _common(shapes: list[Axes]) -> Axes:
    """What axes have in common that must be of equal lengths. Raises ModelFileError."""
    axes = list(shapes[0])
    for shape in shapes[1:]:
        for number, (ours, theirs) in enumerate(zip(axes, shape, strict=True)):
            lengths = size(ours), size(theirs)
            mixed = ours != theirs and (has_batch(ours) or has_batch(theirs))
            if mixed or (None not in lengths and lengths[0] != lengths[1]):
                raise ModelFileError(f"beside what it joins, it has axes {described(shapes[0])} and {described(shape)}")
            if lengths[0] is None and lengths[1] is not None:
                axes[number] = of_length(lengths[1])
    return tuple(axes)


def _concatenated(reader: Reader, tensors: list[KerasTensor], place: int) -> KerasTensor:
    """The tensors along an axis, the batch not counted; or that of which they are the parts, in order, without gaps."""
    parts = [reader.parts.get(tensor) for tensor in tensors]
    whole, end = parts[0], 0
    for part in parts:
        if part is None or whole is None or (part.of, part.place, part.start) != (whole.of, place, end):
            break
        end = part.stop
    else:
        if whole is not None and whole.of.shape[place + 1] == end:
            return whole.of
    return reader.called(reader.layer(layers.Concatenate, place + 1, dtype=tensors[0].dtype), tensors)


# ---------------------------------------------------------------- parts


def part(reader: Reader, x: Signal, axis: int, chosen: range) -> Signal:
    """The elements of an axis of the file of known length that are chosen. Raises ModelFileError if there are none."""
    length = size(x.axes[axis])
    if chosen == range(length or 0):
        return x.with_axes(x.axes)
    if not chosen:
        raise ModelFileError(f"it takes nothing of axis {axis} of {described(x.axes)}")
    if len(chosen) == 1:
        chosen = range(chosen[0], chosen[0] + 1)
    new = of_length(len(chosen))
    axes = (*x.axes[:axis], new, *x.axes[axis + 1 :])
    place = _outermost(x, axis)
    inner = () if place is None else x.stored[place][len(x.axes[axis]) :]
    width = size(inner)
    if place is None or not inner or width is None or chosen.step != 1:
        (x, place), inner, width = apart(reader, x, axis), (), 1
        if not new:
            return element(x, place, chosen[0], axes)
    start, stop = chosen.start * width, chosen.stop * width
    key = slice(start, stop if stop >= 0 else None, chosen.step)
    tensor = item(x.tensor, *[slice(None)] * (place + 1), key)
    if chosen.step == 1:
        reader.parts[tensor] = Part(x.tensor, place, start, stop)
    return Signal(tensor, (*x.stored[:place], new + inner, *x.stored[place + 1 :]), axes)


def element(x: Signal, place: int, index: int, axes: Axes) -> Signal:
    """One place of an axis of the tensor, the batch not counted, as a signal of these axes."""
    tensor = item(x.tensor, *[slice(None)] * (place + 1), index)
    return Signal(tensor, x.stored[:place] + x.stored[place + 1 :], axes)
