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
    unroll = min(10, case.shape[1]) if form == "unrolled" else 1
    if case.gradients:
        return _gradients(jnp.asarray(case.x), jnp.swapaxes(jnp.asarray(case.dy), 0, 1), weights[0], unroll)

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
                directions = [_sequence(x, *arrays[:3], unroll, False), _sequence(x, *arrays[3:], unroll, True)]
                x = jnp.swapaxes(jnp.concatenate(directions, axis=-1), 0, 1)
            else:
                sequence = _sequence(x, *arrays, unroll, False)
                if part.whole:
                    x = jnp.swapaxes(sequence, 0, 1)
                else:
                    x = sequence[-1] if lengths is None else sequence[lengths - 1, jnp.arange(len(x))]
        return x

    array = jnp.asarray(case.x)
    return lambda: model(array).block_until_ready()


def _gradients(
    x: jax.Array, dy: jax.Array, weights: list[jax.Array], unroll: int
) -> Callable[[], tuple[jax.Array, ...]]:
    @jax.jit
    def gradients(x: jax.Array, dy: jax.Array, weights: list[jax.Array]) -> tuple[jax.Array, ...]:
        return tuple(jax.vjp(lambda *w: _sequence(x, *w, unroll, False), *weights)[1](dy))

    return lambda: jax.block_until_ready(gradients(x, dy, weights))


def _sequence(
    x: jax.Array, kernel: jax.Array, recurrent_kernel: jax.Array, bias: jax.Array, unroll: int, reverse: bool
) -> jax.Array:
    """The outputs by time, (timesteps, batch, units), from x (batch, timesteps, features)."""

    def step(state: jax.Array, projected: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jnp.tanh(projected + state @ recurrent_kernel)
        return state, state

    projected = jnp.swapaxes(x @ kernel + bias, 0, 1)
    return jax.lax.scan(step, jnp.zeros_like(projected[0]), projected, reverse=reverse, unroll=unroll)[1]
