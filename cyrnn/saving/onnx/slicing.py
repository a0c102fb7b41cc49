"""ONNX's Gather and Slice: rows of a table, one timestep or some, one direction of an RNN."""

from dataclasses import replace
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.shapes import SHAPES, axis_of, without
from cyrnn.saving.onnx.values import DIRECTIONS, Signal, Value, item

_FARTHEST = 1 << 31  # slices that begin or end there reach to the end


def gather(reader: Any, node: Any) -> Value:
    """A table by the model's numbers, one place of a signal, or part of a shape."""
    table, indices = reader.inputs(node, 2)
    axis = reader.attribute(node, "axis", 0)
    if isinstance(table, np.ndarray) and isinstance(indices, Signal):
        if table.ndim != 2 or axis not in (0, -2) or DIRECTIONS in indices.axes:
            raise ModelFileError(f"its table must be a matrix, got shape {table.shape} and axis {axis}")
        layer = reader.layer(layers.Embedding, *table.shape, dtype=table.dtype.name)
        tensor: KerasTensor = reader.called(layer, indices.tensor, [table])
        return Signal(tensor, (*indices.axes, tensor.ndim - 1))
    if not isinstance(table, Signal):
        return SHAPES["Gather"](reader, node)
    place = reader.constant(node, 1)
    if place.size != 1:
        raise ModelFileError(f"its indices must be one number, got shape {place.shape}")
    axis = axis_of(table, axis)
    found = _part(reader, table, axis, int(place.reshape(())), None, 1)
    return found if place.ndim else without(found, axis)


def sliced(reader: Any, node: Any) -> Value:
    x = reader.inputs(node, 1)[0]
    if not isinstance(x, Signal):
        return SHAPES["Slice"](reader, node)
    starts, ends, axes, steps = (
        reader.integers(node, index, name) for index, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None:
        raise ModelFileError("it must say where it starts and ends")
    axes = list(range(len(starts))) if axes is None else axes
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        x = _part(reader, x, axis_of(x, axis), start, end, step)
    return x


def _part(reader: Any, x: Signal, axis: int, start: int, end: int | None, step: int) -> Signal:
    """``x[start:end:step]`` on an axis, or with no end the one element at `start`, which keeps its axis."""
    if end is None:
        end = start + 1 if start != -1 else _FARTHEST
    if x.axes[axis] == DIRECTIONS:
        chosen = range(x.directions)[start:end]
        width = (x.tensor.shape[-1] or 0) // x.directions
        if step != 1 or not chosen:
            raise ModelFileError("it must choose some of the directions")
        if len(chosen) == x.directions:
            return x
        begin, stop = chosen[0] * width, (chosen[-1] + 1) * width
        part = item(x.tensor, Ellipsis, slice(begin, stop))
        reader.parts[part] = (x.tensor, begin, stop)
        return replace(x, tensor=part, directions=len(chosen))
    number = x.axes[axis]
    if number == 0 or (DIRECTIONS in x.axes and number == x.tensor.ndim - 1):
        raise ModelFileError("it takes part of the batch, or of the features of several directions")
    bounds = [None if abs(bound) >= _FARTHEST - 1 else bound for bound in (start, end)]
    wanted = slice(bounds[0] or None, bounds[1], None if step == 1 else step)
    return x if wanted == slice(None) else replace(x, tensor=item(x.tensor, *[slice(None)] * number, wanted))
