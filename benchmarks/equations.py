"""The recurrent layers in NumPy, in float64, with their ways back: what all answers are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}  # by layer


def weight_shapes(layer: str, features: int, units: int) -> list[tuple[float, *tuple[int, ...]]]:
    """Of the kernel, the recurrent kernel and the bias: a size with which no activation is saturated, and the axes."""
    columns = GATES[layer] * units
    of_bias = (2, columns) if layer == "GRU" else (columns,)
    return [(features**-0.5, features, columns), (0.7 * units**-0.5, units, columns), (0.1, *of_bias)]


def recurrence(
    layer: str, x: np.ndarray, live: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], list[np.ndarray]]]:
    """The outputs (batch, timesteps, units), and what takes their gradient to those of x, both kernels and bias.

    Where `live` (batch, timesteps) is false a row keeps its states, and so its output.
    """
    cell = {"SimpleRNN": _simple, "LSTM": _lstm, "GRU": _gru}[layer]
    of_inputs, of_states = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    states = [np.zeros((len(x), len(recurrent_kernel)))] * (2 if layer == "LSTM" else 1)
    tape, outputs = [], np.zeros((*x.shape[:2], len(recurrent_kernel)))
    for t in range(x.shape[1]):
        sums = states[0] @ recurrent_kernel + of_states
        after, back = cell(x[:, t] @ kernel + of_inputs, sums, *states)
        tape.append((states[0], back))
        states = [np.where(live[:, t, None], new, old) for new, old in zip(after, states, strict=True)]
        outputs[:, t] = states[0]

    def pullback(d_outputs: np.ndarray) -> list[np.ndarray]:
        dx, d_kernel, d_recurrent = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
        d_bias = np.zeros((2, len(of_states)))
        d_states = [np.zeros_like(state) for state in states]
        for t in reversed(range(x.shape[1])):
            h, back = tape[t]
            d_states[0] = d_states[0] + d_outputs[:, t]
            now = live[:, t, None]
            da, ds, before = back(*(np.where(now, d, 0.0) for d in d_states))
            dx[:, t] = da @ kernel.T
            d_kernel += x[:, t].T @ da
            d_recurrent += h.T @ ds
            d_bias += da.sum(axis=0), ds.sum(axis=0)
            before[0] = before[0] + ds @ recurrent_kernel.T
            d_states = [np.where(now, new, old) for new, old in zip(before, d_states, strict=True)]
        return [dx, d_kernel, d_recurrent, d_bias if bias.ndim == 2 else d_bias[0]]

    return outputs, pullback


# Each takes the sums of inputs `a` and of states `s` (batch, gates * units), and the states. It returns the new states,
# and what takes their gradients to those of `a` and `s`, and to those of the states beside `s`.


def _simple(a: np.ndarray, s: np.ndarray, h: np.ndarray) -> tuple[list[np.ndarray], Callable[..., Any]]:
    new = np.tanh(a + s)

    def back(dh: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        d = dh * (1 - new**2)
        return d, d, [np.zeros_like(h)]

    return [new], back


def _lstm(a: np.ndarray, s: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[list[np.ndarray], Callable[..., Any]]:
    i, f, g, o = np.split(a + s, 4, axis=1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    new = f * c + i * g
    squashed = np.tanh(new)

    def back(dh: np.ndarray, dc: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        dc = dc + dh * o * (1 - squashed**2)
        gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * squashed * o * (1 - o)]
        d = np.concatenate(gates, axis=1)
        return d, d, [np.zeros_like(h), dc * f]

    return [o * squashed, new], back


def _gru(a: np.ndarray, s: np.ndarray, h: np.ndarray) -> tuple[list[np.ndarray], Callable[..., Any]]:
    (z, r, g), (of_z, of_r, of_g) = np.split(a, 3, axis=1), np.split(s, 3, axis=1)
    z, r = _sigmoid(z + of_z), _sigmoid(r + of_r)
    g = np.tanh(g + r * of_g)

    def back(dh: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        dz, dg = dh * (h - g) * z * (1 - z), dh * (1 - z) * (1 - g**2)
        dr = dg * of_g * r * (1 - r)
        return np.concatenate([dz, dr, dg], axis=1), np.concatenate([dz, dr, dg * r], axis=1), [dh * z]

    return [z * h + (1 - z) * g], back


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
