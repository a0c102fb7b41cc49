"""JAX: `lax.scan` over the timesteps inside `jit`, waited for.

The form "unrolled" has ten timesteps in each round of the compiled loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def hold(threads: int) -> dict[str, str]:
    """JAX sizes its pool by the processors the process may use, which the runner limits."""
    jax.config.update("jax_platforms", "cpu")
    return {"jax": jax.__version__}


def bind(case: Any, form: str) -> Callable[[], Any]:
    """A call without arguments, which returns the answer."""
    weights = [[jnp.asarray(array) for array in part.weights] for part in case.parts]
    layer = case.parts[0].layer  # of those that are not alone all are SimpleRNN
    unroll = min(10, case.shape[1]) if form == "unrolled" else 1
    if case.gradients:
        dy = jnp.swapaxes(jnp.asarray(case.dy), 0, 1)
        return _gradients(layer, jnp.asarray(case.x), dy, weights[0], unroll)

    @jax.jit
    def model(x: jax.Array) -> jax.Array:
        lengths = None
        for part, arrays in zip(case.parts, weights, strict=True):
            if part.kind == "embedding":
                lengths = jnp.count_nonzero(x, axis=1) if part.mask_zero else None
                x = arrays[0][x]
            elif part.kind == "dense":
                x = x @ arrays[0] + arrays[1]
                x = jax.nn.softmax(x) if part.softmax else x
            elif part.kind == "bidirectional":
                halves = (arrays[:3], False), (arrays[3:], True)
                directions = [_sequence(layer, x, *half, unroll, reverse) for half, reverse in halves]
                x = jnp.swapaxes(jnp.concatenate(directions, axis=-1), 0, 1)
            else:
                sequence = _sequence(layer, x, *arrays, unroll, False)
                if part.whole:
                    x = jnp.swapaxes(sequence, 0, 1)
                else:
                    x = sequence[-1] if lengths is None else sequence[lengths - 1, jnp.arange(len(x))]
        return x

    array = jnp.asarray(case.x)
    return lambda: model(array).block_until_ready()


def _gradients(
    layer: str, x: jax.Array, dy: jax.Array, weights: list[jax.Array], unroll: int
) -> Callable[[], tuple[jax.Array, ...]]:
    @jax.jit
    def gradients(x: jax.Array, dy: jax.Array, weights: list[jax.Array]) -> tuple[jax.Array, ...]:
        return tuple(jax.vjp(lambda *w: _sequence(layer, x, *w, unroll, False), *weights)[1](dy))

    return lambda: jax.block_until_ready(gradients(x, dy, weights))


def _sequence(
    layer: str,
    x: jax.Array,
    kernel: jax.Array,
    recurrent_kernel: jax.Array,
    bias: jax.Array,
    unroll: int,
    reverse: bool,
) -> jax.Array:
    """The outputs by time, (timesteps, batch, units), from x (batch, timesteps, features)."""
    of_inputs, of_states = bias if bias.ndim == 2 else (bias, 0)

    def step(states: tuple[jax.Array, ...], projected: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        states = CELLS[layer](projected, states[0] @ recurrent_kernel + of_states, *states)
        return states, states[0]

    projected = jnp.swapaxes(x @ kernel + of_inputs, 0, 1)
    zeros = jnp.zeros((len(x), len(recurrent_kernel)), x.dtype)
    begin = (zeros, zeros) if layer == "LSTM" else (zeros,)
    return jax.lax.scan(step, begin, projected, reverse=reverse, unroll=unroll)[1]


# Each takes the sums of inputs and of the state, (batch, gates * units), and the states; and returns the new states.


def _lstm(a: jax.Array, s: jax.Array, h: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
    i, f, g, o = jnp.split(a + s, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(a: jax.Array, s: jax.Array, h: jax.Array) -> tuple[jax.Array, ...]:
    (z, r, n), (h_z, h_r, h_n) = jnp.split(a, 3, axis=1), jnp.split(s, 3, axis=1)
    z = jax.nn.sigmoid(z + h_z)
    return (z * h + (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + h_r) * h_n),)


CELLS = {"SimpleRNN": lambda a, s, h: (jnp.tanh(a + s),), "LSTM": _lstm, "GRU": _gru}
