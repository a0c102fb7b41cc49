"""What Keras computes between layers, ``x + y`` or ``x[:, -1]``, as ONNX nodes; and the masks that layers make."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn import activations
from cyrnn.layers import Embedding, Masking
from cyrnn.layers.base import nest
from cyrnn.layers.base.array_functions import OF_ACTIVATIONS
from cyrnn.layers.base.operations import Operation
from cyrnn.saving.onnx.activations import applied
from cyrnn.saving.onnx.graph import LAST, Graph, Tensor

_BINARY = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "TrueDivide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
    "Power": "Pow",
}
_UNARY = {"Negative": "Neg", "Absolute": "Abs", "Sqrt": "Sqrt"}
_ACTIVATIONS = {operation: activations.get(name) for name, operation in OF_ACTIVATIONS.items()}
_LOGICAL = {"LogicalAnd": "And", "LogicalOr": "Or", "LogicalNot": "Not"}


def operation(graph: Graph, layer: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """The name of what an operation gives for arguments that are tensors and plain values. Raises ValueError."""
    kind, options = layer.class_name, {**layer.options, **kwargs}
    x = args[0]
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if kind == "Concatenate" and options.keys() <= {"axis"} and len({part.dtype for part in nest.leaves(x)}) == 1:
        return graph.node("Concat", *(part.name for part in nest.leaves(x)), axis=options.get("axis", 0))
    if kind == "ExpandDims" and set(options) == {"axis"}:
        return graph.unsqueeze(x.name, options["axis"])
    if kind == "GetItem" and not kwargs and len(args) == 2:
        return _item(graph, x, args[1])
    if kind in _BINARY and not options:
        if any(x.dtype != graph.dtype for x in tensors):
            raise ValueError(f"it is of {tensors[0].dtype}; only numbers of {graph.dtype} are supported")
        return graph.node(_BINARY[kind], *(_operand(graph, arg, graph.dtype) for arg in args))
    if kind in _UNARY and not options and x.dtype == graph.dtype:
        return graph.node(_UNARY[kind], x.name)
    if kind in _ACTIVATIONS and options in ({}, {"axis": -1}) and x.dtype == graph.dtype:
        return applied(graph, _ACTIVATIONS[kind], x.name)
    if kind in ("Square", "ZerosLike") and not options and x.dtype == graph.dtype:
        return graph.node("Mul", x.name, x.name) if kind == "Square" else graph.zeros_like(x.name)
    if kind == "Reshape" and set(options) == {"newshape"} and 0 not in options["newshape"]:
        return graph.reshape(x.name, *options["newshape"])
    if kind in _LOGICAL and not options and all(x.dtype == bool for x in tensors):
        return graph.node(_LOGICAL[kind], *(_operand(graph, arg, np.bool_) for arg in args))
    if kind == "NotEqual" and not options:
        return _differs(graph, *args)
    if kind == "Any" and options.pop("keepdims", False) is False and set(options) == {"axis"} and x.dtype == bool:
        return _any(graph, x.name, options["axis"])
    raise ValueError(f"the operation {kind!r} with {options or 'these arguments'} is not supported")


def _operand(graph: Graph, value: Any, dtype: Any) -> str:
    return value.name if isinstance(value, Tensor) else graph.constant(value, dtype)


def _differs(graph: Graph, x: Any, y: Any) -> str:
    dtype = next(part.dtype for part in (x, y) if isinstance(part, Tensor))
    return graph.node("Not", graph.node("Equal", *(_operand(graph, part, dtype) for part in (x, y))))


def _any(graph: Graph, name: str, axis: Any) -> str:
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return graph.cast(graph.reduce("ReduceMax", graph.cast(name, np.int32), axes, keepdims=False), np.bool_)


def _item(graph: Graph, x: Tensor, key: Any) -> str:
    """``x[key]`` for integers, slices and an ellipsis."""
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (len(x.shape) - len(keys) + 1)
    name, gone = x.name, []
    for axis, part in enumerate(keys):
        if isinstance(part, int):
            name = graph.slice(name, axis, part, part + 1 if part != -1 else -LAST - 1)
            gone.append(axis)
        elif not isinstance(part, slice):
            raise ValueError(f"the index {part!r} is not supported")
        elif part != slice(None):
            step = 1 if part.step is None else part.step
            start = part.start if part.start is not None else 0 if step > 0 else -1
            stop = part.stop if part.stop is not None else -LAST - 1 if step > 0 else LAST
            name = graph.slice(name, axis, start, stop, step)
    return graph.squeeze(name, *gone)


# ---------------------------------------------------------------- masks


def masked(graph: Graph, layer: Masking, x: Tensor) -> tuple[str, str]:
    """What the layer gives, with zeros where it masks; and the mask (batch, timesteps)."""
    keep = _any(graph, _differs(graph, x, layer.mask_value), -1)
    return graph.node("Where", graph.unsqueeze(keep, -1), x.name, graph.constant(0)), keep


def mask_of_indices(graph: Graph, layer: Embedding, x: Tensor) -> str:
    return _differs(graph, x, 0)


def either(graph: Graph, masks: Sequence[str | None]) -> str | None:
    """Where one of the masks is True; None if one is missing."""
    first, *others = masks
    for other in others:
        first = None if first is None or other is None else graph.node("Or", first, other)
    return first
