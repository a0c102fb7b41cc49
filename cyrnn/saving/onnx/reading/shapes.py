"""ONNX's operators that move numbers: axes in another order, more or fewer of them; and arithmetic on shapes."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.joining import joined
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.reshaping import flattened, reshape
from cyrnn.saving.onnx.reading.values import (
    MOST_AXES,
    Filled,
    Repeated,
    Signal,
    Sizes,
    Value,
    array_of,
    converted,
    described,
    dtype_named,
    has_batch,
    size,
)

_MOST_SIZES = 64  # that a vector of them may have; shapes have a few


def identity(reader: Reader, node: Any) -> Value | None:
    return reader.value(node.input[0])


def constant(reader: Reader, node: Any) -> Value:
    (found,) = node.attribute
    if found.name == "value":
        return array_of(found.t)
    if found.name in ("value_int", "value_ints", "value_float", "value_floats"):
        return np.array(reader.attribute(node, found.name, None), np.int64 if "int" in found.name else np.float32)
    raise ModelFileError(f"its {found.name!r:.100} is not supported")


def cast(reader: Reader, node: Any) -> Value | None:
    """To another dtype, but from floats to integers; or of indices, which an Embedding takes in any dtype."""
    x, dtype = reader.value(node.input[0]), dtype_named(reader.attribute(node, "to", 0))
    if isinstance(x, np.ndarray):
        return x.astype(dtype)
    if not isinstance(x, Signal) or x.tensor.dtype == dtype:
        return x
    users = reader.consumers[node.output[0]]
    indices = all(user.op_type == "Gather" and user.input[1] == node.output[0] for user in users)
    if dtype in ("int32", "int64") and users and indices and node.output[0] not in reader.results:
        return x
    if x.tensor.dtype.startswith("float") and not dtype.startswith("float"):
        raise ModelFileError(f"it makes {dtype} of {x.tensor.dtype}")
    return x.with_tensor(converted(x.tensor, dtype))


def transpose(reader: Reader, node: Any) -> Value:
    x = reader.signal(node)
    order = reader.attribute(node, "perm", list(reversed(range(len(x.axes)))))
    if sorted(order) != list(range(len(x.axes))):
        raise ModelFileError(f"its perm {order!r:.100} is no order of {len(x.axes)} axes")
    return x.with_axes(x.axes[axis] for axis in order)


def squeeze(reader: Reader, node: Any) -> Value:
    x = reader.value(node.input[0])
    if not isinstance(x, Signal):
        return _of_a_shape(x)
    axes = reader.integers(node, 1, "axes")
    if axes is None:
        if any(size(axis) is None for axis in x.axes):
            raise ModelFileError(f"it takes away all axes of length 1, and of {described(x.axes)} that is not known")
        gone = {number for number, axis in enumerate(x.axes) if size(axis) == 1}
    else:
        gone = {x.axis(axis) for axis in axes}
    if any(size(x.axes[axis]) != 1 or has_batch(x.axes[axis]) for axis in gone):
        raise ModelFileError(f"it takes away the axes {sorted(gone)} of {described(x.axes)}: the batch, or longer ones")
    return x.with_axes(axis for number, axis in enumerate(x.axes) if number not in gone)


def unsqueeze(reader: Reader, node: Any) -> Value:
    x = reader.value(node.input[0])
    if not isinstance(x, Signal):
        return _of_a_shape(x)
    axes = reader.integers(node, 1, "axes") or []
    rank = len(x.axes) + len(axes)
    new = {axis % rank for axis in axes if -rank <= axis < rank} if rank <= MOST_AXES else set()
    if len(new) < len(axes):
        raise ModelFileError(f"it adds the axes {axes[:MOST_AXES]} to {described(x.axes)}")
    rest = iter(x.axes)
    return x.with_axes(() if number in new else next(rest) for number in range(rank))


def reshaped(reader: Reader, node: Any) -> Value:
    x, lengths = reader.value(node.input[0]), sizes(reader.value(node.input[1])).values
    if not isinstance(x, Signal):
        return _of_a_shape(x)
    if reader.attribute(node, "allowzero", 0) and 0 in lengths:
        raise ModelFileError("its allowzero is not supported")
    if 0 in lengths[len(x.axes) :]:
        raise ModelFileError(f"it makes {Sizes(lengths)} of axes {described(x.axes)}, which are fewer")
    return reshape(reader, x, Sizes(tuple(x.axes[axis] if n == 0 else n for axis, n in enumerate(lengths))))


def flatten(reader: Reader, node: Any) -> Value:
    x = reader.signal(node)
    axis = reader.attribute(node, "axis", 1)
    return flattened(x, axis if axis == len(x.axes) else x.axis(axis))


def concat(reader: Reader, node: Any) -> Value:
    parts = [reader.value(name) for name in node.input]
    signals = [part for part in parts if isinstance(part, Signal)]
    if not signals:
        return limited(tuple(itertools.chain(*(sizes(part).values for part in parts))))
    if len(signals) < len(parts):
        raise ModelFileError("its inputs must all depend on the model's inputs")
    return joined(reader, signals, signals[0].axis(reader.attribute(node, "axis", None)))


# ---------------------------------------------------------------- shapes


def sizes(value: Any) -> Sizes:
    """Integers of a shape, from where it is known or from where it depends on data."""
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.ndim > 1:
        raise ModelFileError("it computes with what is no shape, and does not depend on the model's inputs")
    return limited(tuple(value.reshape(-1)[: _MOST_SIZES + 1].tolist()), value.size)


def limited(values: tuple[Any, ...], count: int | None = None) -> Sizes:
    """Sizes, which are no more than shapes have."""
    count = len(values) if count is None else count
    if count > _MOST_SIZES:
        raise ModelFileError(f"it makes a shape of {count} axes")
    return Sizes(values)


def _of_a_shape(value: Any) -> Value:
    """What only moves the integers of a shape, which are few, leaves them; and an array of one number likewise."""
    return value if isinstance(value, Filled) else sizes(value)


def shape(reader: Reader, node: Any) -> Value:
    x = reader.value(node.input[0])
    start, end = reader.attribute(node, "start", 0), reader.attribute(node, "end", None)
    if isinstance(x, (np.ndarray, Repeated)):
        return Sizes(tuple(x.shape if isinstance(x, np.ndarray) else x.lengths)[start:end])
    if isinstance(x, Sizes):
        return Sizes((len(x.values),)[start:end])
    return Sizes(reader.signal(node).axes[start:end])


def gather_sizes(reader: Reader, node: Any) -> Value:
    values = sizes(reader.value(node.input[0])).values
    return limited(tuple(values[n] for n in (reader.integers(node, 1, "") or [])[: _MOST_SIZES + 1]))


def slice_sizes(reader: Reader, node: Any) -> Value:
    value = reader.value(node.input[0])
    if isinstance(value, Filled):
        return value
    (start,), (end,) = (reader.integers(node, index, name) or [] for index, name in ((1, "starts"), (2, "ends")))
    (step,) = reader.integers(node, 4, "steps") or [1]
    return Sizes(sizes(value).values[start:end:step])


def constant_of_shape(reader: Reader, node: Any) -> Value:
    value = reader.attribute(node, "value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ModelFileError(f"its value must be one number, got shape {value.shape}")
    lengths = sizes(reader.value(node.input[0])).known
    if value.dtype.kind in "iu" and lengths is not None and len(lengths) < 2 and math.prod(lengths) <= _MOST_SIZES:
        return np.full(lengths, value.reshape(()))  # a shape in the making
    return Filled(float(value.reshape(())))


SHAPES: dict[str, Callable[[Reader, Any], Any]] = {
    "Identity": identity,
    "Constant": constant,
    "Cast": cast,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Reshape": reshaped,
    "Flatten": flatten,
    "Concat": concat,
    "Shape": shape,
    "ConstantOfShape": constant_of_shape,
}
