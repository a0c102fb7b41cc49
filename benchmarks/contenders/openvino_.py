"""OpenVINO: its operators RNNSequence, LSTMSequence and GRUSequence, held to float32.

Or in the precision of its default (form "default"), which is bfloat16 on CPUs that multiply it faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset8

core = ov.Core()
TOLERANCES = {"default": 5e-2}  # from the float64 answer


def hold(threads: int) -> dict[str, str]:
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    core.set_property("CPU", hints)
    return {"openvino": ov.__version__}


def bind(case: Any, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments, which returns the answer."""
    x = case.x if case.x.dtype == np.float32 else case.x.astype(np.int32)
    precision = {} if form == "default" else {"INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(_model(case, x), "CPU", precision).create_infer_request()
    tensor = ov.Tensor(x, shared_memory=True)
    answer = request.get_output_tensor()

    def call() -> np.ndarray:
        request.set_input_tensor(tensor)  # here, so that the call keeps the input's memory alive
        request.infer()
        return answer.data

    return call


def _model(case: Any, x: np.ndarray) -> ov.Model:
    batch, timesteps, _, _ = case.shape
    node = parameter = opset8.parameter(x.shape, x.dtype.type)
    lengths = None
    for part in case.parts:
        if part.kind == "embedding":
            if part.mask_zero:
                lengths = opset8.reduce_sum(opset8.sign(node), np.array([1]))
            node = opset8.gather(part.weights[0], node, np.array(0))
        elif part.kind == "dense":
            node = opset8.add(opset8.matmul(node, part.weights[0], False, False), part.weights[1])
            node = opset8.softmax(node, -1) if part.softmax else node
        else:
            node = _recurrent(node, lengths, part, batch, timesteps)
    return ov.Model([node], [parameter])


def _recurrent(node: Any, lengths: Any, part: Any, batch: int, timesteps: int) -> Any:
    """The node of the outputs. `lengths` (batch,) are those of rows that end early, or None.

    RNNSequence would take lengths too, but is an order of magnitude slower where they are not constants. So all
    timesteps are computed, and each row's last one is picked.
    """
    kernels, recurrent_kernels, biases = (part.weights[number::3] for number in range(3))
    directions = len(kernels)
    weights = (
        np.stack([_ordered(part.layer, kernel).T for kernel in kernels]),  # (directions, gates * units, features)
        np.stack(
            [_ordered(part.layer, kernel).T for kernel in recurrent_kernels]
        ),  # (directions, gates * units, units)
        np.stack([_bias(part.layer, bias) for bias in biases]),  # (directions, gates * units)
        part.units,
        "bidirectional" if directions == 2 else "forward",
    )
    state, ends = np.zeros((batch, directions, part.units), np.float32), np.full(batch, timesteps, np.int32)
    if part.layer == "LSTM":
        rnn = opset8.lstm_sequence(node, state, state, ends, *weights)
    elif part.layer == "GRU":
        rnn = opset8.gru_sequence(node, state, ends, *weights, linear_before_reset=True)
    else:
        rnn = opset8.rnn_sequence(node, state, ends, *weights, ["tanh"])
    if directions == 2:  # (batch, directions, timesteps, units) -> (batch, timesteps, 2 * units)
        by_time = opset8.transpose(rnn.output(0), np.array([0, 2, 1, 3]))
        return opset8.reshape(by_time, np.array([batch, timesteps, 2 * part.units]), False)
    if lengths is not None and not part.whole:
        last = opset8.subtract(lengths, np.array(1, np.int32))
        return opset8.gather(opset8.squeeze(rnn.output(0), np.array([1])), last, np.array(1), 1)
    return opset8.squeeze(rnn.output(0 if part.whole else 1), np.array([1]))


def _ordered(layer: str, array: np.ndarray) -> np.ndarray:
    """Gates in OpenVINO's order: of an LSTM it begins with the forget gate."""
    if layer != "LSTM":
        return array
    i, f, c, o = np.split(array, 4, axis=-1)
    return np.concatenate([f, i, c, o], axis=-1)


def _bias(layer: str, bias: np.ndarray) -> np.ndarray:
    """The bias of the operator: of a GRU the sums of both, but for the candidate, where both count."""
    if layer != "GRU":
        return _ordered(layer, bias)
    of_gates, candidates = np.split(bias, [2 * bias.shape[1] // 3], axis=1)
    return np.concatenate([of_gates.sum(axis=0), *candidates])
