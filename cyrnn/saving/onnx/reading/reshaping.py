"""ONNX's Reshape and Flatten: the dims of a tensor, in their order, in other axes."""

import math

from cyrnn import layers
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.arranging import in_file_order
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.values import Axes, Axis, Dim, Signal, Sizes, described, dims, of_length, size


def regrouped(x: Signal, wanted: Sizes) -> Signal:
    """Each length that is wanted made of whole dims, or of a part of one; nothing is computed.

    -1 is what remains when the lengths before it and those after it are made. Raises ModelFileError where a length
    would need parts of two dims, or of the batch, or a dim that is not known.
    """
    left = _Dims(x)
    place = wanted.values.index(-1) if -1 in wanted.values else len(wanted.values)
    before = [left.taken(n, 0) for n in wanted.values[:place]]
    after = [left.taken(n, -1) for n in reversed(wanted.values[place + 1 :])]
    rest = [tuple(left.dims)] if place < len(wanted.values) else []
    if not rest and left.dims:
        raise ModelFileError(f"it makes {wanted} of axes {described(x.axes)}, which are more")
    return Signal(x.tensor, left.stored, (*before, *rest, *reversed(after)))


class _Dims:
    """The dims that are left of a tensor; a dim of which a length needs a part is cut into two."""

    def __init__(self, x: Signal) -> None:
        self.dims = dims(x.axes)
        self.stored = x.stored

    def taken(self, wanted: int | Axis, end: int) -> Axis:
        """The dims of this length, or these dims, from the first on (end 0) or from the last on (end -1)."""
        if isinstance(wanted, tuple):
            there = self.dims[: len(wanted)] if end == 0 else self.dims[len(self.dims) - len(wanted) :]
            if tuple(there) == wanted:
                self.dims = self.dims[len(wanted) :] if end == 0 else self.dims[: len(self.dims) - len(wanted)]
                return wanted
        length = size(wanted) if isinstance(wanted, tuple) else wanted
        found: list[Dim] = []
        while length != 1 or (self.dims and self.dims[end].batch and self.dims[end].length == 1 and not found):
            dim = self.dims[end] if self.dims else Dim(None)
            if length is None or length < 1 or dim.length is None:
                raise ModelFileError(f"it makes an axis of {length or 'an open length'} from what has another length")
            if length % dim.length:
                dim = self._cut(dim, length, end)
            self.dims.pop(end)
            found.insert(len(found) if end == 0 else 0, dim)
            length //= dim.length  # type: ignore[operator]  # a part of a known dim is known
        return tuple(found)

    def _cut(self, dim: Dim, length: int, end: int) -> Dim:
        """The outer or inner part of a dim, so long; the other part is left."""
        if dim.batch or dim.length is None or dim.length % length:
            raise ModelFileError(f"it makes an axis of {length} from parts of axes, or of the batch")
        pair = Dim(length), Dim(dim.length // length)
        pair = pair if end == 0 else pair[::-1]
        self.stored = tuple(tuple(n for m in axis for n in (pair if m is dim else (m,))) for axis in self.stored)
        self.dims[end : end + 1 or None] = pair
        return pair[end]


def reshape(reader: Reader, x: Signal, wanted: Sizes) -> Signal:
    """Other axes for the same numbers; or if the batch is in front, another shape for each sample."""
    try:
        return regrouped(x, wanted)
    except ModelFileError as error:
        lengths = _sample(reader, x, wanted)
        if lengths is None:
            raise ModelFileError(f"it makes {wanted} of axes {described(x.axes)}: {error}") from None
    tensor = in_file_order(reader, x).tensor
    tensor = reader.called(reader.layer(layers.Reshape, lengths, dtype=tensor.dtype), tensor)
    stored = tuple(map(of_length, tensor.shape[1:]))
    return Signal(tensor, stored, ((reader.batch,), *stored))


def _sample(reader: Reader, x: Signal, wanted: Sizes) -> list[int] | None:
    """The shape for each sample, with at most one -1; None if the batch is not in front before and after."""
    batch = (reader.batch,)
    if x.axes[:1] != (batch,) or not wanted.values:
        return None
    first, *rest = wanted.values
    lengths = [-1 if (length := n if isinstance(n, int) else size(n)) is None else length for n in rest]
    given = {dim for axis in rest if isinstance(axis, tuple) for dim in axis if dim.length is None or dim.batch}
    if lengths.count(-1) > 1 or not given <= set(dims(x.axes[1:])):
        return None
    if first == batch or first == reader.batch.length:
        return lengths
    # Where it is not named, the batch is what remains beside the rest, if that is all of a sample.
    sample = [size(axis) for axis in x.axes[1:]]
    whole = -1 not in lengths and None not in sample and math.prod(lengths) == math.prod(n for n in sample if n)
    return lengths if first == -1 and whole else None


def flattened(x: Signal, axis: int) -> Signal:
    """Two axes: of all before this one, and of all from it on."""
    pair: Axes = tuple(dims(x.axes[:axis])), tuple(dims(x.axes[axis:]))
    return x.with_axes(pair)
