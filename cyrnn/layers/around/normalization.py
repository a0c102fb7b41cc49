"""Normalization within each sample: LayerNormalization and UnitNormalization. Reference: Keras 3."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import constraints, initializers, objects, regularizers
from cyrnn.arrays import quietly
from cyrnn.layers.around.vector_layer import VectorLayer
from cyrnn.layers.base.arguments import (
    Array,
    Shape,
    as_array,
    checked_axis,
    checked_axis_argument,
    checked_number,
    in_native_order,
    known_axis,
)
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.weights import Weight, WeightSpec

_LARGEST_FACTOR = 1e12  # of a vector that is made a unit vector


class Affine(VectorLayer):
    """Base of normalizations that scale by a weight `gamma` and shift by a weight `beta`; each may be left out."""

    supports_masking = True
    lowers_timesteps = True
    weight_of = MappingProxyType({"scale": "gamma", "offset": "beta"})
    gamma = Weight()
    beta = Weight()

    def __init__(
        self,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def affine_specs(self, shape: tuple[int, ...], center: bool, scale: bool) -> list[WeightSpec]:
        """The specs of `gamma` if `scale`, and of `beta` if `center`."""
        gamma = WeightSpec("gamma", shape, self.gamma_initializer, self.gamma_regularizer, self.gamma_constraint)
        beta = WeightSpec("beta", shape, self.beta_initializer, self.beta_regularizer, self.beta_constraint)
        return [gamma] * scale + [beta] * center

    def weights_shape(self, shape: tuple[int, ...], axes: list[int]) -> list[int]:
        """The shape in which weights along `axes` are multiplied with inputs of this shape. Raises ValueError."""
        lengths = {checked_axis(self.name, shape, axis): shape[axis] for axis in axes}
        weight = self.beta if self.gamma is None else self.gamma
        if weight is not None and weight.shape != tuple(shape[axis] for axis in axes):
            raise ValueError(
                f"inputs of {self.name!r} must have lengths {weight.shape} on axes {axes}, got shape {shape}"
            )
        return [lengths.get(axis, 1) for axis in range(len(shape))]

    def scaled(self, x: Array, factor: Array, shape: Sequence[int]) -> Array:
        """``x * factor * gamma + beta``, written to x; the weights are reshaped to `shape`."""
        if self.gamma is not None:
            factor = factor * self.gamma.reshape(shape).astype(x.dtype, copy=False)
        x *= factor
        if self.beta is not None:
            x += self.beta.reshape(shape).astype(x.dtype, copy=False)
        return x


@objects.register("keras.layers")
class LayerNormalization(Affine):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, with mean and variance of each sample along `axis`.

    Its weights, once built, are `gamma` and `beta`, of the lengths of `axis`.

    Parameters
    ----------
    axis : int or list of int
        The axes over which mean and variance are taken.
    epsilon : float
        At least 0.
    center, scale : bool
        Whether there is a `beta`, and a `gamma`.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint
        Those of the weights: a name, config, or callable.
    rms_scaling : bool
        Of Keras before 3.10, deprecated since: the mean is not subtracted, and there is no `beta`.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        rms_scaling: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        weights = (beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer)
        super().__init__(center, scale, *weights, beta_constraint, gamma_constraint, **kwargs)
        self.axis = checked_axis_argument(axis)
        self.epsilon = checked_number("epsilon", epsilon)
        self.rms_scaling = bool(rms_scaling)

    @property
    def axes(self) -> list[int]:
        """`axis` as a sorted list; so it is in the config of a built layer."""
        return sorted(self.axis) if isinstance(self.axis, list) else [self.axis]

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        shape = tuple(known_axis(self.name, input_shape, axis) for axis in self.axes)
        return self.affine_specs(shape, self.center and not self.rms_scaling, self.scale or self.rms_scaling)

    def build_with(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        super().build_with(input_shape, values)
        self.axis = self.axes

    def _set_by_build(self) -> dict[str, Any]:
        return {**super()._set_by_build(), "axis": self.axis}

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        array = in_native_order(as_array("inputs", inputs))
        return array if array.dtype == np.float64 else self.cast(array)  # Keras casts the result, not the inputs

    @quietly
    def call(self, inputs: Array) -> Array:
        axes, shape = tuple(self.axes), self.weights_shape(inputs.shape, self.axes)
        if not inputs.size:
            return self.returned(inputs.copy())
        mean = inputs.mean(axes, keepdims=True)
        centered = inputs - mean
        variance = np.mean(np.square(centered), axes, keepdims=True)
        factor = 1 / np.sqrt(variance + inputs.dtype.type(self.epsilon))
        return self.returned(self.scaled(inputs.copy() if self.rms_scaling else centered, factor, shape))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op, which normalizes vectors, and scales and shifts where there are weights."""
        axes, given = self._lowered_axes(lowering, inputs), lowering.numbers(inputs)
        lowering.take_exactly(given)  # a float64 array is normalized in float64, and then rounded
        slot = None if self.gamma is None and self.beta is None else lowering.slot(self)

        def op(x: int, out: int, length: int) -> None:
            lowering.program.layer_norm(x, out, length, self.epsilon, slot=slot, centered=not self.rms_scaling)

        return lowering.over_vectors(given, axes, op)

    def _lowered_axes(self, lowering: Lowering, inputs: Symbolic) -> list[int]:
        shape = lowering.shape_after(self, inputs)
        try:
            self.weights_shape(shape, self.axes)  # type: ignore[arg-type]  # only compared with the weights' shape
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
        return [axis % len(shape) for axis in self.axes]

    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        found = {"scale": values.get("gamma"), "offset": values.get("beta")}
        like = values["beta" if found["scale"] is None else "gamma"]
        scale = np.ones_like(like) if found["scale"] is None else found["scale"]
        return {"scale": scale, **({} if found["offset"] is None else {"offset": found["offset"]})}

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        for axis in self.axes:
            checked_axis(self.name, tuple(input_shape), axis)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "rms_scaling": self.rms_scaling,
            **affine_config(self),
        }


