"""Gradients of a custom layer made of layers that is called alone: those of the calls that its `call` makes."""

from typing import Any

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.penalties import activity_of
from cyrnn.layers.base.programs.pullback import Pullback
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.executor import Place
from cyrnn.models.programs import gradients
from cyrnn.models.programs.blocks import Block, not_noted
from cyrnn.models.programs.trace import Trace
from cyrnn.models.programs.traced_call import TracedCall


def vjp(layer: Layer, x: Any, training: bool) -> tuple[Any, Pullback]:
    """What `Layer.vjp` returns. Raises ValueError where the calls cannot be noted."""
    inputs, block = layer.checked_inputs(x), Block(layer)
    carries = any(part.carries_states for part in layer.layers_within())

    def spec(array: Any) -> Place:
        return Place((array.shape[0] if carries else None, *array.shape[1:]), array.dtype.name)

    specs = nest.mapped(spec, inputs)
    if not layer.built:
        layer.compute_output_spec(nest.mapped(lambda place: KerasTensor(place.shape, place.dtype), specs))
    reason = block.why_not_noted()
    trace = block.trace(specs, training) if reason is None else None
    if not isinstance(trace, Trace):
        raise ValueError(
            f"layer {layer.name!r} has no gradients: {reason or not_noted(str(trace))}; it needs a `vjp` of its own"
        )
    given = nest.mapped(lambda part: as_array("inputs", part), x)
    y, pullback = gradients.vjp(TracedCall(layer, trace, inputs, None), given, None, None, training)
    pullback.activity = activity_of(layer, y)
    return y, pullback
