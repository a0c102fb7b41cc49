"""Sequences of unequal length in a list, as one array that is padded on the right."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import array_of_numbers, shown
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape, as_array


class TakesSequences(Protocol):
    """A layer or model, as far as it says what it takes."""

    @property
    def takes_one_input(self) -> bool: ...

    @property
    def known_input_shape(self) -> Any: ...


class Sequences:
    """Sequences, each (timesteps, ...), as an array (sequences, timesteps, ...) of which only slices are made.

    Parameters
    ----------
    arrays : sequence of array
        They differ in their first axis only.
    timesteps : int
        To which they are filled up with zeros.
    """

    def __init__(self, arrays: Sequence[Array], timesteps: int) -> None:
        self._arrays = arrays
        self.lengths = np.array([len(array) for array in arrays], np.int64)
        self.dtype: np.dtype[Any] = np.result_type(*{array.dtype for array in arrays})
        self.shape = (len(arrays), timesteps, *arrays[0].shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        arrays = self._arrays[rows]
        padded = np.zeros((len(arrays), *self.shape[1:]), self.dtype)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        return padded


def in_one_array(layer: TakesSequences, x: Any, lengths: Any = None) -> tuple[Any, Any]:
    """The inputs and lengths of a call; sequences in a list as `Sequences`, or as an array if they are equally long.

    Raises ValueError for sequences that differ in other axes, are longer than the model takes, or have lengths beside.
    """
    arrays = _sequences(layer, x)
    if arrays is None:
        return x, lengths
    inner = {array.shape[1:] for array in arrays}
    if len(inner) > 1:
        raise ValueError(f"x must hold sequences that differ in their length only, got timesteps of {sorted(inner)}")
    counts = {len(array) for array in arrays}
    timesteps = _timesteps(layer)
    if timesteps is not None and max(counts) > timesteps:
        raise ValueError(f"x must hold sequences of at most {timesteps} timesteps, got one of {max(counts)}")
    if counts == {max(counts) if timesteps is None else timesteps}:
        return np.stack(arrays), lengths
    if lengths is not None:
        raise ValueError(f"lengths are those of the sequences in x: leave lengths out, got {shown(lengths)}")
    found = Sequences(arrays, max(counts) if timesteps is None else timesteps)
    return found, found.lengths


def padded(layer: TakesSequences, x: Any, lengths: Any = None) -> tuple[Any, Any]:
    """As `in_one_array`, with arrays only."""
    x, lengths = in_one_array(layer, x, lengths)
    return (x[:] if isinstance(x, Sequences) else x), lengths


def _timesteps(layer: TakesSequences) -> int | None:
    shape: Shape | None = layer.known_input_shape
    return None if shape is None else shape[1]


def _sequences(layer: TakesSequences, x: Any) -> list[Array] | None:
    """The sequences in a list; None for all else, as a list of several inputs."""
    if not isinstance(x, (list, tuple)) or not x:
        return None
    shape = layer.known_input_shape
    if not (nest.is_shape(shape) if shape is not None else layer.takes_one_input and len(x) > 1):
        return None
    arrays = [_as_sequence(part) for part in x]
    found = [array for array in arrays if array is not None]
    inner = {array.shape[1:] for array in found if array.size}
    if len(inner) == 1:  # a list without timesteps says nothing of them
        found = [array if array.size else np.empty((0, *min(inner)), array.dtype) for array in found]
    ranks = {array.ndim for array in found}
    rank = ranks.pop() if len(found) == len(x) else 0
    if ranks or rank < 1 or rank != (rank if shape is None else len(shape) - 1):
        return None
    if rank == 1 and len({len(array) for array in found}) > 1 and any(array.dtype.kind not in "iu" for array in found):
        return None  # vectors, of which each number is a feature
    return found


def _as_sequence(value: Any) -> Array | None:
    try:
        if isinstance(value, (list, tuple)):
            return array_of_numbers("x", value) if len(value) else np.empty(0, np.uint8)
        return as_array("x", value) if hasattr(value, "__array__") else None
    except (TypeError, ValueError):
        return None
