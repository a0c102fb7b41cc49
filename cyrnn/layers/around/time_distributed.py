"""TimeDistributed: a layer applied to each timestep. Reference: ``keras.layers.TimeDistributed``, Keras 3."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, objects
from cyrnn.layers.around.activation import Activation
from cyrnn.layers.around.activation_layers import Softmax
from cyrnn.layers.around.core import Dense
from cyrnn.layers.around.embedding import Embedding
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, LengthError, Shape, as_array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering, OfATimestep
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.signatures import accepted, required_arguments
from cyrnn.layers.base.symbolic import KerasTensor

if TYPE_CHECKING:  # imported where gradients are asked for
    from cyrnn.layers.base.programs.pullback import Pullback

ROW_BY_ROW = (
    Activation,
    Dense,
    Embedding,
)  # they compute each row of a batch without the others, in training too, with the engine's activations


@objects.register("keras.layers")
class TimeDistributed(ProgramLayer):
    """Applies a layer to each timestep: inputs (batch, timesteps, ...), outputs (batch, timesteps, ...).

    A call takes `mask` (batch, timesteps) and passes it on; the layer gets the mask of its timestep, (batch,), if its
    `call` takes one.

    Parameters
    ----------
    layer : Layer
        A layer of one input and one output.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        For other layers. A call raises it for inputs of fewer than three axes or without timesteps.

    Examples
    --------
    >>> layer = cyrnn.layers.TimeDistributed(cyrnn.layers.Dense(4))
    >>> layer(np.zeros((2, 5, 3))).shape
    (2, 5, 4)
    """

    supports_masking = True

    def __init__(self, layer: Layer, **kwargs: Unpack[LayerOptions]) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"layer must be a layer, got {type(layer).__name__}")
        others = required_arguments(layer.call)[1:]
        if others:
            raise ValueError(f"layer must take the input alone, got {layer.name!r}, whose call needs {others} too")
        super().__init__(**kwargs)
        self.layer = layer

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        return [_of_a_timestep(input_shape)]

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        x = as_array("inputs", inputs)
        _of_a_timestep(x.shape)
        return x

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a tensor refuses to be an array
        self, inputs: KerasTensor, mask: Any = ..., training: bool = ...
    ) -> KerasTensor: ...
    @overload
    def __call__(
        self, inputs: ArrayLike, mask: ArrayLike | None = ..., training: bool = ..., *, lengths: ArrayLike | None = ...
    ) -> Array: ...
    def __call__(
        self, inputs: Any, mask: ArrayLike | None = None, training: bool = False, *, lengths: ArrayLike | None = None
    ) -> Any:
        mask = self.mask_for(inputs, mask, lengths)
        return super().__call__(inputs, mask=mask, training=training)

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        batch, timesteps = inputs.shape[:2]
        self._check_mask(inputs, mask)
        if type(self.layer) in ROW_BY_ROW and activations.engine_name(getattr(self.layer, "activation", None)):
            flat = self.layer.call(self.layer.checked_inputs(inputs.reshape(batch * timesteps, *inputs.shape[2:])))
            return self.returned(flat.reshape(batch, timesteps, *flat.shape[1:]))
        options = [self.options_of(t, mask, training) for t in range(timesteps)]
        calls = (self.layer.call(self.layer.checked_inputs(inputs[:, t]), **options[t]) for t in range(timesteps))
        return self.joined(inputs, [self.checked_output(output) for output in calls])

    def _check_mask(self, inputs: Array, mask: Any) -> None:
        if mask is not None and np.shape(mask)[:2] != inputs.shape[:2]:
            raise ValueError(f"mask must have shape {inputs.shape[:2]}, got {np.shape(mask)}")

    def options_of(self, t: int, mask: Any, training: bool) -> dict[str, Any]:
        """What the call of the layer for a timestep takes beside its inputs."""
        masked = {} if mask is None else {"mask": np.asarray(mask)[:, t]}
        return accepted(type(self.layer).call, training=training, **masked)

    def checked_output(self, output: Any) -> Array:
        """What the layer has returned for a timestep. Raises ValueError unless it is one array."""
        if not isinstance(output, np.ndarray):
            raise ValueError(f"layer {self.layer.name!r} must return one array, got {type(output).__name__}")
        return output

    def joined(self, inputs: Array, outputs: Sequence[Array]) -> Array:
        """What a call returns, of what the layer has for each timestep. Raises ValueError if there are none."""
        if not outputs:
            raise LengthError(f"inputs must have at least one timestep, got shape {inputs.shape}")
        return self.returned(np.stack(outputs, axis=1))

    def vjp_in_python(self, x: Any, mask: Any, training: bool) -> "tuple[Array, Pullback]":
        from cyrnn.layers.around.python_gradients import of_each_timestep

        self._check_mask(self.checked_inputs(x), mask)
        return of_each_timestep(self, x, mask, training)

    @property
    def depends_on_training(self) -> bool:
        if type(self.layer) in ROW_BY_ROW:
            return False
        return not isinstance(self.layer, ProgramLayer) or self.layer.depends_on_training

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the ops of the layer, which compute each timestep without the others."""
        shape, inner = lowering.shape_of(inputs), self.layer
        if type(inner) not in ROW_BY_ROW and not inner.lowers_timesteps:
            raise NotLoweredError(f"its layer is a {type(inner).__name__}, which is called for each timestep")
        if len(shape) < 3:
            raise NotLoweredError(f"its input must have the axes (batch, timesteps, ...), and has the shape {shape}")
        masked = mask is not None and type(inner) not in ROW_BY_ROW and "mask" in accepted(type(inner).call, mask=mask)
        if masked and (len(shape) > 3 or isinstance(inner, Softmax)):
            raise NotLoweredError(f"its layer, a {type(inner).__name__}, gets the mask of each timestep")
        lowering.check(inner, within=True)
        if isinstance(inner, Embedding):
            lowering.mask(mask, lowering.tokens(inputs, inner))
            return inner.lower(lowering, inputs)
        x = lowering.numbers(inputs)
        lowering.mask(mask, x)
        row = replace(x, shape=_of_a_timestep(x.shape), timeline=None)
        out = inner.lower(OfATimestep(lowering, x.timeline), row, None, training)  # type: ignore[attr-defined]  # see above
        return replace(out, shape=(shape[0], shape[1], *out.shape[1:]), timeline=x.timeline, moved=())

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.layer.compute_output_shape(_of_a_timestep(tuple(input_shape)))
        if not nest.is_shape(shape):
            raise ValueError(f"layer {self.layer.name!r} in {self.name!r} must return one array, got shapes {shape}")
        return (shape[0], input_shape[1], *shape[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": objects.serialize(self.layer)}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **objects.revived_in(config, "layer")}


def _of_a_timestep(shape: Shape) -> Shape:
    """(batch, timesteps, ...) -> (batch, ...). Raises ValueError for fewer than three axes."""
    if len(shape) < 3:
        raise ValueError(f"TimeDistributed takes inputs (batch, timesteps, ...) of three axes or more, got {shape}")
    return (shape[0], *shape[2:])
