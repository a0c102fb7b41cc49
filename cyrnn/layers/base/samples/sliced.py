"""What has a shape, a dtype and slices, as datasets of h5py and arrays of zarr: it is read batch by batch."""

import math
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array

_IN_MEMORY = ("__array_interface__", "__array_struct__", "__dlpack__", "iloc")  # NumPy views these as a whole
_MOST_BYTES = 1 << 28  # of a block that is kept, because its chunks are larger than a batch


def is_sliced(value: Any) -> bool:
    """Whether a value is read by slices: it is no array, nor a tensor or table that lies in memory."""
    if isinstance(value, np.ndarray) or not hasattr(type(value), "__getitem__"):
        return False
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    is_array = isinstance(shape, tuple) and len(shape) > 0 and isinstance(dtype, np.dtype)
    return is_array and not any(hasattr(value, name) for name in _IN_MEMORY)


def stand_in(value: Any) -> Any:
    """An array of the shape and dtype of what is read by slices, which takes no memory; all else as it is."""
    if not is_sliced(value):
        return value
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)


class SlicedRows:
    """Rows of what is read by slices, each chunk of it as seldom as memory allows.

    Parameters
    ----------
    source : object with `shape`, `dtype`, and slices
        Chunks that `shards` or `chunks` speaks of are read whole.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.shape: tuple[int, ...] = source.shape
        self.dtype: np.dtype[Any] = source.dtype
        self._chunk = _rows_of_a_chunk(source)
        self._first, self._block = 0, np.empty((0, *self.shape[1:]), source.dtype)

    def __getitem__(self, rows: slice) -> Array:
        first, last = rows.start, min(rows.stop, self.shape[0])
        if not self._first <= first <= last <= self._first + len(self._block):
            begin, end = first, last
            if self._chunk > last - first:
                begin, end = first - first % self._chunk, min(-(-last // self._chunk) * self._chunk, self.shape[0])
            self._first, self._block = begin, self._read(begin, end)
        return self._block[first - self._first : last - self._first]

    def at(self, index: Array) -> Array:
        """The rows of these numbers, in their order. Neighbours, and rows of a chunk, are read by one slice."""
        order = np.argsort(index, kind="stable")
        numbers = index[order]
        begins = _first_of_each(numbers - np.arange(len(numbers)))  # which is one number for neighbours
        if len(begins) > 1 and self._chunk > 1:
            begins = _first_of_each(numbers // self._chunk)
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        for some in np.split(np.arange(len(index)), begins[1:]):
            if some.size:
                first = int(numbers[some[0]])
                block = self._read(first, int(numbers[some[-1]]) + 1)
                rows[order[some]] = block[numbers[some] - first]
        return rows

    def _read(self, first: int, last: int) -> Array:
        block = np.asarray(self._source[first:last])
        expected = (last - first, *self.shape[1:])
        if block.shape != expected:
            raise ValueError(f"x[{first}:{last}] must have shape {expected}, as x.shape says, got {block.shape}")
        return block


def _first_of_each(values: Array) -> Array:
    """Where runs of one value begin, the first at 0."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))


def _rows_of_a_chunk(source: Any) -> int:
    """How many rows are stored together; 1 where that is not known, or is too much to keep."""
    for name in ("shards", "chunks"):
        chunks = getattr(source, name, None)
        if isinstance(chunks, tuple) and chunks and isinstance(chunks[0], int):
            of_a_row = math.prod(source.shape[1:]) * source.dtype.itemsize
            return chunks[0] if chunks[0] * of_a_row <= _MOST_BYTES else 1
    return 1


def read_by_slices(value: Any) -> Any:
    """A value as an array, or as rows that are read when they are needed."""
    return SlicedRows(value) if is_sliced(value) else value
