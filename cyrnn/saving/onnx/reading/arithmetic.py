"""ONNX's Add, Sub, Mul, Div, Max and Min: of two signals, or of a signal and a constant along any of its axes."""

from typing import Any

from cyrnn import layers
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.arranging import broadcast, expanded, file_order, in_file_order
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.shapes import sizes
from cyrnn.saving.onnx.reading.values import Signal, Sizes, Value, described, has_batch, of_length, size

_LAYERS = {
    "Add": layers.Add,
    "Sub": layers.Subtract,
    "Mul": layers.Multiply,
    "Max": layers.Maximum,
    "Min": layers.Minimum,
}
_OPERATIONS = {
    "Add": "Add",
    "Sub": "Subtract",
    "Mul": "Multiply",
    "Div": "TrueDivide",
    "Max": "Maximum",
    "Min": "Minimum",
}


def binary(reader: Reader, node: Any) -> Value:
    """Two values of which at least one depends on the inputs."""
    if len(node.input) != 2:
        raise ModelFileError(f"it must have two inputs, got {len(node.input)}")
    a, b = reader.inputs(node, 2)
    if isinstance(a, Signal) and isinstance(b, Signal):
        return _of_two(reader, node.op_type, a, b)
    if isinstance(a, Signal):
        return on_a_constant(reader, node.op_type, a, reader.constant(node, 1))
    if isinstance(b, Signal):
        return on_a_constant(reader, node.op_type, b, reader.constant(node, 0), constant_first=True)
    lengths = [sizes(value).values for value in (a, b)] if node.op_type == "Mul" else []
    if [len(values) for values in lengths] == [1, 1]:
        (m,), (n,) = lengths
        return Sizes(((of_length(m) if isinstance(m, int) else m) + (of_length(n) if isinstance(n, int) else n),))
    raise ModelFileError("its inputs are constants; only those that depend on the model's inputs are computed with")


def _of_two(reader: Reader, kind: str, a: Signal, b: Signal) -> Signal:
    if a.tensor.dtype != b.tensor.dtype or not a.tensor.dtype.startswith("float"):
        raise ModelFileError(f"its inputs must be of one float type, got {a.tensor.dtype} and {b.tensor.dtype}")
    a, b, axes = broadcast(reader, a, b)
    stored = a.stored if axes == a.axes else file_order(axes)
    if kind == "Div":
        return Signal(applied("TrueDivide", a.tensor, b.tensor), stored, axes)
    layer = reader.layer(_LAYERS[kind], dtype=a.tensor.dtype)
    return Signal(reader.called(layer, [a.tensor, b.tensor]), stored, axes)


def on_a_constant(reader: Reader, kind: str, x: Signal, constant: Array, constant_first: bool = False) -> Signal:
    """``x + constant``, or another operation, or ``constant - x``; the constant broadcasts, but not along the batch."""
    if constant.dtype != x.tensor.dtype or constant.dtype.kind != "f" or not constant.size:
        raise ModelFileError(f"a constant of shape {constant.shape} and {constant.dtype} does not fit {x.tensor}")
    x = expanded(x, max(len(x.axes), constant.ndim))
    shape = (1,) * (len(x.axes) - constant.ndim) + constant.shape
    along = [axis for axis, n in enumerate(shape) if n != 1]
    for axis in along:
        if has_batch(x.axes[axis]) or size(x.axes[axis]) not in (1, None, shape[axis]):
            raise ModelFileError(f"a constant of shape {constant.shape} does not broadcast to {described(x.axes)}")
    value: float | Array = float(constant.reshape(())) if constant.size == 1 else constant
    if along:
        x, value = _in_place(reader, x, constant.reshape(shape), along)
    longer = [axis for axis in along if size(x.axes[axis]) != shape[axis]]
    if not longer and kind in ("Add", "Sub", "Mul"):
        return x.with_tensor(_rescaled(reader, kind, x, value, constant_first))
    pair = (value, x.tensor) if constant_first else (x.tensor, value)
    axes = tuple(of_length(shape[n]) if n in longer else axis for n, axis in enumerate(x.axes))
    return Signal(applied(_OPERATIONS[kind], *pair), file_order(axes) if longer else x.stored, axes)


def _in_place(reader: Reader, x: Signal, constant: Array, along: list[int]) -> tuple[Signal, Array]:
    """The signal and a constant of as many axes, with the lengths of these axes of the file where the tensor has them.

    The signal is in the file's order if one of its axes becomes longer.
    """
    if any(x.axes[axis] not in x.stored or size(x.axes[axis]) != constant.shape[axis] for axis in along):
        x = in_file_order(reader, x)
        places = {axis: len(file_order(x.axes[:axis])) for axis in along}
    else:
        places = {axis: x.stored.index(x.axes[axis]) for axis in along}
    lengths = [1] * x.tensor.ndim
    for axis, place in places.items():
        lengths[place + 1] = constant.shape[axis]
    others = [axis for axis in range(constant.ndim) if axis not in places]
    return x, constant.transpose([*others, *sorted(along, key=places.__getitem__)]).reshape(lengths)


def _rescaled(reader: Reader, kind: str, x: Signal, value: Any, constant_first: bool) -> KerasTensor:
    scale, offset = {
        "Mul": (value, 0.0),
        "Add": (1.0, value),
        "Sub": (-1.0, value) if constant_first else (1.0, -value),
    }[kind]
    tensor: KerasTensor = reader.called(reader.layer(layers.Rescaling, scale, offset, dtype=x.tensor.dtype), x.tensor)
    return tensor
