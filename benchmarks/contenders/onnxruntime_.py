"""ONNX Runtime: ONNX' operators RNN, LSTM and GRU, between the two transpositions that batch-first sequences need.

The form "bound" has its input and output bound to arrays, which spares it what `run` does in each call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

options = onnxruntime.SessionOptions()
ORDER = {"SimpleRNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}  # of the gates
OPERATOR = {
    "SimpleRNN": ("RNN", {"activations": ["Tanh"]}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"linear_before_reset": 1}),
}


def hold(threads: int) -> dict[str, str]:
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


class Graph:
    """The nodes and constants of a model, in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def rnn(self, sequence: str, lengths: str, part: Any) -> list[str]:
        """All outputs (timesteps, directions, batch, units) and the last (directions, batch, units), by time."""
        weights = [np.concatenate(self.gates(part.layer, array), axis=-1) for array in part.weights]
        kernels, recurrent_kernels, biases = (weights[number::3] for number in range(3))
        both = [bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]) for bias in biases]
        operator, attributes = OPERATOR[part.layer]
        if len(kernels) == 2 and "activations" in attributes:
            attributes = {"activations": attributes["activations"] * 2}
        return self.add(
            operator,
            sequence,
            self.constant(np.stack([kernel.T for kernel in kernels])),
            self.constant(np.stack([kernel.T for kernel in recurrent_kernels])),
            self.constant(np.stack([bias.ravel() for bias in both])),
            lengths,
            outputs=2,
            hidden_size=part.units,
            direction="bidirectional" if len(kernels) == 2 else "forward",
            **attributes,
        )

    @staticmethod
    def gates(layer: str, array: np.ndarray) -> list[np.ndarray]:
        """The gates of a weight in ONNX' order."""
        gates = np.split(array, len(ORDER[layer]), axis=-1)
        return [gates[number] for number in ORDER[layer]]


def bind(case: Any, form: str) -> Callable[[], np.ndarray]:
    """A call without arguments, which returns the answer."""
    x = case.x if case.x.dtype == np.float32 else case.x.astype(np.int32)
    session = onnxruntime.InferenceSession(_model(case, x).SerializeToString(), options, ["CPUExecutionProvider"])
    if form != "bound":
        feed = {"x": x}
        return lambda: session.run(None, feed)[0]
    binding, value = session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy(x)
    answer = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(_answer_shape(case), np.float32))
    binding.bind_ortvalue_input("x", value)
    binding.bind_ortvalue_output("y", answer)
    view = answer.numpy()

    def call() -> np.ndarray:
        session.run_with_iobinding(binding)
        return view

    return call


def _answer_shape(case: Any) -> tuple[int, ...]:
    batch, timesteps, _, _ = case.shape
    whole = case.parts[-2:][0].whole or case.parts[-2:][0].kind == "bidirectional"
    return (batch, timesteps, case.parts[-1].units) if whole else (batch, case.parts[-1].units)


def _model(case: Any, x: np.ndarray) -> Any:
    graph = Graph()
    name, lengths, by_time = "x", "", False
    for part in case.parts:
        if part.kind == "embedding":
            if part.mask_zero:
                (signs,) = graph.add("Sign", name)
                (lengths,) = graph.add("ReduceSum", signs, graph.constant(np.array([1])), keepdims=0)
            (name,) = graph.add("Transpose", name, perm=[1, 0])
            (name,) = graph.add("Gather", graph.constant(part.weights[0]), name)
            by_time = True
        elif part.kind == "dense":
            (name,) = graph.add("MatMul", name, graph.constant(part.weights[0]))
            (name,) = graph.add("Add", name, graph.constant(part.weights[1]))
            (name,) = graph.add("Softmax", name) if part.softmax else (name,)
        else:
            if not by_time:
                (name,) = graph.add("Transpose", name, perm=[1, 0, 2])
            by_time = True
            sequence, last = graph.rnn(name, lengths, part)
            if part.kind == "bidirectional":
                (name,) = graph.add("Transpose", sequence, perm=[2, 0, 1, 3])
                (name,) = graph.add("Reshape", name, graph.constant(np.array([*x.shape[:2], 2 * part.units])))
            elif part.whole:
                (name,) = graph.add("Squeeze", sequence, graph.constant(np.array([1])))
            else:
                (name,) = graph.add("Squeeze", last, graph.constant(np.array([0])))
    if case.parts[-1].whole:
        (name,) = graph.add("Transpose", name, perm=[1, 0, 2])
    graph.nodes[-1].output[0] = "y"
    kind = TensorProto.FLOAT if x.dtype == np.float32 else TensorProto.INT32
    made = helper.make_graph(
        graph.nodes,
        "model",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, _answer_shape(case))],
        graph.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
