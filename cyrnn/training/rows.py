"""Rows of data sets that are read by slices, such as those of h5py and zarr: a batch is read when a step needs it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.samples.sliced import SlicedRows, is_sliced, stand_in
from cyrnn.training.protocol import Trainable


class RowsOnDemand:
    """Rows that are read when they are indexed by their numbers; a slice of them is not read.

    Parameters
    ----------
    read : callable
        It takes the numbers of rows, and returns these.
    like : array
        Of the shape and dtype of all rows.
    first : int
        The number of the first row.
    """

    def __init__(self, read: Callable[[Array], Array], like: Array, first: int = 0) -> None:
        self._read, self._like, self._first = read, like, first
        self.shape, self.dtype, self.ndim = like.shape, like.dtype, like.ndim

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return RowsOnDemand(self._read, self._like[rows], self._first + (rows.start or 0))
        return self._read(rows + self._first if self._first else rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[np.arange(len(self))], dtype)


class _OncePerBatch:
    """A function of the numbers of rows that is not called again for those of its last call."""

    def __init__(self, read: Callable[[Array], Any]) -> None:
        self._read = read
        self._last: tuple[Array, Any] | None = None

    def __call__(self, rows: Array) -> Any:
        last = self._last
        if last is None or not np.array_equal(last[0], rows):
            last = self._last = rows.copy(), self._read(rows)
        return last[1]


def inputs_on_demand(model: Trainable, x: Any) -> list[Any]:
    """The inputs of a model in their order; those that are read by slices, and all beside them, on demand."""
    if not any(map(is_sliced, nest.leaves(x))):
        return model.predict_inputs(x)
    sources = nest.mapped(lambda leaf: SlicedRows(leaf) if is_sliced(leaf) else as_array("x", leaf), x)

    def read(rows: Array) -> list[Array]:
        part = nest.mapped(lambda leaf: leaf.at(rows) if isinstance(leaf, SlicedRows) else leaf[rows], sources)
        return model.predict_inputs(part)

    inputs = _OncePerBatch(read)
    likes = model.predict_inputs(nest.mapped(stand_in, x))

    def of(number: int) -> Callable[[Array], Array]:
        return lambda rows: inputs(rows)[number]

    return [RowsOnDemand(of(number), like) for number, like in enumerate(likes)]


def on_demand(source: Any, like: Array) -> Any:
    """Rows of `source`, which is read by slices, on demand; `like` has its shape and dtype."""
    return RowsOnDemand(_OncePerBatch(SlicedRows(source).at), like)
