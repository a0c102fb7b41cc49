"""Activations as layers. Reference: Keras 3."""

import functools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, constraints, initializers, notices, objects, regularizers
from cyrnn.arrays import quietly, to_numpy
from cyrnn.layers.around.vector_layer import VectorLayer
from cyrnn.layers.base.arguments import (
    Array,
    Shape,
    checked_axis,
    checked_axis_argument,
    checked_number,
    checked_sizes,
    known_axis,
)
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.weights import Weight, WeightSpec

if TYPE_CHECKING:  # imported where gradients are asked for
    from cyrnn.layers.base.programs.pullback import Pullback


@objects.register("keras.layers")
class ReLU(ProgramLayer):
    """The inputs above `threshold`, at most `max_value`; below it  negative_slope * (x - threshold).

    Parameters
    ----------
    max_value : float, optional
        The largest output; None for no limit.
    negative_slope, threshold : float
        At least 0.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        For a negative number, and for what is no number.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else checked_number("max_value", max_value)
        self.negative_slope = checked_number("negative_slope", negative_slope)
        self.threshold = checked_number("threshold", threshold)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.relu(inputs, self.negative_slope, self.max_value, self.threshold))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        return _relu(lowering, inputs, self.negative_slope, self.threshold, self.max_value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


@objects.register("keras.layers")
class ThresholdedReLU(ProgramLayer):
    """The inputs above `theta`, zero elsewhere. Keras 2 had it; in Keras 3 it is ``ReLU(threshold=theta)``.

    Parameters
    ----------
    theta : float
        At least 0.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(self, theta: float = 1.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.theta = checked_number("theta", theta)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.relu(inputs, threshold=self.theta))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        return _relu(lowering, inputs, threshold=self.theta)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": self.theta}


class _LeakyOptions(LayerOptions, total=False):
    alpha: float  # the older name of negative_slope


