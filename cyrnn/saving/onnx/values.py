"""What is known of the values in an ONNX graph that is read: constants, sizes, and what layers will give."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError

DIRECTIONS = "directions"  # an axis of the file, in the place of which the last axis here is so many times wider


@dataclass(frozen=True)
class Signal:
    """What a layer gives. `axes` are the file's: for each the number of the tensor's axis, or DIRECTIONS.

    The tensor has the batch first; exporters have other orders, so transpositions change `axes` and compute nothing.
    """

    tensor: KerasTensor
    axes: tuple[Any, ...]
    directions: int = 1  # how many are beside each other on the last axis, if DIRECTIONS is among the axes

    @property
    def in_order(self) -> bool:
        """Whether the file has the axes of the tensor, in their order."""
        return self.axes == tuple(range(self.tensor.ndim))

    @property
    def features_last(self) -> bool:
        """Whether the last axis is the tensor's last, and all of it."""
        return self.axes[-1:] == (self.tensor.ndim - 1,) and DIRECTIONS not in self.axes

    def length(self, axis: int) -> int | str:
        """Of an axis of the file; a word for it where it may be any."""
        number = self.axes[axis]
        if number == DIRECTIONS:
            return self.directions
        length = self.tensor.shape[number]
        if length is None:
            return f"the length of axis {number}"
        return length // self.directions if DIRECTIONS in self.axes and number == self.tensor.ndim - 1 else length


@dataclass(frozen=True)
class Sizes:
    """Integers that tell of shapes, or words for those that depend on the data; see `Signal.length`."""

    values: tuple[int | str, ...]


@dataclass(frozen=True)
class Filled:
    """An array of one number everywhere; it is never made, however large the file says it is."""

    number: float


def item(tensor: KerasTensor, *key: Any) -> KerasTensor:
    """``tensor[key]``"""
    found: KerasTensor = applied("GetItem", tensor, key)
    return found


Value = Signal | Sizes | Filled | Array

_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}
_FIELDS = {1: "float_data", 6: "int32_data", 7: "int64_data", 9: "int32_data", 11: "double_data"}


def dtype_named(element_type: int) -> str:
    """The name of a dtype that ONNX has a number for. Raises ModelFileError for those that are not read."""
    if element_type not in _DTYPES:
        raise ModelFileError(f"element type {element_type} is not supported, only {', '.join(_DTYPES.values())}")
    return _DTYPES[element_type]


def array_of(proto: Any) -> Array:
    """The array of a TensorProto. Raises ModelFileError unless it holds as many bytes as its shape needs."""
    name = f"tensor {proto.name!r:.100}"
    if proto.data_location or proto.external_data:
        raise ModelFileError(f"{name} is in another file, and no path in a file is opened")
    dtype, shape = np.dtype(dtype_named(proto.data_type)), tuple(proto.dims)
    if any(n < 0 for n in shape):
        raise ModelFileError(f"{name} has the shape {shape}")
    count = math.prod(shape)
    if count == 0 and len(shape) > 1:
        raise ModelFileError(f"{name} of shape {shape} is empty")
    if proto.HasField("raw_data"):
        if len(proto.raw_data) != count * dtype.itemsize:
            raise ModelFileError(f"{name} of shape {shape} and {dtype} holds {len(proto.raw_data)} bytes")
        return np.frombuffer(proto.raw_data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    numbers = getattr(proto, _FIELDS[proto.data_type])
    if len(numbers) != count:
        raise ModelFileError(f"{name} of shape {shape} holds {len(numbers)} numbers")
    return np.array(numbers, dtype).reshape(shape)


def zero(value: Any) -> bool:
    """Whether a value is zeros for certain."""
    if isinstance(value, Filled):
        return value.number == 0
    return isinstance(value, np.ndarray) and not np.any(value)
