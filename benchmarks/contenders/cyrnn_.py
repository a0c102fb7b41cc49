"""cyrnn: a call of the layer or model, as a user writes it (form "call").

Or the same with products of bfloat16 (form "bfloat16"); `predict` (form "predict"); for a single timestep, a step of a
stream (form "stepper"); or `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

import cyrnn

TOLERANCES = {"bfloat16": 5e-2}  # from the float64 answer


def hold(threads: int) -> dict[str, str]:
    """Held to `threads` by cyrnn's own setting; the facts include `cyrnn.show_config()`."""
    cyrnn.set_num_threads(threads)
    return {
        "cyrnn": cyrnn.__version__,
        "scipy": scipy.__version__,
        "cyrnn config": str(cyrnn.show_config("dicts")),
    }


def left_out(case: Any, form: str) -> str:
    """Why the contender does not take part with this case; empty if it does."""
    if form == "stepper" and case.shape[1] != 1:
        return "a step is of one timestep"
    if form == "stepper" and not hasattr(case.in_keras(cyrnn), "stepper"):
        return "this cyrnn has no steppers of models"
    return ""


def bind(case: Any, form: str) -> Callable[[], Any]:
    """A call without arguments, which returns the answer."""
    model, x = case.in_keras(cyrnn), case.x
    if form == "bfloat16":
        cyrnn.set_precision("bfloat16")  # this process has no other form
    if case.gradients:
        return _gradients(model, x, case.dy)
    if form == "predict":
        return lambda: model.predict(x)
    return _step(model, case) if form == "stepper" else lambda: model(x)


def _gradients(model: Any, x: np.ndarray, dy: np.ndarray) -> Callable[[], tuple[np.ndarray, ...]]:
    def call() -> tuple[np.ndarray, ...]:
        _, pullback = model.vjp(x)
        return tuple(pullback(dy, inputs=False).weights)

    return call


def _step(model: Any, case: Any) -> Callable[[], np.ndarray]:
    stepper, x_t = model.stepper(len(case.x)), np.ascontiguousarray(case.x[:, 0])
    output = np.empty((len(x_t), case.parts[-1].units), np.float32)
    reset, advance = stepper.reset, stepper.step
    answer = output[:, None] if case.parts[-1].whole else output  # with the one timestep, where the others have it

    def step() -> np.ndarray:
        reset()  # each call begins anew, as those of the others do
        advance(x_t, out=output)
        return answer

    return step


def fit(training: Any, form: str) -> Callable[[bool], tuple[Any, ...]]:
    """A call that trains for an epoch, shuffled or not, and returns the weights."""
    return training.in_keras(cyrnn)
