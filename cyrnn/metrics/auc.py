"""The area under a curve of ratios at many thresholds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import budget
from cyrnn.arrays import array_of_numbers, quietly, shown
from cyrnn.configurable import fraction, positive_integer
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.metrics.confusion import ratio
from cyrnn.metrics.metric import MODULE, Metric
from cyrnn.metrics.thresholds import EPSILON, Confusion, Thresholds, confusion, divide_evenly
from cyrnn.objects import register

_CURVES = {"ROC", "PR", "PRGAIN"}
_SUMS = {"interpolation", "minoring", "majoring"}


@register(MODULE)
class AUC(Metric):
    """The area under the ROC curve, or another one, as a sum over thresholds.

    Parameters
    ----------
    num_thresholds : int
        How many there are, two or more; they divide [0, 1] evenly, the first is a little less than 0, the last a little
        over 1.
    curve : "ROC", "PR" or "PRGAIN"
        Recall over the rate of false positives; precision over recall; the gains of both.
    summation_method : "interpolation", "minoring" or "majoring"
        Between thresholds: a straight line (on a PR curve, one of the counts); the smaller value; the larger one.
    name, dtype : str, optional
    thresholds : sequence of float, optional
        Others, from 0 to 1; a first and a last one are added.
    multi_label : bool
        Whether to take the mean of the areas of each of the labels of (batch, labels); else all count together.
    num_labels : int, optional
        How many labels there are; None: as the first batch has.
    label_weights : array, optional
        A weight for each label: of its area with `multi_label`, else of its predictions.
    from_logits : bool
        Whether the sigmoid of `y_pred` is the prediction.
    """

    _direction = "up"
    true_positives: Any
    false_positives: Any
    true_negatives: Any
    false_negatives: Any

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: ArrayLike | None = None,
        from_logits: bool = False,
    ) -> None:
        self.curve = _one_of("curve", curve, _CURVES, str.upper)
        self.summation_method = _one_of("summation_method", summation_method, _SUMS, str.lower)
        self.multi_label = checked_bool("multi_label", multi_label)
        self.num_labels = None if num_labels is None else positive_integer("num_labels", num_labels)
        if self.num_labels and not self.multi_label:
            raise ValueError(f"num_labels must be None without multi_label, got {num_labels}")
        self.label_weights = None if label_weights is None else array_of_numbers("label_weights", label_weights)
        self._from_logits = checked_bool("from_logits", from_logits)
        if thresholds is None:
            if positive_integer("num_thresholds", num_thresholds) < 2:
                raise ValueError(f"num_thresholds must be at least 2, got {num_thresholds}")
            budget.spend(num_thresholds)
            self._given, inner = None, np.linspace(0, 1, num_thresholds)[1:-1].tolist()
        else:
            self._given = inner = sorted(fraction("thresholds", value) for value in thresholds)
        evenly = self._given is None or divide_evenly([0.0, *inner, 1.0])
        self._thresholds = Thresholds([-EPSILON, *inner, 1 + EPSILON], evenly)
        super().__init__(dtype, name)
        if self.num_labels or not self.multi_label:
            self._make_variables(self.num_labels)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds: a prediction over one is positive there."""
        return self._thresholds.values

    @property
    def num_thresholds(self) -> int:
        return len(self._thresholds)

    def _make_variables(self, labels: int | None) -> None:
        shape = (len(self._thresholds),) if labels is None else (len(self._thresholds), labels)
        for name in Confusion._fields:
            setattr(self, name, self.add_variable(shape, "zeros", name=name))

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Add a batch; arguments are those of `MeanMetricWrapper.update_state`. What is not 0 in `y_true` is true."""
        p = array_of_numbers("y_pred", y_pred)
        if self.multi_label:
            labels = self.true_positives.shape[1] if self.variables else None
            if p.ndim != 2 or labels not in (None, p.shape[1]):
                raise ValueError(f"y_pred must have the shape (batch, {labels or 'labels'}), got {p.shape}")
        found = confusion(
            self._thresholds,
            y_true,
            _sigmoid(p) if self._from_logits else p,
            sample_weight,
            mask,
            self.dtype,
            label_weights=None if self.multi_label else self.label_weights,
            multi_label=self.multi_label,
        )
        if not self.variables:
            self._make_variables(p.shape[1])
        for name in Confusion._fields:
            getattr(self, name).assign_add(getattr(found, name))

    def result(self) -> float:
        if not self.variables:
            return 0.0
        found = Confusion(*(getattr(self, name).value for name in Confusion._fields))
        areas = self._areas(found).sum(axis=0)
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None:
            return float(np.mean(areas))
        return float(ratio(np.sum(areas * self.label_weights), np.sum(self.label_weights)))

    @quietly
    def _areas(self, counts: Confusion) -> Array:
        """The areas between thresholds."""
        if (self.curve, self.summation_method) == ("PR", "interpolation"):
            return _under_interpolated_precision(counts)
        x, y = _POINTS[self.curve](*counts)
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2,
            "minoring": np.minimum(y[:-1], y[1:]),
            "majoring": np.maximum(y[:-1], y[1:]),
        }
        return (x[:-1] - x[1:]) * heights[self.summation_method]

    def get_config(self) -> dict[str, Any]:
        thresholds = {} if self._given is None else {"thresholds": self._given}
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if self.label_weights is None else self.label_weights.tolist(),
            "from_logits": self._from_logits,
            **thresholds,
        }


def _one_of(name: str, given: Any, choices: set[str], written: Any) -> str:
    found = written(given) if isinstance(given, str) else given
    if found not in choices:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {shown(given)}")
    return found


@quietly
def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


# Points of the curves, from the counts at each threshold.


def _roc(tp: Array, fp: Array, tn: Array, fn: Array) -> tuple[Array, Array]:
    return ratio(fp, fp + tn), ratio(tp, tp + fn)


def _pr(tp: Array, fp: Array, tn: Array, fn: Array) -> tuple[Array, Array]:
    return ratio(tp, tp + fn), ratio(tp, tp + fp)


def _prgain(tp: Array, fp: Array, tn: Array, fn: Array) -> tuple[Array, Array]:
    odds = ratio(tp + fn, tn + fp)
    recall, precision = 1 - odds * ratio(fn, tp), 1 - odds * ratio(fp, tp)
    return np.where(tp == 0, 0, np.maximum(recall, 0)), np.where(tp == 0, 1, precision)


_POINTS = {"ROC": _roc, "PR": _pr, "PRGAIN": _prgain}


def _under_interpolated_precision(counts: Confusion) -> Array:
    """Areas under precision over recall, if true and false positives change linearly between thresholds.

    With P = TP + FP, TP is ``slope P + offset`` there, and the integral of TP / P over TP is
    ``slope (ΔTP + offset log(P_left / P_right))``.
    """
    tp, positives = counts.true_positives, counts.true_positives + counts.false_positives
    left, right = positives[:-1], positives[1:]
    slope = ratio(tp[:-1] - tp[1:], np.maximum(left - right, 0))
    offset = tp[1:] - slope * right
    logs = np.log(np.where((left > 0) & (right > 0), ratio(left, right), 1))
    return ratio(slope * (tp[:-1] - tp[1:] + offset * logs), tp[1:] + counts.false_negatives[1:])
