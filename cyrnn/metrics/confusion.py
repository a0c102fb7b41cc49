"""Counts of true and false positives and negatives, and ratios of them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import budget
from cyrnn.arrays import quietly
from cyrnn.configurable import fraction, integer, positive_integer
from cyrnn.layers.base.arguments import Array
from cyrnn.metrics.metric import MODULE, Metric
from cyrnn.metrics.thresholds import LOWEST, Confusion, Thresholds, checked_thresholds, confusion
from cyrnn.objects import register

Given = float | Sequence[float] | None  # thresholds


@quietly
def ratio(part: Any, whole: Any) -> Array:
    """``part / whole``, 0 where the whole is 0."""
    return np.where(whole == 0, 0, np.divide(part, whole))


class _OfThresholds(Metric):
    """A metric at each of some thresholds."""

    sums: ClassVar[tuple[str, ...]]  # the variables, of which each has a field of `Confusion`

    def __init__(
        self, thresholds: Thresholds, top_k: int | None, class_id: int | None, name: str | None, dtype: str | None
    ) -> None:
        super().__init__(dtype, name)
        self._thresholds = thresholds
        self.top_k = None if top_k is None else positive_integer("top_k", top_k)
        self.class_id = None if class_id is None else integer("class_id", class_id)
        for name_of_sum in self.sums:
            setattr(self, name_of_sum, self.add_variable((len(thresholds),), "zeros", name=name_of_sum))

    @property
    def thresholds(self) -> list[float]:
        """The thresholds: a prediction over one is positive there."""
        return self._thresholds.values

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Add a batch; arguments are those of `MeanMetricWrapper.update_state`. What is not 0 in `y_true` is true."""
        batch = y_true, y_pred, sample_weight, mask
        self._add(confusion(self._thresholds, *batch, self.dtype, top_k=self.top_k, class_id=self.class_id))

    def _add(self, found: Confusion) -> None:
        for name in self.sums:
            getattr(self, name).assign_add(getattr(found, name))

    def _shown(self, values: Any) -> Any:
        """One number for one threshold, else an array."""
        array = np.asarray(values, self.dtype)
        return float(values[0]) if len(self._thresholds) == 1 else array


