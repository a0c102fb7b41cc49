"""Keras on TensorFlow: the layer in a `tf.function`, as a graph or compiled by XLA (form "xla")."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf


def hold(threads: int) -> dict[str, str]:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], tf.Tensor]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    rnn = keras.layers.SimpleRNN(len(weights[2]), return_sequences=True)
    rnn.build(x.shape)
    rnn.set_weights(list(weights))
    graph = tf.function(rnn, jit_compile=form == "xla")
    tensor = tf.constant(x)
    return lambda: graph(tensor)
