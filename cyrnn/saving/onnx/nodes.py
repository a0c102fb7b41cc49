"""ONNX's operators as layers: for each one function from the reader and a node to the value, or values, it gives."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.operations import applied
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.activations import OPERATORS as ACTIVATIONS
from cyrnn.saving.onnx.rnn_node import rnn
from cyrnn.saving.onnx.shapes import SHAPES, axis_of
from cyrnn.saving.onnx.slicing import gather, sliced
from cyrnn.saving.onnx.values import DIRECTIONS, Signal, Value


def _applied(reader: Any, x: Signal, cls: Any, *args: Any, values: Any = (), **kwargs: Any) -> Signal:
    """What a new layer gives that leaves the axes as they are."""
    layer = reader.layer(cls, *args, dtype=x.tensor.dtype, **kwargs)
    return replace(x, tensor=reader.called(layer, x.tensor, values))


def _features_last(reader: Any, node: Any, index: int = 0) -> Signal:
    x = reader.signal(node, index)
    if not x.features_last:
        raise ModelFileError(f"its input must have the features last, got axes in the order {x.axes}")
    return x


# ---------------------------------------------------------------- dense


def mat_mul(reader: Any, node: Any) -> Value:
    """A Dense, with the bias if the next node adds one."""
    x, kernel = _features_last(reader, node), reader.constant(node, 1)
    if kernel.ndim != 2:
        raise ModelFileError(f"it must multiply with a matrix, got shape {kernel.shape}")
    bias = None
    users = reader.consumers[node.output[0]]
    if len(users) == 1 and users[0].op_type == "Add" and node.output[0] not in reader.results:
        other = [name for name in users[0].input if name != node.output[0]]
        value = reader.value(other[0]) if len(other) == 1 and reader.is_known(other[0]) else None
        if isinstance(value, np.ndarray) and value.shape == kernel.shape[1:]:
            bias = value
            reader.fused.add(users[0].output[0])
    return _dense(reader, x, kernel, bias)


def gemm(reader: Any, node: Any) -> Value:
    x, kernel = _features_last(reader, node), reader.constant(node, 1)
    attributes = [reader.attribute(node, name, default) for name, default in (("alpha", 1), ("beta", 1), ("transA", 0))]
    bias = reader.inputs(node, 3)[2]
    if attributes != [1, 1, 0] or kernel.ndim != 2 or len(x.axes) != 2 or not x.in_order:
        raise ModelFileError(f"alpha, beta and transA must be 1, 1 and 0, got {attributes}, and the kernel a matrix")
    kernel = kernel.T if reader.attribute(node, "transB", 0) else kernel
    if bias is not None:
        bias = np.broadcast_to(reader.constant(node, 2).reshape(-1), kernel.shape[1:])
    return _dense(reader, x, kernel, bias)


def _dense(reader: Any, x: Signal, kernel: Any, bias: Any) -> Signal:
    if kernel.dtype != x.tensor.dtype or kernel.shape[0] != x.tensor.shape[-1]:
        raise ModelFileError(f"its kernel {kernel.shape} of {kernel.dtype} does not fit {x.tensor}")
    values = [kernel] if bias is None else [kernel, bias]
    return _applied(reader, x, layers.Dense, kernel.shape[1], use_bias=bias is not None, values=values)


# ---------------------------------------------------------------- element by element

_LAYERS = {
    "Add": layers.Add,
    "Sub": layers.Subtract,
    "Mul": layers.Multiply,
    "Max": layers.Maximum,
    "Min": layers.Minimum,
}


def binary(reader: Any, node: Any) -> Value:
    """Two values of which at least one depends on the inputs."""
    if node.op_type == "Add" and node.output[0] in reader.fused:
        name = next(name for name in node.input if isinstance(reader.value(name), Signal))
        return reader.value(name)
    if len(node.input) != 2:
        raise ModelFileError(f"it must have two inputs, got {len(node.input)}")
    a, b = reader.inputs(node, 2)
    if isinstance(a, Signal) and isinstance(b, Signal):
        if a.axes != b.axes or a.directions != b.directions or a.tensor.dtype != b.tensor.dtype:
            raise ModelFileError(f"its inputs must have the same axes in the same order, got {a.axes} and {b.axes}")
        if node.op_type == "Div":
            return replace(a, tensor=applied("TrueDivide", a.tensor, b.tensor))
        layer = reader.layer(_LAYERS[node.op_type], dtype=a.tensor.dtype)
        return replace(a, tensor=reader.called(layer, [a.tensor, b.tensor]))
    x = a if isinstance(a, Signal) else b
    if not isinstance(x, Signal) or node.op_type not in ("Add", "Sub", "Mul", "Div"):
        raise ModelFileError("its inputs are constants; only those that depend on the model's inputs are computed with")
    number = _over(x, reader.constant(node, 1 if x is a else 0))
    if node.op_type == "Div":
        if x is b:
            raise ModelFileError("it divides a constant")
        return _scaled(reader, x, 1 / number, 0.0)
    if node.op_type == "Mul":
        return _scaled(reader, x, number, 0.0)
    if node.op_type == "Add":
        return _scaled(reader, x, 1.0, number)
    return _scaled(reader, x, *((1.0, -number) if x is a else (-1.0, number)))


def _over(x: Signal, constant: Any) -> Any:
    """A constant that broadcasts to x, with axes in the order of the tensor."""
    rank = x.tensor.ndim
    if DIRECTIONS in x.axes or constant.ndim > rank or constant.dtype != x.tensor.dtype:
        raise ModelFileError(f"a constant of shape {constant.shape} and {constant.dtype} does not fit {x.tensor}")
    if constant.size == 1:
        return constant.reshape(())
    whole = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    whole = whole.transpose([x.axes.index(axis) for axis in range(rank)])
    if whole.shape[0] != 1 or any(n not in (1, m) for n, m in zip(whole.shape, x.tensor.shape, strict=True)):
        raise ModelFileError(f"a constant of shape {constant.shape} does not broadcast to {x.tensor}")
    return whole


def _scaled(reader: Any, x: Signal, scale: Any, offset: Any) -> Signal:
    plain = [np.asarray(value).tolist() for value in (scale, offset)]
    return _applied(reader, x, layers.Rescaling, *plain)


def activation(reader: Any, node: Any) -> Value:
    """An operator that is one of the activations, with the same numbers; or a layer that takes these numbers."""
    x, kind = reader.signal(node), node.op_type
    usual = _DEFAULTS.get(kind, {})
    given = {name: reader.attribute(node, name, default) for name, default in usual.items()}
    for name, (operator, attributes) in ACTIVATIONS.items():
        wanted = {**usual, **attributes}
        if operator == kind and all(np.isclose(given[key], wanted[key], rtol=1e-6, atol=0) for key in usual):
            return _applied(reader, x, layers.Activation, name)
    if kind == "LeakyRelu":
        return _applied(reader, x, layers.LeakyReLU, float(given["alpha"]))
    if kind == "Elu":
        return _applied(reader, x, layers.ELU, float(given["alpha"]))
    raise ModelFileError(f"its attributes {given} are not supported")


_DEFAULTS: dict[str, dict[str, float]] = {
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805},
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Shrink": {"lambd": 0.5, "bias": 0.0},
}


def thresholded_relu(reader: Any, node: Any) -> Value:
    return _applied(reader, reader.signal(node), layers.ReLU, threshold=float(reader.attribute(node, "alpha", 1.0)))


def gelu(reader: Any, node: Any) -> Value:
    if reader.attribute(node, "approximate", "none") != "none":
        raise ModelFileError("only the exact one is supported")
    return _applied(reader, reader.signal(node), layers.Activation, "gelu")


def named(name: str) -> Callable[[Any, Any], Value]:
    """The activation of this name."""
    return lambda reader, node: _applied(reader, reader.signal(node), layers.Activation, name)


def clip(reader: Any, node: Any) -> Value:
    x = reader.signal(node)
    least, most = (
        reader.number(node, index) if reader.opset >= 11 else reader.attribute(node, name, None)
        for index, name in ((1, "min"), (2, "max"))
    )
    if (least, most) == (-1, 1):
        return _applied(reader, x, layers.Activation, "hard_tanh")
    if least != 0:
        raise ModelFileError(f"it must be from 0 up, or from -1 to 1; got {least} to {most}")
    return _applied(reader, x, layers.ReLU, max_value=most)


def softmax(reader: Any, node: Any) -> Value:
    x = reader.signal(node)
    axis = axis_of(x, reader.attribute(node, "axis", -1 if reader.opset >= 13 else 1))
    if DIRECTIONS in x.axes or x.axes[axis] == 0 or (reader.opset < 13 and axis != len(x.axes) - 1):
        raise ModelFileError("it must be over one axis of features")
    if node.op_type == "Softmax":
        return _applied(reader, x, layers.Softmax, x.axes[axis])
    if not x.features_last or axis != len(x.axes) - 1:
        raise ModelFileError("it must be over the features")
    return _applied(reader, x, layers.Activation, "log_softmax")


def dropout(reader: Any, node: Any) -> Value:
    if len(node.input) > 2 and node.input[2] and np.any(reader.constant(node, 2)):
        raise ModelFileError("it is in training mode")
    if any(map(reader.needed, node.output[1:])):
        raise ModelFileError("its mask is used")
    return reader.signal(node)


# ---------------------------------------------------------------- normalizations, pools, tables


def batch_normalization(reader: Any, node: Any) -> Value:
    x = reader.signal(node)
    if reader.attribute(node, "training_mode", 0) or DIRECTIONS in x.axes or x.axes[1:2] in ((), (0,)):
        raise ModelFileError("it must be in inference mode, over an axis of features")
    gamma, beta, mean, variance = (reader.constant(node, index) for index in range(1, 5))
    options = {"axis": x.axes[1], "epsilon": float(reader.attribute(node, "epsilon", 1e-5))}
    return _applied(reader, x, layers.BatchNormalization, values=[gamma, beta, mean, variance], **options)


def layer_normalization(reader: Any, node: Any) -> Value:
    x, gamma = _features_last(reader, node), reader.constant(node, 1)
    if axis_of(x, reader.attribute(node, "axis", -1)) != len(x.axes) - 1 or any(map(reader.needed, node.output[1:])):
        raise ModelFileError("it must be over the last axis, and give nothing else")
    beta = [reader.constant(node, 2)] if len(node.input) > 2 and node.input[2] else []
    options = {"epsilon": float(reader.attribute(node, "epsilon", 1e-5)), "center": bool(beta)}
    return _applied(reader, x, layers.LayerNormalization, values=[gamma, *beta], **options)


def pooled(reader: Any, node: Any) -> Value:
    """ReduceMean or ReduceMax over the timesteps."""
    x = reader.signal(node)
    axes = [axis_of(x, axis) for axis in reader.integers(node, 1, "axes") or []]
    if x.tensor.ndim != 3 or DIRECTIONS in x.axes or [x.axes[axis] for axis in axes] != [1]:
        raise ModelFileError("it must be over the timesteps of (batch, timesteps, features)")
    keepdims = bool(reader.attribute(node, "keepdims", 1))
    cls = layers.GlobalAveragePooling1D if node.op_type == "ReduceMean" else layers.GlobalMaxPooling1D
    found = _applied(reader, x, cls, keepdims=keepdims)
    if keepdims:
        return found
    return replace(found, axes=tuple(axis if axis == 0 else axis - 1 for axis in x.axes if axis != 1))


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **SHAPES,
    "RNN": rnn,
    "MatMul": mat_mul,
    "Gemm": gemm,
    **dict.fromkeys([*_LAYERS, "Div"], binary),
    **dict.fromkeys(sorted({operator for operator, _ in ACTIVATIONS.values()}), activation),
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "ThresholdedRelu": thresholded_relu,
    "Clip": clip,
    "Gelu": gelu,
    "Mish": named("mish"),
    "HardSwish": named("hard_silu"),
    "Dropout": dropout,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "ReduceMean": pooled,
    "ReduceMax": pooled,
    "Gather": gather,
    "Slice": sliced,
}
