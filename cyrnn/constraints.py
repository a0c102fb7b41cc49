"""Constraints: projections of weights, as in Keras.

A constraint is called with an array and returns a new one of the same shape and dtype. No call of a
layer applies them: in Keras the optimizer does so after each step, here ``layer.apply_constraints()`` does.
Norms are ``sqrt(Σ w²)`` over `axis`: an int, several, or None for all. TypeError for any other axis.
"""

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import quietly
from cyrnn.configurable import Configurable, lookup, number, weight_array
from cyrnn.notices.names import public
from cyrnn.objects import register, serialize

MODULE = "keras.constraints"

__all__ = [
    "get", "serialize", "deserialize", "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm",
    "max_norm", "min_max_norm", "non_neg", "unit_norm",
]  # fmt: skip

EPSILON = 1e-7  # Keras' default backend epsilon: keeps a weight of zeros from dividing by 0


@register(MODULE)
class Constraint(Configurable):
    """Base class: a subclass defines ``__call__(w)`` and, to be saved, `get_config`."""

    def __call__(self, w: ArrayLike) -> Any:
        return w


@register(MODULE)
class NonNeg(Constraint):
    """``max(w, 0)``; NaN stays NaN."""

    @quietly
    def __call__(self, w: ArrayLike) -> np.ndarray:
        return np.asarray(np.maximum(weight_array(w), 0))


class _NormConstraint(Constraint):
    """Rescales a weight along `axis`."""

    def __init__(self, axis: int | Iterable[int] | None = 0) -> None:
        self.axis = _checked_axis(axis)

    def _norms(self, w: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(np.sum(np.square(w), axis=self.axis, keepdims=True)))

    def get_config(self) -> dict[str, Any]:
        return {"axis": list(self.axis) if isinstance(self.axis, tuple) else self.axis}


@register(MODULE)
class MaxNorm(_NormConstraint):
    """``w * clip(norm, 0, max_value) / (1e-7 + norm)``: no norm above `max_value`.

    Parameters
    ----------
    max_value : float, default 2
        The largest norm.
    axis : int, ints or None, default 0
        The axes of a norm; None is all.

    Examples
    --------
    >>> cyrnn.constraints.MaxNorm(1.0)(np.array([[3.0], [4.0]])).round(3)
    array([[0.6],
           [0.8]])
    """

    def __init__(self, max_value: float = 2, axis: int | Iterable[int] | None = 0) -> None:
        self.max_value = number("max_value", max_value)
        super().__init__(axis)

    @quietly
    def __call__(self, w: ArrayLike) -> np.ndarray:
        w = weight_array(w)
        norms = self._norms(w)
        return np.asarray(w * (np.clip(norms, 0, self.max_value) / (EPSILON + norms)))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, **super().get_config()}


@register(MODULE)
class UnitNorm(_NormConstraint):
    """``w / (1e-7 + norm)``: every norm 1.

    Parameters
    ----------
    axis : int, ints or None, default 0
        The axes of a norm; None is all.
    """

    @quietly
    def __call__(self, w: ArrayLike) -> np.ndarray:
        w = weight_array(w)
        return np.asarray(w / (EPSILON + self._norms(w)))


@register(MODULE)
class MinMaxNorm(_NormConstraint):
    """``w * (rate * clip(norm, min_value, max_value) + (1 - rate) * norm) / (1e-7 + norm)``.

    Norms move into ``[min_value, max_value]``: with `rate` 1 at once, else that part of the way.

    Parameters
    ----------
    min_value : float, default 0.0
        The smallest norm.
    max_value : float, default 1.0
        The largest norm.
    rate : float, default 1.0
        Which part of the way a norm moves at each step.
    axis : int, ints or None, default 0
        The axes of a norm; None is all.
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Iterable[int] | None = 0,
    ) -> None:
        self.min_value = number("min_value", min_value)
        self.max_value = number("max_value", max_value)
        self.rate = number("rate", rate)
        super().__init__(axis)

    @quietly
    def __call__(self, w: ArrayLike) -> np.ndarray:
        w = weight_array(w)
        norms = self._norms(w)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return np.asarray(w * (wanted / (EPSILON + norms)))

    def get_config(self) -> dict[str, Any]:
        config = {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate}
        return {**config, **super().get_config()}


def _checked_axis(axis: Any) -> int | tuple[int, ...] | None:
    try:
        if axis is None or isinstance(axis, Iterable):
            return axis if axis is None else tuple(map(operator.index, axis))
        if not isinstance(axis, bool):
            return operator.index(axis)
    except TypeError:
        pass
    raise TypeError(f"axis must be an integer, a list of integers or None, got {axis!r}")


get, deserialize = lookup(MODULE)

max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
