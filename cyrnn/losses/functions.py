"""The losses of Keras 3.15.1 as functions of the truth t and the prediction p, each after its gradient.

A loss takes arrays of one shape and returns values of that shape without its last axis. The gradient is that of their
sum by p. Kinks are as Keras has them on TensorFlow.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.documentation import of_function
from cyrnn.losses.shapes import EPSILON, check_labels, matched

_PLACED = inspect.Parameter.POSITIONAL_OR_KEYWORD


class LossFunction:
    """A function of Keras, ``loss(y_true, y_pred, ...)``, which knows its `gradient` by `y_pred`.

    Parameters
    ----------
    function, gradient : callable
        Of arrays of one floating dtype, and of options.
    sparse : bool
        Whether `y_true` has labels in the place of an axis of `y_pred`.
    """

    def __init__(self, function: Callable[..., Any], gradient: Callable[..., Any], sparse: bool) -> None:
        self._function, self._gradient, self.sparse = function, gradient, sparse
        self.__name__, self.__module__ = function.__name__, function.__module__
        _, _, *options = inspect.signature(function).parameters.values()
        self.__doc__ = of_function(function.__doc__ or "", options)
        arrays = [inspect.Parameter(name, _PLACED) for name in ("y_true", "y_pred")]
        self.__signature__ = inspect.Signature([*arrays, *options])

    @quietly
    def __call__(self, *args: Any, **options: Any) -> Array:
        return self._called(self._function, args, options)

    @quietly
    def gradient(self, *args: Any, **options: Any) -> Array:
        """The gradient of the sum of the values by `y_pred`, in the shape in which the loss has taken it."""
        return self._called(self._gradient, args, options)

    def _called(self, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Array:
        if len(args) != 2:  # binding takes most of the time of a small batch
            given = self.__signature__.bind(*args, **options)
            args, options = given.args[:2], dict(list(given.arguments.items())[2:])
        y_true, y_pred = args
        t, p = matched(y_true, y_pred, self.sparse, options.get("axis", -1))
        return np.asarray(function(t, p, **options))

    def __reduce__(self) -> str:
        return self.__name__  # found where it is defined

    def __repr__(self) -> str:
        return f"<loss {self.__name__}>"


def with_gradient(
    gradient: Callable[..., Any], sparse: bool = False, kind: type[LossFunction] = LossFunction
) -> Callable[[Callable[..., Any]], LossFunction]:
    """A decorator that makes a loss of a function, with this gradient."""
    return lambda function: kind(function, gradient, sparse)


# ---------------------------------------------------------------- errors


def _of_mean_squared_error(t: Array, p: Array) -> Array:
    return 2 * (p - t) / p.shape[-1]


@with_gradient(_of_mean_squared_error)
def mean_squared_error(t: Array, p: Array) -> Array:
    """``mean((p - t)²)``."""
    return np.mean(np.square(p - t), axis=-1)


def _of_mean_absolute_error(t: Array, p: Array) -> Array:
    return np.sign(p - t) / p.shape[-1]


@with_gradient(_of_mean_absolute_error)
def mean_absolute_error(t: Array, p: Array) -> Array:
    """``mean(|p - t|)``."""
    return np.mean(np.abs(p - t), axis=-1)


def _of_mean_absolute_percentage_error(t: Array, p: Array) -> Array:
    return 100 * np.sign(p - t) / np.maximum(np.abs(t), EPSILON) / p.shape[-1]


@with_gradient(_of_mean_absolute_percentage_error)
def mean_absolute_percentage_error(t: Array, p: Array) -> Array:
    """``100 mean(|p - t| / max(|t|, 1e-7))``."""
    return 100 * np.mean(np.abs((p - t) / np.maximum(np.abs(t), EPSILON)), axis=-1)


def _of_mean_squared_logarithmic_error(t: Array, p: Array) -> Array:
    slope = np.where(p >= EPSILON, 1 / (np.maximum(p, EPSILON) + 1), 0)
    return 2 * (_log(p) - _log(t)) * slope / p.shape[-1]


@with_gradient(_of_mean_squared_logarithmic_error)
def mean_squared_logarithmic_error(t: Array, p: Array) -> Array:
    """``mean((log(max(p, 1e-7) + 1) - log(max(t, 1e-7) + 1))²)``."""
    return np.mean(np.square(_log(p) - _log(t)), axis=-1)


def _log(x: Array) -> Any:
    return np.log(np.maximum(x, x.dtype.type(EPSILON)) + 1)


def _of_huber(t: Array, p: Array, delta: float = 1.0) -> Array:
    return np.clip(p - t, -delta, delta) / p.shape[-1]


@with_gradient(_of_huber)
def huber(t: Array, p: Array, delta: float = 1.0) -> Array:
    """``mean(e² / 2)`` of e = p - t up to delta, and ``delta |e| - delta² / 2`` from there."""
    error = np.abs(p - t)
    return np.mean(np.where(error <= delta, np.square(error) / 2, delta * error - delta**2 / 2), axis=-1)


def _of_log_cosh(t: Array, p: Array) -> Array:
    return np.tanh(p - t) / p.shape[-1]


@with_gradient(_of_log_cosh)
def log_cosh(t: Array, p: Array) -> Array:
    """``mean(log(cosh(p - t)))``."""
    error = p - t
    return np.mean(error + np.logaddexp(-2 * error, 0) - error.dtype.type(np.log(2)), axis=-1)


# ---------------------------------------------------------------- directions and margins


def _of_cosine_similarity(t: Array, p: Array, axis: int = -1) -> Array:
    t, unit, length = _normalized(t, axis)[0], *_normalized(p, axis)
    along = np.sum(t * unit, axis=axis, keepdims=True)
    return np.where(length > EPSILON, unit * along - t, -t) / length


@with_gradient(_of_cosine_similarity)
def cosine_similarity(t: Array, p: Array, axis: int = -1) -> Array:
    """``-Σ t p`` of t and p divided by their norms, which are taken as 1e-7 where they are less."""
    return -np.sum(_normalized(t, axis)[0] * _normalized(p, axis)[0], axis=axis)


def _normalized(x: Array, axis: int) -> tuple[Any, Any]:
    length = np.sqrt(np.maximum(np.sum(np.square(x), axis=axis, keepdims=True), x.dtype.type(EPSILON**2)))
    return x / length, length


def _of_hinge(t: Array, p: Array) -> Array:
    t = _signs(t)
    return np.where(1 - t * p >= 0, -t, 0) / p.shape[-1]


@with_gradient(_of_hinge)
def hinge(t: Array, p: Array) -> Array:
    """``mean(max(1 - t p, 0))``; if all t are 0 or 1, 2 t - 1 takes their place."""
    return np.mean(np.maximum(1 - _signs(t) * p, 0), axis=-1)


def _of_squared_hinge(t: Array, p: Array) -> Array:
    t = _signs(t)
    return -2 * t * np.maximum(1 - t * p, 0) / p.shape[-1]


@with_gradient(_of_squared_hinge)
def squared_hinge(t: Array, p: Array) -> Array:
    """``mean(max(1 - t p, 0)²)``; if all t are 0 or 1, 2 t - 1 takes their place."""
    return np.mean(np.square(np.maximum(1 - _signs(t) * p, 0)), axis=-1)


def _signs(t: Array) -> Array:
    return 2 * t - 1 if np.all((t == 0) | (t == 1)) else t


def _of_categorical_hinge(t: Array, p: Array) -> Array:
    others = (1 - t) * p
    largest = others == np.max(others, axis=-1, keepdims=True)
    share = largest / np.sum(largest, axis=-1, keepdims=True)
    return np.where(_margin(t, p)[..., None] >= 0, (1 - t) * share - t, 0).astype(p.dtype, copy=False)


@with_gradient(_of_categorical_hinge)
def categorical_hinge(t: Array, p: Array) -> Array:
    """``max(max((1 - t) p) - Σ t p + 1, 0)``."""
    return np.maximum(_margin(t, p), 0)


def _margin(t: Array, p: Array) -> Any:
    return np.max((1 - t) * p, axis=-1) - np.sum(t * p, axis=-1) + 1


# ---------------------------------------------------------------- probabilities


def _of_kl_divergence(t: Array, p: Array) -> Array:
    return np.where((p >= EPSILON) & (p <= 1), -clipped(t, 1) / clipped(p, 1), 0)


@with_gradient(_of_kl_divergence)
def kl_divergence(t: Array, p: Array) -> Array:
    """``Σ t log(t / p)`` of t and p clipped to [1e-7, 1]."""
    t, p = clipped(t, 1), clipped(p, 1)
    return np.sum(t * np.log(t / p), axis=-1)


def _of_poisson(t: Array, p: Array) -> Array:
    return (1 - t / (p + p.dtype.type(EPSILON))) / p.shape[-1]


@with_gradient(_of_poisson)
def poisson(t: Array, p: Array) -> Array:
    """``mean(p - t log(p + 1e-7))``."""
    return np.mean(p - t * np.log(p + p.dtype.type(EPSILON)), axis=-1)


def _of_binary_crossentropy(
    t: Array, p: Array, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    t = t * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        return (np.exp(-np.logaddexp(0, -p)) - t) / p.shape[axis]
    c = clipped(p)
    return np.where(c == p, (1 - t) / (1 - c) - t / c, 0) / p.shape[axis]


@with_gradient(_of_binary_crossentropy)
def binary_crossentropy(
    t: Array, p: Array, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """``-mean(t log(p) + (1 - t) log(1 - p))`` of p clipped to [1e-7, 1 - 1e-7], or of logits.

    With `label_smoothing` s, ``t (1 - s) + s / 2`` takes the place of t.
    """
    t = t * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        return np.mean(np.maximum(p, 0) - p * t + np.log1p(np.exp(-np.abs(p))), axis=axis)
    c = clipped(p)
    return np.mean(-t * np.log(c) - (1 - t) * np.log(1 - c), axis=axis)


def _of_categorical_crossentropy(
    t: Array, p: Array, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    t = t * (1 - label_smoothing) + label_smoothing / p.shape[axis]
    if from_logits:
        return np.exp(_log_softmax(p, axis)) * np.sum(t, axis=axis, keepdims=True) - t
    total = np.sum(p, axis=axis, keepdims=True)
    shares = p / total
    c = clipped(shares)
    d_shares = np.where(c == shares, -t / c, 0)
    return (d_shares - np.sum(d_shares * shares, axis=axis, keepdims=True)) / total


@with_gradient(_of_categorical_crossentropy)
def categorical_crossentropy(
    t: Array, p: Array, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """``-Σ t log(p / Σ p)``, with p / Σ p clipped to [1e-7, 1 - 1e-7], or ``-Σ t log(softmax(p))`` of logits.

    With `label_smoothing` s of C classes, ``t (1 - s) + s / C`` takes the place of t.
    """
    t = t * (1 - label_smoothing) + label_smoothing / p.shape[axis]
    if from_logits:
        return -np.sum(t * _log_softmax(p, axis), axis=axis)
    return -np.sum(t * np.log(clipped(p / np.sum(p, axis=axis, keepdims=True))), axis=axis)


def _of_sparse_categorical_crossentropy(
    t: Array, p: Array, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Array:
    labels, kept = _labels(t, p, ignore_class, axis)
    hit = np.expand_dims(labels, axis) == np.arange(p.shape[axis]).reshape([-1, *[1] * (p.ndim - 1 - axis % p.ndim)])
    if from_logits:
        found = np.exp(_log_softmax(p, axis)) - hit
    else:
        c = clipped(p)
        found = np.where(c == p, 1 / np.sum(c, axis=axis, keepdims=True) - hit / c, 0)
    return np.where(np.expand_dims(kept, axis), found, 0).astype(p.dtype, copy=False)


@with_gradient(_of_sparse_categorical_crossentropy, sparse=True)
def sparse_categorical_crossentropy(
    t: Array, p: Array, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Array:
    """``-log(p / Σ p)`` of the class t, with p clipped to [1e-7, 1 - 1e-7], or ``-log(softmax(p))`` of logits.

    It is 0 where t is `ignore_class`.
    """
    labels, kept = _labels(t, p, ignore_class, axis)
    logits = p if from_logits else np.log(clipped(p))
    picked = np.take_along_axis(_log_softmax(logits, axis), np.expand_dims(labels, axis), axis)
    return np.where(kept, -np.squeeze(picked, axis), 0).astype(p.dtype, copy=False)


def _labels(t: Array, p: Array, ignore_class: int | None, axis: int) -> tuple[Array, Array]:
    """Labels that are classes, and where they count. Raises ValueError for one that is no class."""
    kept = np.ones(t.shape, bool) if ignore_class is None else t != ignore_class
    labels = np.where(kept, t, 0)
    check_labels(labels, p.shape[axis])
    return labels, kept


def clipped(p: Array, most: float = 1 - EPSILON) -> Any:
    """Probabilities whose logarithms are finite."""
    return np.clip(p, p.dtype.type(EPSILON), p.dtype.type(most))


def _log_softmax(x: Array, axis: int) -> Any:
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
