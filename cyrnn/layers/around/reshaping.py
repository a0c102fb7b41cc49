"""Layers that only rearrange data. Integers keep their dtype; but for Identity, masks end here. Reference: Keras 3."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.layers.base.arguments import (
    LARGEST,
    MOST_AXES,
    Array,
    Shape,
    as_array,
    checked_axes,
    checked_data_format,
    checked_int,
    checked_size_of,
    in_native_order,
    is_size,
    shown,
)
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.differentiable import Differentiable
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value, width_of


class Moving(Differentiable):
    """Base: a subclass has `moved` and `compute_output_shape`, which raises ValueError for shapes that do not fit."""

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        array = as_array("inputs", inputs)
        return in_native_order(array) if array.dtype.kind in "iub" else self.returned(array)

    def call(self, inputs: Array) -> Array:
        self.compute_output_shape(inputs.shape)
        return self.moved(inputs)

    def moved(self, inputs: Array) -> Array:
        """The outputs, for inputs of a shape that fits."""
        raise NotImplementedError(f"{type(self).__name__} has no `moved`")


@objects.register("keras.layers")
class Flatten(Moving):
    """(batch, ...) -> (batch, features).

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        With "channels_first" the second axis becomes the last one first.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    lowers_timesteps = True

    def __init__(self, data_format: str | None = None, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.data_format = checked_data_format(data_format)

    def moved(self, inputs: Array) -> Array:
        if self.data_format == "channels_first" and inputs.ndim > 1:
            inputs = np.moveaxis(inputs, 1, -1)
        return inputs.reshape(len(inputs), math.prod(inputs.shape[1:]))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """The input without timesteps. Raises NotLoweredError where their number is not known."""
        x, shape = lowering.moving(inputs), lowering.shape_after(self, inputs)
        if self.data_format == "channels_first" and len(x.shape) > 2:
            width_of(x.shape, timed=False)  # it may refuse
            x = lowering.transposed(x, (0, *range(2, len(x.shape)), 1))
        return lowering.reshaped(x, shape, None)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *rest = _with_batch(self.name, input_shape)
        return (batch, _elements(self.name, rest))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


@objects.register("keras.layers")
class Reshape(Moving):
    """(batch, ...) -> (batch, *target_shape), with as many elements.

    Parameters
    ----------
    target_shape : tuple of int
        One length may be -1: what remains for it.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        For other lengths. A call raises ValueError for inputs of another number of elements.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_shape, (list, tuple)):
            raise TypeError(f"target_shape must be a tuple of integers, got {shown(target_shape)}")
        lengths = tuple(target_shape)
        if len(lengths) >= MOST_AXES or not all(is_size(n, -1) for n in lengths) or lengths.count(-1) > 1:
            raise ValueError(
                f"target_shape must hold less than {MOST_AXES} integers from 0 to {LARGEST}, and at most one -1; "
                f"got {len(lengths)}: {shown(target_shape)}"
            )
        self.target_shape = tuple(n.__index__() for n in lengths)
        self._known = checked_size_of("target_shape", (n for n in self.target_shape if n != -1))
        self.built = True

    def moved(self, inputs: Array) -> Array:
        return inputs.reshape(self.compute_output_shape(inputs.shape))  # type: ignore[arg-type]

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """The input with other timesteps, or without."""
        x, shape = lowering.moving(inputs), lowering.shape_after(self, inputs)
        if len(shape) < 3:
            return lowering.reshaped(x, shape, None)
        width = width_of(shape, timed=True)
        if x.width == 0 or width == 0:
            raise NotLoweredError(f"its input has no elements: its shape is {x.shape}")
        if shape[1] is None:
            timeline = lowering.timeline(x.timeline, times=x.width, size=width, stride=width)
        else:
            timeline = lowering.timeline(constant=shape[1])
        return lowering.reshaped(x, shape, timeline)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *rest = _with_batch(self.name, input_shape)
        size, known = _elements(self.name, rest), self._known
        if size is None:
            return (batch, *(None if n == -1 else n for n in self.target_shape))
        if size != known if -1 not in self.target_shape else (known == 0 or size % known):
            raise ValueError(
                f"inputs of {self.name!r} must have as many elements per sample as target_shape {self.target_shape}, "
                f"got shape {tuple(input_shape)}"
            )
        return (batch, *(size // known if n == -1 else n for n in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


@objects.register("keras.layers")
class Permute(Moving):
    """The axes after the batch axis in another order.

    Parameters
    ----------
    dims : tuple of int
        For each axis of the output that of the inputs, counted from 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        Unless `dims` holds the integers from 1 on, each once.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if not isinstance(dims, (list, tuple)):
            raise TypeError(f"dims must be a tuple of integers, got {shown(dims)}")
        self.dims = tuple(dims)
        if not all(is_size(n, 1) for n in self.dims) or sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"dims must hold the integers from 1 on, each once; got {shown(dims)}")

    def moved(self, inputs: Array) -> Array:
        return inputs.transpose(0, *self.dims)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op. Raises NotLoweredError where the timesteps become another axis, and their number is not known."""
        lowering.shape_after(self, inputs)
        x = lowering.moving(inputs)
        if len(self.dims) < 2:
            return lowering.reshaped(x, x.shape, None)
        return lowering.transposed(x, (0, *self.dims))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = tuple(input_shape)
        if len(shape) != len(self.dims) + 1:
            raise ValueError(f"inputs of {self.name!r} must have {len(self.dims) + 1} axes, got shape {shape}")
        return (shape[0], *(shape[axis] for axis in self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


@objects.register("keras.layers")
class RepeatVector(Moving):
    """(batch, features) -> (batch, n, features).

    Parameters
    ----------
    n : int
        At least 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, n: int, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.n = checked_count("n", n)

    def moved(self, inputs: Array) -> Array:
        return np.repeat(inputs[:, None], self.n, axis=1)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        x, shape = lowering.moving(inputs), lowering.shape_after(self, inputs)
        out = replace(lowering.buffer(shape, lowering.timeline(constant=self.n)), moved=x.moved)
        lowering.program.copy(x.view, out.view)
        return out

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, features = checked_axes(self.name, tuple(input_shape), "batch, features")
        return (batch, self.n, features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


@objects.register("keras.layers")
class Identity(Moving):
    """The inputs as they are, and their mask.

    Parameters
    ----------
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(self, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.built = True

    def moved(self, inputs: Array) -> Array:
        return inputs

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Symbolic:
        """No op: the inputs as they are."""
        return inputs


def checked_count(name: str, value: Any) -> int:
    """A positive int. Raises TypeError for what is no int and ValueError below 1, as Keras does here."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a positive integer, got {shown(value)}")
    return checked_int(name, value)


def _with_batch(layer: str, shape: Sequence[int | None]) -> Shape:
    if not shape:
        raise ValueError(f"inputs of {layer!r} must have a batch axis, got shape ()")
    return tuple(shape)


def _elements(layer: str, lengths: Sequence[int | None]) -> int | None:
    """The number of elements of a sample; None where it is not known. Raises ValueError for more than an array's."""
    if None in lengths:
        return None
    return checked_size_of(f"a sample of the inputs of {layer!r}", (n for n in lengths if n is not None))
