"""cyrnn: a call of the layer, as a user writes it; or, for a single timestep, a step of a stream (form "stepper")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy

import cyrnn


def hold(threads: int) -> dict[str, str]:
    """Held to `threads` by cyrnn's own setting; the facts include `cyrnn.show_config()`."""
    cyrnn.set_num_threads(threads)
    return {
        "cyrnn": cyrnn.__version__,
        "scipy": scipy.__version__,
        "cyrnn config": str(cyrnn.show_config("dicts")),
    }


def left_out(shape: tuple[int, ...], form: str) -> str:
    """Why the contender does not take part with this shape; empty if it does."""
    return "a step is of one timestep" if form == "stepper" and shape[1] != 1 else ""


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    rnn = cyrnn.layers.SimpleRNN(len(weights[2]), return_sequences=True)
    rnn.build(x.shape)
    rnn.set_weights(list(weights))
    if form == "stepper":
        x_t, output = np.ascontiguousarray(x[:, 0]), np.empty((len(x), 1, rnn.units), np.float32)
        stepper, step_output = rnn.stepper(len(x)), output[:, 0]
        reset, runner = cyrnn.capi.functions()["reset"], stepper.address

        def step() -> np.ndarray:
            reset(runner)  # each call begins anew, as those of the others do
            stepper.step(x_t, out=step_output)
            return output

        return step
    return lambda: rnn(x)
