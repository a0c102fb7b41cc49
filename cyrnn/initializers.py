"""Initializers: what the weights of a new layer hold, as in Keras.

An initializer is called as ``initializer(shape, dtype)`` and returns a new C-contiguous array of that dtype.
The same seed yields the numbers of Keras' NumPy backend, with one exception: for float64, that backend
computes `Orthogonal` in float32; here it is float64, as in Keras on TensorFlow.

With ``seed=None`` an integer is drawn once, at construction: one instance always returns the same values.
"""

import inspect
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from cyrnn import objects, random
from cyrnn.arrays import array_of_numbers, quietly
from cyrnn.configurable import Configurable, lookup, number, with_parameters
from cyrnn.notices.names import public
from cyrnn.objects import register, serialize
from cyrnn.random import SeedGenerator, Shape, checked_dtype, checked_shape

MODULE = "keras.initializers"

__all__ = [
    "get", "serialize", "deserialize", "Initializer", "Zeros", "Ones", "Constant", "Identity",
    "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal",
    "GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal",
    "zeros", "ones", "constant", "identity", "random_normal", "random_uniform", "truncated_normal",
    "variance_scaling", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
    "lecun_normal", "orthogonal", "IdentityInitializer", "OrthogonalInitializer",
]  # fmt: skip


@register(MODULE)
class Initializer(Configurable):
    """Base class: a subclass defines ``__call__(shape, dtype)`` and, to be saved, `get_config`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            cls.__doc__ = with_parameters(cls.__doc__, cls)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype)")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The initializer of a config; built-in classes pass over unknown keys, such as the `dtype` of Keras 2.

        Parameters
        ----------
        config : dict
            What `get_config` returned.

        Returns
        -------
        Initializer
        """
        if "_keras_module" in vars(cls):
            known = inspect.signature(cls).parameters
            config = {key: value for key, value in config.items() if key in known}
        return super().from_config(config)

    def clone(self) -> Self:
        """A new initializer of the same config."""
        return self.from_config(self.get_config())


@register(MODULE, "zero")
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        return np.zeros(checked_shape(shape), checked_dtype(dtype))


@register(MODULE, "one")
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        return np.ones(checked_shape(shape), checked_dtype(dtype))


@register(MODULE)
class Constant(Initializer):
    """All `value`: a number, or an array that broadcasts to the shape asked for."""

    def __init__(self, value: ArrayLike = 0.0) -> None:
        array_of_numbers("value", value)
        self.value = value
        self._exact_shape = False

    @classmethod
    def exactly(cls, values: ArrayLike) -> Self:
        """A copy of `values` as an initializer for weights of exactly their shape."""
        initializer = cls(np.array(values))
        initializer._exact_shape = True
        return initializer

    @quietly
    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        shape, expected = checked_shape(shape), np.shape(self.value)
        if self._exact_shape and shape != expected:
            raise ValueError(f"an array of shape {expected} cannot initialize a weight of shape {shape}")
        return np.full(shape, self.value, checked_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        value = self.value.tolist() if isinstance(self.value, np.ndarray | np.generic) else self.value
        return {"value": value}


@register(MODULE, "IdentityInitializer")
class Identity(Initializer):
    """`gain` on the diagonal, 0 elsewhere. ValueError unless the shape has two axes.

    Keras 3.15.1 leaves `gain` out of the config; here it is written, and Keras reads it.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    @quietly
    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        shape, dtype = checked_shape(shape), checked_dtype(dtype)
        if len(shape) != 2:
            raise ValueError(f"Identity needs a shape of two axes, got {shape}")
        return (self.gain * np.eye(*shape, dtype=dtype)).astype(dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of all that draw: `seed` is an int, a `SeedGenerator`, its config, or None; else ValueError."""

    def __init__(self, seed: Any = None) -> None:
        if isinstance(seed, Mapping):
            seed = objects.deserialize(seed, "keras.random")
        if seed is not None and not isinstance(seed, int | SeedGenerator):
            raise ValueError(f"seed must be an integer, a SeedGenerator or None, got {seed!r}")
        self._init_seed = seed
        self.seed: int | SeedGenerator = random.make_default_seed() if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        seed = self._init_seed
        return {"seed": serialize(seed) if isinstance(seed, SeedGenerator) else seed}


@register(MODULE, "normal")
class RandomNormal(RandomInitializer):
    """Draws from N(mean, stddev²)."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean = number("mean", mean)
        self.stddev = number("stddev", stddev)
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


@register(MODULE)
class TruncatedNormal(RandomNormal):
    """Draws from N(mean, stddev²), again where a value is more than two stddev from the mean."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


@register(MODULE, "uniform")
class RandomUniform(RandomInitializer):
    """Draws from [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        self.minval = number("minval", minval)
        self.maxval = number("maxval", maxval)
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")
_TRUNCATED_STDDEV = 0.87962566103423978  # of N(0, 1) cut off at ±2


@register(MODULE)
class VarianceScaling(RandomInitializer):
    """Draws of variance ``scale / max(1, n)``, where n is the fan that `mode` names.

    A shape ``(..., features, units)`` has fan_in ``prod(...) * features`` and fan_out ``prod(...) * units``, unless
    axes are given. ValueError for other values, TypeError if `scale` is no number.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        self.scale = number("scale", scale)
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale!r}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}")
        self.mode = mode
        lower = distribution.lower() if isinstance(distribution, str) else distribution
        self.distribution = "truncated_normal" if lower == "normal" else lower
        if self.distribution not in _DISTRIBUTIONS:
            raise ValueError(f"distribution must be one of {_DISTRIBUTIONS}, got {distribution!r}")
        self.input_axes = _axes("input_axes", input_axes)
        self.output_axes = _axes("output_axes", output_axes)
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        shape = checked_shape(shape)
        variance = self.scale / max(1.0, self._fan(shape))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, math.sqrt(variance), dtype, self.seed)
        return random.truncated_normal(shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV, dtype, self.seed)

    def _fan(self, shape: tuple[int, ...]) -> float:
        if self.input_axes is not None and self.output_axes is not None:
            fan_in = _sizes(shape, "input_axes", self.input_axes)
            fan_out = _sizes(shape, "output_axes", self.output_axes)
        elif len(shape) < 2:
            fan_in = fan_out = math.prod(shape)
        else:
            receptive_field = math.prod(shape[:-2])
            fan_in, fan_out = receptive_field * shape[-2], receptive_field * shape[-1]
        return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
        return {**super().get_config(), **config, **self._axes_config()}

    def _axes_config(self) -> dict[str, list[int]]:
        """The axes that are set. Keras before 3.15 does not know these keys, so None is not written."""
        axes = {"input_axes": self.input_axes, "output_axes": self.output_axes}
        return {key: value for key, value in axes.items() if value is not None}