@objects.register("keras.layers")
class LeakyReLU(ProgramLayer):
    """x, and below 0  negative_slope * x.

    Parameters
    ----------
    negative_slope : float
        At least 0. Keras 2 called it `alpha`, which is accepted with a warning.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Unpack[_LeakyOptions]) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            notices.warn("alpha is deprecated: it is negative_slope now")
        super().__init__(**kwargs)
        self.negative_slope = checked_number("negative_slope", negative_slope)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.leaky_relu(inputs, self.negative_slope))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        if self.negative_slope == 0:
            raise NotLoweredError("0 times -inf is NaN, but the op of a slope of 0 makes 0 of it")
        return _relu(lowering, inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"negative_slope" if key == "alpha" else key: value for key, value in config.items()}


@objects.register("keras.layers")
class PReLU(VectorLayer):
    """x, and below 0  alpha * x.  The weight `alpha` has the shape of the inputs without the batch axis.

    Parameters
    ----------
    alpha_initializer, alpha_regularizer, alpha_constraint
        Those of `alpha`: a name, config, or callable.
    shared_axes : int or list of int, optional
        The axes, counted from 1, on which `alpha` has length 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True
    weight_of = MappingProxyType({"scale": "alpha"})
    alpha = Weight()

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        if shared_axes is None:
            self.shared_axes = None
        else:
            axes = list(shared_axes) if isinstance(shared_axes, (list, tuple)) else [shared_axes]
            self.shared_axes = list(checked_sizes("shared_axes", axes, len(axes)))

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        shared = {checked_axis(self.name, input_shape, axis) for axis in self.shared_axes or ()}
        axes = range(1, len(input_shape))
        shape = tuple(1 if axis in shared else known_axis(self.name, input_shape, axis) for axis in axes)
        return [WeightSpec("alpha", shape, self.alpha_initializer, self.alpha_regularizer, self.alpha_constraint)]

    def _check_shape(self, given: Shape) -> None:
        shape, expected = given[1:], self.alpha.shape
        shared = [axis - 1 for axis in self.shared_axes or ()]
        if len(shape) != len(expected) or any(
            n != m for axis, (n, m) in enumerate(zip(shape, expected, strict=True)) if axis not in shared
        ):
            known = ", ".join("any" if axis in shared else str(n) for axis, n in enumerate(expected))
            raise ValueError(f"inputs of {self.name!r} must have shape (batch, {known}), got {given}")

    @quietly
    def call(self, inputs: Array) -> Array:
        self._check_shape(inputs.shape)
        alpha = self.alpha.astype(inputs.dtype, copy=False)
        return self.returned(np.maximum(inputs, 0) + alpha * np.minimum(inputs, 0))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op, which has slopes along an axis."""
        try:
            self._check_shape(lowering.shape_of(inputs))
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
        given = lowering.numbers(inputs)
        axes = [axis for axis, n in enumerate(self.alpha.shape, 1) if n != 1]
        x, length, inner = lowering.along(given, axes)
        out = lowering.buffer(x.shape, x.timeline)
        lowering.program.prelu(lowering.slot(self), x.view, out.view, length, inner)
        return lowering.in_time(out, given.timeline)

    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        return {"scale": values["alpha"]}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": constraints.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }


@objects.register("keras.layers")
class ELU(ProgramLayer):
    """x, and below 0  alpha * (exp(x) - 1).

    Parameters
    ----------
    alpha : float
        The limit below 0 is -alpha.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True
    lowers_timesteps = True

    def __init__(self, alpha: float = 1.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.elu(inputs, self.alpha))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of elu, and another one that scales what is below 0."""
        slope = _finite("alpha", self.alpha)
        out = lowering.activation("elu", inputs)
        return out if slope == 1 else _relu(lowering, out, slope)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {"name": config.pop("name"), "alpha": self.alpha, **config}


@objects.register("keras.layers")
class Softmax(ProgramLayer):
    """Softmax along one axis or several. A call takes `mask` too: where it is False, the output is 0.

    Parameters
    ----------
    axis : int or list of int
        The axes along which the outputs add up to 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    TypeError
        If `axis` holds no integers. A call raises ValueError for a mask that does not broadcast to the inputs' shape.
    """

    supports_masking = True
    lowers_timesteps = True
    may_have_logits = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis_argument(axis)
        self.built = True

    @property
    def rounds_as_numpy(self) -> bool:
        return self.axis != -1 or self.rounds_results  # the ops along the timesteps sum them in another order

    def call(self, inputs: Array, mask: ArrayLike | None = None) -> Array:
        return self.returned(self.softmax(inputs, None if mask is None else self._checked_mask(inputs, mask)))

    @quietly
    def softmax(self, inputs: Array, keep: Array | None) -> Array:
        """The outputs, in the dtype of the inputs, and 0 where `keep`, which broadcasts to their shape, is False."""
        axes = self._axes(inputs.shape)
        if keep is None:
            return activations.softmax(inputs, axis=axes)
        outputs = activations.softmax(np.where(keep, inputs, inputs.dtype.type(-1e9)), axis=axes)
        return np.where(keep, outputs, inputs.dtype.type(0))

    def _axes(self, shape: Shape) -> list[int]:
        """`axis` as axes counted from the batch on. Raises ValueError for one that inputs of this shape do not have."""
        return [checked_axis(self.name, shape, n) for n in np.atleast_1d(np.array(self.axis, int)).tolist()]

    def _checked_mask(self, inputs: Array, mask: ArrayLike) -> Array:
        keep = to_numpy("mask", mask)
        keep = keep if keep.dtype == bool else keep > 0.5
        ends = zip(reversed(keep.shape), reversed(inputs.shape), strict=False)
        if keep.ndim > inputs.ndim or any(n not in (1, m) for n, m in ends):
            raise ValueError(
                f"mask of {self.name!r} must broadcast to the inputs' shape {inputs.shape}, got {keep.shape}"
            )
        return keep

    def vjp_in_python(self, x: Any, mask: Any, training: bool) -> "tuple[Array, Pullback]":
        from cyrnn.layers.around.python_gradients import of_softmax

        inputs = self.checked_inputs(x)
        keep = None if mask is None else np.array(self._checked_mask(inputs, mask))
        return of_softmax(self, x, keep, self._axes(inputs.shape))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of softmax; along the timesteps there are several ops."""
        if mask is not None:
            raise NotLoweredError("it has a mask")
        shape = lowering.shape_of(inputs)
        try:
            axes = self._axes(shape)
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
        given = lowering.numbers(inputs)
        if axes == [1] and given.timeline is not None:
            return _softmax_over_time(lowering, given)
        out = lowering.over_vectors(given, axes, functools.partial(lowering.program.activation, "softmax"))
        if axes == [len(shape) - 1]:  # as the softmax of a loss
            lowering.note_logits("softmax", out, given)
        return out

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _relu(
    lowering: Lowering, inputs: Symbolic, slope: float = 0.0, threshold: float = 0.0, most: float | None = None
) -> Value:
    """The op of ReLU and the like."""
    options = {"slope": _finite("negative_slope", slope), "threshold": _finite("threshold", threshold)}
    x = lowering.numbers(inputs)
    out = lowering.buffer(x.shape, x.timeline)
    lowering.program.relu(x.view, out.view, **options, **({} if most is None else {"most": most}))
    return out


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise NotLoweredError(f"the engine has no op for {name}={value!r:.100}")
    return float(value)


def _softmax_over_time(lowering: Lowering, x: Value) -> Value:
    """e^(x - most) / sum e^(x - most),  of each element of a timestep; `most` is the largest over the timesteps."""
    program, row = lowering.program, (x.shape[0], *x.shape[2:])
    most, total = lowering.buffer(row), lowering.buffer(row)
    below, powers, out = (lowering.buffer(x.shape, x.timeline) for _ in range(3))
    axes = [(x.width, 1)] * 2
    program.global_pool("max", x.view, most.view)
    program.merge("subtract", [x.view, most.view], below.view, axes=axes)
    program.activation("exponential", below.view, powers.view, x.width)
    program.global_pool("sum", powers.view, total.view)
    program.merge("divide", [powers.view, total.view], out.view, axes=axes)
    return out
