"""Keras on TensorFlow: the layer or model in a `tf.function`, as a graph or compiled by XLA (form "xla").

Or as its user calls it: `model(x)` (form "call"), `model.predict(x)` (form "predict") and `model.fit`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf


def hold(threads: int) -> dict[str, str]:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def bind(case: Any, form: str) -> Callable[[], Any]:
    """A call without arguments, which returns the answer."""
    model, x = case.in_keras(keras), case.x
    if form == "predict":
        return lambda: model.predict(x, batch_size=len(x), verbose=0)
    tensor = tf.constant(x)
    if case.gradients:
        return _gradients(model, tensor, tf.constant(case.dy), form == "xla")
    if form == "call":
        return lambda: model(tensor)
    graph = tf.function(model, jit_compile=form == "xla")
    return lambda: graph(tensor)


def _gradients(model: Any, x: Any, dy: Any, compiled: bool) -> Callable[[], Any]:
    @tf.function(jit_compile=compiled)
    def gradients(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            y = model(x)
        return tuple(tape.gradient(y, model.trainable_variables, output_gradients=dy))

    return lambda: gradients(x, dy)


def fit(training: Any, form: str) -> Callable[[bool], tuple[Any, ...]]:
    """A call that trains for an epoch, shuffled or not, and returns the weights."""
    return training.in_keras(keras)
