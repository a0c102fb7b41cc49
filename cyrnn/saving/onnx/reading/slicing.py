"""ONNX's Gather, Slice and Split: rows of a table, one timestep or some, one direction of an RNN."""

import itertools
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.arranging import apart
from cyrnn.saving.onnx.reading.joining import element, joined, part
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.repeating import sliced as part_of_repeated
from cyrnn.saving.onnx.reading.shapes import gather_sizes, slice_sizes
from cyrnn.saving.onnx.reading.values import Repeated, Signal, Value, described, has_batch, item, of_length, size

_FARTHEST = (1 << 31) - 1  # slices that begin or end there, or farther, reach to the end
_TO_THE_END = ((1 << 31) - 1, (1 << 63) - 1)  # of slices in either direction
_MOST_PLACES = 256  # that are gathered from an axis without being in a row


def gather(reader: Reader, node: Any) -> Value:
    """A table by the model's numbers, places of a signal, or part of a shape."""
    table, indices = reader.inputs(node, 2)
    axis = reader.attribute(node, "axis", 0)
    if isinstance(table, np.ndarray) and isinstance(indices, Signal):
        if table.ndim != 2 or axis not in (0, -2):
            raise ModelFileError(f"its table must be a matrix, got shape {table.shape} and axis {axis}")
        layer = reader.layer(layers.Embedding, *table.shape, dtype=table.dtype.name)
        new = of_length(table.shape[1])
        tensor = reader.called(layer, indices.tensor, [reader.constant(node, 0)])
        return Signal(tensor, (*indices.stored, new), (*indices.axes, new))
    if not isinstance(table, Signal):
        return gather_sizes(reader, node)
    places = reader.constant(node, 1)
    axis = table.axis(axis)
    if places.dtype.kind not in "iu" or not 1 <= places.size <= _MOST_PLACES or (places.size > 1 < places.ndim):
        raise ModelFileError(f"its indices must be a few integers, got shape {places.shape} of {places.dtype}")
    found = _gathered(reader, table, axis, [int(n) for n in places.reshape(-1)])
    if places.size > 1:
        return found
    return found.with_axes((*found.axes[:axis], *[()] * places.ndim, *found.axes[axis + 1 :]))


def _gathered(reader: Reader, x: Signal, axis: int, places: list[int]) -> Signal:
    """These places of an axis, which stays."""
    length = size(x.axes[axis])
    if has_batch(x.axes[axis]):
        raise ModelFileError(f"it takes part of the batch, axis {axis} of {described(x.axes)}")
    if length is not None:
        if not all(-length <= n < length for n in places):
            raise ModelFileError(f"it takes the places {places!r:.100} of axis {axis}, which has {length}")
        places = [n % length for n in places]
    step = places[1] - places[0] if len(places) > 1 else 1
    run = range(places[0], places[-1] + (1 if step > 0 else -1), step or 1)
    if length is not None and len(run) == len(places) and list(run) == places:
        return part(reader, x, axis, run)
    return joined(reader, [_one(reader, x, axis, n) for n in places], axis)


def _one(reader: Reader, x: Signal, axis: int, index: int) -> Signal:
    """One place of an axis, which stays."""
    if size(x.axes[axis]) is not None:
        return part(reader, x, axis, range(index, index + 1))
    x, place = apart(reader, x, axis)
    return element(x, place, index, (*x.axes[:axis], (), *x.axes[axis + 1 :]))


