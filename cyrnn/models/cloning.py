"""clone_model: a model of the same layers with new weights. Reference: ``keras.models.clone_model``, Keras 3."""

from collections.abc import Callable
from typing import Any

from cyrnn import objects
from cyrnn.layers.around.core import Input, InputLayer
from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.operations import Operation
from cyrnn.layers.base.symbolic import KerasTensor, Node
from cyrnn.models.functional import Functional
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.sequential import Sequential
from cyrnn.models.trained import Trained


def clone_model(
    model: ModelOfLayers, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None
) -> Any:
    """Make a model of the same layers, with weights of their own, initialised anew.

    Parameters
    ----------
    model : Sequential, Functional, or a custom model
        It is left as it is.
    input_tensors : symbolic tensor, or several in the structure of the inputs, optional
        For a Functional: the tensors that the new model begins with, instead of new inputs.
    clone_function : callable, optional
        For a Sequential or Functional: called with each layer that is no InputLayer, returns the layer for the clone.
        Default: a new layer of the same config.

    Returns
    -------
    A model of the class of `model`; it is built, if what its input looks like is known, and compiled, if `model` is:
    with an optimizer that begins anew, and losses and metrics of its own.

    Raises
    ------
    ValueError
        If `model` is no model, or of a class for which the other arguments mean nothing.
    """
    if not isinstance(model, ModelOfLayers):
        raise ValueError(f"model must be a model, got {type(model).__name__}")
    clone = _uncompiled(model, input_tensors, clone_function)
    if isinstance(model, Trained) and model._compiled is not None:
        clone.compile(**model._compiled.arguments_again())
    return clone


def _uncompiled(model: ModelOfLayers, input_tensors: Any, clone_function: Callable[[Layer], Layer] | None) -> Any:
    if input_tensors is None and clone_function is None:
        return objects.clone(model)
    made = objects.clone if clone_function is None else clone_function
    if type(model) is Functional:
        return _graph_again(model, input_tensors, made)
    if type(model) is Sequential and input_tensors is None:
        layers = [layer if isinstance(layer, InputLayer) else made(layer) for layer in model.all_layers]
        return Sequential(layers, trainable=model.trainable, name=model.name)
    raise ValueError(
        f"a {type(model).__name__} is cloned without input_tensors"
        + ("" if isinstance(model, Sequential) else " and clone_function")
    )


def _graph_again(model: Functional, input_tensors: Any, made: Callable[[Layer], Layer]) -> Functional:
    """The calls of a graph again, with layers in the place of its layers, and other inputs or new ones."""
    given = [None] * len(model.inputs) if input_tensors is None else nest.leaves(input_tensors)
    if len(given) != len(model.inputs):
        raise ValueError(f"input_tensors must be {len(model.inputs)} tensors, got {len(given)}")
    place = {
        old: _new_input(old) if tensor is None else tensor for old, tensor in zip(model.inputs, given, strict=True)
    }
    layers: dict[Any, Any] = {}

    def placed(leaf: Any) -> Any:
        return place[leaf] if type(leaf) is KerasTensor else leaf

    for node in model.calls:
        if node.layer not in layers:
            layers[node.layer] = _operation_again(node.layer) if isinstance(node.layer, Operation) else made(node.layer)
        args, kwargs = nest.mapped(placed, (node.args, node.kwargs))
        outputs = nest.leaves(layers[node.layer](*args, **kwargs))
        _node_of(outputs).masks_beside_states = node.masks_beside_states
        place.update(zip(node.outputs, outputs, strict=True))
    ends = nest.mapped(placed, model.input), nest.mapped(placed, model.output)
    return Functional(*ends, name=model.name, trainable=model.trainable)


def _node_of(outputs: list[KerasTensor]) -> Node:
    node = outputs[0].node
    assert node is not None  # a layer has returned them
    return node


def _new_input(tensor: KerasTensor) -> Any:
    assert tensor.node is not None  # it is an input of a model
    layer = tensor.node.layer
    options = {"name": layer.name, "optional": layer.optional}
    return Input(batch_shape=layer.batch_shape, dtype=layer.dtype, **options)


def _operation_again(operation: Operation) -> Operation:
    return Operation(operation.class_name, operation.name, operation.module, operation.options)
