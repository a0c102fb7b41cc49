"""The base of layers that NumPy computes, there and back. Models call them between programs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.memory import owned
from cyrnn.layers.base.programs.penalties import activity_of
from cyrnn.layers.base.programs.pullback import Input, Pullback, PullbackThrough
from cyrnn.layers.base.symbolic import shapes_of
from cyrnn.layers.base.weights import writing

Held = Mapping[Layer, Mapping[str, Array]]  # the weights of a layer and of those inside it, by layer and name
OfWeights = dict[tuple[Any, str], Array]
# Takes the gradients of the leaves of the outputs, and whether penalties on activities inside count; returns those of
# the inputs, in their order, and of weights.
Back = Callable[[list[Array], bool], tuple[list[Array], OfWeights]]


class Forward(NamedTuple):
    """What a call has computed.

    Parameters
    ----------
    outputs : array, or a tuple of arrays
    back : callable
        The way back from them.
    """

    outputs: Any
    back: Back


class NumpyLayer(Layer):
    """A layer with a method `forward`, from which calls and gradients come."""

    def forward(self, inputs: Any, held: Held, mask: Any, training: bool, **options: Any) -> Forward:
        """Compute the outputs for checked inputs, and say how gradients go back.

        Parameters
        ----------
        inputs : array, or a list of arrays
            In the dtype that is computed in.
        held : mapping
            All weights, as of one moment, in that dtype.
        mask : array, or a list of array or None
            As the call got it.
        training : bool
        **options
            Further arguments of the call.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `forward`")

    def held(self) -> Held:
        """The weights of the layer and of those inside it, as of one moment."""
        dtype = self.dtype_policy.engine_dtype
        with writing:
            found = {layer: layer._values for layer in self.layers_within()}
        return {
            layer: {name: value.astype(dtype, copy=False) for name, value in values.items()}
            for layer, values in found.items()
        }

    def outputs(self, inputs: Any, mask: Any, training: bool, **options: Any) -> Any:
        """What a call returns."""
        found = self.forward(inputs, self.held(), mask, bool(training), **options).outputs
        return nest.mapped(self.returned, found)

    def vjp(
        self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False, **options: Any
    ) -> tuple[Any, Pullback]:
        self._check_no_override()
        if initial_state is not None:
            raise ValueError(f"layer {self.name!r} has no states, got initial_state")
        inputs: Any = self.checked_inputs(x)
        if not self.built:
            self.build(shapes_of(inputs))
        several = isinstance(inputs, list)
        if several:  # the pullback has what they were, also where the caller changes them
            inputs = [np.array(part) for part in inputs]
        found = self.forward(inputs if several else np.array(inputs), self.held(), mask, bool(training), **options)
        y = owned(nest.mapped(self.returned, found.outputs), inputs, False)
        parts = [Input.of(number, as_array("inputs", part)) for number, part in enumerate(x if several else [x])]
        dtype, shapes = self.dtype_policy.engine_dtype, [output.shape for output in nest.leaves(y)]
        penalized = any(part.activity_regularizer is not None for part in self.layers_within()[1:])

        def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Any, Array], OfWeights]:
            if all(gradient is None for gradient in gradients) and not (losses and penalized):
                return {}, {}
            pairs = zip(gradients, shapes, strict=True)
            given = [np.zeros(shape, dtype) if d is None else np.asarray(d, dtype) for d, shape in pairs]
            of_inputs, of_weights = found.back(given, losses)
            return dict(enumerate(of_inputs)), of_weights

        like = parts if several else parts[0]
        pullback = PullbackThrough(back, y, like, [], self._weight_slots(trainable=True), dtype.name)
        pullback.activity = activity_of(self, y)
        return y, pullback
