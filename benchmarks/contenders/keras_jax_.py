"""Keras on JAX: its `fit`, which JAX compiles."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras


def hold(threads: int) -> dict[str, str]:
    """JAX sizes its pool by the processors the process may use, which the runner limits."""
    jax.config.update("jax_platforms", "cpu")
    return {"keras": keras.__version__, "jax": jax.__version__}


def fit(training: Any, form: str) -> Callable[[bool], tuple[Any, ...]]:
    """A call that trains for an epoch, shuffled or not, and returns the weights."""
    return training.in_keras(keras)
