"""The oracle: the recurrence in float64 NumPy, written from the equations alone."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def recurrence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array | None,
    bias: Array | None,
    activation: str = "tanh",
    initial_state: Array | None = None,
    mask: NDArray[np.bool_] | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array]:
    """All outputs (batch, timesteps, units) in processing order, and the final state (batch, units).

    h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias). A masked step keeps the state and repeats the
    last output, which is zeros before the first (or gives zeros, with `zero_output_for_mask`).
    """
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    batch, timesteps, _ = x.shape
    h = np.zeros((batch, kernel.shape[1])) if initial_state is None else np.asarray(initial_state, np.float64)
    output, outputs = np.zeros_like(h), np.zeros((batch, timesteps, kernel.shape[1]))
    order = range(timesteps)[::-1] if go_backwards else range(timesteps)
    for step, t in enumerate(order):
        z = (x[:, t] if input_dropout is None else x[:, t] * input_dropout) @ kernel
        if recurrent_kernel is not None:
            z = z + (h if recurrent_dropout is None else h * recurrent_dropout) @ np.asarray(
                recurrent_kernel, np.float64
            )
        if bias is not None:
            z = z + np.asarray(bias, np.float64)
        new = ACTIVATIONS[activation](z)
        if mask is None:
            h = output = new
        else:
            keep = mask[:, t, None]
            output = np.where(keep, new, 0 if zero_output_for_mask else output)
            h = np.where(keep, new, h)
        outputs[:, step] = output
    return outputs, h


def _elementwise(function):
    return np.vectorize(function, otypes=[np.float64])


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.7 else math.inf


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _sparsemax(x: Array) -> Array:
    """max(x - tau, 0), with Keras' tau: from the sum of the cumulative sums; the paper has the last of them."""
    ordered = -np.sort(-x, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    inside = ordered > (sums - 1) / np.arange(1, x.shape[-1] + 1)
    tau = (np.where(inside, sums, 0).sum(axis=-1, keepdims=True) - 1) / inside.sum(axis=-1, keepdims=True)
    return np.maximum(x - tau, 0)


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

ACTIVATIONS = {
    "linear": lambda x: x,
    "celu": _elementwise(lambda x: x if x >= 0 else math.expm1(x)),
    "elu": _elementwise(lambda x: x if x > 0 else math.expm1(x)),
    "exponential": _elementwise(_exp),
    "gelu": _elementwise(lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2))),
    "hard_shrink": _elementwise(lambda x: x if abs(x) > 0.5 else 0.0),
    "hard_sigmoid": _elementwise(lambda x: _clip(x / 6 + 0.5, 0, 1)),
    "hard_sigmoid_keras2": _elementwise(lambda x: _clip(0.2 * x + 0.5, 0, 1)),
    "hard_silu": _elementwise(lambda x: x * _clip(x / 6 + 0.5, 0, 1)),
    "hard_tanh": _elementwise(lambda x: _clip(x, -1, 1)),
    "leaky_relu": _elementwise(lambda x: x if x >= 0 else 0.2 * x),
    "log_sigmoid": _elementwise(lambda x: -_softplus(-x)),
    "log_softmax": _log_softmax,
    "mish": _elementwise(lambda x: x * math.tanh(_softplus(x))),
    "relu": _elementwise(lambda x: max(x, 0.0)),
    "relu6": _elementwise(lambda x: _clip(x, 0, 6)),
    "selu": _elementwise(lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))),
    "sigmoid": _elementwise(_sigmoid),
    "silu": _elementwise(lambda x: x * _sigmoid(x)),
    "soft_shrink": _elementwise(lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x)),
    "softmax": _softmax,
    "softplus": _elementwise(_softplus),
    "softsign": _elementwise(lambda x: x / (1 + abs(x))),
    "sparse_plus": _elementwise(lambda x: 0.0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4),
    "sparse_sigmoid": _elementwise(lambda x: _clip((x + 1) / 2, 0, 1)),
    "sparsemax": _sparsemax,
    "squareplus": _elementwise(lambda x: (x + math.hypot(x, 2)) / 2 if x >= 0 else 2 / (math.hypot(x, 2) - x)),
    "tanh": _elementwise(math.tanh),
    "tanh_shrink": _elementwise(lambda x: x - math.tanh(x)),
}
