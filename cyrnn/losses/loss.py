"""Losses as objects: a function, and how its values become one number, as in Keras."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import dtypes
from cyrnn.arrays import array_of_numbers, quietly, shown
from cyrnn.configurable import Configurable, floating
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.shapes import aligned_to, checked_mask, cleared_of, fitted
from cyrnn.objects import register, snake_case

MODULE = "keras.losses"

_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


@register(MODULE)
class Loss(Configurable):
    """Base class: a subclass defines `call` and, for gradients, `gradient`.

    Parameters
    ----------
    name : str, optional
    reduction : "sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none" or None
        The first two are the mean over all values, weighted or not; of masked ones over those that count.
        "mean_with_sample_weight" divides by the sum of weights; "none" and None keep the values.
    dtype : str, optional
        "float32" or "float64", in which the loss is computed; None: `cyrnn.config.floatx()`, which is float32, also for
        a `y_pred` of float64.

    Examples
    --------
    >>> loss = cyrnn.losses.MeanSquaredError()
    >>> value, gradient = loss.value_and_gradient(np.array([[1.0]]), np.array([[3.0]]))
    >>> float(value), float(gradient[0, 0])
    (4.0, 4.0)
    """

    own: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | None = None
    ) -> None:
        if not isinstance(reduction, str | None) or reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {_REDUCTIONS}, got {shown(reduction)}")
        self.name = snake_case(type(self).__name__) if name is None else name
        self.reduction, self.dtype = reduction, floating(dtype)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The values, which a subclass computes.

        Parameters
        ----------
        y_true, y_pred : array
            The truth, and what the model has returned.

        Returns
        -------
        array
            Of the shape of `y_pred` without its last axis.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """The gradient of the sum of the values by `y_pred`, for a subclass to define.

        Parameters
        ----------
        y_true, y_pred : array
            As `call` gets them.

        Returns
        -------
        array
            Of the shape of `y_pred`.

        Raises
        ------
        ValueError
            The subclass does not define it.
        """
        raise ValueError(f"the loss {self.name!r} has no gradient: it must have a method gradient(y_true, y_pred)")

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        y_true, y_pred : array
            Of one shape; an axis of length 1 at the end of one of them may be missing in the other.
        sample_weight : array, optional
            A weight for each row, or for each value.
        mask : array of bool, optional
            Which values count, (batch,) or (batch, timesteps): the mask of `y_pred`. NaN in others reaches nothing.

        Returns
        -------
        float32 or float64, or with `reduction` "none" or None an array

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        return self._found(y_true, y_pred, sample_weight, mask, with_gradient=False)[0]

    def value_and_gradient(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> tuple[Any, Array]:
        """The loss and its gradient by `y_pred`, for ``pullback(gradient)``; arguments are those of a call.

        The gradient has the shape of `y_pred`. Of a loss that keeps its values, it is that of their sum.

        Parameters
        ----------
        y_true : array
            The truth, or labels of classes.
        y_pred : array (batch, ..., outputs)
            The predictions.
        sample_weight : array, optional
            Of rows, or of timesteps.
        mask : array of bool, optional
            False where values do not count.

        Returns
        -------
        value : float or array
        gradient : array
            Of the shape of `y_pred`.
        """
        return self._found(y_true, y_pred, sample_weight, mask, with_gradient=True)

    @quietly
    def _found(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, with_gradient: bool) -> tuple[Any, Any]:
        dtype = np.dtype(self.dtype or dtypes.floatx())
        t, p = array_of_numbers("y_true", y_true), array_of_numbers("y_pred", y_pred).astype(dtype)
        weights = None if sample_weight is None else array_of_numbers("sample_weight", sample_weight).astype(dtype)
        keep = None if mask is None else checked_mask(mask)
        shape = p.shape
        if not self.is_sparse:
            t, p = aligned_to(t.astype(dtype), p, weights, keep)
        cleared = t if keep is None or self.axis_of_values % p.ndim != p.ndim - 1 else cleared_of(t, keep)
        values = np.asarray(self.call(cleared, p))
        keep = None if keep is None else _of_values("mask", keep, values.shape)
        own = self.own_mask(t, values)
        keep = keep if own is None else own if keep is None else own & keep
        of_all = weights is not None and not values.ndim and p.ndim > 1  # each row has the value of all, as in Keras
        if of_all and weights is not None:
            values = np.broadcast_to(values, weights.shape)
        of_rows = weights
        if weights is not None:
            weights = _of_values("sample_weight", weights, values.shape)
            weights = weights if keep is None else np.where(keep, weights, dtype.type(0))  # also where they are NaN
            of_rows = of_rows if keep is None else weights
        factors = self._factors(values, weights, of_rows, keep)
        value = (values if keep is None else np.where(keep, values, values.dtype.type(0))) * factors
        value = value.astype(dtype) if self.reduction in ("none", None) else np.sum(value, dtype=dtype)
        if not with_gradient:
            return value, None
        gradient = np.asarray(self.gradient(cleared, p))
        if gradient.size != p.size:
            raise ValueError(f"the gradient of loss {self.name!r} must have the shape {p.shape}, got {gradient.shape}")
        gradient, axes = gradient.reshape(p.shape), self.axes_of_values(p.ndim)
        factors = np.sum(factors) if of_all else factors
        if keep is not None:
            gradient = np.where(np.expand_dims(keep, axes), gradient, 0)
        gradient = gradient * np.expand_dims(factors, axes) if np.ndim(factors) else gradient * factors
        return value, gradient.reshape(shape).astype(dtype, copy=False)

    def _factors(self, values: Array, weights: Array | None, of_rows: Array | None, keep: Array | None) -> Any:
        """What each value is multiplied by; a number if that is the same for all. Weights are 0 where none counts.

        Keras sums up the weights as they were given: those of rows count once, also where a row has many values, unless
        there is a mask.
        """
        dtype = values.dtype
        factors = np.ones((), dtype) if weights is None else weights.astype(dtype)
        counted = values.size if keep is None else np.count_nonzero(keep)
        if self.reduction == "mean_with_sample_weight":
            total = dtype.type(counted) if of_rows is None else np.sum(of_rows.astype(dtype))
            return factors / total if total else factors * 0
        if self.reduction in ("sum_over_batch_size", "mean"):
            return factors / dtype.type(counted) if counted else factors * 0
        return factors

    # What a loss may say of itself.

    is_sparse: ClassVar[bool] = False  # whether `y_true` has labels

    @property
    def axis_of_values(self) -> int:
        """The axis of `y_pred` that values do not have."""
        return -1

    def axes_of_values(self, ndim: int) -> tuple[int, ...]:
        """The axes of a `y_pred` of so many that values do not have, in order."""
        return (self.axis_of_values % ndim,)

    def own_mask(self, y_true: Array, values: Array) -> Array | None:
        """Which values count, by the loss's own rule; None: all."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as Keras writes them.

        Returns
        -------
        dict
        """
        dtype = {} if self.dtype is None else {"dtype": self.dtype}
        return {
            "name": self.name,
            "reduction": self.reduction,
            **dtype,
            **{name: getattr(self, name) for name in self.own},
        }


def _of_values(name: str, given: Array, shape: tuple[int, ...]) -> Array:
    """Weights or a mask, one for each value."""
    if not shape and given.ndim:
        raise ValueError(f"a loss without rows takes no {name}: y_true and y_pred must have the shape (batch, 1)")
    return np.broadcast_to(fitted(name, given, shape), shape)
