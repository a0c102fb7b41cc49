"""Model: the class of all models, to subclass; and Functional: a model of any graph of layers.

``Model(inputs, outputs)`` makes a Functional, so the two stand in one module. Reference: ``keras.Model``, Keras 3.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from cyrnn import objects
from cyrnn.dtypes import numpy_dtype
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, Shape, is_true
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.layers.base.symbolic import KerasTensor, Node
from cyrnn.models.calls import ModelOfCalls
from cyrnn.models.executor import Call, Place, Step, run_specs
from cyrnn.models.graph import Graph, begun_with, branches, checked_tensors, connections, new_input, output_shapes
from cyrnn.models.inputs import Feed
from cyrnn.models.programs.parts import Results, Wanted
from cyrnn.models.subclass import SubclassedModel

if TYPE_CHECKING:
    from cyrnn.models.summary import Row

Tensors = KerasTensor | Sequence[KerasTensor] | Mapping[str, KerasTensor]

_KEPT_SPECS = 15  # a nested model is asked for the same few shapes again and again


class Model(SubclassedModel):
    """The class of all models: ``Model(inputs, outputs)`` makes one of a graph of layers, a `Functional`.

    A subclass makes its layers in its constructor, and calls them in ``call(inputs, ...)``, whose result is the
    model's. Layers that its attributes hold, alone or in lists, tuples and dicts, are its `layers`; its config is its
    constructor's arguments, if it has no `get_config`.

    Parameters
    ----------
    inputs, outputs : symbolic tensor, or several in lists, tuples and dicts
        The ends of a graph; see `Functional`. The constructor of a subclass passes neither of them on.
    name : str, optional
        Without "/"; default: the snake case of the class, numbered.
    trainable : bool, default True
        Whether the weights are in `trainable_weights`.
    dtype : str or policy, optional
        The dtype policy of a subclass: what its inputs of floating numbers are cast to.

    Raises
    ------
    TypeError
        If the constructor of a subclass passes inputs and outputs on, or one of them is missing.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        graph = len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= kwargs.keys()
        made: Any = Functional if cls is Model and graph else cls
        return super().__new__(made, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or "inputs" in kwargs or "outputs" in kwargs:
            raise TypeError(
                f"{type(self).__name__} must be given both inputs and outputs, or neither: "
                "Model(inputs, outputs) makes a model of a graph. A class whose constructor passes them on is a "
                "subclass of cyrnn.models.Functional"
            )
        super().__init__(**kwargs)

    if TYPE_CHECKING:

        @overload
        def __call__(self, inputs: Tensors, *args: Any, **kwargs: Any) -> KerasTensor: ...
        @overload
        def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Array: ...
        def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any: ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model of this config; of a graph, if `Model` itself is asked for one.

        Parameters
        ----------
        config : dict
            What `get_config` returned.
        custom_objects : dict, optional
            Classes and functions by the names that the config has for them.

        Returns
        -------
        Model
        """
        if cls is Model:
            return Functional.from_config(config, custom_objects)
        return super().from_config(config, custom_objects)


@objects.register("keras.src.models.functional")
@objects.register("keras.layers", "Model")  # as a layer of another model; Model is its name in older files
class Functional(ModelOfCalls, Model):
    """A model of a graph: it computes `outputs` from `inputs`. ``cyrnn.Model(inputs, outputs)`` makes one.

    Called as ``model(inputs, training=None, mask=None, *, lengths=None)``:

    - inputs: arrays in the structure of `inputs`; or in a dict by the names of the inputs, or in a list in their order
    - training: None leaves it to the calls that the graph is made of, such as ``Dropout(0.1)(x, training=True)``
    - mask: a mask (batch, timesteps) or None for each input
    - lengths: instead of masks, how many timesteps of each row count; an array (batch,) or None for each input

    The model returns arrays in the structure of `outputs`. Masks flow from the layers that make them through the
    others, as in Keras. It raises ValueError for inputs that do not fit; carried states are then as they were.

    Parameters
    ----------
    inputs : symbolic tensor, or several in lists, tuples and dicts
        What `cyrnn.Input` returns, or what a layer has returned on the way from there.
    outputs : symbolic tensor, or several in lists, tuples and dicts
        What layers return that were called with the inputs. A layer may be called several times: its calls share its
        weights.
    name : str, optional
        Without "/"; default: "functional", numbered.
    trainable : bool, default True
        Whether the weights are in `trainable_weights`.

    Raises
    ------
    ValueError
        If the outputs depend on other tensors than the inputs, or two layers have one name.
    """

    _registered_name = "Functional"
    supports_masking = True
    is_in_paths = False  # its layers are built before it: Keras has them by their own names
    keeps_training_open = True
    takes_one_input = False  # its own errors say how inputs must come
    first_call = 1  # Keras counts the making of the model too

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        given, wanted = checked_tensors("inputs", inputs), checked_tensors("outputs", outputs)
        if len(set(given)) < len(given):
            raise ValueError(f"inputs must be different from each other, got {given}")
        new = {tensor: new_input(tensor) for tensor in given if not isinstance(_layer_of(tensor), InputLayer)}
        place = begun_with(given, new, wanted) if new else {tensor: tensor for tensor in (*given, *wanted)}
        self._inputs_struct = nest.mapped(lambda tensor: place[tensor], inputs)
        self._outputs_struct = nest.mapped(lambda tensor: place[tensor], outputs)
        self.inputs: list[KerasTensor] = nest.leaves(self._inputs_struct)
        self.outputs: list[KerasTensor] = nest.leaves(self._outputs_struct)
        graph = Graph(self.inputs, self.outputs)
        self._calls: list[Node] = graph.nodes  # those of input layers too
        self._operations: list[Any] = graph.layers
        calls = Counter(node.layer for node in self._calls)
        self._steps = [Step(node, calls[node.layer] > 1) for node in self._calls if node.inputs]
        self._feed = Feed(self._inputs_struct, [layer.optional for layer in map(_layer_of, self.inputs)])
        self._specs_found: dict[Any, list[KerasTensor]] = {}  # of the outputs, by the shapes of the inputs
        self.built = all(layer.built for layer in self.layers)

    # ------------------------------------------------------------ what it is made of

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras' order: the farther from the outputs, the earlier. Input layers are among them."""
        return [layer for layer in self._operations if isinstance(layer, Layer)]

    @property
    def sublayers(self) -> list[tuple[str, Layer]]:
        return [("layers", layer) for layer in self.layers]

    @property
    def operations(self) -> list[Any]:
        """The layers, and the operations between them."""
        return list(self._operations)

    @property
    def calls(self) -> list[Node]:
        """The calls of layers and operations that the graph is made of, in the order in which they were made."""
        return sorted((node for node in self._calls if node.inputs), key=lambda node: node.number)

    @property
    def input(self) -> Any:
        """The inputs, in their structure."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The outputs, in their structure."""
        return self._outputs_struct

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in their order."""
        return [_layer_of(tensor).name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """For each output the name of the layer that returns it."""
        return [_layer_of(tensor).name for tensor in self.outputs]

    @property
    def names_of_targets(self) -> list[str]:
        named = isinstance(self._outputs_struct, dict) and len(self._outputs_struct) == len(self.outputs)
        return list(map(str, sorted(self._outputs_struct))) if named else self.output_names

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
        return numpy_dtype(self.outputs[0].dtype)

    def described(self) -> dict[str, Any]:
        return {"parameters": self.count_params()} if self.built else {"built": False}

    def output_shapes_of_layers(self) -> list[Any]:
        return list(map(output_shapes(self._calls).__getitem__, self.layers))

    @property
    def branches(self) -> bool:
        return branches(self._calls)

    def rows(self) -> "list[Row]":
        from cyrnn.models.summary import Row

        shapes, inputs = output_shapes(self._calls), connections(self._calls)
        return [Row(layer, shapes[layer], inputs=inputs[layer]) for layer in self._operations]

    def sublayer_shapes(self, input_shape: Shape) -> list[Any]:
        """The shapes that each layer is first called with in this graph; they do not depend on `input_shape`."""
        first = {node.layer: node for node in sorted(self._calls, key=lambda node: -node.number)}
        nodes = [first[layer] for layer in self.layers]
        return [_shapes_called_with(node) if node.args else node.outputs[0].shape for node in nodes]

    # ------------------------------------------------------------ calling

    @overload
    def __call__(self, inputs: Tensors, training: bool | None = ..., mask: Any = ...) -> KerasTensor: ...
    @overload
    def __call__(self, inputs: Any, training: bool | None = ..., mask: Any = ..., *, lengths: Any = ...) -> Array: ...
    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None, *, lengths: Any = None) -> Any:
        if lengths is not None or (type(inputs) is list and len(self.inputs) == 1):
            inputs, mask = self.with_mask(inputs, mask, lengths)
        in_training = training is not None and is_true("training", training)
        result = None if in_training else self.through_program(inputs, mask)
        if result is None:
            result = super().__call__(inputs, training=training, mask=mask)
            self.note_program(inputs)
        return result

    @property
    def feed(self) -> Feed:
        return self._feed

    def known_inputs(self) -> tuple[Any, InputForm]:
        lengths = [tensor.shape[1] if tensor.ndim > 1 else None for tensor in self.inputs]
        places = nest.mapped(lambda tensor: Place(tensor.shape, tensor.dtype), self._inputs_struct)
        known = tuple(-1 if length is None else length for length in lengths)
        return places, InputForm(known, self._feed.keys, isinstance(self._inputs_struct, dict))

    def checked_inputs(self, inputs: Any) -> Any:
        """The arrays for the inputs, in their structure. Raises ValueError and TypeError that name the input."""
        return self.in_structure(self._feed.arrays(inputs))

    def call_checked(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.computed(x, training=training, mask=mask)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.run_calls(inputs, mask, training, wanted=Wanted.OUTPUTS)[0]

    def run_calls(self, x: Any, mask: Any, training: bool | None, wanted: Wanted) -> Results:
        arrays = self._feed.arrays(x)
        masks = [None] * len(arrays) if mask is None else nest.leaves(mask)
        if len(masks) != len(arrays):
            raise ValueError(f"mask must hold a mask or None for each of {len(arrays)} inputs, got {len(masks)}")
        inputs, _ = self.known_inputs()
        masked = tuple(part is not None for part in masks)
        made = self.partition(inputs, training, masked=masked, wanted=wanted, programs=self.built)
        return made.run(list(zip(arrays, masks, strict=True)))

    def inputs_of_vjp(self, x: Any) -> tuple[list[Array | None], Any]:
        return self._feed.arrays(x), self._feed.numbered(x)

    def inner_calls(self, inputs: Any, training: bool | None) -> tuple[list[Call], Any] | None:
        places, calls = self._feed.places(inputs, {part.dtype_policy.name for part in self.layers_within()}), []
        if places is None:
            return None
        for step in self._steps:
            places |= {tensor: Place(tensor.shape, tensor.dtype) for tensor in step.node.outputs}
            calls.append(step.call(places, training))
        return calls, self._unpacked(nest.mapped(lambda tensor: places[tensor], self._outputs_struct))

    def _unpacked(self, outputs: Any) -> Any:
        """A list of one output as this alone, as Keras returns it."""
        return outputs[0] if len(self.outputs) == 1 and isinstance(self._outputs_struct, (list, tuple)) else outputs

    def predict_inputs(self, x: Any) -> list[Array]:
        arrays = self._feed.views(x)  # each batch is converted in its call
        if any(array is None for array in arrays):
            raise ValueError(f"predict needs an array for each of the inputs {self.input_names}")
        return arrays

    def output_dtypes(self, count: int) -> list[np.dtype]:
        return [numpy_dtype(tensor.dtype) for tensor in self.outputs]

    def largest_shapes(self, shapes: Any) -> list[Any]:
        inputs = self._feed.specs(nest.mapped_shapes(KerasTensor, shapes))
        known = run_specs(self._steps, dict(zip(self.inputs, inputs, strict=True)))
        return [tensor.shape for tensor in known.values()]

    def in_structure(self, parts: list[Any], like: Any = None) -> Any:
        return nest.filled(self._inputs_struct, parts)

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs, in their structure, for shapes in that of the inputs."""
        specs = self._output_specs(nest.mapped_shapes(KerasTensor, input_shape))
        return self._unpacked(nest.filled(self._outputs_struct, [tensor.shape for tensor in specs]))

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        specs = (KerasTensor(tensor.shape, tensor.dtype) for tensor in self._output_specs(inputs))
        return self._unpacked(nest.filled(self._outputs_struct, specs))

    def _output_specs(self, inputs: Any) -> list[KerasTensor]:
        """Tensors of the outputs' shapes, for inputs of other shapes than those that the model was made with."""
        shapes = [tuple(tensor.shape) for tensor in self._feed.specs(inputs)]
        if shapes == [tensor.shape for tensor in self.inputs]:
            return self.outputs
        found = self._specs_found.get(key := tuple(shapes))
        if found is None:
            specs = [KerasTensor(shape, tensor.dtype) for shape, tensor in zip(shapes, self.inputs, strict=True)]
            known = run_specs(self._steps, dict(zip(self.inputs, specs, strict=True)))
            found = [known[tensor] for tensor in self.outputs]
            self._specs_found = {**dict(list(self._specs_found.items())[-_KEPT_SPECS:]), key: found}
        return found

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": None}

    def get_config(self) -> dict[str, Any]:
        from cyrnn.models import functional_config

        return functional_config.written(self, self._calls)

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        from cyrnn.models import functional_config

        return functional_config.read(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        from cyrnn.models import functional_config

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


def _shapes_called_with(node: Node) -> Any:
    return symbolic.shapes_of(node.layer.inputs_of_call(node.args, node.kwargs))


def _layer_of(tensor: KerasTensor) -> Any:
    """The layer or operation that returned a tensor."""
    assert tensor.node is not None  # see `checked_tensors`
    return tensor.node.layer
