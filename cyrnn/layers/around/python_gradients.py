"""Gradients of layers that Python computes."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import converted, quietly
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.carried import as_before_on_error
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.derivatives import HasWeights, Slope, with_weights
from cyrnn.layers.base.programs.penalties import HasActivity, activity_of
from cyrnn.layers.base.programs.pullback import (
    Back,
    Input,
    Pullback,
    PullbackThrough,
    pair_of,
    pullback_of_call,
)
from cyrnn.layers.base.programs.tape import OfWeights, add_to


class Called(HasActivity, Protocol):
    """What is needed of any layer."""

    @property
    def dtype_policy(self) -> Any: ...

    def __call__(self, inputs: Any, *, mask: Any = ..., training: bool = ...) -> Array: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


class Activating(HasWeights, Called, Protocol):
    """What `of_dense` and `of_activation` need of a layer."""

    activation: Any


def of_dense(layer: Activating, x: Any, mask: Any, training: bool) -> tuple[Array, Pullback]:
    """A call of a Dense with a custom activation, and its pullback."""
    slope = Slope(layer.name, layer.activation)
    array = np.array(layer.checked_inputs(x))
    y, weights = with_weights(layer, lambda: layer(x, mask=mask, training=training))
    dtype = layer.dtype_policy.engine_dtype
    kernel, bias = converted(weights["kernel"], dtype), weights.get("bias")
    sums = (
        array @ kernel if bias is None else array @ kernel + converted(bias, dtype)
    )  # of which custom derivatives are
    slots = layer._weight_slots(trainable=True)

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        if gradients[0] is None:
            return {}, {}
        d_sums = slope.back(sums, np.asarray(gradients[0], sums.dtype))
        rows, d_rows = array.reshape(-1, len(kernel)), d_sums.reshape(-1, kernel.shape[1])
        found = {"kernel": lambda: rows.T @ d_rows, "bias": lambda: d_rows.sum(axis=0)}
        return {"x": d_sums @ kernel.T}, {slot: found[slot[1]]() for slot in slots}

    return y, _pullback(layer, back, y, x)


def of_activation(layer: Activating, x: Any, mask: Any, training: bool) -> tuple[Array, Pullback]:
    """A call of an Activation of a custom function, and its pullback."""
    slope = Slope(layer.name, layer.activation)
    array = np.array(layer.checked_inputs(x))
    y = layer(x, mask=mask, training=training)

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        if gradients[0] is None:
            return {}, {}
        return {"x": slope.back(array, np.asarray(gradients[0], array.dtype))}, {}

    return y, _pullback(layer, back, y, x)


class Normalizing(Called, Protocol):
    """What `of_softmax` needs of a layer."""

    def softmax(self, inputs: Array, keep: Array | None) -> Array: ...


def of_softmax(layer: Normalizing, x: Any, keep: Array | None, axes: Sequence[int]) -> tuple[Array, Pullback]:
    """A call of a Softmax along any axes, with a mask or without, and its pullback."""
    along = tuple(axes)
    y = layer(x, mask=keep)
    outputs = layer.softmax(layer.checked_inputs(x), keep)  # `y` is the caller's, and may be rounded

    @quietly
    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        if gradients[0] is None:
            return {}, {}
        d = np.asarray(gradients[0], outputs.dtype)
        d = d if keep is None else np.where(keep, d, outputs.dtype.type(0))  # what is masked may be NaN
        return {"x": outputs * (d - np.sum(outputs * d, axis=along, keepdims=True))}, {}

    return y, _pullback(layer, back, y, x)


def of_identity(layer: Called, x: Any) -> tuple[Array, Pullback]:
    """A call of a layer that returns its inputs, and its pullback."""
    y = layer(x)

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        return ({} if gradients[0] is None else {"x": np.array(gradients[0])}), {}

    return y, _pullback(layer, back, y, x)


class Noisy(HasActivity, Protocol):
    """What `of_noise` needs of a layer."""

    @property
    def dtype_policy(self) -> Any: ...

    def checked_inputs(self, inputs: Any) -> Array: ...
    def with_slope(self, inputs: Array) -> tuple[Array, Any]: ...
    def returned(self, outputs: Array) -> Array: ...


@quietly
def of_noise(layer: Noisy, x: Any) -> tuple[Array, Pullback]:
    """A call in training of a layer that adds or multiplies noise, and its pullback: the same noise goes back."""
    given, inputs = as_array("inputs", x), layer.checked_inputs(x)
    noisy, slope = layer.with_slope(inputs)
    y = layer.returned(noisy)

    @quietly
    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        d = gradients[0]
        return ({} if d is None else {"x": np.where(slope != 0, d * slope, 0).astype(inputs.dtype, copy=False)}), {}

    pullback = PullbackThrough(back, y, Input.of("x", given), [], [], layer.dtype_policy.engine_dtype.name)
    pullback.activity = activity_of(layer, y)
    return y, pullback


class OfEachTimestep(HasActivity, Protocol):
    """What `of_each_timestep` needs of a TimeDistributed."""

    layer: Layer

    @property
    def dtype_policy(self) -> Any: ...

    def checked_inputs(self, inputs: Any) -> Array: ...
    def options_of(self, t: int, mask: Any, training: bool) -> dict[str, Any]: ...
    def checked_output(self, output: Any) -> Array: ...
    def joined(self, inputs: Array, outputs: Sequence[Array]) -> Array: ...
    def layers_within(self) -> tuple[Any, ...]: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_each_timestep(wrapper: OfEachTimestep, x: Any, mask: Any, training: bool) -> tuple[Array, Pullback]:
    """A call of a TimeDistributed that calls its layer for each timestep, and its pullback."""
    inputs, layer = wrapper.checked_inputs(x), wrapper.layer
    outputs, pullbacks, own = [], [], layer._activity_losses
    with as_before_on_error(wrapper):
        for t in range(inputs.shape[1]):
            options = wrapper.options_of(t, mask, training)
            output, pullback = pair_of(layer.vjp(inputs[:, t], **options), layer)
            outputs.append(wrapper.checked_output(output))
            pullbacks.append(pullback_of_call(pullback, layer, output, inputs[:, t], None))
        y = wrapper.joined(inputs, outputs)
    layer._activity_losses = own  # there is no penalty on what it returns for a timestep, as in Keras
    slots = wrapper._weight_slots(trainable=True)
    penalized = [part for part in layer.layers_within()[1:] if part.activity_regularizer is not None]

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        if losses and penalized:
            raise ValueError(
                f"the penalty on the activity of {penalized[0].name!r} has no gradient: it is inside a TimeDistributed"
            )
        if gradients[0] is None:
            return {}, {}
        of_timesteps = []
        of_weights: OfWeights = {}
        for t, pullback in enumerate(pullbacks):
            found = pullback.of_call(gradients[0][:, t], True, False)
            of_timesteps.append(found.inputs)
            for slot, gradient in zip(slots, found.weights, strict=True):
                add_to(of_weights, slot, gradient)
        whole = any(gradient is None for gradient in of_timesteps)  # of integers there are none
        return {} if whole else {"x": np.stack(of_timesteps, axis=1)}, of_weights

    return y, _pullback(wrapper, back, y, x)


def _pullback(layer: "Called | OfEachTimestep", back: Back, y: Array, x: Any) -> Pullback:
    dtype, weights = layer.dtype_policy.engine_dtype.name, layer._weight_slots(trainable=True)
    pullback = PullbackThrough(back, y, Input.of("x", as_array("inputs", x)), [], weights, dtype)
    pullback.activity = activity_of(layer, y)
    return pullback
