"""Sums and means over all batches."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import array_of_numbers, quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.losses import Loss, LossFunction
from cyrnn.losses.shapes import aligned_to, checked_mask, cleared_of, fitted
from cyrnn.metrics.functions import revived, takes_labels
from cyrnn.metrics.metric import MODULE, Metric
from cyrnn.objects import plain_value, register, serialize


def checked_weights(sample_weight: ArrayLike | None, mask: ArrayLike | None) -> tuple[Array | None, Array | None]:
    """Both as arrays, where they are given."""
    weights = None if sample_weight is None else array_of_numbers("sample_weight", sample_weight)
    return weights, None if mask is None else checked_mask(mask)


def weights_of(shape: tuple[int, ...], weights: Array | None, keep: Array | None) -> tuple[Any, Array | None]:
    """Weights of values of this shape, 0 where they are masked, and the mask; both broadcast to the shape."""
    factors = np.float64(1) if weights is None else fitted("sample_weight", weights, shape)
    if keep is None:
        return factors, None
    keep = fitted("mask", keep, shape)
    return np.where(keep, factors, 0), keep


class _Reduction(Metric):
    """Values of a batch, reduced."""

    def update_state(
        self, values: ArrayLike, sample_weight: ArrayLike | None = None, mask: ArrayLike | None = None
    ) -> None:
        """Add values. Weights and a mask are for each row, or for each value."""
        self._add(array_of_numbers("values", values), *checked_weights(sample_weight, mask))

    def _add(self, values: Array, weights: Array | None, keep: Array | None) -> None:
        raise NotImplementedError

    def _weighted(self, values: Array, weights: Array | None, keep: Array | None) -> tuple[Array, Any]:
        """Values times their weights, 0 where they are masked, and the weights."""
        if not values.ndim and any(given is not None and given.ndim for given in (weights, keep)):
            raise ValueError(
                f"metric {self.name!r} must have a value for each row where there are weights or a mask, got one value "
                "for the whole batch"
            )
        factors, keep = weights_of(values.shape, weights, keep)
        kept = values if keep is None else np.where(keep, values, 0)
        return np.multiply(kept, factors, dtype=np.float64), factors


@register(MODULE)
class Sum(_Reduction):
    """The sum of all values, times their weights.

    Parameters
    ----------
    name : str, optional, default "sum"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    def __init__(self, name: str | None = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")

    @quietly
    def _add(self, values: Array, weights: Array | None, keep: Array | None) -> None:
        self.total.assign_add(np.sum(self._weighted(values, weights, keep)[0]))

    def result(self) -> float:
        return float(self.total)


@register(MODULE)
class Mean(_Reduction):
    """The mean over rows, each with the mean of its values, times their weights, divided by the sum of weights.

    Parameters
    ----------
    name : str, optional, default "mean"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    def __init__(self, name: str | None = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    @quietly
    def _add(self, values: Array, weights: Array | None, keep: Array | None) -> None:
        if not values.size:
            return
        rows = len(values) if values.ndim else 1
        if weights is None and keep is None:
            total, count = values.sum(dtype=np.float64) * rows / values.size, float(rows)
        else:
            weighted, factors = self._weighted(values, weights, keep)
            if weights is not None and not weights.ndim and keep is None:
                rows = 1  # as Keras has it: one weight is that of the batch
            total = np.sum(weighted) * rows / values.size
            count = np.sum(factors, dtype=np.float64) * rows / np.size(factors)
        self.total.assign_add(total)
        self.count.assign_add(count)

    def result(self) -> float:
        count = float(self.count)
        return float(self.total) / count if count else 0.0


@register(MODULE)
class MeanMetricWrapper(Mean):
    """The mean of what a function gives.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred, **kwargs)`` returns a value for each row, or several. `y_true` and `y_pred` are arrays of
        one rank, unless `fn` takes labels in the place of classes.
    name, dtype : str, optional
    **kwargs
        Further arguments of `fn`.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, dtype)
        self._fn, self._fn_kwargs = fn, kwargs
        self._labels = takes_labels(fn)
        if isinstance(fn, LossFunction | Loss):
            self._direction = "down"

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        y_true, y_pred : array
            An axis of length 1 at the end of one of them may be missing in the other.
        sample_weight : array, optional
            A weight for each row, or for each value.
        mask : array of bool, optional
            Which values count, (batch,) or (batch, timesteps): the mask of `y_pred`. NaN in others reaches nothing.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        t, p = array_of_numbers("y_true", y_true), array_of_numbers("y_pred", y_pred)
        weights, keep = checked_weights(sample_weight, mask)
        if not self._labels:
            t, p = aligned_to(t, p, weights, keep)
        cleared = t if keep is None else self._cleared(t, keep)
        values = np.asarray(self._fn(cleared, p, **self._fn_kwargs))
        self._add(values, weights, self._counted(cleared, values, keep))

    def _cleared(self, t: Array, keep: Array) -> Array:
        return cleared_of(t, keep) if self._fn_kwargs.get("axis", -1) in (-1, t.ndim - 1) else t

    def _counted(self, t: Array, values: Array, keep: Array | None) -> Array | None:
        """The mask of values; a metric may have a rule of its own."""
        return keep

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fn": serialize(self._fn), **self._fn_kwargs}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        plain = {key: plain_value(value) for key, value in config.items()}
        return cls(**({**plain, "fn": revived(plain["fn"])} if "fn" in plain else plain))


class OfFunction(MeanMetricWrapper):
    """The mean of a function that is the class's own, with options that are arguments of it."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, name: str | None, dtype: str | None, **options: Any) -> None:
        super().__init__(type(self).function, name, dtype, **options)
        vars(self).update(options)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}
