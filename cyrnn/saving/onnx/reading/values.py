"""What is known of the values in an ONNX graph that is read: constants, sizes, and what layers return."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError, Reason

MOST_AXES = 32  # that a tensor may have, as NumPy's arrays have
_MOST_DIMS = 64  # that these may run over


@dataclass(frozen=True, eq=False)
class Dim:
    """A length that axes have; None where the data decide. Two of the same unknown length are one object.

    Of the batch, `length` is the number that the file was made for; the model takes any.
    """

    length: int | None
    batch: bool = False


# An axis, as the dims that it runs over, the last one fastest: (timesteps, units) after a Flatten. () has length 1.
Axis = tuple[Dim, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Signal:
    """A tensor of the file that depends on the model's inputs, and the tensor here that holds its numbers.

    In a file for one sequence without a batch, no axis of the file is the batch, which the tensor here has.
    Exporters put transpositions and axes of length 1 around an RNN. Such operators change `axes` and compute nothing;
    only an operator that needs its axes in place has the tensor rearranged. Each dim occurs once in either.
    """

    tensor: KerasTensor  # the batch first
    stored: Axes  # the tensor's axes after the batch
    axes: Axes  # the file's axes, in the file's order; the batch is in one of them
    directions: int | None = None  # of what an RNN node returns: which of its axes is that of the directions

    def __post_init__(self) -> None:
        lengths = tuple(map(size, self.stored))
        if len(self.axes) > MOST_AXES or len(dims(self.axes)) > _MOST_DIMS or 0 in lengths:
            raise ModelFileError(f"it makes a tensor of axes {described(self.axes)}; none may be empty")
        if self.tensor.shape[1:] != lengths:
            raise ModelFileError(f"it makes {self.tensor}, where the file has {lengths} for each of the batch")

    def with_tensor(self, tensor: KerasTensor) -> "Signal":
        """Other numbers with the same axes."""
        return Signal(tensor, self.stored, self.axes)

    def with_axes(self, axes: Iterable[Axis]) -> "Signal":
        """The same numbers, and what the file has for them now."""
        return Signal(self.tensor, self.stored, tuple(axes))

    def axis(self, number: Any) -> int:
        """The axis of the file, counted from the first. Raises ModelFileError if there is none."""
        if not isinstance(number, int) or not -len(self.axes) <= number < len(self.axes):
            raise ModelFileError(f"it names the axis {number!r:.100} of {len(self.axes)}")
        return number % len(self.axes)


def size(axis: Axis) -> int | None:
    """The length of an axis; None where the data decide."""
    lengths = [dim.length for dim in axis]
    return None if None in lengths else math.prod(n for n in lengths if n is not None)


def of_length(length: int | None) -> Axis:
    """A new axis."""
    return () if length == 1 else (Dim(length),)


def dims(axes: Axes) -> list[Dim]:
    """All that axes run over, the last one fastest."""
    return list(itertools.chain(*axes))


def has_batch(axis: Axis) -> bool:
    return any(dim.batch for dim in axis)


def described(axes: Axes) -> str:
    """For messages: ``(batch, any, 3)``."""
    shown = axes[:MOST_AXES]
    words = ["*".join("batch" if dim.batch else str(dim.length or "any") for dim in axis) or "1" for axis in shown]
    return f"({', '.join(words)})"


@dataclass(frozen=True)
class Sizes:
    """Integers of a shape: numbers, or the axes of a tensor that they are the lengths of."""

    values: tuple[int | Axis, ...]

    @property
    def known(self) -> list[int] | None:
        """The numbers, if none depends on the data or is the batch, which may be any."""
        numbers = [n if isinstance(n, int) else None if has_batch(n) else size(n) for n in self.values]
        known = [n for n in numbers if n is not None]
        return known if len(known) == len(numbers) else None

    def __str__(self) -> str:
        return described(tuple((Dim(n),) if isinstance(n, int) else n for n in self.values))


@dataclass(frozen=True)
class Filled:
    """An array of one number everywhere; it is never made, however large the file says it is."""

    number: float


@dataclass(frozen=True)
class Repeated:
    """A constant that is repeated along axes, such as the batch; it is never made, however large the file says it is.

    The array has as many axes as there are lengths, and length 1 where it is repeated.
    """

    array: Array
    lengths: tuple[int | Axis, ...]


@dataclass(frozen=True)
class Positions:
    """The numbers 0, 1, 2, ... of the places on an axis of open length."""

    axis: Axis


def converted(tensor: KerasTensor, dtype: str) -> KerasTensor:
    """The same numbers in another dtype."""
    found: KerasTensor = applied("Cast", tensor, module="core", dtype=dtype)
    return found


def item(tensor: KerasTensor, *key: Any) -> KerasTensor:
    """``tensor[key]``"""
    found: KerasTensor = applied("GetItem", tensor, key)
    return found


# A tuple is a sequence of values, of which one is taken.
Value = Signal | Sizes | Filled | Repeated | Positions | Array | tuple[Any, ...]

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
        raise ModelFileError(
            f"{name} is in another file, and no path in a file is opened: pass onnx.load(path), or write all into one "
            "file (torch: external_data=False)"
        )
    if len(proto.dims) > MOST_AXES:
        raise ModelFileError(f"{name} has {len(proto.dims)} axes")
    dtype, shape = np.dtype(dtype_named(proto.data_type)), tuple(proto.dims)
    if any(n < 0 for n in shape):
        raise ModelFileError(f"{name} has the shape {shape}", Reason.DAMAGED)
    count = math.prod(shape)
    if count == 0 and len(shape) > 1:
        raise ModelFileError(f"{name} of shape {shape} is empty")
    if proto.HasField("raw_data"):
        if len(proto.raw_data) != count * dtype.itemsize:
            message = f"{name} of shape {shape} and {dtype} holds {len(proto.raw_data)} bytes"
            raise ModelFileError(message, Reason.DAMAGED)
        return np.frombuffer(proto.raw_data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    numbers = getattr(proto, _FIELDS[proto.data_type])
    if len(numbers) != count:
        raise ModelFileError(f"{name} of shape {shape} holds {len(numbers)} numbers", Reason.DAMAGED)
    return np.array(numbers, dtype).reshape(shape)


def zero(value: Any) -> bool:
    """Whether a value is zeros for certain."""
    if isinstance(value, Filled):
        return value.number == 0
    if isinstance(value, Repeated):
        return not np.any(value.array)
    return isinstance(value, np.ndarray) and not np.any(value)
