"""ONNX Runtime: ONNX' own RNN operator, between the two transpositions that a batch-first sequence needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

options = onnxruntime.SessionOptions()


def hold(threads: int) -> dict[str, str]:
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


def bind(weights: Sequence[np.ndarray], x: np.ndarray, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments: x (batch, timesteps, features) -> (batch, timesteps, units)."""
    kernel, recurrent_kernel, bias = weights
    units = len(bias)
    constants = {
        "w": kernel.T[None],  # (directions, units, features)
        "r": recurrent_kernel.T[None],  # (directions, units, units)
        "b": np.concatenate([bias, np.zeros_like(bias)])[None],  # (directions, 2 * units)
        "direction": np.array([1]),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["x_by_time"], perm=[1, 0, 2]),
        helper.make_node("RNN", ["x_by_time", "w", "r", "b"], ["y_by_time"], hidden_size=units),
        helper.make_node("Squeeze", ["y_by_time", "direction"], ["y_squeezed"]),
        helper.make_node("Transpose", ["y_squeezed"], ["y"], perm=[1, 0, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "rnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (*x.shape[:2], units))],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]
