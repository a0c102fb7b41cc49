"""Keras' operations between layers as ops of a program: indexing, arithmetic, and those that compute masks.

In models of Keras 3 the mask of an Embedding is ``not_equal(tokens, 0)``, that of a Masking
``any(not_equal(x, value), axis=-1)``.
"""

import math
from collections.abc import Callable
from typing import Any

from cyrnn.layers.base.array_functions import OF_ACTIVATIONS, item_shape
from cyrnn.layers.base.programs import indexing, merges
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Compared, Outside, Symbolic, Value
from cyrnn.layers.base.symbolic import Operation

_ARITHMETIC = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Divide": "divide",
    "TrueDivide": "divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
_POOLS = {"Mean": "average", "Sum": "sum", "Max": "max"}
_ACTIVATIONS = {operation: name for name, operation in OF_ACTIVATIONS.items()}


def lower_operation(lowering: Lowering, operation: Operation, args: Any) -> Symbolic:
    """The value that an operation computes. Raises NotLoweredError for other operations, and other arguments."""
    lower = _LOWERED.get(operation.class_name)
    found = None if lower is None else lower(lowering, operation, args)
    if found is None:
        raise NotLoweredError(f"the engine has no op for the operation {operation.class_name} of these arguments")
    return found


def _numbers(lowering: Lowering, value: Any) -> Value:
    """A tensor of the program's dtype. Raises NotLoweredError: an operation converts nothing."""
    dtype = getattr(getattr(value, "place", None), "dtype", None) or lowering.dtype.name
    if dtype != lowering.dtype.name:
        raise NotLoweredError(f"it computes in {dtype}, and the program in {lowering.dtype}")
    x = lowering.numbers(value)
    lowering.take_exactly(x)
    return x


def _not_equal(lowering: Lowering, operation: Operation, args: Any) -> Symbolic | None:
    x, number = args
    if not isinstance(x, (Value, Outside)) or type(number) not in (int, float) or operation.options:
        return None
    rank = len(lowering.shape_of(x))
    if rank == 2 and number == 0 and isinstance(x, Outside) and not x.is_mask:
        return lowering.nonzero(x)
    return Compared(x, float(number)) if rank == 3 else None


def _any(lowering: Lowering, operation: Operation, args: Any) -> Symbolic | None:
    along_features = operation.options.get("axis") in (-1, 2, (-1,), (2,))
    if not isinstance(args[0], Compared) or not along_features or operation.options.get("keepdims"):
        return None
    return lowering.masking(args[0].value, args[0].number)[1]


def _arithmetic(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    tensors = [isinstance(part, (Value, Outside)) for part in args]
    if all(tensors):
        shapes = [lowering.shape_of(part) for part in args]
        if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) < 2:
            return None  # the batch would be another axis
        shape = merges.broadcast(shapes)
        values = [_numbers(lowering, part) for part in args]
        return merges.merged(lowering, _ARITHMETIC[operation.class_name], values, shape)
    number = args[tensors.index(False)]
    if type(number) not in (int, float) or not math.isfinite(number):
        return None
    return _with_number(lowering, operation.class_name, args[tensors.index(True)], float(number), first=tensors[1])


def _with_number(lowering: Lowering, name: str, tensor: Any, number: float, first: bool) -> Value | None:
    """`first`: whether the number is the first argument."""
    factors = {"Add": (1.0, number), "Multiply": (number, 0.0)}
    factors["Subtract"] = (-1.0, number) if first else (1.0, -number)
    if name in ("Divide", "TrueDivide") and not first and number != 0:
        factors[name] = (1 / number, 0.0)
    if name == "Maximum" and number == 0:
        x = _numbers(lowering, tensor)
        out = lowering.buffer(x.shape, x.timeline)
        lowering.program.relu(x.view, out.view)
        return out
    return _scaled(lowering, tensor, *factors[name]) if name in factors else None


def _scaled(lowering: Lowering, tensor: Any, factor: float, offset: float = 0.0) -> Value:
    x = _numbers(lowering, tensor)
    out = lowering.buffer(x.shape, x.timeline)
    lowering.program.scale(x.view, out.view, factor=factor, offset=offset)
    return out


def _negative(lowering: Lowering, operation: Operation, args: Any) -> Value:
    return _scaled(lowering, args[0], -1.0)


def _square(lowering: Lowering, operation: Operation, args: Any) -> Value:
    x = _numbers(lowering, args[0])
    return merges.merged(lowering, "multiply", [x, x], x.shape)


