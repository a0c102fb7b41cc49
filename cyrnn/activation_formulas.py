"""The parameters of Keras' activations, and what the activations are with other parameters than the usual ones.

Each formula takes a C-contiguous float32 or float64 array, and parameters of its dtype. The elementwise ones are
Keras' in NumPy, rearranged where the plain form overflows or cancels. As in Keras, what selects by comparison takes
NaN for a number that is not above the threshold. Softmax and its kin are the engine's, on rows made of the axes.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.typing import NDArray

from cyrnn.engine import plan

Array = NDArray[Any]


def relu(x: Array, negative_slope: Any = 0.0, max_value: Any = None, threshold: Any = 0.0) -> Array:
    """x above the threshold, at most max_value;  negative_slope * (x - threshold) below it."""
    if max_value is None and threshold == 0 and negative_slope != 0:
        return leaky_relu(x, negative_slope)
    y = np.maximum(x, 0) if threshold == 0 else np.where(x > threshold, x, np.zeros_like(x))
    if max_value is not None:
        y = np.clip(y, 0, max_value)
    return y - negative_slope * np.maximum(threshold - x, 0) if negative_slope != 0 else y


def leaky_relu(x: Array, negative_slope: Any = 0.2) -> Array:
    return np.where(x < 0, negative_slope * x, x)  # Keras' NumPy backend takes the larger one: wrong for slopes over 1


def elu(x: Array, alpha: Any = 1.0) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def celu(x: Array, alpha: Any = 1.0) -> Array:
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)


def gelu(x: Array, approximate: Any = False) -> Array:
    """x Phi(x); approximate: x (1 + tanh(u)) / 2,  which is  x sigmoid(2 u),  u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    if not approximate:
        return activated("gelu", x)
    return x * activated("sigmoid", math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))


def hard_shrink(x: Array, threshold: Any = 0.5) -> Array:
    return np.where(np.abs(x) > threshold, x, np.zeros_like(x))


def soft_shrink(x: Array, threshold: Any = 0.5) -> Array:
    return np.where(x > threshold, x - threshold, np.where(x < -threshold, x + threshold, np.zeros_like(x)))


def squareplus(x: Array, b: Any = 4) -> Array:
    """(x + root) / 2,  and below 0, where that cancels,  b / (root - x) / 2;   root = sqrt(x^2 + b)."""
    c, size = np.sqrt(np.abs(b)), np.abs(x)
    root = np.hypot(x, c) if b >= 0 else np.sqrt(size - c) * np.sqrt(size + c)  # x^2 would overflow
    return np.where(x < 0, b / 2 / (root - x) + (x - x), x / 2 + root / 2)  # x - x: -inf gives NaN, as in Keras


def softmax(x: Array, axis: Any = -1) -> Array:
    return _along("softmax", x, range(x.ndim) if axis is None else axis)


def log_softmax(x: Array, axis: Any = -1) -> Array:
    return _along("log_softmax", x, range(x.ndim) if axis is None else axis)


def sparsemax(x: Array, axis: Any = -1) -> Array:
    return _along("sparsemax", x, normalize_axis_index(axis, x.ndim))


def glu(x: Array, axis: Any = -1) -> Array:
    """The first half of the axis, times the sigmoid of the second."""
    axis = normalize_axis_index(axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"glu halves an axis, which must be of even size: got shape {x.shape} and axis {axis}")
    value, gate = np.split(x, 2, axis)
    return value * activated("sigmoid", np.array(gate, order="C"))


def threshold(x: Array, threshold: Any, default_value: Any) -> Array:
    return np.where(x > threshold, x, default_value)


def plain(x: Array) -> Array:  # the parameters of all others
    return x


_WITH_PARAMETERS = (
    relu, leaky_relu, elu, celu, gelu, hard_shrink, soft_shrink, squareplus, softmax, log_softmax, sparsemax, glu,
    threshold,
)  # fmt: skip
FORMULAS: dict[str, Callable[..., Array]] = {formula.__name__: formula for formula in _WITH_PARAMETERS}


def signature(name: str) -> inspect.Signature:
    """The parameters of an activation, without types."""
    found = inspect.signature(FORMULAS.get(name, plain))
    bare = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return found.replace(parameters=bare, return_annotation=found.empty)


