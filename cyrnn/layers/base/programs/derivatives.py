"""The derivatives of activations where Python computes: of Keras' own and of custom ones."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from cyrnn import activations
from cyrnn.engine.plan import FROM_SUMS, differentiate
from cyrnn.layers.base.arguments import Array

_MOST_TRIES = 1000  # of a call whose weights another thread replaces again and again


class HasWeights(Protocol):
    """What `with_weights` needs of a layer."""

    @property
    def name(self) -> str: ...

    _slot: Any


def is_of_sums(activation: Any) -> bool:
    """Whether the derivative of an activation is a function of the sums that it is applied to; else of its outputs."""
    name = activations.engine_name(activation)
    return name is None or name in FROM_SUMS


class Slope:
    """How gradients go back through an activation.

    Parameters
    ----------
    layer : str
        The name of the layer that has it, for the error.
    activation : callable or None

    Attributes
    ----------
    of_sums : bool
        Whether the derivative is a function of the sums that the activation is applied to; else of what it returns.

    Raises
    ------
    ValueError
        Unless the derivative of the activation is known.
    """

    def __init__(self, layer: str, activation: Any) -> None:
        self._activation = activation
        self._name, self._derivative = activations.engine_name(activation), activations.derivative_of(activation)
        if self._name is None and self._derivative is None:
            raise ValueError(
                f"layer {layer!r} has no gradients: its activation {activation!r:.100} has no derivative; "
                "set its attribute `derivative`, a function of what it is applied to, or call "
                "`cyrnn.activations.set_derivative`"
            )
        self.of_sums = is_of_sums(activation)

    def back(self, of: Array, d_outputs: Array) -> Array:
        """The gradient of the sums (rows, units), from that of the outputs; `of` is what the derivative is of."""
        if self._name is not None:
            d = np.array(d_outputs, of.dtype, order="C")
            differentiate(self._name, np.ascontiguousarray(of), d)
            return d
        assert self._derivative is not None
        slopes = np.asarray(self._derivative(of))
        if slopes.shape not in ((), of.shape):
            raise ValueError(
                f"the derivative of {self._activation!r:.100} must return an array of shape {of.shape}, "
                f"got {slopes.shape}"
            )
        return (d_outputs * slopes).astype(of.dtype, copy=False)


def with_weights(layer: HasWeights, call: Callable[[], Any]) -> tuple[Any, Mapping[str, Array]]:
    """What a call of the layer returns, and the weights by name that it has read."""
    for _ in range(_MOST_TRIES):
        values: Mapping[str, Array] = layer._slot.values
        result = call()
        if layer._slot.values is values:
            return result, values
    raise ValueError(f"the weights of layer {layer.name!r} are replaced all the time")
