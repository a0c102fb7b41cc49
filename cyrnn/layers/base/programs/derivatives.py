"""The derivatives of activations where Python computes: of Keras' own and of custom ones."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from cyrnn import activations
from cyrnn.engine.plan import FROM_SUMS, differentiate
from cyrnn.layers.base.arguments import Array

Slope = Callable[[Array, Array, Array], Array]

_MOST_TRIES = 1000  # of a call whose weights another thread replaces again and again


class HasActivation(Protocol):
    """What `slope_of` needs of a layer or cell."""

    @property
    def name(self) -> str: ...

    activation: Any


class HasWeights(Protocol):
    """What `with_weights` needs of a layer."""

    @property
    def name(self) -> str: ...

    _slot: Any


def slope_of(layer: HasActivation) -> Slope:
    """How gradients go back through the activation that the layer has now.

    Returns
    -------
    callable
        Takes the sums (rows, units) that the activation was applied to, what it returned, and the gradient of that;
        returns the gradient of the sums.

    Raises
    ------
    ValueError
        Unless the derivative of the activation is known.
    """
    activation = layer.activation
    name, derivative = activations.engine_name(activation), activations.derivative_of(activation)
    if name is None and derivative is None:
        raise ValueError(
            f"layer {layer.name!r} has no gradients: its activation {activation!r:.100} has no derivative; "
            "set its attribute `derivative`, a function of what it is applied to, or call "
            "`cyrnn.activations.set_derivative`"
        )

    def through_function(sums: Array, outputs: Array, d_outputs: Array) -> Array:
        assert derivative is not None
        slopes = np.asarray(derivative(sums))
        if slopes.shape not in ((), sums.shape):
            raise ValueError(
                f"the derivative of {activation!r:.100} must return an array of shape {sums.shape}, got {slopes.shape}"
            )
        return (d_outputs * slopes).astype(sums.dtype, copy=False)

    def through_known(sums: Array, outputs: Array, d_outputs: Array) -> Array:
        assert name is not None
        d = np.array(d_outputs, sums.dtype, order="C")
        differentiate(name, np.ascontiguousarray(sums if name in FROM_SUMS else outputs, sums.dtype), d)
        return d

    return through_function if name is None else through_known


def with_weights(layer: HasWeights, call: Callable[[], Any]) -> tuple[Any, Mapping[str, Array]]:
    """What a call of the layer returns, and the weights by name that it has read."""
    for _ in range(_MOST_TRIES):
        values: Mapping[str, Array] = layer._slot.values
        result = call()
        if layer._slot.values is values:
            return result, values
    raise ValueError(f"the weights of layer {layer.name!r} are replaced all the time")
