"""Gradients of layers that Python computes."""

from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.programs.derivatives import HasWeights, Slope, with_weights
from cyrnn.layers.base.programs.penalties import HasActivity, activity_of
from cyrnn.layers.base.programs.pullback import Back, Input, Pullback, PullbackThrough
from cyrnn.layers.base.programs.tape import OfWeights


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
    kernel, bias = weights["kernel"], weights.get("bias")
    sums = array @ kernel if bias is None else array @ kernel + bias  # of which custom derivatives are
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


def _pullback(layer: Called, back: Back, y: Array, x: Any) -> Pullback:
    dtype, weights = layer.dtype_policy.engine_dtype.name, layer._weight_slots(trainable=True)
    pullback = PullbackThrough(back, y, Input.of("x", as_array("inputs", x)), [], weights, dtype)
    pullback.activity = activity_of(layer, y)
    return pullback
