"""TensorFlow Lite: the layer unrolled and frozen, run by LiteRT's interpreter with XNNPACK."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

LONGEST = 200  # timesteps: a graph has three operators for each, and the converter needs seconds
options = {"num_threads": 1}


def hold(threads: int) -> dict[str, str]:
    options["num_threads"] = threads
    return {"tensorflow": tf.__version__, "ai-edge-litert": version("ai-edge-litert")}


def left_out(shape: tuple[int, ...], form: str) -> str:
    """Why the contender does not take part with this shape; empty if it does."""
    return f"unrolled up to {LONGEST} timesteps only" if shape[1] > LONGEST else ""


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    batch, timesteps, features = x.shape
    units = len(weights[2])

    def unrolled(inputs: tf.Tensor) -> tf.Tensor:
        kernel, recurrent_kernel, bias = map(tf.constant, weights)
        rows = tf.reshape(inputs, (batch * timesteps, features))
        first, *others = tf.unstack(tf.reshape(tf.matmul(rows, kernel) + bias, (batch, timesteps, units)), axis=1)
        outputs = [tf.tanh(first)]  # its state is zeros
        for projected in others:
            outputs.append(tf.tanh(projected + tf.matmul(outputs[-1], recurrent_kernel)))
        return tf.stack(outputs, axis=1)

    graph = tf.function(unrolled, autograph=False).get_concrete_function(tf.TensorSpec(x.shape, tf.float32))
    model = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
    interpreter = Interpreter(model_content=model, **options)  # XNNPACK is its default for float32
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.tensor(given["index"])()[...] = x  # views: nothing is copied in a call
    output = interpreter.tensor(returned["index"])

    def call() -> np.ndarray:
        interpreter.invoke()
        return output()

    return call