def _power(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    return _square(lowering, operation, args) if args[1] == 2 and type(args[1]) in (int, float) else None


def _absolute(lowering: Lowering, operation: Operation, args: Any) -> Value:
    """relu(x) + relu(-x), whose gradient at 0 is 0 as TensorFlow has it."""
    x = _numbers(lowering, args[0])
    parts = []
    for side in (x, _scaled(lowering, args[0], -1.0)):
        parts.append(lowering.buffer(x.shape, x.timeline))
        lowering.program.relu(side.view, parts[-1].view)
    return merges.merged(lowering, "add", parts, x.shape)


def _activation(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    axis = operation.options.get("axis", -1)
    if operation.options.keys() - {"axis"} or axis not in (-1, len(lowering.shape_of(args[0])) - 1):
        return None
    return lowering.activation(_ACTIVATIONS[operation.class_name], _numbers(lowering, args[0]))


def _pooled(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    """Along the timesteps."""
    shape = lowering.shape_of(args[0])
    axis = operation.options.get("axis")
    axes = [axis] if type(axis) is int else list(axis or ())
    if len(shape) < 3 or [n % len(shape) for n in axes] != [1]:
        return None
    x = _numbers(lowering, args[0])
    out = lowering.buffer((shape[0], *shape[2:]))
    lowering.program.global_pool(_POOLS[operation.class_name], x.view, out.view)
    if not operation.options.get("keepdims"):
        return indexing.in_shape(lowering, out, out.shape)
    return lowering.reshaped(out, (shape[0], 1, *shape[2:]), lowering.timeline(constant=1))


def _joined(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    shapes = [lowering.shape_of(part) for part in args[0]]
    axis = operation.options.get("axis", 0) % len(shapes[0])
    if len({len(shape) for shape in shapes}) > 1 or axis == 0:
        return None
    lengths = [shape[axis] for shape in shapes]
    total = None if None in lengths else sum(n for n in lengths if n is not None)
    rest = merges.broadcast([(*shape[:axis], 1, *shape[axis + 1 :]) for shape in shapes])
    values = [_numbers(lowering, part) for part in args[0]]
    return merges.joined(lowering, values, (*rest[:axis], total, *rest[axis + 1 :]), axis)


def _item(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    shape = lowering.shape_of(args[0])
    return indexing.item(lowering, _numbers(lowering, args[0]), args[1], item_shape(shape, args[1]))


def _flipped(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    rank, axis = len(lowering.shape_of(args[0])), operation.options.get("axis")
    axes = [axis] if type(axis) is int else list(axis or ())
    if rank < 3 or [n % rank for n in axes] != [1]:
        return None
    return lowering.reversed(_numbers(lowering, args[0]))


def _transposed(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    rank, axes = len(lowering.shape_of(args[0])), operation.options.get("axes")
    order = [axis % rank for axis in axes or ()]
    if rank < 3 or len(order) != rank or order[0] != 0:
        return None
    return lowering.transposed(_numbers(lowering, args[0]), order)


def _with_axis(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    shape, axis = lowering.shape_of(args[0]), operation.options.get("axis")
    if type(axis) is not int:
        return None
    axis = axis % (len(shape) + 1)
    if axis == 0:
        return None
    return indexing.in_shape(lowering, _numbers(lowering, args[0]), (*shape[:axis], 1, *shape[axis:]), same=axis != 1)


def _without_axis(lowering: Lowering, operation: Operation, args: Any) -> Value | None:
    shape, axis = lowering.shape_of(args[0]), operation.options.get("axis")
    if type(axis) is not int or axis % len(shape) == 0 or shape[axis] != 1:
        return None
    axis = axis % len(shape)
    return indexing.in_shape(lowering, _numbers(lowering, args[0]), (*shape[:axis], *shape[axis + 1 :]), same=axis != 1)


_LOWERED: dict[str, Callable[[Lowering, Operation, Any], Symbolic | None]] = {
    "NotEqual": _not_equal,
    "Any": _any,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    **dict.fromkeys(_POOLS, _pooled),
    **dict.fromkeys(_ACTIVATIONS, _activation),
    "Negative": _negative,
    "Square": _square,
    "Power": _power,
    "Absolute": _absolute,
    "Concatenate": _joined,
    "GetItem": _item,
    "Flip": _flipped,
    "Transpose": _transposed,
    "ExpandDims": _with_axis,
    "Squeeze": _without_axis,
}
KNOWN = frozenset(_LOWERED)
