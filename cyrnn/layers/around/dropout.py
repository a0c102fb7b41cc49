"""Layers that disturb their inputs in training, and return them unchanged in inference. Reference: Keras 3.

The random numbers are those of Keras' NumPy backend.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from cyrnn import objects, random, regularizers
from cyrnn.arrays import quietly, shown
from cyrnn.layers.base.arguments import MOST_AXES, Array, checked_axes, checked_rate, is_size
from cyrnn.layers.base.config import CommonOptions, LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.differentiable import Differentiable
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value


class Disturbing(Differentiable):
    """Base: a subclass has `with_slope`, for training; `strength` names the argument that is 0 for no noise."""

    supports_masking = True
    lowers_timesteps = True
    strength = "rate"
    rate: float

    def __init__(self, strength: float, seed: int | None, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if checked_rate(self.strength, strength) != strength:
            raise ValueError(f"{self.strength} must be between 0 and 1, got {strength!r}")
        setattr(self, self.strength, strength)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)
        self.built = True

    @quietly
    def call(self, inputs: Array, training: bool = False) -> Array:
        if not training or getattr(self, self.strength) == 0:
            return self.returned(inputs)
        return self.returned(self.with_slope(inputs)[0])

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        if not training or getattr(self, self.strength) == 0 or type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.around.python_gradients import of_noise

        return of_noise(self, x)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """In inference no op: the inputs as they are. In training an op with noise that is an input of the program."""
        if training and getattr(self, self.strength) != 0:
            return self.disturbed(lowering, lowering.numbers(inputs))
        return lowering.numbers(inputs)

    def disturbed(self, lowering: Lowering, x: Value) -> Value:
        """Add the op for training. Raises NotLoweredError where there is none."""
        raise NotLoweredError("it is random in training")

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        """The inputs with noise, and the derivative of that by them."""
        raise NotImplementedError(f"{type(self).__name__} has no `with_slope`")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), self.strength: getattr(self, self.strength), "seed": self.seed}


class Multiplying(Disturbing):
    """Base of layers whose noise are factors; 0 drops an element."""

    def noise(self, shape: tuple[int, ...]) -> Array:
        """Factors of this shape."""
        return random.dropout_mask(shape, self.rate, self.seed_generator, self.dtype_policy.engine_dtype)

    def disturbed(self, lowering: Lowering, x: Value) -> Value:
        factors, out = self.lowered_noise(lowering, x), lowering.buffer(x.shape, x.timeline)
        lowering.program.dropout(x.view, factors.view, out.view)
        return out

    def lowered_noise(self, lowering: Lowering, x: Value) -> Value:
        """The factors, as the program has them."""
        return lowering.noise(self, x)


class NoiseShaped(Disturbing):
    """Base of layers whose noise is broadcast along axes where `noise_shape` is 1."""

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = _checked_noise_shape(noise_shape)

    def noise_axes(self, inputs: Array) -> tuple[int, ...]:
        """The lengths of the noise's axes. Raises ValueError unless it can be broadcast to the inputs."""
        axes = self.noise_shape or (None,) * inputs.ndim
        if len(axes) != inputs.ndim:
            raise ValueError(f"noise_shape {axes} must have as many axes as the inputs, got shape {inputs.shape}")
        lengths = tuple(n if axis is None else axis for axis, n in zip(axes, inputs.shape, strict=True))
        if any(length not in (1, n) for length, n in zip(lengths, inputs.shape, strict=True)):
            raise ValueError(f"noise_shape {axes} must hold 1, None, or the lengths of the inputs, got {inputs.shape}")
        return lengths

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "noise_shape": None if self.noise_shape is None else list(self.noise_shape)}


@objects.register("keras.layers")
class Dropout(NoiseShaped, Multiplying):
    """In training, sets a share `rate` of the inputs to 0 and multiplies the others by 1 / (1 - rate).

    Parameters
    ----------
    rate : float
        From 0 to 1.
    noise_shape : list of int and None, optional
        The shape of the noise, which is broadcast to the inputs; None stands for the inputs' length.
    seed : int, optional
        That of the noise; calls draw from one stream.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        For other arguments.
    """

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        return _dropped(inputs, self.noise_axes(inputs), self.rate, self.seed_generator)

    def lowered_noise(self, lowering: Lowering, x: Value) -> Value:
        if self.noise_shape is not None:
            raise NotLoweredError("its noise has a shape of its own")
        return super().lowered_noise(lowering, x)


