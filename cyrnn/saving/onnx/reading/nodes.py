"""ONNX's operators as layers: for each one function from the reader and a node to the value, or values, it returns."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.activations import OPERATORS as ACTIVATIONS
from cyrnn.saving.onnx.cells import OPERATORS as CELLS
from cyrnn.saving.onnx.reading.arithmetic import COMPARISONS, binary, negated, on_a_constant, where
from cyrnn.saving.onnx.reading.arranging import apart, with_last
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.recurrent_node import recurrent
from cyrnn.saving.onnx.reading.repeating import expand, multiplied, rearranged, tile
from cyrnn.saving.onnx.reading.reshaping import flattened
from cyrnn.saving.onnx.reading.shapes import SHAPES
from cyrnn.saving.onnx.reading.slicing import gather, sequence_at, sliced, split, split_to_sequence
from cyrnn.saving.onnx.reading.values import (
    Positions,
    Repeated,
    Signal,
    Sizes,
    Value,
    converted,
    described,
    has_batch,
    of_length,
    size,
)


def _applied(reader: Reader, x: Signal, cls: Any, *args: Any, values: Any = (), **kwargs: Any) -> Signal:
    """What a new layer returns that leaves the axes as they are."""
    layer = reader.layer(cls, *args, dtype=x.tensor.dtype, **kwargs)
    return x.with_tensor(reader.called(layer, x.tensor, values))


# ---------------------------------------------------------------- dense


def mat_mul(reader: Reader, node: Any) -> Value:
    """A Dense, with the bias if the next node adds one."""
    kernel, first = reader.constant(node, 1), reader.value(node.input[0])
    if isinstance(first, Repeated):
        return multiplied(reader, node, first, kernel)
    x = reader.signal(node)
    if kernel.ndim == 1:
        y = _dense(reader, x, kernel.reshape(-1, 1), None)
        return y.with_axes(y.axes[:-1])
    bias = None
    users = reader.consumers[node.output[0]]
    if len(users) == 1 and users[0].op_type == "Add" and node.output[0] not in reader.results:
        other = [name for name in users[0].input if name != node.output[0]]
        value = reader.value(other[0]) if len(other) == 1 and reader.is_known(other[0]) else None
        if isinstance(value, np.ndarray) and (value.shape, value.dtype) == (kernel.shape[1:], kernel.dtype):
            bias = reader.constant(users[0], list(users[0].input).index(other[0]))
            reader.fused.add(users[0].output[0])
    return _dense(reader, x, kernel, bias)


def add(reader: Reader, node: Any) -> Value | None:
    if node.output[0] in reader.fused:
        return reader.value(next(name for name in node.input if isinstance(reader.value(name), Signal)))
    return binary(reader, node)


def gemm(reader: Reader, node: Any) -> Value:
    """``alpha * op(A) op(B) + beta * C``"""
    x, kernel = reader.signal(node), reader.constant(node, 1)
    alpha, beta = (float(reader.attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    if len(x.axes) != 2 or kernel.ndim != 2:
        raise ModelFileError(f"it must multiply two matrices, got axes {described(x.axes)} and shape {kernel.shape}")
    if reader.attribute(node, "transA", 0):
        x = x.with_axes(x.axes[::-1])
    kernel = kernel.T if reader.attribute(node, "transB", 0) else kernel
    offset = _times(reader.constant(node, 2), beta) if len(node.input) > 2 and node.input[2] else None
    vector = offset is not None and offset.size == (1, *offset.shape)[-1] and offset.dtype == kernel.dtype
    bias = None if offset is None or not vector else np.broadcast_to(offset.reshape(-1), kernel.shape[1:])
    y = _dense(reader, x, _times(kernel, alpha), bias)
    return y if offset is None or vector else on_a_constant(reader, "Add", y, offset)


def _times(array: Array, factor: float) -> Array:
    return array if factor == 1 else (array * factor).astype(array.dtype)


def _dense(reader: Reader, x: Signal, kernel: Array, bias: Array | None) -> Signal:
    """Over the last axis of the file."""
    fits = kernel.ndim == 2 and kernel.dtype == x.tensor.dtype and kernel.dtype.kind == "f" and x.axes
    if not fits or has_batch(x.axes[-1]) or size(x.axes[-1]) != kernel.shape[0]:
        raise ModelFileError(
            f"its kernel {kernel.shape} of {kernel.dtype} does not fit {described(x.axes)} of {x.tensor.dtype}"
        )
    x, new = with_last(reader, x, len(x.axes) - 1), of_length(kernel.shape[1])
    layer = reader.layer(layers.Dense, kernel.shape[1], use_bias=bias is not None, dtype=x.tensor.dtype)
    tensor = reader.called(layer, x.tensor, [kernel] if bias is None else [kernel, bias])
    return Signal(tensor, (*x.stored[:-1], new), (*x.axes[:-1], new))


# ---------------------------------------------------------------- element by element


def activation(reader: Reader, node: Any) -> Value:
    """An operator that is one of the activations, with the same numbers; or a layer that takes these numbers."""
    x, kind = _numbers(reader, node), node.op_type
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


def _numbers(reader: Reader, node: Any) -> Signal:
    """The first input, which must be of a float type: layers would make one of integers."""
    x = reader.signal(node)
    if not x.tensor.dtype.startswith("float"):
        raise ModelFileError(f"its input must be of a float type, got {x.tensor.dtype}")
    return x


def thresholded_relu(reader: Reader, node: Any) -> Value:
    return _applied(reader, _numbers(reader, node), layers.ReLU, threshold=float(reader.attribute(node, "alpha", 1.0)))


def gelu(reader: Reader, node: Any) -> Value:
    if reader.attribute(node, "approximate", "none") != "none":
        raise ModelFileError("only the exact one is supported")
    return _applied(reader, _numbers(reader, node), layers.Activation, "gelu")


def named(name: str) -> Callable[[Reader, Any], Value]:
    """The activation of this name."""
    return lambda reader, node: _applied(reader, _numbers(reader, node), layers.Activation, name)


def unary(name: str) -> Callable[[Reader, Any], Value]:
    """The operation of this name."""
    return lambda reader, node: (x := _numbers(reader, node)).with_tensor(applied(name, x.tensor))


def absolute(reader: Reader, node: Any) -> Value:
    """Of floats, and of integers."""
    x = reader.signal(node)
    return x.with_tensor(applied("Absolute", x.tensor))


def power(reader: Reader, node: Any) -> Value:
    x, exponent = _numbers(reader, node), reader.number(node, 1)
    if exponent is None:
        raise ModelFileError("it must have an exponent")
    if exponent in _POWERS:
        return x.with_tensor(applied(_POWERS[exponent], x.tensor))
    return x.with_tensor(applied("Power", x.tensor, exponent))


_POWERS = {0.5: "Sqrt", 2.0: "Square"}


def clip(reader: Reader, node: Any) -> Value:
    x = _numbers(reader, node)
    least, most = (
        reader.number(node, index) if reader.opset >= 11 else reader.attribute(node, name, None)
        for index, name in ((1, "min"), (2, "max"))
    )
    if (least, most) == (-1, 1):
        return _applied(reader, x, layers.Activation, "hard_tanh")
    if least == 0:
        return _applied(reader, x, layers.ReLU, max_value=most)
    for name, bound in (("Maximum", least), ("Minimum", most)):
        x = x if bound is None else x.with_tensor(applied(name, x.tensor, float(bound)))
    return x


def softmax(reader: Reader, node: Any) -> Value:
    """Over one axis; up to opset 12 over all from this one on, as if they were one."""
    x = _numbers(reader, node)
    axis = x.axis(reader.attribute(node, "axis", -1 if reader.opset >= 13 else 1))
    axes = x.axes
    if reader.opset < 13:
        x, axis = flattened(x, axis), 1
    if node.op_type == "Softmax":
        x, place = apart(reader, x, axis)
        return _applied(reader, x, layers.Softmax, place + 1).with_axes(axes)
    return _applied(reader, with_last(reader, x, axis), layers.Activation, "log_softmax").with_axes(axes)


def dropout(reader: Reader, node: Any) -> Value:
    if len(node.input) > 2 and node.input[2] and np.any(reader.constant(node, 2)):
        raise ModelFileError("it is in training mode")
    if any(map(reader.needed, node.output[1:])):
        raise ModelFileError("its mask is used")
    return reader.signal(node)


# ---------------------------------------------------------------- normalizations, reductions


def batch_normalization(reader: Reader, node: Any) -> Value:
    x = _numbers(reader, node)
    if reader.attribute(node, "training_mode", 0) or not reader.attribute(node, "spatial", 1) or len(x.axes) < 2:
        raise ModelFileError("it must be in inference mode, over the second axis")
    weights = [reader.constant(node, index) for index in range(1, 5)]
    _check_weights(x, 1, weights)
    x, place = apart(reader, x, 1)
    options = {"axis": place + 1, "epsilon": float(reader.attribute(node, "epsilon", 1e-5))}
    return _applied(reader, x, layers.BatchNormalization, values=weights, **options)


def layer_normalization(reader: Reader, node: Any) -> Value:
    x, last = _numbers(reader, node), -1
    if x.axis(reader.attribute(node, "axis", -1)) != len(x.axes) - 1 or any(map(reader.needed, node.output[1:])):
        raise ModelFileError("it must be over the last axis, and return nothing else")
    weights = [reader.constant(node, index) for index in (1, 2) if len(node.input) > index and node.input[index]]
    _check_weights(x, last, weights)
    options = {"epsilon": float(reader.attribute(node, "epsilon", 1e-5)), "center": len(weights) > 1}
    return _applied(reader, with_last(reader, x, x.axis(last)), layers.LayerNormalization, values=weights, **options)


def _check_weights(x: Signal, axis: int, weights: list[Array]) -> None:
    length = size(x.axes[axis])
    if any(w.shape != (length,) or w.dtype != x.tensor.dtype for w in weights):
        kinds = ", ".join(f"{w.shape} of {w.dtype}" for w in weights)
        raise ModelFileError(f"its weights, {kinds}, do not fit axis {axis} of {described(x.axes)}")


_REDUCTIONS = {"ReduceMean": "Mean", "ReduceMax": "Max", "ReduceMin": "Min", "ReduceSum": "Sum"}
_POOLS = {"ReduceMean": layers.GlobalAveragePooling1D, "ReduceMax": layers.GlobalMaxPooling1D}


def reduced(reader: Reader, node: Any) -> Value:
    """The mean, or another summary, over axes that do not hold the batch."""
    x = reader.signal(node)
    if node.op_type == "ReduceMean" or x.tensor.dtype == "bool":
        x = _numbers(reader, node)
    axes = reader.integers(node, 1, "axes") or []
    if not axes and reader.attribute(node, "noop_with_empty_axes", 0):
        return x.with_axes(x.axes)
    gone = {x.axis(axis) for axis in axes} if axes else set(range(len(x.axes)))
    longer = [axis for axis in gone if x.axes[axis]]
    for axis in longer:
        x, _ = apart(reader, x, axis)
    places = sorted(apart(reader, x, axis)[1] for axis in longer)
    if places == [0] and len(x.stored) == 2 and node.op_type in _POOLS and x.tensor.dtype.startswith("float"):
        tensor = reader.called(reader.layer(_POOLS[node.op_type], dtype=x.tensor.dtype), x.tensor)
    elif places:
        tensor = applied(_REDUCTIONS[node.op_type], x.tensor, axis=tuple(place + 1 for place in places))
        if tensor.dtype != x.tensor.dtype:  # sums of short integers
            tensor = converted(tensor, x.tensor.dtype)
    else:
        tensor = x.tensor
    keep = reader.attribute(node, "keepdims", 1)
    kept = [() if number in gone else axis for number, axis in enumerate(x.axes) if keep or number not in gone]
    return Signal(tensor, tuple(axis for n, axis in enumerate(x.stored) if n not in places), tuple(kept))


def counted_from_0(reader: Reader, node: Any) -> Value:
    """A Range up to the open length of an axis; others are constants."""
    (start, limit, delta), ends = reader.inputs(node, 3), []
    for index, end in ((0, start), (2, delta)):
        ends.append(reader.number(node, index) if isinstance(end, np.ndarray) else None)
    if ends != [0, 1] or not isinstance(limit, Sizes) or len(limit.values) != 1 or isinstance(limit.values[0], int):
        raise ModelFileError("it must count to the length of an axis, from 0 in steps of 1")
    if has_batch(limit.values[0]):
        raise ModelFileError("it counts the batch")
    return Positions(limit.values[0])


def _or_repeated(of_signals: Callable[[Reader, Any], Any]) -> Callable[[Reader, Any], Any]:
    """The function for an operator that only moves axes, for constants that are repeated too."""

    def moved(reader: Reader, node: Any) -> Any:
        x = reader.value(node.input[0])
        return rearranged(reader, node, x) if isinstance(x, Repeated) else of_signals(reader, node)

    return moved


OPERATORS: dict[str, Callable[[Reader, Any], Any]] = {
    **SHAPES,
    **{name: _or_repeated(SHAPES[name]) for name in ("Transpose", "Squeeze", "Unsqueeze")},
    **dict.fromkeys(CELLS, recurrent),
    "MatMul": mat_mul,
    "Gemm": gemm,
    **dict.fromkeys(["Sub", "Mul", "Div", "Max", "Min", *COMPARISONS], binary),
    "Not": negated,
    "Where": where,
    "Expand": expand,
    "Tile": tile,
    "Add": add,
    **dict.fromkeys(sorted({operator for operator, _ in ACTIVATIONS.values()}), activation),
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "ThresholdedRelu": thresholded_relu,
    "Clip": clip,
    "Gelu": gelu,
    "Mish": named("mish"),
    "HardSwish": named("hard_silu"),
    "Neg": unary("Negative"),
    "Abs": absolute,
    "Sqrt": unary("Sqrt"),
    "Pow": power,
    "Dropout": dropout,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    **dict.fromkeys(_REDUCTIONS, reduced),
    "Range": counted_from_0,
    "Gather": gather,
    "Slice": sliced,
    "Split": split,
    "SplitToSequence": split_to_sequence,
    "SequenceAt": sequence_at,
}
