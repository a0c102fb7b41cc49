"""Shapes of losses and metrics: which element of truth, weights and mask goes with which of the prediction."""

from typing import Any

import numpy as np

from cyrnn.arrays import array_of_numbers, to_integers
from cyrnn.layers.base.arguments import Array

EPSILON = 1e-7  # Keras' default backend epsilon


def matched(y_true: Any, y_pred: Any, sparse: bool = False, axis: int = -1) -> tuple[Array, Array]:
    """Both as arrays of one floating dtype and of one shape; labels of a sparse loss without the axis of classes.

    Raises ValueError where they do not fit.
    """
    t, p = array_of_numbers("y_true", y_true), array_of_numbers("y_pred", y_pred)
    p = p if p.dtype.kind == "f" else p.astype(np.float32)
    t, p = (t, p) if sparse else aligned(t.astype(p.dtype, copy=False), p)
    if not p.ndim or not p.shape[-1]:
        raise ValueError(f"y_pred must have an axis, and elements along its last one, got the shape {p.shape}")
    if not -p.ndim <= axis < p.ndim:
        raise ValueError(f"axis must be one of the {p.ndim} of y_pred, got {axis}")
    if not sparse:
        if t.shape != p.shape:
            raise ValueError(f"y_true must have the shape of y_pred, {p.shape}, got {t.shape}")
        return t, p
    expected = p.shape[: axis % p.ndim] + p.shape[axis % p.ndim + 1 :]
    t = t[..., 0] if t.ndim == p.ndim and t.shape[-1] == 1 else t
    if t.shape != expected:
        raise ValueError(f"y_true must have labels of the shape {expected}, got the shape {t.shape}")
    return whole_labels(t), p


def whole_labels(t: Array) -> Array:
    """Labels as integers. Raises ValueError for such as are no whole numbers."""
    if t.dtype.kind != "f":
        return to_integers("y_true", t, np.int64)
    if not np.all(np.abs(t) < 2**62):
        raise ValueError("y_true must have labels, which are whole numbers, got one that is not finite or too large")
    whole = t.astype(np.int64)
    if np.any(whole != t):
        raise ValueError(f"y_true must have labels, which are whole numbers, got {t[whole != t][0]}")
    return whole


def check_labels(t: Array, classes: int, ignored: int | None = None) -> None:
    """Raise ValueError for labels that are neither classes nor ignored."""
    wrong = t[(t < 0) | (t >= classes)] if t.size and (t.min() < 0 or t.max() >= classes) else t[:0].ravel()
    wrong = wrong if ignored is None else wrong[wrong != ignored]
    if wrong.size:
        raise ValueError(f"y_true must have labels from 0 to {classes - 1}, as y_pred has classes, got {wrong[0]}")


def aligned(t: Array, p: Array) -> tuple[Array, Array]:
    """Both, of one rank: a last axis of length 1 that one has more is taken away, or given to the other vector."""
    if t.ndim == p.ndim + 1 and t.shape[-1] == 1:
        return (t, p[..., None]) if p.ndim == 1 else (t[..., 0], p)
    if p.ndim == t.ndim + 1 and p.shape[-1] == 1:
        return (t[..., None], p) if t.ndim == 1 else (t, p[..., 0])
    return t, p


def aligned_to(t: Array, p: Array, *of_values: Array | None) -> tuple[Array, Array]:
    """Both, of one rank. With weights or a mask of each timestep they keep an axis after that of time."""
    if any(given is not None and given.ndim > 1 and given.shape[1] != 1 for given in of_values):
        if p.ndim == t.ndim + 1 > 2 and p.shape[-1] == 1:
            return t[..., None], p
        if t.ndim == p.ndim + 1 > 2 and t.shape[-1] == 1:
            return t, p[..., None]
    return aligned(t, p)


def checked_mask(mask: Any) -> Array:
    """A mask as an array of bools. Raises ValueError for NaN, and for what is no number."""
    given = array_of_numbers("mask", mask)
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise ValueError("mask must hold bools, got NaN")
    return given.astype(bool, copy=False)


def cleared_of(t: Array, keep: Array) -> Array:
    """The truth, with 0, which is a label and neither sign, where a mask of values does not keep it."""
    keep = keep[..., 0] if keep.ndim == t.ndim and keep.shape != t.shape and keep.shape[-1] == 1 else keep
    if t.shape[: keep.ndim] != keep.shape:
        return t
    return np.where(keep.reshape(keep.shape + (1,) * (t.ndim - keep.ndim)), t, t.dtype.type(0))


def fitted(name: str, given: Array, shape: tuple[int, ...]) -> Array:
    """Weights or a mask in the rank of values of this shape: one for all, for each row, or for what more axes index.

    Raises ValueError where they do not fit.
    """
    array = given
    while array.ndim > len(shape) and array.shape[-1] == 1:
        array = array[..., 0]
    pairs = zip(array.shape, shape, strict=False)
    fits = array.ndim <= len(shape) and all(n == m or (n == 1 and axis) for axis, (n, m) in enumerate(pairs))
    if not fits:
        wanted = " or ".join(map(str, dict.fromkeys([shape[:1], shape])))
        raise ValueError(f"{name} must have the shape {wanted}, as the values have, got {given.shape}")
    return array.reshape(array.shape + (1,) * (len(shape) - array.ndim))
