"""ONNX's operators on two tensors, element by element: of two signals, or of a signal and a constant along its axes."""

import math
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.arranging import broadcast, expanded, file_order, in_file_order, together
from cyrnn.saving.onnx.reading.lengths import counted
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.repeating import chosen_sizes, compared_sizes, fits
from cyrnn.saving.onnx.reading.shapes import sizes
from cyrnn.saving.onnx.reading.values import (
    Positions,
    Repeated,
    Signal,
    Sizes,
    Value,
    described,
    has_batch,
    of_length,
    size,
)

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
    "Equal": "Equal",
    "Less": "Less",
    "LessOrEqual": "LessEqual",
    "Greater": "Greater",
    "GreaterOrEqual": "GreaterEqual",
    "And": "LogicalAnd",
    "Or": "LogicalOr",
}
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or")


def binary(reader: Reader, node: Any) -> Value:
    """Two values of which at least one depends on the inputs."""
    if len(node.input) != 2:
        raise ModelFileError(f"it must have two inputs, got {len(node.input)}")
    a, b = reader.inputs(node, 2)
    if isinstance(a, Positions) and isinstance(b, Signal):
        a = counted(reader, a, b)
    elif isinstance(b, Positions) and isinstance(a, Signal):
        b = counted(reader, b, a)
    if node.op_type == "Equal" and (found := compared_sizes(a, b)) is not None:
        return found
    if isinstance(a, Signal) and isinstance(b, Signal):
        return _of_two(reader, node.op_type, a, b)
    if isinstance(a, Signal):
        return on_a_constant(reader, node.op_type, a, _constant(reader, node, 1, a))
    if isinstance(b, Signal):
        return on_a_constant(reader, node.op_type, b, _constant(reader, node, 0, b), constant_first=True)
    if isinstance(a, Repeated) or isinstance(b, Repeated):
        return _of_repeated(reader, node, a, b)
    lengths = [sizes(value).values for value in (a, b)] if node.op_type == "Mul" else []
    if [len(values) for values in lengths] == [1, 1]:
        (m,), (n,) = lengths
        return Sizes(((of_length(m) if isinstance(m, int) else m) + (of_length(n) if isinstance(n, int) else n),))
    raise ModelFileError("its inputs are constants; only those that depend on the model's inputs are computed with")


def _constant(reader: Reader, node: Any, index: int, x: Signal) -> Array:
    """What a signal is computed with: without the axes along which it is only repeated, as the signal has them."""
    value = reader.value(node.input[index])
    if isinstance(value, Positions):
        raise ModelFileError("it computes with the numbers of timesteps, which can only be compared")
    if isinstance(value, Repeated):
        if not fits(value, x.axes):
            raise ModelFileError(f"a constant is repeated along other axes than those of {described(x.axes)}")
        reader.spend(node.input[index], value.array.nbytes)
        return value.array
    constant = reader.constant(node, index)
    for number, axis in enumerate(reversed(x.axes), 1):
        if axis == (reader.batch,) and number <= constant.ndim and constant.shape[-number] == reader.batch.length:
            first = constant.take([0], -number)
            constant = first if np.array_equal(constant, np.broadcast_to(first, constant.shape)) else constant
    return constant


def _of_repeated(reader: Reader, node: Any, a: Value | None, b: Value | None) -> Repeated:
    """Arithmetic on what is repeated; a constant beside it does not reach along the axes of that."""
    known = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
    parts = [
        part if isinstance(part, Repeated) else Repeated(part, part.shape)
        for part in (a, b)
        if isinstance(part, (Repeated, np.ndarray))
    ]
    if node.op_type not in known or len(parts) < 2 or parts[0].array.dtype != parts[1].array.dtype:
        raise ModelFileError("its inputs are constants of kinds that are not computed with")
    arrays = [part.array for part in parts]
    size_of_both = math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    reader.spend(node.output[0], size_of_both * arrays[0].itemsize)
    array = known[node.op_type](*arrays)
    lengths = [(1,) * (array.ndim - len(part.lengths)) + tuple(part.lengths) for part in parts]
    pairs = [set(pair) - {1} for pair in zip(*lengths, strict=True)]
    if any(len(pair) > 1 for pair in pairs) or any(
        n != 1 and {n} != pair for n, pair in zip(array.shape, pairs, strict=True)
    ):
        raise ModelFileError("its inputs are repeated along different axes")
    return Repeated(array, tuple(pair.pop() if pair else 1 for pair in pairs))


