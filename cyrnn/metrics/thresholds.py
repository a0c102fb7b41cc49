"""Counts of true and false positives and negatives at many thresholds, in one pass over the predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import array_of_numbers, quietly
from cyrnn.configurable import fraction
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.shapes import EPSILON, aligned
from cyrnn.metrics.reduction import checked_weights, weights_of

LOWEST = -1e10  # what Keras takes for predictions that are not among the largest


class Thresholds:
    """A prediction is positive at a threshold that is below it.

    Parameters
    ----------
    values : sequence of float
        In any order.
    evenly : bool
        Whether to compute the number of thresholds below a prediction, clipped to [0, 1], as Keras does for those that
        divide [0, 1] evenly. A first one below 0 is below all predictions.
    """

    def __init__(self, values: Sequence[float], evenly: bool) -> None:
        self.values, self._evenly = list(values), evenly
        self._order = np.argsort(self.values, kind="stable")
        self._place = np.argsort(self._order)

    def __len__(self) -> int:
        return len(self.values)

    def below(self, p: Array) -> Array:
        """How many thresholds are below each prediction; below NaN there are none."""
        if self._evenly:
            count = np.ceil(np.clip(p, 0, 1) * p.dtype.type(len(self) - 1))
            count = np.maximum(count, 1) if self.values[0] < 0 else count
        else:
            count = np.searchsorted(np.asarray(self.values, p.dtype)[self._order], p, side="left")
        return np.where(np.isnan(p), 0, count).astype(np.intp)

    def split(self, counts: Array) -> tuple[Array, Array]:
        """Sums of positive and of negative ones at each threshold, from those for each number of thresholds below.

        ``(..., thresholds + 1) -> (thresholds, ...)``
        """
        positive = np.cumsum(counts[..., :0:-1], axis=-1)[..., ::-1]
        negative = np.cumsum(counts[..., :-1], axis=-1)
        return positive.T[self._place], negative.T[self._place]


def divide_evenly(values: Sequence[float]) -> bool:
    """Whether there are three or more, which divide [0, 1] evenly in their order."""
    return len(values) >= 3 and np.allclose(values, np.linspace(0, 1, len(values)), atol=EPSILON)


def checked_thresholds(given: float | Sequence[float] | None, default: float) -> Thresholds:
    """Thresholds from 0 to 1, or the default one. Raises TypeError or ValueError."""
    if given is None:
        return Thresholds([default], evenly=False)
    several = given if isinstance(given, list | tuple | np.ndarray) else [given]
    values = [fraction("thresholds", value) for value in several]
    if not values:
        raise ValueError("thresholds must be a number or several of them, got none")
    return Thresholds(values, divide_evenly(values))


class Confusion(NamedTuple):
    """Sums of weights at each threshold: (thresholds,) or (thresholds, labels)."""

    true_positives: Array
    false_positives: Array
    true_negatives: Array
    false_negatives: Array


@quietly
def confusion(
    thresholds: Thresholds,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None,
    mask: ArrayLike | None,
    dtype: str,
    *,
    top_k: int | None = None,
    class_id: int | None = None,
    label_weights: Array | None = None,
    multi_label: bool = False,
) -> Confusion:
    """The sums of a batch.

    Parameters
    ----------
    thresholds : Thresholds
    y_true, y_pred, sample_weight, mask : array
        As for `MeanMetricWrapper.update_state`. What is not 0 is true.
    dtype : str
        In which predictions are compared with thresholds.
    top_k : int, optional
        How many of the predictions along the last axis may be positive.
    class_id : int, optional
        The only one of the last axis that counts.
    label_weights : array, optional
        A weight for each of the last axis.
    multi_label : bool
        Whether to count for each of the last axis of (batch, labels).
    """
    t = array_of_numbers("y_true", y_true) != 0
    p = array_of_numbers("y_pred", y_pred).astype(dtype)
    t, p = aligned(t, p)
    if t.shape != p.shape:
        raise ValueError(f"y_true must have the shape of y_pred, {p.shape}, got {t.shape}")
    if top_k is not None:
        p = _largest_only(p, top_k)
    if class_id is not None:
        if p.ndim < 2 or not 0 <= class_id < p.shape[-1]:
            raise ValueError(f"y_pred must have a last axis with the class_id {class_id}, got the shape {p.shape}")
        t, p = t[..., class_id, None], p[..., class_id, None]
    weights, _ = weights_of(p.shape, *checked_weights(sample_weight, mask))
    if label_weights is not None:
        weights = weights * label_weights
    labels = p.shape[1] if multi_label else 1
    places = (thresholds.below(p).reshape(-1, labels) + (len(thresholds) + 1) * np.arange(labels)).ravel()

    def counts(hits: Array) -> Array:
        found = np.bincount(places, (hits * weights).ravel(), labels * (len(thresholds) + 1))
        return found.reshape((labels, -1) if multi_label else -1)

    (true_positives, false_negatives), (false_positives, true_negatives) = map(
        thresholds.split, (counts(t), counts(~t))
    )
    return Confusion(true_positives, false_positives, true_negatives, false_negatives)


def _largest_only(p: Array, k: int) -> Array:
    """Predictions, of which all but the `k` largest of the last axis are as low as can be; of equal ones the first."""
    if not p.ndim or p.shape[-1] < k:
        raise ValueError(f"y_pred must have at least top_k = {k} elements along its last axis, got the shape {p.shape}")
    largest = np.argsort(-p, axis=-1, kind="stable")[..., :k]
    lowest = np.full_like(p, LOWEST)
    np.put_along_axis(lowest, largest, np.take_along_axis(p, largest, axis=-1), axis=-1)
    return lowest