class _Count(_OfThresholds):
    """How many there are, or the sum of their weights."""

    sums = ("accumulator",)
    counted: ClassVar[str]
    accumulator: Any

    def __init__(self, thresholds: Given = None, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(checked_thresholds(thresholds, 0.5), None, None, name, dtype)
        self.init_thresholds = thresholds

    def _add(self, found: Confusion) -> None:
        self.accumulator.assign_add(getattr(found, self.counted))

    def result(self) -> Any:
        return self._shown(self.accumulator)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


@register(MODULE)
class TruePositives(_Count):
    """How many predictions over the threshold are true, or the sum of their weights.

    Parameters
    ----------
    thresholds : float or list of float, optional
        A prediction above it is positive; None is 0.5.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    counted = "true_positives"


@register(MODULE)
class FalsePositives(_Count):
    """How many predictions over the threshold are false, or the sum of their weights.

    Parameters
    ----------
    thresholds : float or list of float, optional
        A prediction above it is positive; None is 0.5.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    counted = "false_positives"


@register(MODULE)
class TrueNegatives(_Count):
    """How many predictions up to the threshold are false, or the sum of their weights.

    Parameters
    ----------
    thresholds : float or list of float, optional
        A prediction above it is positive; None is 0.5.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    counted = "true_negatives"


@register(MODULE)
class FalseNegatives(_Count):
    """How many predictions up to the threshold are true, or the sum of their weights.

    Parameters
    ----------
    thresholds : float or list of float, optional
        A prediction above it is positive; None is 0.5.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    counted = "false_negatives"


class _Share(_OfThresholds):
    """True positives as a share of something."""

    _direction = "up"

    def __init__(
        self,
        thresholds: Given = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        checked = checked_thresholds(thresholds, 0.5 if top_k is None else LOWEST)
        super().__init__(checked, top_k, class_id, name, dtype)
        self.init_thresholds = thresholds

    def result(self) -> Any:
        part, rest = (getattr(self, name).value for name in self.sums)
        return self._shown(ratio(part, part + rest))

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


@register(MODULE)
class Precision(_Share):
    """Which share of the positive predictions is true.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        From 0 to 1. None: 0.5, or with `top_k` none.
    top_k : int, optional
        How many of the predictions of a row may be positive, the largest ones.
    class_id : int, optional
        The only class that counts.
    name, dtype : str, optional
    """

    sums = ("true_positives", "false_positives")


@register(MODULE)
class Recall(_Share):
    """Which share of what is true has a positive prediction. The parameters are those of `Precision`.

    Parameters
    ----------
    thresholds : float or list of float, optional
        A prediction above it is positive; None is 0.5.
    top_k : int, optional
        Only so many of the largest predictions of a row are positive.
    class_id : int, optional
        The only class that counts.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    sums = ("true_positives", "false_negatives")


class _Best(_OfThresholds):
    """The largest value of one ratio at those of evenly divided thresholds where another is large enough."""

    _direction = "up"
    sums = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    wanted: ClassVar[str]
    given: ClassVar[str]

    def __init__(
        self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: str | None
    ) -> None:
        self.value = fraction(self.given, value)
        self.num_thresholds = positive_integer("num_thresholds", num_thresholds)
        setattr(self, self.given, self.value)
        budget.spend(self.num_thresholds)
        several = self.num_thresholds > 1
        values = np.linspace(0, 1, self.num_thresholds).tolist() if several else [0.5]
        super().__init__(Thresholds(values, evenly=several), None, class_id, name, dtype)

    def result(self) -> float:
        tp, fp, tn, fn = (getattr(self, name).value for name in self.sums)
        ratios = {
            "precision": (tp, fp),
            "recall": (tp, fn),
            "sensitivity": (tp, fn),
            "specificity": (tn, fp),
        }
        wanted, given = (ratio(part, part + rest) for part, rest in (ratios[self.wanted], ratios[self.given]))
        return float(np.max(wanted[given.astype(self.dtype) >= self.value], initial=0))

    def get_config(self) -> dict[str, Any]:
        own = {"num_thresholds": self.num_thresholds, self.given: self.value, "class_id": self.class_id}
        return {**super().get_config(), **own}


@register(MODULE)
class SensitivityAtSpecificity(_Best):
    """The largest recall, also called sensitivity, at a specificity ``tn / (tn + fp)`` of at least a value.

    Parameters
    ----------
    specificity : float
        The specificity that is needed, 0 to 1.
    num_thresholds : int, default 200
        How many thresholds are tried.
    class_id : int, optional
        The only class that counts.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    wanted, given = "sensitivity", "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)


@register(MODULE)
class SpecificityAtSensitivity(_Best):
    """The largest specificity ``tn / (tn + fp)`` at a recall, also called sensitivity, of at least a value.

    Parameters
    ----------
    sensitivity : float
        The sensitivity that is needed, 0 to 1.
    num_thresholds : int, default 200
        How many thresholds are tried.
    class_id : int, optional
        The only class that counts.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    wanted, given = "specificity", "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)


@register(MODULE)
class PrecisionAtRecall(_Best):
    """The largest precision at a recall of at least a value.

    Parameters
    ----------
    recall : float
        The recall that is needed, 0 to 1.
    num_thresholds : int, default 200
        How many thresholds are tried.
    class_id : int, optional
        The only class that counts.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    wanted, given = "precision", "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)


@register(MODULE)
class RecallAtPrecision(_Best):
    """The largest recall at a precision of at least a value.

    Parameters
    ----------
    precision : float
        The precision that is needed, 0 to 1.
    num_thresholds : int, default 200
        How many thresholds are tried.
    class_id : int, optional
        The only class that counts.
    name : str, optional
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    wanted, given = "recall", "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
