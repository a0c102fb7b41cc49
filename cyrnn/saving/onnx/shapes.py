"""ONNX's operators that move numbers: axes in another order, more or fewer of them; and arithmetic on shapes."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.values import DIRECTIONS, Filled, Signal, Sizes, Value, array_of, dtype_named, item

_MOST_SIZES = 64  # that a vector of them may have; shapes have a few


def axis_of(x: Signal, axis: Any) -> int:
    """The axis counted from the first. Raises ModelFileError if there is none."""
    if not isinstance(axis, int) or not -len(x.axes) <= axis < len(x.axes):
        raise ModelFileError(f"it names the axis {axis!r:.100} of {len(x.axes)}")
    return axis % len(x.axes)


def without(x: Signal, axis: int) -> Signal:
    """Without an axis of length 1."""
    number = x.axes[axis]
    rest = tuple(other for other in x.axes if other != number)
    if number == DIRECTIONS:
        return replace(x, axes=rest, directions=1)
    lower = tuple(n if n == DIRECTIONS or n < number else n - 1 for n in rest)
    return replace(x, tensor=item(x.tensor, *[slice(None)] * number, 0), axes=lower)


def identity(reader: Any, node: Any) -> Value:
    return reader.inputs(node, 1)[0]


def constant(reader: Any, node: Any) -> Value:
    (found,) = node.attribute
    if found.name == "value":
        return array_of(found.t)
    if found.name in ("value_int", "value_ints", "value_float", "value_floats"):
        return np.array(reader.attribute(node, found.name, None), np.int64 if "int" in found.name else np.float32)
    raise ModelFileError(f"its {found.name!r:.100} is not supported")


def cast(reader: Any, node: Any) -> Value:
    """Of numbers that stay what they are; or of indices, which an Embedding takes in any dtype."""
    x, dtype = reader.inputs(node, 1)[0], dtype_named(reader.attribute(node, "to", 0))
    if isinstance(x, np.ndarray):
        return x.astype(dtype)
    if not isinstance(x, Signal) or x.tensor.dtype == dtype:
        return x
    users = reader.consumers[node.output[0]]
    indices = all(user.op_type == "Gather" and user.input[1] == node.output[0] for user in users)
    if dtype in ("int32", "int64") and users and indices and node.output[0] not in reader.results:
        return x
    raise ModelFileError(f"it makes {dtype} of {x.tensor.dtype}")


def transpose(reader: Any, node: Any) -> Value:
    x = reader.signal(node)
    order = reader.attribute(node, "perm", list(reversed(range(len(x.axes)))))
    if sorted(order) != list(range(len(x.axes))):
        raise ModelFileError(f"its perm {order!r:.100} is no order of {len(x.axes)} axes")
    return replace(x, axes=tuple(x.axes[axis] for axis in order))


def squeeze(reader: Any, node: Any) -> Value:
    x = reader.inputs(node, 1)[0]
    if not isinstance(x, Signal):
        return _sizes(x)
    axes = reader.integers(node, 1, "axes")
    gone = {axis_of(x, axis) for axis in axes} if axes is not None else {x.axes.index(DIRECTIONS)}
    for axis in sorted(gone, reverse=True):
        number = x.axes[axis]
        if x.length(axis) != 1 or number == 0 or (number != DIRECTIONS and DIRECTIONS in x.axes):
            raise ModelFileError(f"it takes away the axis {axis} of {x.axes}, which is not of length 1")
        x = without(x, axis)
    return x


def unsqueeze(reader: Any, node: Any) -> Value:
    """One axis more, as that of the directions of states is."""
    x = reader.inputs(node, 1)[0]
    if not isinstance(x, Signal):
        return _sizes(x)
    axes = reader.integers(node, 1, "axes") or []
    if len(axes) != 1 or DIRECTIONS in x.axes or not -len(x.axes) - 1 <= axes[0] <= len(x.axes):
        raise ModelFileError(f"it adds the axes {axes!r:.100} to {x.axes}; only one more is supported")
    place = axes[0] % (len(x.axes) + 1)
    return Signal(x.tensor, (*x.axes[:place], DIRECTIONS, *x.axes[place:]), 1)


def reshape(reader: Any, node: Any) -> Value:
    """Directions become features; or samples get another shape."""
    x, (_, target) = reader.signal(node), reader.inputs(node, 2)
    lengths = _sizes(target).values
    if reader.attribute(node, "allowzero", 0):
        raise ModelFileError("its allowzero is not supported")
    if DIRECTIONS in x.axes:
        return _folded(x, lengths)
    x = reader.in_order(x)
    per_sample = x.tensor.shape[1:]
    rest = [x.length(axis) if n == 0 and axis < len(x.axes) else n for axis, n in enumerate(lengths)][1:]
    known = [n if isinstance(n, int) else -1 for n in rest]
    # Where the batch is not named, it is what remains beside the rest, if that is all of a sample.
    named = lengths[:1] in ((0,), (x.length(0),))
    if not named and (None in per_sample or -1 in known or math.prod(known) != math.prod(per_sample)):
        raise ModelFileError(f"it makes {lengths} of {x.tensor.shape}; the batch must stay in front")
    if known.count(-1) > 1:
        raise ModelFileError(f"it makes {lengths} of {x.tensor.shape}; more than one of the lengths is not known")
    tensor = reader.called(reader.layer(layers.Reshape, known, dtype=x.tensor.dtype), x.tensor)
    return Signal(tensor, tuple(range(tensor.ndim)))


def _folded(x: Signal, lengths: tuple[int | str, ...]) -> Signal:
    """Directions that are beside the features, as part of them.

    Of the lengths all but one must be certain, then that one is too.
    """
    place, features = x.axes.index(DIRECTIONS), x.tensor.ndim - 1
    folded = Signal(x.tensor, x.axes[:place] + x.axes[place + 1 :])
    beside = x.directions == 1 or x.axes[place + 1 : place + 2] == (features,)
    wanted = [folded.length(axis) for axis in range(len(folded.axes))]
    pairs = list(zip(lengths, wanted, strict=False))
    open_ones = [pair for axis, pair in enumerate(pairs) if pair[0] != pair[1] and (pair[0] != 0 or axis >= place)]
    fits = not open_ones or (len(open_ones) == 1 and (open_ones[0][0] == -1 or isinstance(open_ones[0][1], str)))
    if len(lengths) != len(wanted) or not beside or not fits:
        raise ModelFileError(f"it makes {lengths} of axes in the order {x.axes}")
    return folded


def flatten(reader: Any, node: Any) -> Value:
    x = reader.in_order(reader.signal(node))
    if reader.attribute(node, "axis", 1) != 1:
        raise ModelFileError("it must keep the batch")
    tensor = reader.called(reader.layer(layers.Flatten, dtype=x.tensor.dtype), x.tensor)
    return Signal(tensor, (0, 1))


def concat(reader: Any, node: Any) -> Value:
    parts = [reader.value(name) for name in node.input]
    signals = [part for part in parts if isinstance(part, Signal)]
    if not signals:
        return _limited(tuple(itertools.chain(*(_sizes(part).values for part in parts))))
    first = signals[0]
    axis = axis_of(first, reader.attribute(node, "axis", 0))
    others = {(part.axes, part.tensor.dtype) for part in signals}
    if len(signals) < len(parts) or len(others) > 1:
        raise ModelFileError("its inputs must all depend on the model's inputs, with axes in the same order")
    number, total = first.axes[axis], sum(part.directions for part in signals)
    if number == DIRECTIONS:
        widths = {(part.tensor.shape[-1] or 0) // part.directions for part in signals}
        if len(widths) > 1:
            raise ModelFileError(f"its inputs must have the same number of units, got {widths}")
        number = first.tensor.ndim - 1
    elif DIRECTIONS in first.axes or number == 0:
        raise ModelFileError("it joins batches, or one axis of several directions")
    else:
        total = 1
    tensors = [part.tensor for part in signals]
    whole = _whole(reader, tensors) if number == first.tensor.ndim - 1 else None
    if whole is None:
        whole = reader.called(reader.layer(layers.Concatenate, number, dtype=first.tensor.dtype), tensors)
    return replace(first, tensor=whole, directions=total)


def _whole(reader: Any, tensors: list[KerasTensor]) -> KerasTensor | None:
    """What these are the parts of, in order and without a gap; or None."""
    if len(tensors) == 1:
        return tensors[0]
    parts = [reader.parts.get(tensor) for tensor in tensors]
    end = 0
    for part in parts:
        if part is None or part[0] is not parts[0][0] or part[1] != end:
            return None
        end = part[2]
    whole: KerasTensor = parts[0][0]
    return whole if end == whole.shape[-1] else None


# ---------------------------------------------------------------- shapes


def _sizes(value: Any) -> Sizes:
    """Integers of a shape, from where it is known or from where it depends on data."""
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.ndim > 1:
        raise ModelFileError("it computes with what is no shape, and does not depend on the model's inputs")
    return _limited(tuple(np.atleast_1d(value).tolist()))


def _limited(values: tuple[int | str, ...]) -> Sizes:
    if len(values) > _MOST_SIZES:
        raise ModelFileError(f"it makes a shape of {len(values)} axes")
    return Sizes(values)


def shape(reader: Any, node: Any) -> Value:
    x = reader.signal(node)
    start, end = reader.attribute(node, "start", 0), reader.attribute(node, "end", None)
    return Sizes(tuple(x.length(axis) for axis in range(len(x.axes)))[start:end])


def gather_sizes(reader: Any, node: Any) -> Value:
    sizes = _sizes(reader.inputs(node, 1)[0]).values
    return Sizes(tuple(sizes[int(n)] for n in np.atleast_1d(reader.constant(node, 1)).reshape(-1)[:_MOST_SIZES]))


def slice_sizes(reader: Any, node: Any) -> Value:
    value = reader.inputs(node, 1)[0]
    if isinstance(value, Filled):
        return value
    (start,), (end,) = (reader.integers(node, index, name) or [] for index, name in ((1, "starts"), (2, "ends")))
    (step,) = reader.integers(node, 4, "steps") or [1]
    return Sizes(_sizes(value).values[start:end:step])


def constant_of_shape(reader: Any, node: Any) -> Value:
    value = reader.attribute(node, "value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ModelFileError(f"its value must be one number, got shape {value.shape}")
    return Filled(float(value.reshape(())))


def expand(reader: Any, node: Any) -> Value:
    value = reader.inputs(node, 1)[0]
    if isinstance(value, np.ndarray) and value.size and np.all(value == value.reshape(-1)[0]):
        return Filled(float(value.reshape(-1)[0]))
    if isinstance(value, Filled):
        return value
    raise ModelFileError("it repeats what depends on the model's inputs, or different numbers")


SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "Identity": identity,
    "Constant": constant,
    "Cast": cast,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Reshape": reshape,
    "Flatten": flatten,
    "Concat": concat,
    "Shape": shape,
    "Gather": gather_sizes,
    "Slice": slice_sizes,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
}