def bound(name: str, parameters: tuple[Any, ...], named: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The parameters that are not the usual ones, by name. Numbers are rounded to `dtype`, as in Keras.

    Raises TypeError for unknown ones, and for what is no number.
    """
    accepted = signature(name)
    try:
        given = dict(accepted.bind(None, *parameters, **named).arguments)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}") from None
    del given["x"]
    return {
        key: value if key in ("axis", "approximate") else _number(name, key, value, dtype)
        for key, value in given.items()
        if not _usual(value, accepted.parameters[key].default)
    }


def _usual(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, (int, float, np.integer)) and bool(value == default))


def _number(name: str, key: str, value: Any, dtype: np.dtype[Any]) -> Array:
    number = np.asarray(value)
    if number.ndim or not (number.dtype.kind in "fiub" or np.can_cast(number.dtype, np.float32)):
        raise TypeError(f"{name}(): {key} must be a number, got {value!r}")
    return number.astype(dtype).astype("float64" if dtype.itemsize >= 8 else "float32")


def activated(name: str, z: Array) -> Array:
    """The engine's function, in place; `z` is C-contiguous."""
    if z.size:
        plan.activate(name, z.reshape(-1, z.shape[-1] if z.ndim else 1))
    return z


def _along(name: str, x: Array, axes: Any) -> Array:
    axes = normalize_axis_tuple(axes, x.ndim, "axis")
    last = range(x.ndim - len(axes), x.ndim)
    moved = np.moveaxis(x, axes, last)
    if x.size:
        rows = moved.reshape(-1, math.prod(moved.shape[axis] for axis in last))
        moved = activated(name, np.array(rows, order="C")).reshape(moved.shape)
    return np.ascontiguousarray(np.moveaxis(moved, last, axes))


# ---------------------------------------------------------------- what `help` says of them

_TEXTS = {
    "celu": "``max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)``.",
    "elu": "``x`` from 0 on, ``alpha (exp(x) - 1)`` below it.",
    "exponential": "``exp(x)``.",
    "gelu": "``x`` times the share of a standard normal distribution that is below it.",
    "hard_shrink": "``x`` where its absolute value is above the threshold, else 0.",
    "hard_sigmoid": "``clip(x / 6 + 1 / 2, 0, 1)``, as in Keras 3.",
    "hard_sigmoid_keras2": "``clip(x / 5 + 1 / 2, 0, 1)``, which is what Keras 1 and 2 called `hard_sigmoid`.",
    "hard_silu": "``x`` times `hard_sigmoid` of it.",
    "hard_tanh": "``clip(x, -1, 1)``.",
    "leaky_relu": "``x`` from 0 on, ``negative_slope x`` below it.",
    "linear": "``x``.",
    "log_sigmoid": "``log(sigmoid(x))``.",
    "log_softmax": "The logarithm of `softmax`.",
    "mish": "``x tanh(softplus(x))``.",
    "relu": "``max(x, 0)``; with parameters, a slope below a threshold, and a bound.",
    "relu6": "``clip(x, 0, 6)``.",
    "selu": "``1.0507 x`` from 0 on, ``1.0507 * 1.6733 (exp(x) - 1)`` below it.",
    "sigmoid": "``1 / (1 + exp(-x))``.",
    "silu": "``x sigmoid(x)``, also called swish.",
    "soft_shrink": "``x`` moved towards 0 by the threshold; 0 where it is not so far away.",
    "softmax": "``exp(x)`` divided by its sum: probabilities.",
    "softplus": "``log(1 + exp(x))``.",
    "softsign": "``x / (1 + |x|)``.",
    "sparse_plus": "0 up to -1, ``(x + 1)² / 4`` from there to 1, then ``x``.",
    "sparse_sigmoid": "``clip((x + 1) / 2, 0, 1)``.",
    "sparsemax": "The probabilities that are nearest to ``x``, of which many are 0 (Martins and Astudillo, 2016).",
    "squareplus": "``(x + √(x² + b)) / 2``.",
    "tanh": "The hyperbolic tangent.",
    "tanh_shrink": "``x - tanh(x)``.",
}
_OPTIONS: dict[
    str, dict[str, Any]
] = {  # with their defaults; a test compares these with the signatures, which take longer to find
    "celu": {"alpha": 1.0},
    "elu": {"alpha": 1.0},
    "gelu": {"approximate": False},
    "hard_shrink": {"threshold": 0.5},
    "leaky_relu": {"negative_slope": 0.2},
    "log_softmax": {"axis": -1},
    "relu": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    "soft_shrink": {"threshold": 0.5},
    "softmax": {"axis": -1},
    "sparsemax": {"axis": -1},
    "squareplus": {"b": 4},
}
_PARAMETERS = {
    "x": ("array (..., units)", "Numbers; integers become float32. A symbolic tensor gives a symbolic one."),
    "alpha": ("float", "What the function tends to for small x, times -1."),
    "approximate": ("bool", "Whether to compute with tanh, not with the error function."),
    "axis": ("int or tuple of ints", "The axis, or axes, of the numbers that belong together."),
    "b": ("float", "How wide the bend at 0 is."),
    "max_value": ("float, optional", "The largest value; None is no bound."),
    "negative_slope": ("float", "The slope below the threshold."),
    "threshold": ("float", "Where the function bends."),
}


def documentation(name: str) -> str:
    """The docstring of an activation, in the form of numpydoc."""
    lines = [_TEXTS[name], "", "Parameters", "----------"]
    for parameter, default in {"x": None, **_OPTIONS.get(name, {})}.items():
        kind, text = _PARAMETERS[parameter]
        lines += [f"{parameter} : {kind}{'' if default is None else f', default {default}'}", f"    {text}"]
    return "\n".join(
        [*lines, "", "Returns", "-------", "array", "    A new one, of the shape and the float dtype of x."]
    )
