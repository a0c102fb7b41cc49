"""Activations as layers. Reference: Keras 3."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, constraints, initializers, objects, regularizers
from cyrnn.arrays import quietly, to_numpy
from cyrnn.layers.base.arguments import (
    Array,
    Shape,
    checked_axis,
    checked_axis_argument,
    checked_number,
    checked_sizes,
    known_axis,
)
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.weights import Weight, WeightSpec

_LEAKY_SLOPE = 0.2  # of Keras' function, and so of the engine's
_RELUS: dict[tuple[Any, Any, Any], str] = {
    (None, 0, 0): "relu",
    (6, 0, 0): "relu6",
    (None, _LEAKY_SLOPE, 0): "leaky_relu",
}  # by max_value, negative_slope and threshold


@objects.register("keras.layers")
class Activation(Layer):
    """An activation function as a layer: ``activation(inputs)``, of the inputs' shape.

    Parameters
    ----------
    activation : str or callable
        A name of `cyrnn.activations`, or a function of an array.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        For an unknown name.
    """

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation: Callable[..., Any] = activations.get(activation)
        self.built = True

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        return self.returned(np.asarray(self.activation(inputs)))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the activation's op."""
        name = activations.engine_name(self.activation)
        if name is None:
            raise NotLoweredError(f"its activation {self.activation!r:.100} is a custom one")
        return lowering.activation(name, inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


@objects.register("keras.layers")
class ReLU(Layer):
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

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else checked_number("max_value", max_value)
        self.negative_slope = checked_number("negative_slope", negative_slope)
        self.threshold = checked_number("threshold", threshold)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.relu(inputs, self.negative_slope, self.max_value, self.threshold))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of relu, relu6 or leaky_relu, whose numbers are fixed."""
        name = _RELUS.get((self.max_value, self.negative_slope, self.threshold))
        if name is None:
            raise NotLoweredError("the engine has no op for these max_value, negative_slope and threshold")
        return lowering.activation(name, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


@objects.register("keras.layers")
class ThresholdedReLU(Layer):
    """The inputs above `theta`, zero elsewhere. Keras 2 had it; in Keras 3 it is ``ReLU(threshold=theta)``.

    Parameters
    ----------
    theta : float
        At least 0.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = checked_number("theta", theta)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.relu(inputs, threshold=self.theta))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": self.theta}


@objects.register("keras.layers")
class LeakyReLU(Layer):
    """x, and below 0  negative_slope * x.

    Parameters
    ----------
    negative_slope : float
        At least 0. Keras 2 called it `alpha`, which is accepted with a warning.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("alpha is deprecated: it is negative_slope now", stacklevel=2)
        super().__init__(**kwargs)
        self.negative_slope = checked_number("negative_slope", negative_slope)
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.leaky_relu(inputs, self.negative_slope))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of leaky_relu, whose slope is fixed."""
        if self.negative_slope != _LEAKY_SLOPE:
            raise NotLoweredError(f"the engine has no op for another negative_slope than {_LEAKY_SLOPE}")
        return lowering.activation("leaky_relu", inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"negative_slope" if key == "alpha" else key: value for key, value in config.items()}


@objects.register("keras.layers")
class PReLU(Layer):
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
    alpha = Weight()

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Any,
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

    @quietly
    def call(self, inputs: Array) -> Array:
        shape, expected = inputs.shape[1:], self.alpha.shape
        shared = [axis - 1 for axis in self.shared_axes or ()]
        if len(shape) != len(expected) or any(
            n != m for axis, (n, m) in enumerate(zip(shape, expected, strict=True)) if axis not in shared
        ):
            known = ", ".join("any" if axis in shared else str(n) for axis, n in enumerate(expected))
            raise ValueError(f"inputs of {self.name!r} must have shape (batch, {known}), got {inputs.shape}")
        alpha = self.alpha.astype(inputs.dtype, copy=False)
        return self.returned(np.maximum(inputs, 0) + alpha * np.minimum(inputs, 0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": constraints.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }


@objects.register("keras.layers")
class ELU(Layer):
    """x, and below 0  alpha * (exp(x) - 1).

    Parameters
    ----------
    alpha : float
        The limit below 0 is -alpha.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.built = True

    def call(self, inputs: Array) -> Array:
        return self.returned(activations.elu(inputs, self.alpha))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of elu, whose alpha is fixed."""
        if self.alpha != 1:
            raise NotLoweredError("the engine has no op for another alpha than 1")
        return lowering.activation("elu", inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {"name": config.pop("name"), "alpha": self.alpha, **config}


@objects.register("keras.layers")
class Softmax(Layer):
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

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis_argument(axis)
        self.built = True

    @quietly
    def call(self, inputs: Array, mask: ArrayLike | None = None) -> Array:
        axes = [checked_axis(self.name, inputs.shape, n) for n in np.atleast_1d(np.array(self.axis, int)).tolist()]
        if mask is None:
            return self.returned(activations.softmax(inputs, axis=axes))
        keep = to_numpy("mask", mask)
        keep = keep if keep.dtype == bool else keep > 0.5
        ends = zip(reversed(keep.shape), reversed(inputs.shape), strict=False)
        if keep.ndim > inputs.ndim or any(n not in (1, m) for n, m in ends):
            raise ValueError(
                f"mask of {self.name!r} must broadcast to the inputs' shape {inputs.shape}, got {keep.shape}"
            )
        outputs = activations.softmax(np.where(keep, inputs, inputs.dtype.type(-1e9)), axis=axes)
        return self.returned(np.where(keep, outputs, inputs.dtype.type(0)))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op of softmax, which goes along the last axis and knows no mask."""
        rank, axes = len(lowering.shape_of(inputs)), np.atleast_1d(np.array(self.axis, int)).tolist()
        if axes not in ([-1], [rank - 1]):
            raise NotLoweredError(f"it goes along other axes than the last one, {self.axis}")
        if mask is not None:
            raise NotLoweredError("it has a mask")
        return lowering.activation("softmax", inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