@objects.register("keras.layers")
class UnitNormalization(ProgramLayer):
    """``x / |x|``, with the Euclidean norm along `axis`; zeros stay zeros.

    Parameters
    ----------
    axis : int or list of int
        The axes of a vector.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis_argument(axis)
        self.built = True

    @quietly
    def call(self, inputs: Array) -> Array:
        self.compute_output_shape(inputs.shape)
        axes = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        factor = 1 / np.sqrt(np.sum(np.square(inputs), axis=axes, keepdims=True))
        return self.returned(inputs * np.minimum(factor, inputs.dtype.type(_LARGEST_FACTOR)))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op, which normalizes vectors."""
        shape = lowering.shape_after(self, inputs)
        axes = sorted({axis % len(shape) for axis in (self.axis if isinstance(self.axis, list) else [self.axis])})

        def op(x: int, out: int, length: int) -> None:
            lowering.program.unit_norm(x, out, length, _LARGEST_FACTOR)

        return lowering.over_vectors(lowering.numbers(inputs), axes, op)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        for axis in self.axis if isinstance(self.axis, list) else [self.axis]:
            checked_axis(self.name, tuple(input_shape), axis)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def affine_config(layer: Affine) -> dict[str, Any]:
    """What a config says of `gamma` and `beta`."""
    return {
        "beta_initializer": initializers.serialize(layer.beta_initializer),
        "gamma_initializer": initializers.serialize(layer.gamma_initializer),
        "beta_regularizer": regularizers.serialize(layer.beta_regularizer),
        "gamma_regularizer": regularizers.serialize(layer.gamma_regularizer),
        "beta_constraint": constraints.serialize(layer.beta_constraint),
        "gamma_constraint": constraints.serialize(layer.gamma_constraint),
    }
