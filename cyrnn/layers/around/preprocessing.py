"""Layers that scale data: Normalization and Rescaling. Reference: Keras 3."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import initializers, objects
from cyrnn.arrays import array_of_numbers, quietly, shown, to_numpy
from cyrnn.layers.around.vector_layer import VectorLayer
from cyrnn.layers.base.arguments import Array, Shape, as_array, checked_axis, checked_axis_argument, known_axis
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.weights import Weight, WeightSpec, read_only

_LEAST_STDDEV = 1e-7


class _OfData(VectorLayer):
    """Base: inputs may be nested lists of numbers too."""

    supports_masking = True
    lowers_timesteps = True

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        return self.cast(as_array("inputs", to_numpy("inputs", inputs)))

    def lowered(self, lowering: Lowering, inputs: Symbolic, axes: Sequence[int]) -> Value:
        """Add the op, which scales and shifts along some axes."""
        given = lowering.numbers(inputs)
        x, length, inner = lowering.along(given, axes)
        out = lowering.buffer(x.shape, x.timeline)
        lowering.program.affine(lowering.slot(self), x.view, out.view, length, inner)
        return lowering.in_time(out, given.timeline)


@objects.register("keras.layers")
class Normalization(_OfData):
    """``(x - mean) / sqrt(variance)``, or with `invert`  ``x * sqrt(variance) + mean``,  for each place on `axis`.

    `mean` and `variance` are the constructor's, or else weights, which a file holds or `adapt` sets.

    Parameters
    ----------
    axis : int, list of int, or None
        The axes that keep their places; None for one mean and variance of all numbers.
    mean, variance : array, optional
        Both or none; they broadcast to the lengths of `axis`.
    invert : bool
        Whether to compute data from normalized data.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        For one of `mean` and `variance` without the other, and for shapes that do not fit `axis`.
    """

    adapt_mean = Weight()
    adapt_variance = Weight()
    count = Weight()

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        axes = checked_axis_argument(() if axis is None else axis)
        self.axis = (axes,) if isinstance(axes, int) else tuple(axes)
        if (mean is None) != (variance is None):
            raise ValueError(f"give both mean and variance, or none; got {shown(mean)} and {shown(variance)}")
        given = {} if mean is None else {"mean": mean, "variance": variance}
        arrays = [array_of_numbers(name, values) for name, values in given.items()]
        shapes = [array.shape for array in arrays] or [(), ()]
        if shapes[0] != shapes[1] or len(shapes[0]) > len(self.axis):
            raise ValueError(
                f"mean and variance must have the same shape, of at most {len(self.axis)} axes; "
                f"got {shapes[0]} and {shapes[1]}"
            )
        copies: list[Array | None] = [None, None] if mean is None else [read_only(array) for array in arrays]
        self.input_mean, self.input_variance = copies
        self.invert = bool(invert)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        shape = tuple(known_axis(self.name, input_shape, axis) for axis in self._axes(input_shape))
        if self.input_mean is not None:
            self._given(shape)
            return []
        return [
            WeightSpec("adapt_mean", shape, initializers.get("zeros"), trainable=False),
            WeightSpec("adapt_variance", shape, initializers.get("ones"), trainable=False),
            WeightSpec("count", (), initializers.get("zeros"), trainable=False, dtype=np.dtype("int32")),
        ]

    def _axes(self, shape: Shape) -> list[int]:
        return sorted(checked_axis(self.name, shape, axis) for axis in self.axis)

    @quietly
    def _given(self, shape: tuple[Any, ...]) -> list[Array]:
        """The constructor's mean and variance, in this shape."""
        arrays = [
            np.asarray(values, self.dtype_policy.engine_dtype) for values in (self.input_mean, self.input_variance)
        ]
        try:
            return [np.broadcast_to(array, shape) for array in arrays]
        except ValueError:
            raise ValueError(
                f"mean and variance of {self.name!r} must fit the shape {shape}, got {arrays[0].shape}"
            ) from None

    @quietly
    def adapt(self, data: ArrayLike) -> None:
        """Set the weights to mean and variance of `data`.

        Parameters
        ----------
        data : array, or nested lists
            Samples, of the shape of inputs.

        Raises
        ------
        ValueError
            If `data` holds no number, or its shape does not fit; or if the layer was made with a mean and variance.
        """
        if self.input_mean is not None:
            raise ValueError(f"layer {self.name!r} was made with a mean and variance: it cannot adapt")
        samples = self.checked_inputs(data)
        if not samples.size:
            raise ValueError(f"data for {self.name!r} must hold at least one number, got shape {samples.shape}")
        self.build(samples.shape)
        self._check_lengths(samples.shape)
        others = tuple(n for n in range(samples.ndim) if n not in self._axes(samples.shape))
        self.assign({"adapt_mean": samples.mean(others), "adapt_variance": samples.var(others)})

    def _check_lengths(self, shape: Shape) -> tuple[Any, ...]:
        """The inputs' shape on `axis`, if it is that of the weights. Raises ValueError."""
        lengths = tuple(shape[axis] for axis in self._axes(shape))
        if self.input_mean is None and lengths != self.adapt_mean.shape:
            expected = self.adapt_mean.shape
            raise ValueError(
                f"inputs of {self.name!r} must have lengths {expected} on axes {self.axis}, got shape {shape}"
            )
        return lengths

    @quietly
    def statistics(self, shape: Shape) -> tuple[Array, Array]:
        """Mean and standard deviation of each place on `axis`, for inputs of this shape. Raises ValueError."""
        return self._statistics(self._values, self._check_lengths(shape))

    def _statistics(self, values: Mapping[str, Array], lengths: tuple[Any, ...]) -> tuple[Array, Array]:
        if self.input_mean is None:
            found = [values["adapt_mean"], values["adapt_variance"]]
        else:
            found = self._given(lengths)
        mean, variance = (array.astype(self.dtype_policy.engine_dtype, copy=False) for array in found)
        return mean, np.maximum(np.sqrt(variance), variance.dtype.type(_LEAST_STDDEV))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape = lowering.shape_after(self, inputs)
        try:
            self._check_lengths(shape)
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
        return self.lowered(lowering, inputs, self._axes(shape))

    @property
    def vectors_follow_from(self) -> tuple[Any, ...]:
        return (self.input_mean, self.input_variance, self.invert)

    @quietly
    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        shape = self._build_shape or ()
        mean, stddev = self._statistics(values, tuple(shape[axis] for axis in self._axes(shape)))
        return {"scale": stddev, "offset": mean} if self.invert else {"scale": 1 / stddev, "shift": mean}

    @quietly
    def call(self, inputs: Array) -> Array:
        kept = self._axes(inputs.shape)
        shape = [n if axis in kept else 1 for axis, n in enumerate(inputs.shape)]
        mean, stddev = (array.reshape(shape) for array in self.statistics(inputs.shape))
        return self.returned(mean + inputs * stddev if self.invert else (inputs - mean) / stddev)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": list(self.axis),
            "invert": self.invert,
            "mean": np.array(self.input_mean).tolist(),
            "variance": np.array(self.input_variance).tolist(),
        }


