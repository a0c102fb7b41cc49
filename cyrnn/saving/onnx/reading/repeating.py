"""ONNX's Expand and Tile: states that are learned once and repeated for each of the batch; and shapes for them."""

from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.shapes import limited, sizes
from cyrnn.saving.onnx.reading.values import (
    MOST_AXES,
    Axes,
    Axis,
    Filled,
    Repeated,
    Signal,
    Sizes,
    Value,
    described,
    of_length,
    size,
)


def expand(reader: Reader, node: Any) -> Value:
    """A tensor repeated along its axes of length 1."""
    value, wanted = reader.value(node.input[0]), sizes(reader.value(node.input[1])).values
    if isinstance(value, Filled):
        return value
    if isinstance(value, Signal):
        return _as_it_is(value, wanted)
    if isinstance(value, Repeated):
        array, lengths = value.array, value.lengths
    elif isinstance(value, np.ndarray):
        array, lengths = value, value.shape
    else:
        raise ModelFileError("it repeats what is no tensor")
    rank = max(len(lengths), len(wanted))
    if rank > MOST_AXES:
        raise ModelFileError(f"it makes a tensor of {rank} axes")
    lengths, wanted = ((1,) * (rank - len(part)) + tuple(part) for part in (lengths, wanted))
    longer = tuple(_longer(*pair) for pair in zip(lengths, wanted, strict=True))
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return array if longer == array.shape else Repeated(array, longer)


def _longer(length: int | Axis, wanted: int | Axis) -> int | Axis:
    size_wanted = wanted if isinstance(wanted, int) else size(wanted)
    if size_wanted in (1, length) or length == wanted:
        return length
    if length == 1:
        return wanted
    raise ModelFileError("it repeats an axis that is longer than 1")


def _as_it_is(x: Signal, wanted: tuple[int | Axis, ...]) -> Signal:
    """What is repeated nowhere."""
    axes = [of_length(n) if n == 1 else n for n in wanted]
    fits = len(axes) <= len(x.axes) and all(
        new in ((), old) or (isinstance(new, int) and old and [new] == [dim.length for dim in old if not dim.batch])
        for new, old in zip(reversed(axes), reversed(x.axes), strict=False)
    )
    if not fits:
        raise ModelFileError(f"it repeats what depends on the model's inputs, of axes {described(x.axes)}")
    return x


def fits(value: Repeated, axes: Axes) -> bool:
    """Whether it is repeated along nothing but these axes, the last ones of both beside each other."""
    triples = zip(reversed(value.lengths), reversed(value.array.shape), reversed(axes), strict=False)
    return all(n == 1 for n in value.lengths[: -len(axes) or None]) and all(
        m != 1 or length in (1, axis) or (isinstance(length, int) and length == size(axis))
        for length, m, axis in triples
    )


def sliced(reader: Reader, node: Any, value: Repeated) -> Repeated:
    """Some of its places along axes on which it is not repeated."""
    starts, ends, axes, steps = (
        reader.integers(node, index, name) for index, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    key, lengths = [slice(None)] * value.array.ndim, list(value.lengths)
    for number, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
        axis, step = (axes[number] if axes else number) % len(key), steps[number] if steps else 1
        part, length = slice(start, end, step), lengths[axis]
        if not isinstance(length, int) or step < 1:
            raise ModelFileError("it takes a part of what is repeated for an open length, or backwards")
        if value.array.shape[axis] == length:
            key[axis] = part
        lengths[axis] = len(range(length)[part])
    return Repeated(value.array[tuple(key)], tuple(lengths))


def rearranged(reader: Reader, node: Any, value: Repeated) -> Repeated:
    """Its axes in another order, more or fewer of them: ONNX's Transpose, Squeeze and Unsqueeze."""
    array, lengths = value.array, value.lengths
    if node.op_type == "Transpose":
        order = reader.attribute(node, "perm", list(reversed(range(len(lengths)))))
        return Repeated(array.transpose(order), tuple(lengths[axis] for axis in order))
    axes = reader.integers(node, 1, "axes")
    if axes is None:
        raise ModelFileError("it must say which axes")
    if node.op_type == "Unsqueeze":
        array = np.expand_dims(array, tuple(axes))
        rest = iter(lengths)
        new = {axis % array.ndim for axis in axes}
        return Repeated(array, tuple(1 if axis in new else next(rest) for axis in range(array.ndim)))
    gone = {axis % array.ndim for axis in axes}
    if any(lengths[axis] != 1 for axis in gone):
        raise ModelFileError("it takes away axes that are longer than 1")
    return Repeated(np.squeeze(array, tuple(gone)), tuple(n for axis, n in enumerate(lengths) if axis not in gone))


def multiplied(reader: Reader, node: Any, value: Repeated, kernel: Array) -> Repeated:
    """The product with a matrix, over the last axis, on which it is not repeated."""
    array, length = value.array, value.lengths[-1]
    if array.shape[-1] == 1 and isinstance(length, int) and kernel.shape[:1] == (length,):
        array = np.broadcast_to(array, (*array.shape[:-1], length))
    if kernel.ndim != 2 or array.shape[-1:] != kernel.shape[:1] or length != len(kernel):
        raise ModelFileError(f"a constant of shape {array.shape} is multiplied with one of {kernel.shape}")
    reader.spend(node.output[0], array.size // len(kernel) * kernel.shape[1] * array.itemsize)
    return Repeated(array @ kernel, (*value.lengths[:-1], kernel.shape[1]))


def tile(reader: Reader, node: Any) -> Value:
    """A constant repeated along some of its axes, which have length 1."""
    value, times = reader.value(node.input[0]), sizes(reader.value(node.input[1])).values
    if isinstance(value, Filled):
        return value
    if not isinstance(value, np.ndarray) or len(times) != value.ndim:
        raise ModelFileError("it repeats what depends on the model's inputs, or along other axes than there are")
    if any(n != 1 and m != 1 for n, m in zip(times, value.shape, strict=True)):
        raise ModelFileError("it repeats an axis that is longer than 1")
    return Repeated(value, tuple(m if n == 1 else n for n, m in zip(times, value.shape, strict=True)))


# ---------------------------------------------------------------- arithmetic on shapes


def compared_sizes(value: Any, other: Any) -> Array | None:
    """Where two vectors of lengths are equal; a length that depends on the data is no negative number.

    None where that cannot be said, or it is another kind of value.
    """
    if not all(isinstance(part, (Sizes, np.ndarray)) for part in (value, other)):
        return None
    pair = [
        part.values if isinstance(part, Sizes) else tuple(part.reshape(-1)[:MOST_AXES].tolist())
        for part in (value, other)
    ]
    rank = max(map(len, pair))
    if any(len(part) not in (1, rank) for part in pair):
        return None
    found = []
    for m, n in zip(*(part * (rank if len(part) == 1 else 1) for part in pair), strict=True):
        known = isinstance(m, int) and isinstance(n, int)
        negative = (isinstance(m, int) and m < 0) or (isinstance(n, int) and n < 0)
        if not known and not negative and m != n:
            return None
        found.append(m == n)
    return np.array(found)


def chosen_sizes(condition: Array, first: Any, second: Any) -> Sizes:
    """Of two vectors of lengths, those of the first where the condition holds."""
    pair = [sizes(part).values for part in (first, second)]
    pair = [part * condition.size if len(part) == 1 else part for part in pair]
    if condition.ndim > 1 or any(len(part) != condition.size for part in pair):
        raise ModelFileError("it chooses from shapes of different lengths")
    return limited(tuple(m if yes else n for yes, m, n in zip(condition.reshape(-1).tolist(), *pair, strict=True)))
