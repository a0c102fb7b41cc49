"""Weights of classes: each row, or each timestep, weighs what its class does."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array


def checked_class_weight(class_weight: Any) -> dict[int, float]:
    """A dict of class to weight. Raises TypeError or ValueError."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight must be a dict of class to weight, got {shown(class_weight)}")
    found = {}
    for label, weight in class_weight.items():
        if not isinstance(label, int | float | np.number | np.bool_) or label != np.rint(label):
            raise TypeError(f"class_weight must have whole numbers, classes, as keys, got {label!r}")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise TypeError(f"class_weight must have numbers as values, got {weight!r} for class {label}")
        if not np.isfinite(weight):
            raise ValueError(f"class_weight must have finite values, got {weight} for class {label}")
        found[int(label)] = float(weight)
    return found


def weights_by_class(class_weight: Mapping[int, float], y_true: Array, y_pred_ndim: int) -> Array:
    """A weight for each row, or for each timestep of sequences; 1 for classes that are not in the dict.

    Parameters
    ----------
    class_weight : dict of int to float
    y_true : array
        Classes, (batch, ...) or (batch, ..., 1), or one-hot (batch, ..., classes).
    y_pred_ndim : int
        The number of axes of what the model returns.
    """
    one_hot = y_true.ndim == y_pred_ndim and y_true.shape[-1] != 1
    if one_hot:
        classes = np.argmax(y_true, axis=-1)
    else:
        flat = y_true[..., 0] if y_true.ndim == y_pred_ndim and y_true.ndim > 1 else y_true
        classes = np.rint(flat).astype(np.int64)
    weights = np.ones(classes.shape, np.float32)
    for label, weight in class_weight.items():
        weights[classes == label] = weight
    return weights