@objects.register("keras.layers")
class SpatialDropout1D(Multiplying):
    """In training, sets a share `rate` of the features to 0, at all timesteps of a sample alike.

    Parameters
    ----------
    rate : float
        From 0 to 1.
    seed : int, optional
        That of the noise.
    name, dtype : optional
        As in `Layer`.
    """

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(rate, seed, name=name, dtype=dtype)

    def checked_inputs(self, inputs: Any) -> Array:
        array: Array = super().checked_inputs(inputs)
        checked_axes(self.name, array.shape, "batch, timesteps, features")
        return array

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        checked_axes(self.name, tuple(input_shape), "batch, timesteps, features")
        return super().compute_output_shape(input_shape)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        lowering.shape_of(inputs, 3, "batch, timesteps, features")
        return super().lower(lowering, inputs, mask, training)

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        return _dropped(inputs, (inputs.shape[0], 1, inputs.shape[2]), self.rate, self.seed_generator)

    def lowered_noise(self, lowering: Lowering, x: Value) -> Value:
        if x.timeline is None:
            raise NotLoweredError("its input is no sequence of the program")
        return lowering.noise(self, x, repeated=True)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "seed": self.seed, "name": self.name, "dtype": self.dtype_policy.name}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Also of a config of Keras 2, which has the keys of Dropout."""
        return {key: value for key, value in config.items() if key not in ("noise_shape", "trainable")}


@objects.register("keras.layers")
class GaussianDropout(Multiplying):
    """In training, multiplies by noise of mean 1 and standard deviation sqrt(rate / (1 - rate)).

    Parameters
    ----------
    rate : float
        From 0 to 1; a call in training raises ValueError for 1.
    seed : int, optional
        That of the noise.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(rate, seed, **kwargs)

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        factors = self.noise(inputs.shape, inputs.dtype)
        return inputs * factors, factors

    def noise(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        _check_below_1(self.name, self.rate)
        stddev = math.sqrt(self.rate / (1 - self.rate))
        return random.normal(shape, 1.0, stddev, dtype or self.dtype_policy.engine_dtype, self.seed_generator)


@objects.register("keras.layers")
class GaussianNoise(Disturbing):
    """In training, adds noise of mean 0.

    Parameters
    ----------
    stddev : float
        The standard deviation of the noise, from 0 to 1.
    seed : int, optional
        That of the noise.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    strength = "stddev"
    stddev: float

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(stddev, seed, **kwargs)

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        return inputs + self.noise(inputs.shape, inputs.dtype), 1

    def noise(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Noise of this shape."""
        return random.normal(shape, 0.0, self.stddev, dtype or self.dtype_policy.engine_dtype, self.seed_generator)

    def disturbed(self, lowering: Lowering, x: Value) -> Value:
        noise, out = lowering.noise(self, x), lowering.buffer(x.shape, x.timeline)
        lowering.program.merge("add", [x.view, noise.view], out.view)
        return out


@objects.register("keras.layers")
class AlphaDropout(NoiseShaped):
    """In training, sets a share `rate` of the inputs to where SELU saturates, and keeps mean and variance.

    Parameters
    ----------
    rate : float
        From 0 to 1; a call in training raises ValueError for 1.
    noise_shape : list of int and None, optional
        As in `Dropout`.
    seed : int, optional
        That of the noise.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def with_slope(self, inputs: Array) -> tuple[Array, Any]:
        _check_below_1(self.name, self.rate)
        kept = random.uniform(self.noise_axes(inputs), seed=self.seed_generator) >= self.rate
        saturated = -1.6732632423543772 * 1.0507009873554805
        factor = ((1 - self.rate) * (1 + self.rate * saturated**2)) ** -0.5
        outputs = np.where(kept, inputs, saturated) * factor - factor * saturated * self.rate
        return outputs, np.where(kept, factor, 0)


@objects.register("keras.layers")
class ActivityRegularization(Layer):
    """The identity, whose inputs add ``l1 sum|x| + l2 sum(x^2)``, divided by the number of samples, to `losses`.

    Parameters
    ----------
    l1, l2 : float
        The factors, at least 0.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Unpack[CommonOptions]) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = l1, l2
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(inputs)

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        if type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.around.python_gradients import of_identity

        return of_identity(self, x)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "l1": self.l1, "l2": self.l2}
        del config["activity_regularizer"]
        return config


def _dropped(inputs: Array, axes: tuple[int, ...], rate: float, seed: random.Seed) -> tuple[Array, Array]:
    factors = random.dropout_mask(axes, rate, seed, inputs.dtype)
    return np.where(factors != 0, inputs * factors, inputs.dtype.type(0)), factors


def _check_below_1(layer: str, rate: float) -> None:
    if rate == 1:
        raise ValueError(f"layer {layer!r} cannot be trained with a rate of 1: its noise would be without bounds")


def _checked_noise_shape(shape: Any) -> tuple[int | None, ...] | None:
    """None, or positive ints and None in a list or tuple. Raises ValueError."""
    if shape is None:
        return None
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MOST_AXES
        or not all(n is None or (type(n) is int and is_size(n, 1)) for n in shape)
    ):
        raise ValueError(f"noise_shape must be a list of positive integers and None, got {shown(shape)}")
    return tuple(shape)