def _of_two(reader: Reader, kind: str, a: Signal, b: Signal) -> Signal:
    if a.tensor.dtype != b.tensor.dtype:
        raise ModelFileError(f"its inputs must be of one type, got {a.tensor.dtype} and {b.tensor.dtype}")
    _check_kind(kind, a)
    a, b, axes = broadcast(reader, a, b)
    stored = a.stored if axes == a.axes else file_order(axes)
    if kind not in _LAYERS or not a.tensor.dtype.startswith("float"):
        return Signal(applied(_OPERATIONS[kind], a.tensor, b.tensor), stored, axes)
    layer = reader.layer(_LAYERS[kind], dtype=a.tensor.dtype)
    return Signal(reader.called(layer, [a.tensor, b.tensor]), stored, axes)


def _check_kind(kind: str, x: Signal) -> None:
    """Raises ModelFileError for a dtype that the operator is not computed in here."""
    if (kind == "Div" and not x.tensor.dtype.startswith("float")) or (kind in ("And", "Or")) != (
        x.tensor.dtype == "bool"
    ):
        raise ModelFileError(f"it is not supported for {x.tensor.dtype}")


def on_a_constant(reader: Reader, kind: str, x: Signal, constant: Array, constant_first: bool = False) -> Signal:
    """``x + constant``, or another operation, or ``constant - x``; the constant broadcasts, but not along the batch."""
    if constant.dtype != x.tensor.dtype or not constant.size:
        raise ModelFileError(f"a constant of shape {constant.shape} and {constant.dtype} does not fit {x.tensor}")
    _check_kind(kind, x)
    x = expanded(x, max(len(x.axes), constant.ndim))
    shape = (1,) * (len(x.axes) - constant.ndim) + constant.shape
    along = [axis for axis, n in enumerate(shape) if n != 1]
    for axis in along:
        if has_batch(x.axes[axis]) or size(x.axes[axis]) not in (1, None, shape[axis]):
            raise ModelFileError(f"a constant of shape {constant.shape} does not broadcast to {described(x.axes)}")
    value: float | Array = constant.reshape(()).item() if constant.size == 1 else constant
    if along:
        x, value = _in_place(reader, x, constant.reshape(shape), along)
    longer = [axis for axis in along if size(x.axes[axis]) != shape[axis]]
    if not longer and kind in ("Add", "Sub", "Mul") and constant.dtype.kind == "f":
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


def negated(reader: Reader, node: Any) -> Value:
    """ONNX's Not."""
    x = reader.signal(node)
    if x.tensor.dtype != "bool":
        raise ModelFileError(f"its input must be of bool, got {x.tensor.dtype}")
    return x.with_tensor(applied("LogicalNot", x.tensor))


def where(reader: Reader, node: Any) -> Value:
    """The second where the first is true, else the third: signals of the same axes, where they are not 1; numbers."""
    condition, *values = reader.inputs(node, 3)
    if isinstance(condition, np.ndarray):
        return chosen_sizes(condition, *values)
    signals = [reader.signal(node), *(value for value in values if isinstance(value, Signal))]
    numbers = [None if isinstance(value, Signal) else reader.number(node, 1 + n) for n, value in enumerate(values)]
    if len(signals) == 1 or signals[0].tensor.dtype != "bool" or len({x.tensor.dtype for x in signals[1:]}) > 1:
        kinds = [x.tensor.dtype for x in signals]
        raise ModelFileError(f"it must choose between tensors of one dtype that depend on the inputs, got {kinds}")
    tensors, axes = together(reader, signals)
    rest = iter(tensors[1:])
    chosen = [next(rest) if number is None else number for number in numbers]
    return Signal(applied("Where", tensors[0], *chosen), file_order(axes), axes)
