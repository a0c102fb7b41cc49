"""TensorFlow Lite: the layer or model unrolled and frozen, run by LiteRT's interpreter with XNNPACK.

With a single timestep, states are inputs and outputs, as a stream has them: the converter would leave out the product
with a state of zeros. Copying the new state to the next input is not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

LONGEST = 200  # timesteps: a graph has three operators for each, and the converter needs seconds
options = {"num_threads": 1}


def hold(threads: int) -> dict[str, str]:
    options["num_threads"] = threads
    return {
        "tensorflow": tf.__version__,
        "ai-edge-litert": version("ai-edge-litert"),
        "tflite with one timestep": "its states are inputs and outputs (else it leaves out the product with zeros)",
    }


def left_out(case: Any, form: str) -> str:
    """Why the contender does not take part with this case; empty if it does."""
    return f"unrolled up to {LONGEST} timesteps only" if case.shape[1] > LONGEST else ""


def bind(case: Any, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments, which returns the answer."""
    x = case.x if case.x.dtype == np.float32 else case.x.astype(np.int32)
    recurrent = (
        [part for part in case.parts if part.kind in ("recurrent", "bidirectional")] if case.shape[1] == 1 else []
    )
    each = [part for part in recurrent for _ in range(len(part.weights) // 3 * (2 if part.layer == "LSTM" else 1))]
    states = [tf.TensorSpec((len(x), part.units), name=f"state_{n}") for n, part in enumerate(each)]

    def model(inputs: tf.Tensor, *states: tf.Tensor) -> list[tf.Tensor]:
        return _answer_and_states(case, inputs, states)

    specs = [tf.TensorSpec(x.shape, x.dtype, name="x"), *states]
    graph = tf.function(model, autograph=False).get_concrete_function(*specs)
    content = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
    interpreter = Interpreter(model_content=content, **options)  # XNNPACK is its default for float32
    interpreter.allocate_tensors()
    for given in interpreter.get_input_details():  # views: nothing is copied in a call
        interpreter.tensor(given["index"])()[...] = x if given["name"] == "x" else 0.0
    (first,) = (found for found in interpreter.get_output_details() if found["name"] == "Identity")
    output = interpreter.tensor(first["index"])

    def call() -> np.ndarray:
        interpreter.invoke()
        return output()

    return call


def _answer_and_states(case: Any, x: tf.Tensor, states: Iterable[tf.Tensor]) -> list[tf.Tensor]:
    """The model, step by step; the new states after the answer, where there are states."""
    begin, lengths, ends = list(states), None, []
    for part in case.parts:
        weights = [tf.constant(array) for array in part.weights]
        if part.kind == "embedding":
            lengths = tf.reduce_sum(tf.sign(x), axis=1) if part.mask_zero else None
            x = tf.gather(weights[0], x)
        elif part.kind == "dense":
            rows = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), weights[0]) + weights[1]
            x = tf.reshape(tf.nn.softmax(rows) if part.softmax else rows, (*x.shape[:-1], part.units))
        else:
            outputs = []
            for direction in range(len(weights) // 3):
                count = 2 if part.layer == "LSTM" else 1
                first, begin = begin[:count], begin[count:]
                steps, last = _sequence(part, x, *weights[3 * direction :][:3], first, direction == 1)
                outputs.append(steps)
                ends += last
            if part.whole or len(outputs) == 2:
                x = tf.concat([tf.stack(steps, axis=1) for steps in outputs], axis=-1)
            elif lengths is None:
                x = outputs[0][-1]
            else:
                x = tf.gather(tf.stack(outputs[0], axis=1), lengths - 1, batch_dims=1)
    return [x, *ends] if states else [x]


def _sequence(
    part: Any,
    x: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    begin: list[Any],
    reverse: bool,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The outputs (batch, units) by time, from x (batch, timesteps, features), and the states; without any to begin
    with, these are zeros."""
    batch, timesteps, features = x.shape
    of_inputs, of_states = tf.unstack(bias) if len(bias.shape) == 2 else (bias, None)
    rows = tf.matmul(tf.reshape(x, (batch * timesteps, features)), kernel) + of_inputs
    outputs = []
    states: list[Any] = list(begin) or [None, None]
    for projected in tf.unstack(tf.reshape(rows, (batch, timesteps, rows.shape[1])), axis=1)[:: -1 if reverse else 1]:
        sums = None if states[0] is None else tf.matmul(states[0], recurrent_kernel)
        if of_states is not None:
            sums = tf.tile(of_states[None], (batch, 1)) if sums is None else sums + of_states
        states = CELLS[part.layer](projected, sums, *states[: 2 if part.layer == "LSTM" else 1])
        outputs.append(states[0])
    return outputs[:: -1 if reverse else 1], states


# Each takes the sums of inputs and of the state, (batch, gates * units), and the states, of which None is zeros; and
# returns the new states.


def _simple(a: tf.Tensor, s: Any, h: Any) -> list[tf.Tensor]:
    return [tf.tanh(a if s is None else a + s)]


def _lstm(a: tf.Tensor, s: Any, h: Any, c: Any) -> list[tf.Tensor]:
    i, f, g, o = tf.split(a if s is None else a + s, 4, axis=1)
    new = tf.sigmoid(i) * tf.tanh(g)
    c = new if c is None else tf.sigmoid(f) * c + new
    return [tf.sigmoid(o) * tf.tanh(c), c]


def _gru(a: tf.Tensor, s: tf.Tensor, h: Any) -> list[tf.Tensor]:
    (z, r, n), (h_z, h_r, h_n) = tf.split(a, 3, axis=1), tf.split(s, 3, axis=1)
    z = tf.sigmoid(z + h_z)
    new = (1 - z) * tf.tanh(n + tf.sigmoid(r + h_r) * h_n)
    return [new if h is None else z * h + new]


CELLS = {"SimpleRNN": _simple, "LSTM": _lstm, "GRU": _gru}
