"""Losses of Keras 3.15.1 for classes that are rare, as functions of the truth t and the prediction p: see `functions`.

Focal crossentropies count what is easy less; Dice and Tversky are 1 minus a share of the overlap of t and p.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.losses.functions import LossFunction, clipped, with_gradient
from cyrnn.losses.shapes import EPSILON, matched


def _power(x: Array, exponent: float) -> tuple[Any, Any]:
    """x to a power, and the derivative of that."""
    return x**exponent, exponent * x ** (exponent - 1) if exponent else np.zeros_like(x)


# ---------------------------------------------------------------- focal crossentropies


def _focal_binary_terms(
    t: Array, p: Array, balanced: bool, alpha: float, gamma: float, from_logits: bool, smoothing: float
) -> tuple[Array, Array]:
    """The term of each element, and its derivative by p."""
    t = t * (1 - smoothing) + smoothing / 2
    if from_logits:
        p = np.exp(-np.logaddexp(0, -p))
    c = clipped(p)
    crossentropy, slope = -t * np.log(c) - (1 - t) * np.log(1 - c), np.where(c == p, (1 - t) / (1 - c) - t / c, 0)
    factor, rise = _power(1 - t * p - (1 - t) * (1 - p), gamma)
    term, derivative = factor * crossentropy, rise * (1 - 2 * t) * crossentropy + factor * slope
    if from_logits:
        derivative = derivative * p * (1 - p)
    weight = t * alpha + (1 - t) * (1 - alpha) if balanced else 1
    return weight * term, weight * derivative


def _of_binary_focal_crossentropy(
    t: Array,
    p: Array,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    terms = _focal_binary_terms(t, p, apply_class_balancing, alpha, gamma, from_logits, label_smoothing)
    return terms[1] / p.shape[axis]


@with_gradient(_of_binary_focal_crossentropy)
def binary_focal_crossentropy(
    t: Array,
    p: Array,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """The mean of ``-(1 - q)^gamma log(q)``, with q = t p + (1 - t)(1 - p), of probabilities or of logits.

    With `apply_class_balancing` it counts alpha times where t is 1, and 1 - alpha times where t is 0.
    """
    terms = _focal_binary_terms(t, p, apply_class_balancing, alpha, gamma, from_logits, label_smoothing)
    return np.asarray(np.mean(terms[0], axis=axis))


def _of_categorical_focal_crossentropy(
    t: Array,
    p: Array,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    t = t * (1 - label_smoothing) + label_smoothing / p.shape[axis]
    given = _softmax(p, axis) if from_logits else p
    total = np.sum(given, axis=axis, keepdims=True)
    shares = given / total
    c = clipped(shares)
    factor, rise = _power(1 - c, gamma)
    slope = np.where(c == shares, (rise * np.log(c) - factor / c) * t * np.asarray(alpha, p.dtype), 0)
    d_given = (slope - np.sum(slope * shares, axis=axis, keepdims=True)) / total
    if not from_logits:
        return d_given
    return given * (d_given - np.sum(d_given * given, axis=axis, keepdims=True))


@with_gradient(_of_categorical_focal_crossentropy)
def categorical_focal_crossentropy(
    t: Array,
    p: Array,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """``-alpha Σ t (1 - q)^gamma log(q)`` of q = p / Σp clipped to [1e-7, 1 - 1e-7], or of logits.

    `alpha` is a number, or one for each class.
    """
    t = t * (1 - label_smoothing) + label_smoothing / p.shape[axis]
    given = _softmax(p, axis) if from_logits else p
    c = clipped(given / np.sum(given, axis=axis, keepdims=True))
    terms = -t * (1 - c) ** gamma * np.log(c) * np.asarray(alpha, p.dtype)
    return np.asarray(np.sum(terms, axis=axis))


def _softmax(z: Array, axis: int) -> Any:
    e = np.exp(z - np.max(z, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


# ---------------------------------------------------------------- overlaps


class OverlapFunction(LossFunction):
    """A loss of sums over several axes, or over all."""

    def _called(self, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Array:
        given = self.__signature__.bind(*args, **options).arguments
        t, p = matched(given.pop("y_true"), given.pop("y_pred"))
        return np.asarray(function(t, p, **given))


def _of_dice(t: Array, p: Array, axis: Any = None) -> Array:
    overlap, both = _dice_sums(t, p, axis)
    return 2 * (overlap / both - t) / both


@with_gradient(_of_dice, kind=OverlapFunction)
def dice(t: Array, p: Array, axis: Any = None) -> Array:
    """``1 - 2 Σ t p / (Σ t + Σ p + 1e-7)``, with sums over `axis`, a tuple, or over all."""
    overlap, both = _dice_sums(t, p, axis)
    return 1 - 2 * np.asarray(overlap / both).reshape(_without(p.shape, axis))


def _dice_sums(t: Array, p: Array, axis: Any) -> tuple[Any, Any]:
    axis = axes_of(axis, p.ndim)
    overlap = np.sum(t * p, axis=axis, keepdims=True)
    return overlap, np.sum(t, axis=axis, keepdims=True) + np.sum(p, axis=axis, keepdims=True) + p.dtype.type(EPSILON)


def _of_tversky(t: Array, p: Array, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Array:
    overlap, all_ = _tversky_sums(t, p, alpha, beta, axis)
    return (overlap * (t * (1 - alpha) + (1 - t) * beta) / all_ - t) / all_


@with_gradient(_of_tversky, kind=OverlapFunction)
def tversky(t: Array, p: Array, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Array:
    """``1 - Σ t p / (Σ t p + alpha Σ t (1 - p) + beta Σ p (1 - t) + 1e-7)``, with sums over `axis`, or over all."""
    overlap, all_ = _tversky_sums(t, p, alpha, beta, axis)
    return 1 - np.asarray(overlap / all_).reshape(_without(p.shape, axis))


def _tversky_sums(t: Array, p: Array, alpha: float, beta: float, axis: Any) -> tuple[Any, Any]:
    axis = axes_of(axis, p.ndim)
    overlap, missed, more = (np.sum(x, axis=axis, keepdims=True) for x in (t * p, t * (1 - p), p * (1 - t)))
    return overlap, overlap + alpha * missed + beta * more + p.dtype.type(EPSILON)


def _without(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """A shape without some axes, or without all."""
    left = axes_of(axis, len(shape))
    return tuple(n for place, n in enumerate(shape) if place not in left)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that sums are over, counted from the first one. Raises ValueError for those that there are not."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    if not all(-ndim <= place < ndim for place in axes):
        raise ValueError(f"axis must be of the {ndim} of y_pred, got {axis}")
    return tuple(place % ndim for place in axes)