def _axes(name: str, axes: Iterable[int] | None) -> list[int] | None:
    if axes is None:
        return None
    try:
        return [operator.index(axis) for axis in axes]
    except TypeError:
        raise TypeError(f"{name} must be None or a list of axes, got {axes!r}") from None


def _sizes(shape: tuple[int, ...], name: str, axes: list[int]) -> int:
    try:
        return math.prod(shape[axis] for axis in axes)
    except IndexError:
        raise IndexError(f"{name} must be axes of the shape {shape}, got {axes}") from None


class _Preset(VarianceScaling):
    """A `VarianceScaling` with scale, mode and distribution given by its name."""

    _preset: ClassVar[tuple[float, str, str]]

    def __init__(
        self,
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._preset, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        return {**RandomInitializer.get_config(self), **self._axes_config()}


@register(MODULE)
class GlorotUniform(_Preset):
    """Draws from [-L, L), ``L = sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010)."""

    _preset = 1.0, "fan_avg", "uniform"


@register(MODULE)
class GlorotNormal(_Preset):
    """Truncated normal draws of variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""

    _preset = 1.0, "fan_avg", "truncated_normal"


@register(MODULE)
class HeUniform(_Preset):
    """Draws from [-L, L), ``L = sqrt(6 / fan_in)`` (He et al., 2015)."""

    _preset = 2.0, "fan_in", "uniform"


@register(MODULE)
class HeNormal(_Preset):
    """Truncated normal draws of variance ``2 / fan_in`` (He et al., 2015)."""

    _preset = 2.0, "fan_in", "truncated_normal"


@register(MODULE)
class LecunUniform(_Preset):
    """Draws from [-L, L), ``L = sqrt(3 / fan_in)`` (LeCun et al., 1998)."""

    _preset = 1.0, "fan_in", "uniform"


@register(MODULE)
class LecunNormal(_Preset):
    """Truncated normal draws of variance ``1 / fan_in`` (LeCun et al., 1998)."""

    _preset = 1.0, "fan_in", "truncated_normal"


@register(MODULE, "OrthogonalInitializer", "orthogonal_initializer")
class Orthogonal(RandomInitializer):
    """`gain` times a matrix with orthonormal columns, or rows if it has fewer of these (Saxe et al., 2014).

    It is Q of the QR decomposition of normal draws, its signs chosen so that diag(R) >= 0, in float64 for
    float64 and else in float32. A shape ``(..., units)`` is a matrix ``(prod(...), units)``.
    ValueError for less than two axes, or for an integer dtype.
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        self.gain = number("gain", gain)
        super().__init__(seed)

    @quietly
    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> np.ndarray:
        shape, dtype = checked_shape(shape), checked_dtype(dtype)
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least two axes, got {shape}")
        if dtype.kind in "biu":
            raise ValueError(f"Orthogonal needs a floating dtype, got {dtype.name!r}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        draws = random.normal(tall, dtype="float64" if dtype == np.float64 else "float32", seed=self.seed)
        q, r = np.linalg.qr(draws)
        q *= np.sign(np.diagonal(r))
        q = q.T if rows < columns else q
        return (self.gain * q.reshape(shape)).astype(dtype, order="C", copy=False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


_get, deserialize = lookup(MODULE)


def get(identifier: Any) -> Any:
    """The initializer for a name, config dict, class, callable ``(shape, dtype)`` or array; None stays None.

    Parameters
    ----------
    identifier : str, dict, class, callable, array or None
        A name is that of the class, its snake case, or a short form (zero, one, normal, uniform). An array initializes
        weights of exactly its shape. ValueError for anything else.

    Returns
    -------
    Initializer, callable or None
    """
    if hasattr(identifier, "__array__") and not isinstance(identifier, type):
        return Constant.exactly(identifier)
    return _get(identifier)


zeros, ones, constant, identity = Zeros, Ones, Constant, Identity
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal
orthogonal = OrthogonalInitializer = Orthogonal
IdentityInitializer = Identity

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
