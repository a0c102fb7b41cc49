"""Indices as numbers of each category: "one_hot", "multi_hot", "count"."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array, Shape


def checked_mode(mode: Any, known: Sequence[str]) -> str:
    """An output mode. Keras' older names of two are accepted. Raises ValueError."""
    mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(mode, mode) if isinstance(mode, str) else mode
    if mode not in known:
        raise ValueError(f"output_mode must be one of {', '.join(map(repr, known))}, got {shown(mode)}")
    return str(mode)


def refuse_sparse(sparse: Any, what: str = "sparse") -> None:
    """Raises ValueError unless an argument that asks for sparse or ragged outputs is False."""
    if sparse:
        raise ValueError(f"{what}=True is not supported: outputs are arrays")


def encoded_shape(layer: str, shape: Sequence[int | None], mode: str, depth: int) -> Shape:
    """The shape of what `encoded` returns for indices of a shape. Raises ValueError for too many axes."""
    axes = tuple(shape)
    if mode == "int":
        return axes
    if mode == "one_hot":
        return (*(axes[:-1] if len(axes) > 1 and axes[-1] == 1 else axes), depth)
    if len(axes) > 2:
        raise ValueError(f"inputs of {layer!r} must have one or two axes with output_mode {mode!r}, got shape {axes}")
    return (*axes[:-1], depth)


def encoded(layer: str, indices: Array, mode: str, depth: int, weights: Array | None = None) -> Array:
    """What the categories of these indices are; -1 is none.

    Parameters
    ----------
    layer : str
        The name of the layer, for errors.
    indices : array of int64
        From -1 to `depth` - 1.
    mode : {"int", "one_hot", "multi_hot", "count"}
    depth : int
        The number of categories.
    weights : array, optional
        How much each index counts, of the shape of the indices.
    """
    shape = tuple(n or 0 for n in encoded_shape(layer, indices.shape, mode, depth))
    if mode == "int":
        return indices
    if mode == "one_hot":
        return counted(np.arange(indices.size), indices.ravel(), indices.size, depth).reshape(shape)
    samples = indices.reshape(-1, indices.shape[-1] if indices.ndim else 1)
    rows = np.repeat(np.arange(len(samples)), samples.shape[1])
    flat = None if weights is None else weights.ravel()
    counts = counted(rows, samples.ravel(), len(samples), depth, flat)
    return (counts if mode == "count" else np.minimum(counts, 1)).reshape(shape)


def counted(rows: Array, indices: Array, count: int, depth: int, weights: Array | None = None) -> Array:
    """How often each row has each index, or the sum of the weights: (count, depth). -1 is no index."""
    known = indices >= 0
    places = rows[known] * depth + indices[known]
    found = np.bincount(places, None if weights is None else weights[known], minlength=count * depth)
    return found.reshape(count, depth)
