"""Lengths of sequences that are padded on the right: what calls have instead of masks."""

from typing import Any

import numpy as np

from cyrnn.arrays import shown, to_numpy
from cyrnn.engine.program import right_padded
from cyrnn.layers.base.arguments import Array, Shape

_INT64 = np.dtype(np.int64)


def mask_of_lengths(lengths: Any, shape: tuple[int, ...]) -> Array:
    """The mask (batch, timesteps) of inputs of this shape, of which so many timesteps of each row count.

    Parameters
    ----------
    lengths : array (batch,) of integers
        From 0 to the number of timesteps.
    shape : tuple of int
        (batch, timesteps, ...).

    Raises
    ------
    ValueError, TypeError
        For other lengths, and for inputs without timesteps. The message names `lengths`.
    """
    if len(shape) < 2:
        raise ValueError(f"lengths need inputs (batch, timesteps, ...), got inputs of shape {shape}")
    batch, timesteps = shape[:2]
    given = lengths if type(lengths) is np.ndarray and lengths.dtype is _INT64 else _integers(lengths)
    if given.shape != (batch,):
        raise ValueError(f"lengths must have shape {(batch,)}, one for each row, got {given.shape}")
    mask: Array = right_padded(given if given.flags.c_contiguous else given.copy(), timesteps)
    return mask


def checked_lengths(lengths: Any, shape: Shape) -> Array:
    """The same lengths as an array of int64. Raises ValueError and TypeError as `mask_of_lengths` does."""
    given = _integers(lengths)
    if len(shape) < 2:
        raise ValueError(f"lengths need inputs (batch, timesteps, ...), got inputs of shape {shape}")
    if given.shape != shape[:1]:
        raise ValueError(f"lengths must have shape {shape[:1]}, one for each row, got {given.shape}")
    timesteps = shape[1] or 0
    wrong = np.flatnonzero((given < 0) | (given > timesteps))
    if wrong.size:
        raise ValueError(f"lengths must be from 0 to {timesteps}, got {given[wrong[0]]} for row {wrong[0]}")
    return given


def _integers(lengths: Any) -> Array:
    array = to_numpy("lengths", lengths)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths must be integers, got {shown(lengths)}")
    return np.ascontiguousarray(array, np.int64)
