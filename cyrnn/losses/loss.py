"""Losses as objects: a function, and how its values become one number, as in Keras."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import array_of_numbers, quietly, shown
from cyrnn.configurable import Configurable
from cyrnn.layers.base.arguments import Array
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
        "float32" or "float64", in which the loss is computed; None: float32, whatever `y_pred` is.
    """

    own: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | None = None
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {_REDUCTIONS}, got {shown(reduction)}")
        if dtype not in (None, "float32", "float64"):
            raise ValueError(f"dtype must be float32, float64 or None, got {shown(dtype)}")
        self.name = snake_case(type(self).__name__) if name is None else name
        self.reduction, self.dtype = reduction, dtype

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The values, in the shape of `y_pred` without its last axis."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """The gradient of the sum of the values by `y_pred`."""
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
        """
        return self._found(y_true, y_pred, sample_weight, mask, with_gradient=True)

    @quietly
    def _found(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, with_gradient: bool) -> tuple[Any, Any]:
        dtype = np.dtype(self.dtype or "float32")
        t, p = array_of_numbers("y_true", y_true), array_of_numbers("y_pred", y_pred).astype(dtype)
        shape = p.shape
        if t.ndim + 1 == p.ndim > 2 and shape[-1] == 1 and not self.is_sparse and (mask, sample_weight) != (None, None):
            t = t[..., None]  # so that there are values for each timestep
        values = np.asarray(self.call(t, p))
        keep = self.own_mask(t, values)
        if mask is not None:
            given = _fitted("mask", np.asarray(mask), values.shape).astype(bool)
            keep = given if keep is None else given & keep
        weights = None
        if sample_weight is not None:
            weights = _fitted("sample_weight", array_of_numbers("sample_weight", sample_weight), values.shape)
        factors = self._factors(values, weights, keep)
        kept = values if keep is None else np.where(keep, values, values.dtype.type(0))
        value = kept * factors
        value = value if self.reduction in ("none", None) else np.sum(value, dtype=values.dtype)
        if not with_gradient:
            return value, None
        gradient = np.asarray(self.gradient(t, p))
        axis = self.axis_of_values % gradient.ndim
        if keep is not None:
            gradient = np.where(np.expand_dims(keep, axis), gradient, 0)
        gradient = gradient * np.expand_dims(factors, axis) if np.ndim(factors) else gradient * factors
        return value, gradient.reshape(shape).astype(dtype, copy=False)

    def _factors(self, values: Array, weights: Array | None, keep: Array | None) -> Any:
        """What each value is multiplied by; a number if that is the same for all."""
        dtype = values.dtype
        factors = np.ones((), dtype) if weights is None else weights.astype(dtype)
        counted = values.size if keep is None else np.count_nonzero(keep)
        if self.reduction == "mean_with_sample_weight":
            of_each = np.broadcast_to(factors, values.shape)
            total = np.sum(of_each if keep is None else np.where(keep, of_each, 0))
            return factors / total.astype(dtype) if total else factors * 0
        if self.reduction in ("sum_over_batch_size", "mean"):
            return factors / dtype.type(counted) if counted else factors * 0
        return factors

    # What a loss may say of itself.

    is_sparse: ClassVar[bool] = False  # whether `y_true` has labels

    @property
    def axis_of_values(self) -> int:
        """The axis of `y_pred` that values do not have."""
        return -1

    def own_mask(self, y_true: Array, values: Array) -> Array | None:
        """Which values count, by the loss's own rule; None: all."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as Keras writes them."""
        dtype = {} if self.dtype is None else {"dtype": self.dtype}
        return {
            "name": self.name,
            "reduction": self.reduction,
            **dtype,
            **{name: getattr(self, name) for name in self.own},
        }


def _fitted(name: str, given: Array, shape: tuple[int, ...]) -> Array:
    """Weights or a mask such that they go with values of this shape: for all, for each row, or for each value."""
    array = given[..., 0] if given.ndim == len(shape) + 1 and given.shape[-1] == 1 else given
    if array.ndim and array.shape != shape:
        rows = array.shape[:1] == shape[:1] and all(length == 1 for length in array.shape[1:])
        if not rows or array.ndim > len(shape):
            raise ValueError(
                f"{name} must have the shape {shape[:1]} or {shape}, as the values have, got {given.shape}"
            )
        array = array.reshape(shape[:1] + (1,) * (len(shape) - 1))
    return np.broadcast_to(array, shape)
