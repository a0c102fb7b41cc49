"""The axes of a tensor here brought to those of the file, by Reshape and Permute layers where they differ."""

from cyrnn import layers
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.values import Axes, Axis, Dim, Signal, described, dims, has_batch, item, of_length, size

Form = tuple[Axes, Axes]  # the axes of a tensor here after the batch, and those of the file


def arranged(reader: Reader, x: Signal, wanted: Axes) -> Signal:
    """The same numbers in a tensor whose axes after the batch are `wanted`, of the same dims as now."""
    key = (x.tensor, x.stored, wanted)
    if key not in reader.rearranged:
        tensor, stored = x.tensor, x.stored
        if dims(stored) != dims(wanted):
            order = wanted
            if _places(stored, wanted) is None:
                order = _single(wanted)
                tensor, stored = _reshaped(reader, tensor, stored, _single(stored))
            places = _places(stored, order)
            assert places is not None  # both are the same dims, each alone
            tensor = _permuted(reader, tensor, [n + 1 for n in places])
            stored = order
        reader.rearranged[key] = _reshaped(reader, tensor, stored, wanted)[0]
    return Signal(reader.rearranged[key], wanted, x.axes)


def in_file_order(reader: Reader, x: Signal) -> Signal:
    """With the tensor's axes those of the file, in the file's order, but for the batch, which is moved to the front."""
    return arranged(reader, x, file_order(x.axes))


def file_order(axes: Axes) -> Axes:
    """The axes that are left of these without the batch; what is one axis with the batch is apart."""
    parts = [_single((axis,)) if has_batch(axis) else (axis,) for axis in axes]
    return tuple(axis for part in parts for axis in part if not has_batch(axis))


def apart(reader: Reader, x: Signal, axis: int) -> tuple[Signal, int]:
    """The signal with this axis of the file as one axis of its tensor, and which it is, the batch not counted.

    Raises ModelFileError for the axis of the batch.
    """
    wanted = x.axes[axis]
    if has_batch(wanted):
        raise ModelFileError(f"it would compute along the batch, axis {axis} of {described(x.axes)}")
    if wanted not in x.stored:
        x = in_file_order(reader, x)
    return x, len(x.stored) - 1 - x.stored[::-1].index(wanted)


def with_last(reader: Reader, x: Signal, axis: int) -> Signal:
    """The signal with this axis of the file as the last one of its tensor. Raises ModelFileError for the batch."""
    x, place = apart(reader, x, axis)
    rest = x.stored[:place] + x.stored[place + 1 :]
    return arranged(reader, x, (*rest, x.axes[axis]))


def expanded(x: Signal, rank: int) -> Signal:
    """With so many axes, of length 1 in front."""
    return x.with_axes(((),) * (rank - len(x.axes)) + x.axes)


def same_form(a: Form, b: Form) -> bool:
    """Whether two tensors have axes of the same lengths for certain, arranged in the same way."""
    pairs = dict(zip(dims(a[1]), dims(b[1]), strict=False))
    mapped = tuple(tuple(tuple(map(pairs.get, axis)) for axis in axes) for axes in a)
    return mapped == b and all(map(_same_length, pairs, pairs.values()))


def _same_length(m: Dim, n: Dim) -> bool:
    return m is n or (m.length is not None and m.length == n.length and not m.batch and not n.batch)


def broadcast(reader: Reader, a: Signal, b: Signal) -> tuple[Signal, Signal, Axes]:
    """Two signals for an operation element by element, with tensors that broadcast as the file's do; and the axes of
    what it returns. Raises ModelFileError where the batch of one would meet another axis of the other."""
    rank = max(len(a.axes), len(b.axes))
    a, b = expanded(a, rank), expanded(b, rank)
    if same_form((a.stored, a.axes), (b.stored, b.axes)):
        return a, b, a.axes
    if any(m != n and (has_batch(m) or has_batch(n)) for m, n in zip(a.axes, b.axes, strict=True)):
        raise ModelFileError(
            f"its inputs must have the same axes in the same order, got {described(a.axes)} and {described(b.axes)}"
        )
    axes, seen = [], set[Dim]()
    for pair in zip(a.axes, b.axes, strict=True):
        axis = _longer(*pair)
        axes.append(tuple(Dim(dim.length) if dim in seen else dim for dim in axis))
        seen.update(axis)
    return in_file_order(reader, a), in_file_order(reader, b), tuple(axes)


