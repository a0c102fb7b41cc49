"""Any activation as a layer. Reference: Keras 3."""

from collections.abc import Callable
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn import activations, objects
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value


@objects.register("keras.layers")
class Activation(ProgramLayer):
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
    may_have_logits = True

    _made_from: ClassVar = {**ProgramLayer._made_from, "activation": activations.get}

    def __init__(self, activation: Any, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.activation: Callable[..., Any] = activations.get(activation)
        self.built = True

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        return self.returned(np.asarray(self.activation(inputs)))

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        if activations.engine_name(self.activation) is not None or type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.around.python_gradients import of_activation

        return of_activation(self, x, mask, training)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the activation's op."""
        name = activations.engine_name(self.activation)
        if name is None:
            raise NotLoweredError(f"its activation {self.activation!r:.100} is a custom one")
        return lowering.activation(name, inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
