"""Layers that add, remove or repeat timesteps. Integers keep their dtype, and masks end here. Reference: Keras 3."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from cyrnn import objects
from cyrnn.layers.around.reshaping import Moving, checked_count
from cyrnn.layers.base.arguments import Array, Shape, checked_axes, checked_data_format, checked_sizes
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.values import Symbolic, Value

_SEQUENCES = "batch, timesteps, features"


@objects.register("keras.layers")
class ZeroPadding1D(Moving):
    """Adds timesteps of zeros at both ends: (batch, timesteps, features) -> (batch, more timesteps, features).

    Parameters
    ----------
    padding : int, or (before, after)
        How many, at least 0.
    data_format : {"channels_last", "channels_first"}, optional
        Whether the timesteps are the second axis or the last one.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(
        self, padding: int | Sequence[int] = 1, data_format: str | None = None, **kwargs: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**kwargs)
        self.padding = checked_sizes("padding", padding, 2, least=0)
        self.data_format = checked_data_format(data_format)

    def moved(self, inputs: Array) -> Array:
        steps = self.padding if self.data_format == "channels_last" else (0, 0)
        features = self.padding if self.data_format == "channels_first" else (0, 0)
        return np.pad(inputs, ((0, 0), steps, features))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape, first = lowering.shape_after(self, inputs), self.data_format == "channels_first"
        lowering.check_timesteps(sum(self.padding))
        x = lowering.moving(inputs)
        x = lowering.transposed(x, (0, 2, 1)) if first else x
        shape = (shape[0], shape[2], shape[1]) if first else shape
        out = _taken(lowering, x, shape, {"add": sum(self.padding)}, before=self.padding[0])
        return lowering.transposed(out, (0, 2, 1)) if first else out

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = list(checked_axes(self.name, tuple(input_shape), _SEQUENCES))
        axis = 1 if self.data_format == "channels_last" else 2
        timesteps = shape[axis]
        shape[axis] = None if timesteps is None else timesteps + sum(self.padding)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": list(self.padding), "data_format": self.data_format}


@objects.register("keras.layers")
class Cropping1D(Moving):
    """Removes timesteps at both ends: (batch, timesteps, features) -> (batch, fewer timesteps, features).

    Parameters
    ----------
    cropping : int, or (before, after)
        How many, at least 0. A call raises ValueError if none remains.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, cropping: int | Sequence[int] = (1, 1), **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.cropping = checked_sizes("cropping", cropping, 2, least=0)

    def moved(self, inputs: Array) -> Array:
        return inputs[:, self.cropping[0] : inputs.shape[1] - self.cropping[1]]

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape = lowering.shape_after(self, inputs)
        formula = {"add": -sum(self.cropping)}
        return _taken(lowering, lowering.moving(inputs), shape, formula, before=-self.cropping[0])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, timesteps, features = checked_axes(self.name, tuple(input_shape), _SEQUENCES)
        if timesteps is None:
            return (batch, None, features)
        if timesteps <= sum(self.cropping):
            raise ValueError(
                f"inputs of {self.name!r} must have more timesteps than cropping {self.cropping} takes, "
                f"got shape {tuple(input_shape)}"
            )
        return (batch, timesteps - sum(self.cropping), features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": list(self.cropping)}


@objects.register("keras.layers")
class UpSampling1D(Moving):
    """Repeats each timestep: (batch, timesteps, features) -> (batch, size * timesteps, features).

    Parameters
    ----------
    size : int
        At least 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, size: int = 2, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.size = checked_count("size", size)

    def moved(self, inputs: Array) -> Array:
        return np.repeat(inputs, self.size, axis=1)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape = lowering.shape_after(self, inputs)
        return _taken(lowering, lowering.moving(inputs), shape, {"times": self.size}, repeats=self.size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, timesteps, features = checked_axes(self.name, tuple(input_shape), _SEQUENCES)
        return (batch, None if timesteps is None else self.size * timesteps, features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


def _taken(lowering: Lowering, x: Value, shape: Shape, formula: dict[str, int], **options: int) -> Value:
    """Add the op that fills timesteps with others; `formula` says how many there are."""
    lowering.check_timesteps(*options.values())
    out = replace(lowering.buffer(shape, lowering.timeline(x.timeline, **formula)), moved=x.moved)
    lowering.program.take(x.view, out.view, **options)
    return out
