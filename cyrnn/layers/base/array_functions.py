"""The functions of arrays that Keras' operations are, by Keras' names; and shapes with lengths that are not known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cyrnn import activations, budget
from cyrnn.layers.base.arguments import LARGEST, Array, Shape, checked_size_of, size_of


def _mean(x: Any, **options: Any) -> Any:
    """As `numpy.mean`, but the mean of nothing is NaN without a warning."""
    return np.mean(x, **options) if np.size(x) else np.sum(x, **options) + np.nan


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Absolute": np.absolute,
    "Add": np.add,
    "Cast": lambda x, dtype: np.asarray(x).astype(dtype),
    "ConvertToTensor": lambda x, dtype=None: np.asarray(x, dtype),
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
    "Power": np.power,
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Subtract": np.subtract,
    "Tanh": np.tanh,
    "TrueDivide": np.true_divide,
    "Where": np.where,
    "ZerosLike": np.zeros_like,
}
# The activations that are operations without parameters in Keras, by its names; and those along the last axis.
OF_ACTIVATIONS = {"tanh": "Tanh", "exponential": "Exp", "softmax": "Softmax", "log_softmax": "LogSoftmax"}
for _name in (
    *("relu", "relu6", "sigmoid", "softplus", "softsign", "selu", "silu", "hard_sigmoid", "hard_tanh", "log_sigmoid"),
    *("sparse_plus", "sparse_sigmoid", "tanh_shrink"),
):
    OF_ACTIVATIONS[_name] = "".join(part.capitalize() for part in _name.split("_"))
ELEMENTWISE |= {keras: activations.get(name) for name, keras in OF_ACTIVATIONS.items() if keras not in ELEMENTWISE}
ALONG_THE_LAST_AXIS = ("Softmax", "LogSoftmax")

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
    "Reshape": lambda x, newshape: np.reshape(x, newshape),
    "Squeeze": np.squeeze,
    "Transpose": np.transpose,
}
TERNARY = {"Where"}  # the functions of three arguments
BINARY = {  # those of two; the others take one
    *("Add", "Divide", "Equal", "GetItem", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr"),
    *("Maximum", "Minimum", "Multiply", "NotEqual", "Power", "Subtract", "TrueDivide"),
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


def one_zero(dtype: DTypeLike, lengths: Sequence[int]) -> Array:
    """Zeros of these lengths, which are one zero in memory. Raises ValueError where no array could be so large."""
    zero = np.zeros((), dtype)
    if size_of(lengths) * zero.itemsize > LARGEST:
        raise ValueError(f"an array of shape {tuple(lengths)} would be larger than any array can be")
    return np.broadcast_to(zero, lengths)


def zeros_of(shape: Sequence[int | None], dtype: DTypeLike, length: int) -> Array:
    """Zeros of a shape, with some length where any is possible: 1 on the first axis, `length` on others."""
    lengths = [n if n is not None else 1 if axis == 0 else length for axis, n in enumerate(shape)]
    what = f"an input of shape {tuple(shape)}"
    budget.check_array(what, checked_size_of(what, lengths) * np.dtype(dtype).itemsize)
    return np.zeros(lengths, dtype)


def shape_found(found: Sequence[Shape], given: Sequence[int | None]) -> Shape:
    """The shape of what was computed from zeros of the shape `given`, once or with other lengths where any is
    possible: of any length where the results differ, and on the first axis if the inputs are so."""
    first, *others = found
    if any(len(other) != len(first) for other in others):
        raise ValueError(f"what is returned has another number of axes for other lengths: the shapes {list(found)}")
    differ = [any(other[axis] != n for other in others) for axis, n in enumerate(first)]
    return tuple(None if differ[axis] or (axis == 0 and given[0] is None) else n for axis, n in enumerate(first))


def common_shape(shapes: list[Shape]) -> Shape:
    """What equal shapes have in common, where some may say any length. Raises ValueError."""
    common = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(common) or any(None not in (n, m) and n != m for n, m in zip(shape, common, strict=True)):
            raise ValueError(f"arrays of the shapes {shapes[0]} and {shape} cannot be joined")
        common = [m if n is None else n for n, m in zip(shape, common, strict=True)]
    return tuple(common)


def broadcast_shape(shapes: list[Shape]) -> Shape:
    """The shape of an operation element by element. Raises ValueError."""
    rank = max(len(shape) for shape in shapes)
    result: list[int | None] = []
    for lengths in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wider = {n for n in lengths if n != 1}
        known = wider - {None}
        if len(known) > 1:
            raise ValueError(f"arrays of the shapes {shapes} do not fit each other")
        result.append(known.pop() if known else None if None in wider else 1)
    return tuple(result)