@objects.register("keras.layers")
class Rescaling(_OfData):
    """``x * scale + offset``.

    Parameters
    ----------
    scale, offset : float or array
        They broadcast to the inputs; a call raises ValueError if they do not.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, scale: ArrayLike, offset: ArrayLike = 0.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = _kept("scale", scale), _kept("offset", offset)

    @quietly
    def call(self, inputs: Array) -> Array:
        scale, offset = (np.asarray(value, inputs.dtype) for value in (self.scale, self.offset))
        try:
            outputs = inputs * scale + offset
        except ValueError:
            raise ValueError(
                f"inputs of {self.name!r} must broadcast with scale {scale.shape} and offset {offset.shape}, "
                f"got shape {inputs.shape}"
            ) from None
        return self.returned(outputs)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape = lowering.shape_after(self, inputs)
        vector = np.broadcast_shapes(np.shape(self.scale), np.shape(self.offset))
        before = len(shape) - len(vector)
        axes = [before + axis for axis, n in enumerate(vector) if n != 1]
        if before < 0 or any(shape[axis] != vector[axis - before] for axis in axes):
            raise NotLoweredError(
                f"its scale and offset, of shape {vector}, do not lie along axes of its input, {shape}"
            )
        return self.lowered(lowering, inputs, axes)

    @property
    def vectors_follow_from(self) -> tuple[Any, ...]:
        return (self.scale, self.offset)

    @quietly
    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        dtype = self.dtype_policy.engine_dtype
        scale, offset = np.broadcast_arrays(np.asarray(self.scale, dtype), np.asarray(self.offset, dtype))
        return {"scale": scale, "offset": offset}

    def get_config(self) -> dict[str, Any]:
        plain = {name: np.asarray(value).tolist() for name, value in (("scale", self.scale), ("offset", self.offset))}
        return {**super().get_config(), **plain}


def _kept(name: str, value: ArrayLike) -> ArrayLike:
    """A number as it is, and a copy of an array that does not change. Raises ValueError for what is no number."""
    array = array_of_numbers(name, value)
    return read_only(array) if array.ndim else value
