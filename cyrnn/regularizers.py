"""Regularizers: penalties on weights, as in Keras.

A regularizer is called with an array and returns a scalar of its dtype. Factors are used and written to a
config as they were given; Keras 3.15.1 rounds those of `L1` and `OrthogonalRegularizer` to float32 first.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import quietly
from cyrnn.configurable import Configurable, lookup, weight_array
from cyrnn.notices.names import public
from cyrnn.objects import register, serialize

MODULE = "keras.regularizers"

__all__ = [
    "get", "serialize", "deserialize", "Regularizer", "L1", "L2", "L1L2", "OrthogonalRegularizer",
    "l1", "l2", "l1_l2", "orthogonal_regularizer",
]  # fmt: skip


@register(MODULE)
class Regularizer(Configurable):
    """Base class: a subclass defines ``__call__(x)``, for gradients ``gradient(x)``, and, to be saved, `get_config`."""

    def __call__(self, x: ArrayLike) -> Any:
        return 0.0

    def gradient(self, x: ArrayLike) -> Any:
        """The gradient of the penalty, for a subclass to define.

        Parameters
        ----------
        x : array
            What is penalized.

        Returns
        -------
        array
            Of the shape of x.

        Raises
        ------
        ValueError
            The subclass does not define it.
        """
        raise ValueError(
            f"the regularizer {type(self).__name__} has no gradient: it must have a method gradient(x), which returns "
            "the derivative of its penalty by each element of x"
        )

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define get_config() to be saved")


@register(MODULE)
class L1(Regularizer):
    """``l1 * Σ|w|``. ValueError unless `l1` is a finite float >= 0.

    Parameters
    ----------
    l1 : float, default 0.01
        The factor of the sum of absolute values, finite and at least 0.
    """

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor("l1", 0.01 if l1 is None else l1)

    @quietly
    def __call__(self, x: ArrayLike) -> Any:
        return self.l1 * np.sum(np.abs(weight_array(x)))

    @quietly
    def gradient(self, x: ArrayLike) -> Any:
        """``l1 * sign(w)``, which is 0 where w is."""
        return self.l1 * np.sign(weight_array(x))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


@register(MODULE)
class L2(Regularizer):
    """``l2 * Σw²``. ValueError unless `l2` is a finite float >= 0.

    Parameters
    ----------
    l2 : float, default 0.01
        The factor of the sum of squares, finite and at least 0.

    Examples
    --------
    >>> float(cyrnn.regularizers.L2(0.5)(np.array([1.0, 2.0])))
    2.5
    """

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor("l2", 0.01 if l2 is None else l2)

    @quietly
    def __call__(self, x: ArrayLike) -> Any:
        return self.l2 * np.sum(np.square(weight_array(x)))

    @quietly
    def gradient(self, x: ArrayLike) -> Any:
        """``2 l2 * w``"""
        return 2 * self.l2 * weight_array(x)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


@register(MODULE)
class L1L2(Regularizer):
    """``l1 * Σ|w| + l2 * Σw²``; a factor of 0 leaves its sum out. ValueError unless both are finite, >= 0.

    Parameters
    ----------
    l1 : float, default 0.0
        The factor of the sum of absolute values, finite and at least 0.
    l2 : float, default 0.0
        The factor of the sum of squares, finite and at least 0.
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor("l1", 0.0 if l1 is None else l1)
        self.l2 = _factor("l2", 0.0 if l2 is None else l2)

    @quietly
    def __call__(self, x: ArrayLike) -> Any:
        x = weight_array(x)
        penalty = x.dtype.type(0)
        if self.l1:
            penalty += self.l1 * np.sum(np.abs(x))
        if self.l2:
            penalty += self.l2 * np.sum(np.square(x))
        return penalty

    @quietly
    def gradient(self, x: ArrayLike) -> Any:
        """``l1 * sign(w) + 2 l2 * w``"""
        x = weight_array(x)
        gradient = np.zeros_like(x)
        if self.l1:
            gradient += self.l1 * np.sign(x)
        if self.l2:
            gradient += 2 * self.l2 * x
        return gradient

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


@register(MODULE)
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean ``|cosine|`` between any two rows (or columns) of a matrix.

    A row of zeros has cosine 0 with any other; of a single row the mean is NaN, as in Keras.
    ValueError unless `mode` is rows or columns, `factor` a finite float >= 0, and the weight has two axes.

    Parameters
    ----------
    factor : float, default 0.01
        The factor of the mean, finite and at least 0.
    mode : {'rows', 'columns'}, default "rows"
        What is to be orthogonal.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _factor("factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode must be 'rows' or 'columns', got {mode!r}")
        self.mode = mode

    @quietly
    def __call__(self, x: ArrayLike) -> Any:
        x = weight_array(x)
        _, _, cosines, pairs = self._cosines(x)
        return x.dtype.type(self.factor * 0.5 * np.sum(np.abs(cosines)) / pairs)

    @quietly
    def gradient(self, x: ArrayLike) -> Any:
        """With u the rows, each divided by its norm n:  s = factor / pairs * sign(u u') u,  and  (s - (s.u) u) / n."""
        x = weight_array(x)
        unit, scales, cosines, pairs = self._cosines(x)
        of_unit = self.factor / pairs * (np.sign(cosines) @ unit)
        along = np.where(scales < 1 / 1e-7, np.sum(of_unit * unit, axis=1, keepdims=True), 0)
        gradient = (of_unit - along * unit) * scales
        return (gradient if self.mode == "rows" else gradient.T).astype(x.dtype, copy=False)

    def _cosines(self, x: Any) -> tuple[Any, Any, Any, float]:
        """The rows, each of norm 1; what they were multiplied with for that; the cosines of pairs, and how many."""
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer needs a weight of two axes, got shape {x.shape}")
        rows = (x if self.mode == "rows" else x.T).astype(np.promote_types(x.dtype, np.float32), copy=False)
        count = len(rows)
        scales = np.minimum(1.0 / np.sqrt(np.sum(np.square(rows), axis=1, keepdims=True)), 1.0 / 1e-7)
        unit = rows * scales
        cosines = (unit @ unit.T) * (1.0 - np.eye(count, dtype=rows.dtype))  # (count, count)
        return unit, scales, cosines, count * (count - 1.0) / 2.0

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


def _factor(name: str, value: Any) -> float:
    if not isinstance(value, float | int) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite float >= 0, got {value!r:.200}")
    return float(value)


get, deserialize = lookup(MODULE)

l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