def sliced(reader: Reader, node: Any) -> Value:
    x = reader.value(node.input[0])
    if isinstance(x, Repeated):
        return part_of_repeated(reader, node, x)
    if not isinstance(x, Signal):
        return slice_sizes(reader, node)
    starts, ends, axes, steps = (
        reader.integers(node, index, name) for index, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None:
        raise ModelFileError("it must say where it starts and ends")
    axes = list(range(len(starts))) if axes is None else axes
    if len({x.axis(axis) for axis in axes}) < len(axes):
        raise ModelFileError(f"it names an axis twice, in {axes!r:.100}")
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        x = _slice(reader, x, x.axis(axis), start, end, step)
    return x


def _slice(reader: Reader, x: Signal, axis: int, start: int, end: int, step: int) -> Signal:
    """What ONNX's Slice takes of an axis."""
    length = size(x.axes[axis])
    if start == 0 and step == 1 and end >= (_FARTHEST if length is None else length):
        return x.with_axes(x.axes)
    if has_batch(x.axes[axis]):
        raise ModelFileError(f"it takes part of the batch, axis {axis} of {described(x.axes)}")
    if length is not None:
        return part(reader, x, axis, places(length, start, end, step))
    if step > 0 and ((start, end) == (0, 1) or (start == -1 and end >= _FARTHEST)):
        return _one(reader, x, axis, start)
    if step == 0 or (step < 0 and start < -1):
        raise ModelFileError(f"it begins at {start} of an axis of open length, with step {step}")
    x, place = apart(reader, x, axis)
    farthest = end >= _FARTHEST if step > 0 else end <= -_FARTHEST or end in _TO_THE_END
    tensor = item(x.tensor, *[slice(None)] * (place + 1), slice(start, None if farthest else end, step))
    new = of_length(None)
    axes = (*x.axes[:axis], new, *x.axes[axis + 1 :])
    return Signal(tensor, (*x.stored[:place], new, *x.stored[place + 1 :]), axes)


def places(length: int, start: int, end: int, step: int) -> range:
    """Those that ONNX Runtime's Slice takes of an axis; other than Python, it begins a slice backwards within the axis,
    and ends one at the first element where it is to end at the largest integer."""
    if step == 0:
        raise ModelFileError("its step is 0")
    start, last = (n + length if n < 0 else n for n in (start, end))
    if step > 0:
        return range(min(max(start, 0), length), min(max(last, 0), length), step)
    last = -1 if end in _TO_THE_END else last
    return range(min(max(start, 0), length - 1), min(max(last, -1), length - 1), step)


def split_to_sequence(reader: Reader, node: Any) -> list[tuple[Value | None, ...]]:
    """Parts of a signal in a row, as one value, of which `sequence_at` takes one: torch's chunk and split."""
    x = reader.signal(node)
    axis = x.axis(reader.attribute(node, "axis", 0))
    length, lengths = size(x.axes[axis]), reader.constant(node, 1) if len(node.input) > 1 else None
    if (
        length is None
        or has_batch(x.axes[axis])
        or lengths is None
        or lengths.dtype.kind not in "iu"
        or lengths.ndim > 1
    ):
        raise ModelFileError(f"it splits axis {axis} of {described(x.axes)}: the batch, or in parts that are not known")
    if lengths.ndim == 0:
        each = max(1, int(lengths))
        ends = [*range(each, length, each)[:_MOST_PLACES], length]
    else:
        ends = list(itertools.accumulate(lengths[: _MOST_PLACES + 1].tolist()))
    begins = [0, *ends[:-1]]
    if len(ends) > _MOST_PLACES or ends[-1:] != [length] or any(m > n for m, n in zip(begins, ends, strict=True)):
        raise ModelFileError(f"its parts are not those of axis {axis} of {described(x.axes)}")
    pairs = zip(begins, ends, strict=True)  # of which some are empty where torch's chunk has more parts than elements
    return [tuple(part(reader, x, axis, range(m, n)) if m < n else None for m, n in pairs)]


def sequence_at(reader: Reader, node: Any) -> Value:
    parts, place = reader.value(node.input[0]), reader.number(node, 1)
    if not isinstance(parts, tuple) or place is None or not -len(parts) <= place < len(parts):
        raise ModelFileError("it takes a part of what was not split, or one that is not there")
    found: Value | None = parts[int(place)]
    if found is None:
        raise ModelFileError("it takes a part that is empty")
    return found


def split(reader: Reader, node: Any) -> list[Value]:
    """Parts of a signal in a row."""
    x, count = reader.signal(node), len(node.output)
    axis = x.axis(reader.attribute(node, "axis", 0))
    length, lengths = size(x.axes[axis]), reader.integers(node, 1, "split")
    if length is None or has_batch(x.axes[axis]):
        raise ModelFileError(f"it splits axis {axis} of {described(x.axes)}: the batch, or one of open length")
    if lengths is None:
        each = -(-length // (reader.attribute(node, "num_outputs", None) or count))
        lengths = [min(each, length - n * each) for n in range(count)]
    if len(lengths) != count or sum(lengths) != length or min(lengths) < 1:
        raise ModelFileError(f"its parts of {lengths!r:.100} are not those of axis {axis} of {described(x.axes)}")
    ends = list(itertools.accumulate(lengths))
    return [part(reader, x, axis, range(end - n, end)) for end, n in zip(ends, lengths, strict=True)]
