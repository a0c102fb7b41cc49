"""ONNX graphs made by hand, for tests of what reads them."""

from collections import Counter

import numpy as np
import pytest

NEEDED = "needs onnx and onnxruntime: pip install '.[test-onnx]'"
onnx = pytest.importorskip("onnx", reason=NEEDED)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDED)
onnxruntime.set_default_logger_severity(3)

UNITS, FEATURES = 4, 3


def sequences(batch=5, timesteps=7, features=FEATURES):
    return np.random.default_rng(1).standard_normal((batch, timesteps, features)).astype("f4")


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def value(name, shape, dtype=onnx.TensorProto.FLOAT):
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


def weights(directions=1, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"W": (UNITS, FEATURES), "R": (UNITS, UNITS), "B": (2 * UNITS,)}
    return {name: rng.uniform(-0.7, 0.7, (directions, *shape)).astype("f4") for name, shape in shapes.items()}


def graph(nodes, outputs, arrays, x=(None, None, FEATURES), more=(), opset=17):
    """A ModelProto; `nodes` are (operator, inputs, outputs, attributes)."""
    counts = Counter()
    made = []
    for op, i, o, attributes in nodes:
        counts[op] += 1
        number = f" {counts[op]}" if counts[op] > 1 else ""
        made.append(onnx.helper.make_node(op, i, o, name=f"my {op}{number}", **attributes))
    constants = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    inputs = [value("x", x), *more]
    whole = onnx.helper.make_graph(made, "g", inputs, [value(name, None) for name in outputs], constants)
    versions = [onnx.helper.make_opsetid("", opset)]
    ir = onnx.helper.find_min_ir_version_for(versions)
    return onnx.helper.make_model(whole, opset_imports=versions, ir_version=ir)


def rnn(directions=1, inputs=("x", "W", "R", "B"), **attributes):
    direction = {"direction": "bidirectional"} if directions == 2 else {}
    return graph([("RNN", [*inputs], ["Y", "Y_h"], {**direction, **attributes})], ["Y", "Y_h"], weights(directions))


def run(proto, **arrays):
    """What ONNX Runtime gives."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, arrays)
