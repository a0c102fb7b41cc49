"""NumPy: one product for all inputs, then a loop over the timesteps with one product each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def hold(threads: int) -> dict[str, str]:
    """NumPy's BLAS reads its number of threads from the environment, which the runner sets."""
    return {"numpy": np.__version__}


def left_out(case: Any, form: str) -> str:
    """Why the contender does not take part with this case; empty if it does."""
    return "a SimpleRNN alone" if len(case.parts) > 1 or case.parts[0].layer != "SimpleRNN" else ""


def bind(case: Any, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    x, (kernel, recurrent_kernel, bias) = case.x, case.parts[0].weights
    batch, timesteps, features = x.shape
    units = len(bias)

    def call() -> np.ndarray:
        # (batch, timesteps, units) = (batch * timesteps, features) @ (features, units) + (units,)
        out = (x.reshape(-1, features) @ kernel).reshape(batch, timesteps, units)
        out += bias
        state = np.zeros((batch, units), x.dtype)
        product = np.empty_like(state)
        for t in range(timesteps):
            np.matmul(state, recurrent_kernel, out=product)
            product += out[:, t]
            np.tanh(product, out=state)
            out[:, t] = state
        return out

    return call
