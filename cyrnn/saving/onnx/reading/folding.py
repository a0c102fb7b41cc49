"""ONNX's operators on constants alone, which some exporters leave to the runtime: computed while the file is read."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.slicing import places
from cyrnn.saving.onnx.reading.values import Sizes


def folded(reader: Reader, node: Any) -> Array | None:
    """What a node returns that takes constants alone; None for other nodes, and for operators that are not known here.

    Raises ModelFileError where that would be far larger than the file.
    """
    known = _ARITHMETIC if node.op_type in _ARITHMETIC else _MOVING
    kinds = (np.ndarray, Sizes) if known is _ARITHMETIC else np.ndarray
    if node.op_type not in known or not node.input or not all(_is_constant(reader, name, kinds) for name in node.input):
        return None
    inputs = [_array(reader.value(name)) for name in node.input]
    return known[node.op_type](reader, node, inputs)


def _is_constant(reader: Reader, name: str, kinds: Any) -> bool:
    if not name or (name in reader.weights and name not in reader.values):
        return True
    value = reader.values.get(name)
    return isinstance(value, kinds) and not (isinstance(value, Sizes) and value.known is None)


def _array(value: Any) -> Array | None:
    return np.array(value.known, np.int64) if isinstance(value, Sizes) else value


def _made(reader: Reader, node: Any, size: int, dtype: Any) -> None:
    """Note the memory that a result will take, before there is any. Raises ModelFileError where it is too much."""
    reader.spend(node.output[0], size * np.dtype(dtype).itemsize)


def _transpose(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    return np.transpose(inputs[0], reader.attribute(node, "perm", None))


def _squeeze(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    axes = reader.integers(node, 1, "axes")
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def _unsqueeze(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    return np.expand_dims(inputs[0], tuple(reader.integers(node, 1, "axes") or []))


def _reshape(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    lengths = reader.integers(node, 1, "") or []
    if reader.attribute(node, "allowzero", 0):
        raise ModelFileError("its allowzero is not supported")
    _made(reader, node, inputs[0].size, inputs[0].dtype)
    return np.reshape(inputs[0], [inputs[0].shape[axis] if n == 0 else n for axis, n in enumerate(lengths)])


def _concat(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    _made(reader, node, sum(array.size for array in inputs), inputs[0].dtype)
    if len({array.dtype for array in inputs}) > 1:
        raise ModelFileError("its inputs must be of one dtype")
    return np.concatenate(inputs, reader.attribute(node, "axis", None))


def _gather(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    (table, indices), axis = inputs, reader.attribute(node, "axis", 0)
    _made(reader, node, indices.size * (table.size // max(1, table.shape[axis])), table.dtype)
    return np.take(table, indices, axis)


def _slice(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    array = inputs[0]
    starts, ends, axes, steps = (
        reader.integers(node, index, name) for index, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    key = [slice(None)] * array.ndim
    for number, start in enumerate(starts or []):
        axis = number if axes is None else axes[number]
        chosen = places(array.shape[axis], start, (ends or [])[number], steps[number] if steps else 1)
        key[axis] = slice(chosen.start, chosen.stop if chosen.stop >= 0 else None, chosen.step)
    return array[tuple(key)]


def _arithmetic(function: Callable[..., Array]) -> Callable[[Reader, Any, list[Any]], Array]:
    def computed(reader: Reader, node: Any, inputs: list[Any]) -> Array:
        a, b = inputs
        if a.dtype != b.dtype or a.dtype.kind not in "fi":
            raise ModelFileError(f"its inputs must be of one dtype, got {a.dtype} and {b.dtype}")
        _made(reader, node, math.prod(np.broadcast_shapes(a.shape, b.shape)), a.dtype)
        return np.asarray(function(a, b))

    return computed


def _divided(a: Array, b: Array) -> Array:
    """The quotient; of integers toward zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if np.any(b == 0):
        raise ModelFileError("it divides an integer by 0")
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _range(reader: Reader, node: Any, inputs: list[Any]) -> Array:
    start, limit, delta = (int(array.reshape(-1)[0]) for array in inputs)
    if inputs[0].dtype.kind not in "iu" or delta == 0:
        raise ModelFileError(f"it must count integers in steps other than 0, got {inputs[0].dtype}")
    _made(reader, node, len(range(start, limit, delta)), inputs[0].dtype)
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


_MOVING: dict[str, Callable[[Reader, Any, list[Any]], Array]] = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
}
_ARITHMETIC = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divided),
    "Range": _range,
}
