"""OpenVINO: its RNNSequence operator, held to float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from openvino import opset5

core = ov.Core()


def hold(threads: int) -> dict[str, str]:
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    core.set_property("CPU", hints)
    return {"openvino": ov.__version__}


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    kernel, recurrent_kernel, bias = weights
    batch, timesteps, _ = x.shape
    units = len(bias)
    parameter = opset5.parameter(x.shape, np.float32)
    rnn = opset5.rnn_sequence(
        parameter,
        np.zeros((batch, 1, units), np.float32),
        np.full(batch, timesteps, np.int32),
        np.ascontiguousarray(kernel.T)[None],  # (directions, units, features)
        np.ascontiguousarray(recurrent_kernel.T)[None],  # (directions, units, units)
        bias[None],  # (directions, units)
        units,
        "forward",
        ["tanh"],
    )
    direction = opset5.constant(np.array([1]))
    sequence = opset5.squeeze(rnn.output(0), direction)  # (batch, directions, timesteps, units)
    request = core.compile_model(ov.Model([sequence], [parameter]), "CPU").create_infer_request()
    tensor = ov.Tensor(x, shared_memory=True)
    answer = request.get_output_tensor()

    def call() -> np.ndarray:
        request.set_input_tensor(tensor)  # here, so that the call keeps the input's memory alive
        request.infer()
        return answer.data

    return call
