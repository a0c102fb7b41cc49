"""Functions that metrics are means of: accuracies, and all losses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import losses
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.loss import MODULE as LOSSES
from cyrnn.losses.shapes import matched
from cyrnn.objects import custom_object, deserialize


@quietly
def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """1 where the prediction is the truth, else 0."""
    t, p = matched(y_true, y_pred)
    return _as_floats(t == p)


@quietly
def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> Array:
    """1 where ``y_pred > threshold`` is the truth, else 0.

    Parameters
    ----------
    y_true : array
        The truth, of the shape of `y_pred`, or one that broadcasts to it.
    y_pred : array (batch, ..., outputs)
        The predictions.
    threshold : float, default 0.5
        A prediction above it is positive.

    Returns
    -------
    array
        1 or 0 for each row, or each value.
    """
    t, p = matched(y_true, y_pred)
    return _as_floats((p > threshold) == t)


@quietly
def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """1 where the largest prediction is that of the class with the largest truth, else 0.

    Parameters
    ----------
    y_true : array
        The truth, of the shape of `y_pred`, or one that broadcasts to it.
    y_pred : array (batch, ..., outputs)
        The predictions.

    Returns
    -------
    array
        1 or 0 for each row, or each value.
    """
    t, p = matched(y_true, y_pred)
    return _as_floats(np.argmax(t, axis=-1) == np.argmax(p, axis=-1))


@quietly
def sparse_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """1 where the largest prediction is that of the labelled class, else 0.

    Parameters
    ----------
    y_true : array
        The truth, of the shape of `y_pred`, or one that broadcasts to it.
    y_pred : array (batch, ..., outputs)
        The predictions.

    Returns
    -------
    array
        1 or 0 for each row, or each value.
    """
    labels, p = matched(y_true, y_pred, sparse=True)
    return _as_floats(labels == np.argmax(p, axis=-1))


@quietly
def top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Array:
    """1 where the class with the largest truth is among the `k` largest predictions, else 0; ties are among them.

    Parameters
    ----------
    y_true : array
        The truth, of the shape of `y_pred`, or one that broadcasts to it.
    y_pred : array (batch, ..., outputs)
        The predictions.
    k : int, default 5
        How many of the largest predictions count.

    Returns
    -------
    array
        1 or 0 for each row, or each value.
    """
    t, p = matched(y_true, y_pred)
    return _among_the_largest(np.argmax(t, axis=-1), p, k)


@quietly
def sparse_top_k_categorical_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, from_sorted_ids: bool = False
) -> Array:
    """1 where the labelled class is among the `k` largest predictions, else 0; ties are among them.

    With `from_sorted_ids`, `y_pred` has the numbers of classes, best first.

    Parameters
    ----------
    y_true : array
        The truth, of the shape of `y_pred`, or one that broadcasts to it.
    y_pred : array (batch, ..., outputs)
        The predictions.
    k : int, default 5
        How many of the largest predictions count.
    from_sorted_ids : bool, default False
        Whether predictions are the classes themselves, best first, not their scores.

    Returns
    -------
    array
        1 or 0 for each row, or each value.
    """
    labels, p = matched(y_true, y_pred, sparse=True)
    if from_sorted_ids:
        return _as_floats(np.any(labels[..., None] == p[..., :k], axis=-1))
    return _among_the_largest(labels, p, k)


@quietly
def squared_errors(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """``(p - t)²``, of each element."""
    t, p = matched(y_true, y_pred)
    return np.square(p - t)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Array:
    """``Σ t p`` of t and p divided by their norms: the loss of this name has the other sign."""
    return -losses.cosine_similarity(y_true, y_pred, axis)


def _among_the_largest(labels: Array, p: Array, k: int) -> Array:
    known = (labels >= 0) & (labels < p.shape[-1])
    own = np.take_along_axis(p, np.where(known, labels, 0)[..., None], axis=-1)
    return _as_floats(known & np.isfinite(p).all(axis=-1) & (np.sum(p > own, axis=-1) < k))


def _as_floats(hits: Any) -> Array:
    return np.asarray(hits, np.float32)


_ACCURACIES = (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
)
FUNCTIONS: dict[str, Any] = {
    **{function.__name__: function for function in _ACCURACIES},
    **{name: value for name, value in vars(losses).items() if isinstance(value, losses.LossFunction)},
}


def takes_labels(function: Any) -> bool:
    """Whether a function of this package takes labels in the place of an axis of classes."""
    of_labels = sparse_categorical_accuracy, sparse_top_k_categorical_accuracy
    return function in of_labels or (isinstance(function, losses.LossFunction) and function.sparse)


def named(entry: Any) -> Any:
    """The function of this package that a config names, or None; custom objects of that name go before."""
    if not isinstance(entry, Mapping) or entry.get("class_name") != "function":
        return None
    name = entry.get("config")
    if not isinstance(name, str) or custom_object(entry.get("registered_name"), name) is not None:
        return None
    return FUNCTIONS.get(name)


def revived(entry: Any) -> Any:
    """The function or loss that a config entry describes, or is."""
    if not isinstance(entry, Mapping):
        return entry
    function = named(entry)
    return deserialize(entry, LOSSES) if function is None else function
