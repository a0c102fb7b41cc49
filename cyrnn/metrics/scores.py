"""Scores that are computed of sums for each output."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import notices
from cyrnn.arrays import array_of_numbers, quietly, shown
from cyrnn.configurable import integer
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.shapes import aligned
from cyrnn.metrics.metric import MODULE, Metric
from cyrnn.metrics.reduction import checked_weights, weights_of
from cyrnn.metrics.thresholds import EPSILON
from cyrnn.objects import register


class _OfOutputs(Metric):
    """A metric of arrays (batch, outputs), with sums that the first batch makes."""

    def _batch(
        self, y_true: Any, y_pred: Any, sample_weight: ArrayLike | None, mask: ArrayLike | None
    ) -> tuple[Array, Array, Array, Array | None]:
        """Truth and prediction, 0 where they are masked, their weights, and the mask or None."""
        t, p = (array_of_numbers(name, a).astype(self.dtype) for name, a in (("y_true", y_true), ("y_pred", y_pred)))
        t, p = aligned(t, p)
        if p.ndim != 2 or t.shape != p.shape:
            raise ValueError(f"y_true and y_pred must have one shape (batch, outputs), got {t.shape} and {p.shape}")
        weights, keep = weights_of(p.shape, *checked_weights(sample_weight, mask))
        if keep is not None:
            t, p = np.where(keep, t, 0), np.where(keep, p, 0)
        return t, p, np.broadcast_to(weights, p.shape), keep

    def _add(self, **sums: Any) -> None:
        """Add to variables of these names, all or none."""
        if not hasattr(self, next(iter(sums))):
            for name, values in sums.items():
                setattr(self, name, self.add_variable(np.shape(values), "zeros", name=name))
        for name, values in sums.items():
            expected = getattr(self, name).shape
            if np.shape(values) != expected:
                raise ValueError(f"y_pred must have {expected[0]} outputs, as the first batch, got {len(values)}")
        for name, values in sums.items():
            getattr(self, name).assign_add(values)


@register(MODULE)
class R2Score(_OfOutputs):
    """``1 - Σ (t - p)² / Σ (t - mean(t))²``, the coefficient of determination.

    Parameters
    ----------
    class_aggregation : "uniform_average", "variance_weighted_average" or None
        The mean over outputs, alike or by their variance; None: an array.
    num_regressors : int
        For the adjusted score; 0: the plain one.
    name, dtype : str, optional
    """

    _direction = "up"
    sum: Any
    squared_sum: Any
    total_mse: Any
    count: Any
    num_samples: Any

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        choices = ("uniform_average", "variance_weighted_average", None)
        if not isinstance(class_aggregation, str | None) or class_aggregation not in choices:
            raise ValueError(f"class_aggregation must be one of {choices}, got {shown(class_aggregation)}")
        self.class_aggregation, self.num_regressors = class_aggregation, integer("num_regressors", num_regressors)
        if self.num_regressors < 0:
            raise ValueError(f"num_regressors must be at least 0, got {num_regressors}")

    @quietly
    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Add a batch of (batch, outputs), with weights and a mask for each row."""
        t, p, weights, keep = self._batch(y_true, y_pred, sample_weight, mask)
        t, p = t.astype(np.float64), p.astype(np.float64)
        self._add(
            sum=np.sum(t * weights, axis=0),
            squared_sum=np.sum(t * t * weights, axis=0),
            total_mse=np.sum(np.square(t - p) * weights, axis=0),
            count=np.sum(weights, axis=0),
            num_samples=len(t) if keep is None else np.count_nonzero(np.broadcast_to(keep, t.shape).any(axis=1)),
        )

    def result(self) -> Any:
        if not self.variables:
            return float("nan")
        score = self._score()
        n, regressors = float(self.num_samples), self.num_regressors
        if regressors and regressors >= n - 1:
            notices.warn(
                f"{self.name}: {regressors} regressors need more than {regressors + 1} rows to adjust the score, got "
                f"{n:.0f}: it is not adjusted"
            )
        elif regressors:
            score = 1 - (1 - score) * (n - 1) / (n - regressors - 1)
        return float(score) if np.ndim(score) == 0 else np.asarray(score, self.dtype)

    @quietly
    def _score(self) -> Any:
        variance = self.squared_sum - self.sum * self.sum / self.count
        scores = 1 - self.total_mse / variance
        scores = np.where(np.isinf(scores), 0, scores)
        if self.class_aggregation is None:
            return scores
        if self.class_aggregation == "uniform_average":
            return np.mean(scores)
        return np.sum(variance * scores) / np.sum(variance)

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}


@register(MODULE)
class FBetaScore(_OfOutputs):
    """``(1 + beta²) precision recall / (beta² precision + recall)``.

    Parameters
    ----------
    average : "micro", "macro", "weighted" or None
        Of all counts; the mean over classes; the mean by how often they are true; None: an array.
    beta : float
        The weight of recall.
    threshold : float, optional
        A prediction is positive over it. None: the largest of each row, if it is not 0.
    name, dtype : str, optional
    """

    _direction = "up"
    true_positives: Any
    false_positives: Any
    false_negatives: Any
    intermediate_weights: Any

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        choices = ("micro", "macro", "weighted", None)
        if not isinstance(average, str | None) or average not in choices:
            raise ValueError(f"average must be one of {choices}, got {shown(average)}")
        if not isinstance(beta, float) or not beta > 0:
            raise ValueError(f"beta must be a float over 0, got {shown(beta)}")
        if threshold is not None and not (isinstance(threshold, float) and 0 < threshold <= 1):
            raise ValueError(f"threshold must be None or a float over 0, up to 1, got {shown(threshold)}")
        self.average, self.beta, self.threshold = average, beta, threshold

    @quietly
    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Add a batch of (batch, classes), with weights and a mask for each row."""
        t, p, weights, _ = self._batch(y_true, y_pred, sample_weight, mask)
        if self.threshold is None:
            positive = (p >= np.max(p, axis=-1, keepdims=True)) & (np.abs(p) > 1e-9)
        else:
            positive = p > self.threshold
        axis = None if self.average == "micro" else 0
        self._add(
            true_positives=np.sum(positive * t * weights, axis=axis),
            false_positives=np.sum(positive * (1 - t) * weights, axis=axis),
            false_negatives=np.sum(~positive * t * weights, axis=axis),
            intermediate_weights=np.sum(t * weights, axis=axis),
        )

    def result(self) -> Any:
        if not self.variables:
            return 0.0
        precision = self.true_positives / (self.true_positives + self.false_positives + EPSILON)
        recall = self.true_positives / (self.true_positives + self.false_negatives + EPSILON)
        score = (1 + self.beta**2) * precision * recall / (self.beta**2 * precision + recall + EPSILON)
        if self.average is None:
            return np.asarray(score, self.dtype)
        if self.average == "weighted":
            return float(np.sum(score * self.intermediate_weights) / (np.sum(self.intermediate_weights) + EPSILON))
        return float(np.mean(score))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


@register(MODULE)
class F1Score(FBetaScore):
    """The FBetaScore of beta 1, the harmonic mean of precision and recall.

    Parameters
    ----------
    average : {'micro', 'macro', 'weighted'} or None
        How the scores of outputs become one; None returns each.
    threshold : float, optional
        A prediction above it is positive; None takes the largest of a row.
    name : str, optional, default "f1_score"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
