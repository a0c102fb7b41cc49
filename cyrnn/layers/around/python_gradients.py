"""Gradients of layers that Python computes."""

from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.programs.derivatives import HasActivation, check_derivative, through_activation
from cyrnn.layers.base.programs.pullback import Input, Pullback, PullbackThrough
from cyrnn.layers.base.programs.tape import OfWeights


class Denser(HasActivation, Protocol):
    """What `of_dense` needs of a Dense layer."""

    kernel: Array
    bias: Array | None

    @property
    def dtype_policy(self) -> Any: ...

    def __call__(self, inputs: Any, mask: Any = ..., training: bool = ...) -> Array: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_dense(layer: Denser, x: Any, mask: Any, training: bool) -> tuple[Array, Pullback]:
    """A call of a Dense with a custom activation, and its pullback."""
    check_derivative(layer)
    given, y = as_array("inputs", x), layer(x, mask=mask, training=training)
    array, kernel, bias = np.array(layer.checked_inputs(x)), layer.kernel, layer.bias
    sums = array @ kernel if bias is None else array @ kernel + bias
    slots, kept = layer._weight_slots(trainable=True), y.copy()

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
        if gradients[0] is None:
            return {}, {}
        d_sums = through_activation(layer, sums, kept, np.asarray(gradients[0], sums.dtype))
        rows, d_rows = array.reshape(-1, len(kernel)), d_sums.reshape(-1, kernel.shape[1])
        found = {"kernel": lambda: rows.T @ d_rows, "bias": lambda: d_rows.sum(axis=0)}
        return {"x": d_sums @ kernel.T}, {slot: found[slot[1]]() for slot in slots}

    dtype = layer.dtype_policy.engine_dtype.name
    return y, PullbackThrough(back, y, Input.of("x", given), [], slots, dtype)


class Noisy(Protocol):
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

    return y, PullbackThrough(back, y, Input.of("x", given), [], [], layer.dtype_policy.engine_dtype.name)
