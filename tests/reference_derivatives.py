"""The oracle of derivatives: those of `reference.ACTIVATIONS`, of the sums, in float64.

At kinks they are what TensorFlow has, except of celu at 0, where it adds up both sides.
"""

import math

import numpy as np
from reference import SELU_ALPHA, SELU_SCALE, Array, _elementwise, _exp, _log_softmax, _sigmoid, _softmax


def _bell(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gelu(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2)) + x * _bell(x)


def _silu(x: float) -> float:
    return _sigmoid(x) + x * _sigmoid(x) * _sigmoid(-x)


def _mish(x: float) -> float:
    """With s = softplus(x): tanh s + x (1 - tanh^2 s) s'. 1 - tanh^2 s = 1 / cosh^2 s, which keeps its digits."""
    if x > 100:
        return 1.0
    softplus = max(x, 0.0) + math.log1p(math.exp(-abs(x)))
    return math.tanh(softplus) + x * _sigmoid(x) / math.cosh(softplus) ** 2


def _squareplus(x: float) -> float:
    root = math.hypot(x, 2)
    below = 2 / (root + abs(x)) / root
    return below if x < 0 else 1 - below


ELEMENTWISE = {
    "linear": lambda x: np.ones_like(x),
    "celu": _elementwise(lambda x: 1.0 if x >= 0 else math.exp(x)),
    "elu": _elementwise(lambda x: 1.0 if x >= 0 else math.exp(x)),
    "exponential": _elementwise(_exp),
    "gelu": _elementwise(_gelu),
    "hard_shrink": _elementwise(lambda x: float(abs(x) > 0.5)),
    "hard_sigmoid": _elementwise(lambda x: 1 / 6 if -3 < x < 3 else 0.0),
    "hard_sigmoid_keras2": _elementwise(lambda x: 0.2 if -2.5 < x < 2.5 else 0.0),
    "hard_silu": _elementwise(lambda x: (2 * x + 3) / 6 if -3 < x < 3 else float(x > 0)),
    "hard_tanh": _elementwise(lambda x: float(-1 <= x <= 1)),
    "leaky_relu": _elementwise(lambda x: 1.0 if x > 0 else 0.2),
    "log_sigmoid": _elementwise(lambda x: _sigmoid(-x)),
    "mish": _elementwise(_mish),
    "relu": _elementwise(lambda x: float(x > 0)),
    "relu6": _elementwise(lambda x: float(0 < x < 6)),
    "selu": _elementwise(lambda x: SELU_SCALE * (1 if x >= 0 else SELU_ALPHA * math.exp(x))),
    "sigmoid": _elementwise(lambda x: _sigmoid(x) * _sigmoid(-x)),
    "silu": _elementwise(_silu),
    "soft_shrink": _elementwise(lambda x: float(abs(x) > 0.5)),
    "softplus": _elementwise(_sigmoid),
    "softsign": _elementwise(lambda x: (1 / (1 + abs(x))) ** 2),
    "sparse_plus": _elementwise(lambda x: min(max((x + 1) / 2, 0.0), 1.0)),
    "sparse_sigmoid": _elementwise(lambda x: 0.5 if -1 < x < 1 else 0.0),
    "squareplus": _elementwise(_squareplus),
    "tanh": _elementwise(lambda x: 1 / math.cosh(min(abs(x), 350.0)) ** 2),
    "tanh_shrink": _elementwise(lambda x: math.tanh(x) ** 2),
}
KINKS = {  # where the derivative jumps
    "hard_shrink": (-0.5, 0.5), "hard_sigmoid": (-3, 3), "hard_sigmoid_keras2": (-2.5, 2.5), "hard_silu": (-3, 3),
    "hard_tanh": (-1, 1), "leaky_relu": (0,), "relu": (0,), "relu6": (0, 6), "selu": (0,), "soft_shrink": (-0.5, 0.5),
    "sparse_sigmoid": (-1, 1),
}  # fmt: skip


def _softmax_jacobian(x: Array) -> Array:
    y = _softmax(x)
    return np.diag(y) - np.outer(y, y)


def _log_softmax_jacobian(x: Array) -> Array:
    return np.eye(len(x)) - np.exp(_log_softmax(x))


def _sparsemax_jacobian(x: Array) -> Array:
    """Of max(x - tau, 0), Keras' tau: (sum of the k largest's cumulative sums - 1) / k. Equals in their order."""
    order = np.argsort(-x, kind="stable")
    sums = np.cumsum(x[order])
    inside = x[order] > (sums - 1) / np.arange(1, len(x) + 1)
    size = int(inside.sum())
    tau = (sums[inside].sum() - 1) / size
    slope = np.zeros(len(x))
    slope[order[:size]] = np.arange(size, 0, -1) / size  # the i-th largest is in k - i + 1 of the sums
    return (x - tau >= 0)[:, None] * (np.eye(len(x)) - slope)


JACOBIANS = {  # of one row: dy_i / dx_j
    "softmax": _softmax_jacobian,
    "log_softmax": _log_softmax_jacobian,
    "sparsemax": _sparsemax_jacobian,
}


def pulled_back(activation: str, sums: Array, d: Array) -> Array:
    """The gradient of the sums (..., units) for that of the outputs."""
    if activation in ELEMENTWISE:
        return d * ELEMENTWISE[activation](sums)
    rows = [g @ JACOBIANS[activation](z) for z, g in zip(sums, d, strict=True)]
    return np.array(rows).reshape(d.shape)
