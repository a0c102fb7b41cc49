"""What is known of a layer's output before the layer is called."""

from collections.abc import Sequence
from typing import Any

from cyrnn import objects
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.layer import Layer


def shape_after(layer: Layer, shape: Any, built_with: Sequence[Any]) -> Any:
    """The shape of what a layer returns, as far as it is known without calling it: that which the model was built with,
    but for the batch, where a layer is a custom one."""
    if all(objects.is_builtin(type(part)) for part in layer.layers_within()):
        try:
            return None if shape is None else layer.compute_output_shape(shape)
        except (ValueError, TypeError):  # the call says what is wrong
            return None
    return (None, *built_with[0][1:]) if built_with and nest.is_shape(built_with[0]) else None


def dtype_after(layer: Layer) -> str | None:
    """The name of the dtype of what a layer returns, where that is known without calling it."""
    return layer.output_dtype.name if all(objects.is_builtin(type(part)) for part in layer.layers_within()) else None


def matches(shape: Shape, expected: Shape) -> bool:
    """Whether the axes are of these lengths, where both say one."""
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(n is None or m is None or n == m for n, m in pairs)
