"""Sequences of different lengths as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cyrnn.arrays import shown

_SIDES = ("pre", "post")


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> NDArray[Any]:
    """Make sequences equally long: the longer ones are cut, the others are filled up.

    Parameters
    ----------
    sequences : sequence of sequences
        Each (timesteps,) or (timesteps, ...), of any length.
    maxlen : int, optional
        The length of all; default: that of the longest.
    dtype : dtype
        That of the result.
    padding, truncating : "pre" or "post"
        Whether sequences are filled up, and cut, at their begin or at their end.
    value : optional
        What they are filled up with.

    Returns
    -------
    array (sequences, maxlen, ...)

    Raises
    ------
    ValueError
        If `sequences` holds anything else, or other values than these are given.

    Examples
    --------
    >>> cyrnn.utils.pad_sequences([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [0, 0, 4]], dtype=int32)
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in _SIDES:
            raise ValueError(f"{name} must be 'pre' or 'post', got {shown(side)}")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"sequences must be a list of sequences, got {type(sequences).__name__}")
    for number, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__") or isinstance(sequence, (str, bytes)):
            raise ValueError(f"sequences must hold sequences, got {shown(sequence)} as number {number}")
    lengths = [len(sequence) for sequence in sequences]
    length = max(lengths, default=0) if maxlen is None else _checked_length(maxlen)
    as_text = np.dtype(dtype).kind in "OSU"
    if isinstance(value, str) and not as_text:
        raise ValueError(f"dtype must be object for a value of text, got {np.dtype(dtype)} and {value!r}")
    first = next((sequence for sequence in sequences if len(sequence)), ())
    shape = np.asarray(first).shape[1:]
    padded = np.full((len(sequences), length, *shape), value, dtype=dtype)
    for number, (row, sequence) in enumerate(zip(padded, sequences, strict=True)):
        kept = min(len(sequence), length)
        if not kept:
            continue
        part = np.asarray(sequence[-kept:] if truncating == "pre" else sequence[:kept], dtype=dtype)
        if part.shape[1:] != shape:
            raise ValueError(f"sequences must have timesteps of one shape, got {shape} and {part.shape[1:]} ({number})")
        if padding == "pre":
            row[-kept:] = part
        else:
            row[:kept] = part
    return padded


def _checked_length(maxlen: Any) -> int:
    if isinstance(maxlen, bool) or not hasattr(maxlen, "__index__") or maxlen.__index__() < 0:
        raise ValueError(f"maxlen must be an integer from 0 on, got {shown(maxlen)}")
    return int(maxlen.__index__())
