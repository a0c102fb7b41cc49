"""cyrnn: a call of the layer, as a user writes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import scipy

import cyrnn


def hold(threads: int) -> dict[str, str]:
    """Held to `threads` by cyrnn's own setting; the facts include what `cyrnn.show_config()` tells."""
    cyrnn.set_num_threads(threads)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        config = cyrnn.show_config()
    return {
        "cyrnn": cyrnn.__version__,
        "scipy": scipy.__version__,
        "cyrnn config": str(config or printed.getvalue()).strip(),
    }


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    rnn = cyrnn.layers.SimpleRNN(len(weights[2]), return_sequences=True)
    rnn.build(x.shape)
    rnn.set_weights(list(weights))
    return lambda: rnn(x)
