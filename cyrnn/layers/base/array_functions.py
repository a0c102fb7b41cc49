"""The functions of arrays that Keras' operations are, by Keras' names."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Shape


def _mean(x: Any, **options: Any) -> Any:
    """As `numpy.mean`, but the mean of nothing is NaN without a warning."""
    return np.mean(x, **options) if np.size(x) else np.sum(x, **options) + np.nan


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Absolute": np.absolute,
    "Add": np.add,
    "Cast": lambda x, dtype: np.asarray(x).astype(dtype),
    "Divide": np.divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "LogicalOr": np.logical_or,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Multiply": np.multiply,
    "Negative": np.negative,
    "NotEqual": np.not_equal,
    "OnesLike": np.ones_like,
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Subtract": np.subtract,
    "Tanh": np.tanh,
    "TrueDivide": np.true_divide,
    "ZerosLike": np.zeros_like,
}
REDUCING: dict[str, Callable[..., Any]] = {
    "All": np.all,
    "Any": np.any,
    "Max": np.max,
    "Mean": _mean,
    "Min": np.min,
    "Sum": np.sum,
}
JOINING: dict[str, Callable[..., Any]] = {"Concatenate": np.concatenate, "Stack": np.stack}
REARRANGING: dict[str, Callable[..., Any]] = {
    "ExpandDims": np.expand_dims,
    "Flip": np.flip,
    "GetItem": lambda x, key: x[tuple(key) if isinstance(key, list) else key],
    "Squeeze": np.squeeze,
    "Transpose": np.transpose,
}
BINARY = {  # the functions of two arguments; the others take one
    *("Add", "Divide", "Equal", "GetItem", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr"),
    *("Maximum", "Minimum", "Multiply", "NotEqual", "Subtract", "TrueDivide"),
}
FUNCTIONS = ELEMENTWISE | REDUCING | JOINING | REARRANGING


def item_shape(shape: Shape, key: Any) -> Shape:
    """The shape of ``x[key]``, for integers, slices, None and an ellipsis.

    As in Keras, a slice of an axis of any length has any length. Raises IndexError for an index beyond the end, and for
    more of them than axes.
    """
    parts = list(key) if isinstance(key, (list, tuple)) else [key]
    rest = len(shape) - sum(part is not None and part is not ... for part in parts)
    if rest < 0 or parts.count(...) > 1:
        raise IndexError(f"{len(parts)} indices do not fit shape {shape}")
    place = parts.index(...) if ... in parts else len(parts)
    parts[place : place + 1] = [slice(None)] * rest
    lengths, found = iter(shape), list[int | None]()
    for part in parts:
        n = 1 if part is None else next(lengths)
        if isinstance(part, slice):
            found.append(None if n is None else len(range(n)[part]))
        elif part is None:
            found.append(n)
        elif n is not None and not -n <= part < n:
            raise IndexError(f"index {part} is out of bounds for an axis of length {n}")
    return tuple(found)
