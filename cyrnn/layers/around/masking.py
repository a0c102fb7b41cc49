"""Masking: the layer that makes masks of values. Reference: ``keras.layers.Masking``, Keras 3."""

from typing import Any, Unpack

import numpy as np

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.layers.base import operations
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.symbolic import KerasTensor


@objects.register("keras.layers")
class Masking(ProgramLayer):
    """Masks the timesteps in which every feature equals `mask_value`, and sets them to zero.

    Inputs are (batch, timesteps, features), the mask for the next layer is (batch, timesteps).

    Parameters
    ----------
    mask_value : float
        The value of features that are left out.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Examples
    --------
    >>> x = np.array([[[1.0], [0.0], [2.0]]])
    >>> cyrnn.layers.Masking(0.0).compute_mask(x)
    array([[ True, False,  True]])
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.mask_value = float(mask_value)
        self.built = True

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        return self.returned(np.where(self.compute_mask(inputs)[..., None], inputs, inputs.dtype.type(0)))

    @quietly
    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """(batch, timesteps), True where some feature differs from `mask_value`."""
        if isinstance(inputs, KerasTensor):
            return operations.applied("Any", operations.applied("NotEqual", inputs, self.mask_value), axis=-1)
        return np.any(np.asarray(inputs) != self.mask_value, axis=-1)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op that makes both the output and the mask."""
        return lowering.masking(inputs, self.mask_value)[0]

    def lower_mask(self, lowering: Lowering, inputs: Symbolic, mask: Any) -> Value:
        """The mask that the op makes."""
        return lowering.masking(inputs, self.mask_value)[1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
