"""The derivatives of activations where Python computes: of Keras' own and of custom ones."""

from typing import Any, Protocol

import numpy as np

from cyrnn import activations
from cyrnn.engine.plan import FROM_SUMS, differentiate
from cyrnn.layers.base.arguments import Array


class HasActivation(Protocol):
    """What `through_activation` needs of a layer or cell."""

    @property
    def name(self) -> str: ...

    activation: Any


def check_derivative(layer: HasActivation) -> None:
    """Raises ValueError unless the derivative of the layer's activation is known."""
    known = activations.engine_name(layer.activation) or activations.derivative_of(layer.activation)
    if known is None:
        raise ValueError(
            f"layer {layer.name!r} has no gradients: its activation {layer.activation!r:.100} has no derivative; "
            "set its attribute `derivative`, a function of what it is applied to, or call "
            "`cyrnn.activations.set_derivative`"
        )


def through_activation(layer: HasActivation, sums: Array, outputs: Array, d_outputs: Array) -> Array:
    """The gradient of the sums (rows, units) that the layer's activation was applied to."""
    name = activations.engine_name(layer.activation)
    if name is None:
        derivative = activations.derivative_of(layer.activation)
        assert derivative is not None  # see `check_derivative`
        return d_outputs * np.asarray(derivative(sums))
    d = np.array(d_outputs, sums.dtype, order="C")
    differentiate(name, np.ascontiguousarray(sums if name in FROM_SUMS else outputs, sums.dtype), d)
    return d