def together(reader: Reader, signals: list[Signal]) -> tuple[list[KerasTensor], Axes]:
    """Signals for an operation element by element, as tensors in the file's order; and the axes of what it returns."""
    rank = max(len(x.axes) for x in signals)
    wide = [expanded(x, rank) for x in signals]
    axes: Axes = wide[0].axes
    for x in wide[1:]:
        if any(m != n and (has_batch(m) or has_batch(n)) for m, n in zip(axes, x.axes, strict=True)):
            raise ModelFileError(f"its inputs have axes {described(axes)} and {described(x.axes)}")
        axes = tuple(_longer(*pair) for pair in zip(axes, x.axes, strict=True))
    if len(set(dims(axes))) < len(dims(axes)):
        raise ModelFileError(f"it would make axes {described(axes)} of one length twice")
    return [in_file_order(reader, x).tensor for x in wide], axes


def _longer(a: Axis, b: Axis) -> Axis:
    """The axis to which both broadcast. Raises ModelFileError where there is none."""
    if a == b or not b:
        return a
    if not a:
        return b
    lengths = size(a), size(b)
    if None not in lengths and lengths[0] != lengths[1]:
        raise ModelFileError(f"its inputs have axes of {lengths[0]} and {lengths[1]}, which do not fit each other")
    return b if lengths[0] is None and lengths[1] is not None else a if lengths[0] is not None else of_length(None)


def _single(axes: Axes) -> Axes:
    return tuple((dim,) for dim in dims(axes))


def _places(stored: Axes, wanted: Axes) -> list[int] | None:
    """For each of the wanted axes which of the stored ones it is; None if they are not the same."""
    left: list[Axis | None] = list(stored)
    places = []
    for axis in wanted:
        if axis not in left:
            return None
        places.append(left.index(axis))
        left[places[-1]] = None
    return places if len(places) == len(stored) else None


def _permuted(reader: Reader, tensor: KerasTensor, order: list[int]) -> KerasTensor:
    if not tensor.dtype.startswith("float"):
        transposed: KerasTensor = applied("Transpose", tensor, axes=(0, *order))
        return transposed
    permuted: KerasTensor = reader.called(reader.layer(layers.Permute, order, dtype=tensor.dtype), tensor)
    return permuted


def _reshaped(reader: Reader, tensor: KerasTensor, stored: Axes, wanted: Axes) -> tuple[KerasTensor, Axes]:
    """With other axes of the same dims in the same order."""
    if stored == wanted:
        return tensor, wanted
    if len(wanted) == 1 and tensor.dtype.startswith("float"):
        return reader.called(reader.layer(layers.Flatten, dtype=tensor.dtype), tensor), wanted
    lengths = [-1 if (n := size(axis)) is None else n for axis in wanted]
    if not tensor.dtype.startswith("float") and [a for a in stored if a] == [a for a in wanted if a]:
        bare = item(tensor, slice(None), *(slice(None) if axis else 0 for axis in stored))
        return item(bare, slice(None), *(slice(None) if axis else None for axis in wanted)), wanted
    if not tensor.dtype.startswith("float") and -1 not in lengths:
        return applied("Reshape", tensor, newshape=(-1, *lengths)), wanted
    if lengths.count(-1) > 1:
        raise ModelFileError(f"it makes axes {described(wanted)} of {described(stored)}, of which only one may be open")
    return reader.called(reader.layer(layers.Reshape, lengths, dtype=tensor.dtype), tensor), wanted
