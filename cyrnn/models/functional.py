"""Functional: a model of any graph of layers. Reference: ``keras.Model``, Keras 3."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from cyrnn import objects
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, Shape
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.symbolic import KerasTensor, Node
from cyrnn.models import functional_config
from cyrnn.models.executor import Step, Values
from cyrnn.models.graph import Graph, begun_with
from cyrnn.models.inputs import Feed
from cyrnn.models.model import ModelOfLayers

_KEPT_SPECS = 15  # a nested model is asked for the same few shapes again and again


@objects.register("keras.src.models.functional")
@objects.register("keras.layers", "Model")  # as a layer of another model; Model is its name in older files
class Functional(ModelOfLayers):
    """The model that leads from `inputs` to `outputs`: ``model(inputs, training=None, mask=None)``, `predict`.

    Parameters
    ----------
    inputs, outputs : a symbolic tensor, or several in lists, tuples and dicts. Inputs are what `cyrnn.Input` gives, or
        what a layer has given on the way from there; outputs what layers return that were called with them. A layer
        may be called several times, and then shares its weights

    Call
    ----
    inputs : arrays in the structure of `inputs`; or in a dict by the names of the inputs, or a list in their order
    training : None leaves it to the calls that the graph is made of: ``Dropout(0.1)(x, training=True)``
    mask : a mask (batch, timesteps) or None for each input
    Returns arrays in the structure of `outputs`. Masks flow from the layers that make them through the others, as in
    Keras. Raises ValueError for inputs that do not fit; carried states are then as they were.
    """

    _registered_name = "Functional"
    supports_masking = True
    keeps_training_open = True
    takes_one_input = False  # it says itself how inputs must come
    first_call = 1  # Keras counts one that nobody made

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        given, wanted = _checked_tensors("inputs", inputs), _checked_tensors("outputs", outputs)
        if len(set(given)) < len(given):
            raise ValueError(f"inputs must be different from each other, got {given}")
        new = {tensor: _new_input(tensor) for tensor in given if not isinstance(_layer_of(tensor), InputLayer)}
        place = begun_with(given, new, wanted) if new else {tensor: tensor for tensor in (*given, *wanted)}
        self._inputs_struct = nest.mapped(lambda tensor: place[tensor], inputs)
        self._outputs_struct = nest.mapped(lambda tensor: place[tensor], outputs)
        self.inputs: list[KerasTensor] = nest.leaves(self._inputs_struct)
        self.outputs: list[KerasTensor] = nest.leaves(self._outputs_struct)
        graph = Graph(self.inputs, self.outputs)
        self._calls: list[Node] = graph.nodes  # those of input layers too
        self._operations: list[Any] = graph.layers
        done, calls = graph.no_longer_needed(self.outputs), Counter(node.layer for node in self._calls)
        self._steps = [Step(node, done[node], calls[node.layer] > 1) for node in self._calls if node.inputs]
        self._feed = Feed(self._inputs_struct, [layer.optional for layer in map(_layer_of, self.inputs)])
        self._specs_found: dict[Any, list[KerasTensor]] = {}  # of the outputs, by the shapes of the inputs
        self.built = all(layer.built for layer in self.layers)

    # ------------------------------------------------------------ what it is made of

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras' order: the farther from the outputs, the earlier. Input layers are among them."""
        return [layer for layer in self._operations if isinstance(layer, Layer)]

    @property
    def operations(self) -> list[Any]:
        """The layers, and the operations between them."""
        return list(self._operations)

    @property
    def input(self) -> Any:
        """The inputs, as they were given."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The outputs, as they were given."""
        return self._outputs_struct

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in the order of `inputs`."""
        return [_layer_of(tensor).name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """For each output the name of the layer that gives it."""
        return [_layer_of(tensor).name for tensor in self.outputs]

    @property
    def input_shape(self) -> Any:
        """The shape of the input, batch axis first; for several inputs a list."""
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """The shape of the output; for several outputs a list."""
        shapes = [tensor.shape for tensor in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_dtype(self) -> np.dtype:
        return np.dtype(self.outputs[0].dtype)

    def described(self) -> dict[str, Any]:
        return {"parameters": self.count_params()} if self.built else {"built": False}

    def shapes_behind_layers(self) -> list[Any]:
        first = {node.layer: node for node in sorted(self._calls, key=lambda node: -node.number)}
        shapes = [[tensor.shape for tensor in first[layer].outputs] for layer in self.layers]
        return [found[0] if len(found) == 1 else found for found in shapes]

    def sublayer_shapes(self, input_shape: Shape) -> list[Any]:
        """The shapes that each layer is first called with in this graph; they do not depend on `input_shape`."""
        first = {node.layer: node for node in sorted(self._calls, key=lambda node: -node.number)}
        nodes = [first[layer] for layer in self.layers]
        return [symbolic.shapes_of(node.args[0]) if node.args else node.outputs[0].shape for node in nodes]

    # ------------------------------------------------------------ calling

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().__call__(inputs, training=training, mask=mask)

    def checked_inputs(self, inputs: Any) -> Any:
        """The arrays for the inputs, in their structure. Raises ValueError and TypeError that name the input."""
        return self.in_structure(self._feed.arrays(inputs))

    def call_checked(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.call(x, training, mask)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.call_and_mask(inputs, mask, training)[0]

    def call_and_mask(self, x: Any, mask: Any, training: bool | None) -> tuple[Any, Any]:
        arrays = self._feed.arrays(x)
        masks = [None] * len(arrays) if mask is None else nest.leaves(mask)
        if len(masks) != len(arrays):
            raise ValueError(f"mask must hold a mask or None for each of {len(arrays)} inputs, got {len(masks)}")
        values: Values = dict(zip(self.inputs, zip(arrays, masks, strict=True), strict=True))
        losses: dict[Layer, list[Any]] = {}
        for step in self._steps:
            step.run(values, training, losses)
        for layer, of_all_calls in losses.items():
            layer._activity_losses = of_all_calls
        found = [values[tensor] for tensor in self.outputs]
        outputs, out_masks = (nest.filled(self._outputs_struct, part) for part in zip(*found, strict=True))
        return self._unpacked(outputs), self._unpacked(out_masks)

    def _unpacked(self, outputs: Any) -> Any:
        """A list of one output as this alone, as Keras returns it."""
        return outputs[0] if len(self.outputs) == 1 and isinstance(self._outputs_struct, (list, tuple)) else outputs

    def predict_inputs(self, x: Any) -> list[Array]:
        arrays = self._feed.views(x)  # each batch is converted in its call
        if any(array is None for array in arrays):
            raise ValueError(f"predict needs an array for each of the inputs {self.input_names}")
        return arrays

    def output_dtypes(self, count: int) -> list[np.dtype]:
        return [np.dtype(tensor.dtype) for tensor in self.outputs]

    def largest_shapes(self, shapes: Any) -> list[Any]:
        specs = nest.mapped_shapes(KerasTensor, shapes)
        known = dict(zip(self.inputs, self._feed.specs(specs), strict=True))
        for step in self._steps:
            step.run_specs(known)
        return [tensor.shape for tensor in known.values()]

    def in_structure(self, parts: list[Any]) -> Any:
        return nest.filled(self._inputs_struct, parts)

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs, in their structure, for shapes in that of the inputs."""
        shapes = [tensor.shape for tensor in self._output_specs(nest.mapped_shapes(KerasTensor, input_shape))]
        return self._unpacked(nest.filled(self._outputs_struct, shapes))

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        specs = [KerasTensor(tensor.shape, tensor.dtype) for tensor in self._output_specs(inputs)]
        return self._unpacked(nest.filled(self._outputs_struct, specs))

    def _output_specs(self, inputs: Any) -> list[KerasTensor]:
        """Tensors of the outputs' shapes, for inputs of other shapes than those that the model was made with."""
        shapes = [tuple(tensor.shape) for tensor in self._feed.specs(inputs)]
        if shapes == [tensor.shape for tensor in self.inputs]:
            return self.outputs
        found = self._specs_found.get(key := tuple(shapes))
        if found is None:
            specs = [KerasTensor(shape, tensor.dtype) for shape, tensor in zip(shapes, self.inputs, strict=True)]
            known = dict(zip(self.inputs, specs, strict=True))
            for step in self._steps:
                step.run_specs(known)
            found = [known[tensor] for tensor in self.outputs]
            self._specs_found = {**dict(list(self._specs_found.items())[-_KEPT_SPECS:]), key: found}
        return found

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": None}

    def get_config(self) -> dict[str, Any]:
        return functional_config.written(self, self._calls)

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return functional_config.read(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        model = super().from_config(config, custom_objects)
        # The order of the config: files have the weights in it, whichever Keras wrote them.
        place = {name: number for number, name in enumerate(functional_config.names(config))}
        model._operations.sort(key=lambda layer: place.get(layer.name, -1))
        return model

    def __getstate__(self) -> dict[str, Any]:
        # The calls first, in their order: however deep the graph, each then refers to what has come already.
        return {"_calls": self._calls, **super().__getstate__(), "_specs_found": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        noted = {node for layer in self._operations for node in layer._nodes}
        for node in sorted(self._calls, key=lambda node: node.number):
            if node not in noted:
                node.layer._nodes.append(node)


def _layer_of(tensor: KerasTensor) -> Any:
    """The layer or operation that gives a tensor."""
    assert tensor.node is not None  # see `_checked_tensors`
    return tensor.node.layer


def _checked_tensors(name: str, structure: Any) -> list[KerasTensor]:
    """The symbolic tensors in a structure, all of which layers have given. Raises ValueError."""
    tensors = nest.leaves(structure)
    for tensor in tensors:
        if not isinstance(tensor, KerasTensor) or tensor.node is None:
            raise ValueError(f"{name} must be symbolic tensors that layers have returned, got {tensor!r:.200}")
    if not tensors:
        raise ValueError(f"{name} must hold at least one symbolic tensor, got {structure!r}")
    return tensors


def _new_input(tensor: KerasTensor) -> KerasTensor:
    """An input in the place of what a layer gives."""
    output: KerasTensor = InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype).output
    return output
