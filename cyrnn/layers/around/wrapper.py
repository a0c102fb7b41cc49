"""Wrapper: the base of layers that are made around another one. Reference: ``keras.layers.Wrapper``, Keras 3."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from cyrnn import objects
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer


class Wrapper(Layer):
    """The base of custom layers around another layer, which they have as `layer`, and in their config.

    Parameters
    ----------
    layer : Layer
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        If `layer` is none.
    """

    def __init__(self, layer: Layer, **kwargs: Unpack[LayerOptions]) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"layer must be a layer, got {type(layer).__name__}")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Sequence[int | None] | None = None, *others: Any) -> None:
        """Build the layer inside."""
        if input_shape is not None:
            self.layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": objects.serialize(self.layer)}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **objects.revived_in(config, "layer")}
