"""The config of a Functional model: its layers, and how they call each other. Keras 3's form, and Keras 2's to read.

A config may come from anywhere. It is read in time proportional to its length, and what does not make sense, such as
calls in a circle, is a ValueError that names the layer.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyrnn import objects
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.base import nest, operations
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.operations import Operation
from cyrnn.layers.base.symbolic import KerasTensor, Node
from cyrnn.models import call_config
from cyrnn.models.call_config import Reference
from cyrnn.models.model import ModelOfLayers

# ------------------------------------------------------------ writing


class GraphModel(Protocol):
    """What is in a model's config."""

    name: str

    @property
    def trainable(self) -> bool: ...

    @property
    def operations(self) -> list[Any]: ...

    @property
    def input(self) -> Any: ...

    @property
    def output(self) -> Any: ...


def written(model: GraphModel, nodes_of_all: Iterable[Node]) -> dict[str, Any]:
    """The config of a model, as Keras 3 writes it."""
    calls: dict[Any, list[Node]] = {layer: [] for layer in model.operations}
    for node in sorted(nodes_of_all, key=lambda node: node.number):
        calls[node.layer].append(node)
    index = {node: number for nodes in calls.values() for number, node in enumerate(nodes)}

    def place(tensor: KerasTensor) -> list[Any]:
        node: Any = tensor.node
        return [node.layer.name, index[node], tensor.tensor_index]

    def endpoint(tensor: KerasTensor) -> list[Any]:
        name, number, tensor_index = place(tensor)
        return [name, number + _counted_from(tensor.node.layer), tensor_index]  # type: ignore[union-attr]

    entries = []
    for layer, nodes in calls.items():
        inbound = [
            {
                "args": call_config.written(list(node.args), place),
                "kwargs": call_config.written(node.kwargs, place),
            }
            for node in nodes
            if node.inputs
        ]
        entry = layer.to_entry() if isinstance(layer, Operation) else objects.serialize(layer)
        entries.append({**entry, "name": layer.name, "inbound_nodes": inbound})
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": entries,
        "input_layers": nest.mapped(endpoint, model.input),
        "output_layers": nest.mapped(endpoint, model.output),
    }


def _counted_from(layer: object) -> int:
    """The number of a layer's first call, where a config of Keras 3 names inputs and outputs of the model."""
    return layer.first_call if isinstance(layer, ModelOfLayers) else 0


# ------------------------------------------------------------ reading


@dataclass(eq=False)
class _Call:
    """A call in a config, until it can be made."""

    owner: str
    number: int
    args: list[Any]
    kwargs: dict[str, Any]
    in_old_form: bool
    waits_for: set[tuple[str, int]] = field(default_factory=set)


def read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of Functional's constructor, from a config that Keras 3 or 2 wrote, or `written`.

    Raises ValueError that names the layer.
    """
    layers, calls = _layers_and_calls(config)
    given: dict[str, list[list[KerasTensor]]] = {
        name: [layer._nodes[0].outputs] if isinstance(layer, InputLayer) else [] for name, layer in layers.items()
    }
    _make(layers, calls, given)

    old = any(call.in_old_form for call in calls)

    def tensor(reference: Reference) -> KerasTensor:
        layer = layers[reference.layer]
        number = reference.node - (_old_first_number(layer) if old else _counted_from(layer))
        outputs = given[reference.layer][number] if 0 <= number < len(given[reference.layer]) else []
        if reference.tensor >= len(outputs):
            raise ValueError(f"the model's inputs or outputs name {reference}, which is not there")
        return outputs[reference.tensor]

    ends = []
    for key in ("input_layers", "output_layers"):
        structure = call_config.endpoints(config.get(key))
        for reference in nest.leaves(structure):
            _check_reference(reference, layers, f"{key!r} of the config")
        ends.append(nest.mapped(tensor, structure))
    named = {key: config[key] for key in ("name", "trainable") if config.get(key) is not None}
    return {"inputs": ends[0], "outputs": ends[1], **named}


def _layers_and_calls(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Call]]:
    entries = config.get("layers")
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ValueError("the config of a Functional model must hold a list of layers")
    layers: dict[str, Any] = {}
    nodes: dict[str, list[Any]] = {}
    for entry in entries:
        name = _name(entry)
        if not isinstance(name, str) or name in layers:
            raise ValueError(f"each layer of a model must have a name of its own, got {name!r:.200}")
        layers[name] = layer_of(entry, name)
        nodes[name] = entry.get("inbound_nodes") or []
        if not isinstance(nodes[name], (list, tuple)) or (nodes[name] and isinstance(layers[name], InputLayer)):
            raise ValueError(
                f"layer {name!r} must have a list of calls, and an input layer none, got {nodes[name]!r:.200}"
            )
    counts = {name: 1 if isinstance(layer, InputLayer) else len(nodes[name]) for name, layer in layers.items()}
    calls = []
    for name, of_layer in nodes.items():
        for number, node in enumerate(of_layer):
            call = _call(name, number, node, layers)
            references = [leaf for leaf in nest.leaves((call.args, call.kwargs)) if isinstance(leaf, Reference)]
            if not references:
                raise ValueError(f"layer {name!r} is called with nothing that another layer returns")
            for reference in references:
                _check_reference(reference, layers, f"layer {name!r}")
                if not 0 <= reference.node < counts[reference.layer]:
                    raise ValueError(f"layer {name!r} is called with {reference}, but there is no such call")
                call.waits_for.add((reference.layer, reference.node))
            if number:
                call.waits_for.add((name, number - 1))  # the calls of a layer keep their order
            calls.append(call)
    return layers, calls


def names(config: Mapping[str, Any]) -> list[Any]:
    """The names of the layers, in the order of a config."""
    return [_name(entry) for entry in config["layers"]]


def _name(entry: Any) -> Any:
    inner = entry.get("config") if isinstance(entry, Mapping) else None
    inner_name = inner.get("name") if isinstance(inner, Mapping) else None
    return entry.get("name", inner_name) if isinstance(entry, Mapping) else None


def layer_of(entry: Mapping[str, Any], name: str) -> Any:
    """The layer or operation that an entry among `layers` describes, not built. Raises ValueError."""
    if any(part in name for part in "/\\") or not name.isprintable():
        raise ValueError(f"layer {name!r:.200} must have a name without '/' and what cannot be printed")
    module = str(entry.get("module"))
    unknown = "module" not in entry and not objects.is_known("keras.layers", entry.get("class_name"))
    if module.startswith(operations.MODULES) or (unknown and entry.get("class_name") in operations.FUNCTIONS):
        return operations.from_entry(entry, name)
    # Its calls will build it; Keras 2 says of a recurrent layer with states that it was built for several inputs.
    layer = objects.deserialize({key: entry[key] for key in entry if key != "build_config"}, "keras.layers")
    if not isinstance(layer, Layer):
        raise ValueError(f"layer {name!r} must be a layer, got a {type(layer).__name__}")
    layer.name = name  # a custom class may not have kept it
    return layer


def _call(name: str, number: int, node: Any, layers: Mapping[str, Any]) -> _Call:
    """The call of an entry among `inbound_nodes`. The calls of nested models are then counted from 0, in any form."""
    with objects.refusals_named(type(layers[name]).__name__, {"name": name}):
        if isinstance(node, Mapping):
            args, kwargs = call_config.read(node.get("args")), call_config.read(node.get("kwargs"))
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise ValueError(f"a call must have a list of args and a dict of kwargs, got {node!r:.200}")
        else:
            args, kwargs = call_config.read_old(node)
            args, kwargs = nest.mapped(lambda leaf: _counted_from_zero(leaf, layers), [args, kwargs])
            if hasattr(layers[name], "checked_call") and isinstance(args[0], list):  # an RNN, and its states
                args, kwargs = args[0][:1], {**kwargs, "initial_state": args[0][1:]}
        text = next((leaf for leaf in nest.leaves([args, kwargs]) if isinstance(leaf, str)), None)
        if text is not None and objects.is_builtin(type(layers[name])):
            raise ValueError(f"it is called with the text {text!r:.200}")
        return _Call(name, number, args, {k: v for k, v in kwargs.items() if v is not None}, isinstance(node, list))


def _counted_from_zero(leaf: Any, layers: Mapping[str, Any]) -> Any:
    if isinstance(leaf, Reference) and leaf.layer in layers and _old_first_number(layers[leaf.layer]):
        return Reference(leaf.layer, leaf.node - 1, leaf.tensor)
    return leaf


def _old_first_number(layer: object) -> int:
    """The number of the first call of a layer, as Keras 2 counted: models that know their input begin with 1."""
    return 1 if isinstance(layer, ModelOfLayers) and layer.input_shape is not None else 0


def _check_reference(reference: Any, layers: Mapping[str, Any], what: str) -> None:
    if not isinstance(reference, Reference):
        raise ValueError(f"{what} must name [layer, call, output], got {reference!r:.200}")
    if reference.layer not in layers:
        raise ValueError(f"{what} refers to a layer {reference.layer!r:.200}, which the model does not have")


def _make(layers: Mapping[str, Any], calls: list[_Call], given: dict[str, list[list[KerasTensor]]]) -> None:
    """Make the calls, each once those that it waits for have been made."""
    waiting: dict[tuple[str, int], list[_Call]] = defaultdict(list)
    for call in calls:
        call.waits_for -= {(name, 0) for name, _ in call.waits_for if isinstance(layers[name], InputLayer)}
        for place in call.waits_for:
            waiting[place].append(call)
    ready = deque(call for call in calls if not call.waits_for)
    left = set(calls)
    while ready:
        call = ready.popleft()
        left.discard(call)
        _made(layers[call.owner], call, given)
        for waiter in waiting.pop((call.owner, call.number), ()):
            waiter.waits_for.discard((call.owner, call.number))
            if not waiter.waits_for:
                ready.append(waiter)
    if left:
        stuck = next(call for call in calls if call in left)
        raise ValueError(f"layer {stuck.owner!r} waits for a tensor that no call returns: the calls go in a circle")


def _made(layer: Layer | Operation, call: _Call, given: dict[str, list[list[KerasTensor]]]) -> None:
    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, Reference):
            return leaf
        outputs = given[leaf.layer][leaf.node]
        if leaf.tensor >= len(outputs):
            raise ValueError(f"it is called with {leaf}, but there are only {len(outputs)} outputs")
        return outputs[leaf.tensor]

    with objects.refusals_named(type(layer).__name__, {"name": call.owner}):
        args, kwargs = nest.mapped(tensor, [call.args, call.kwargs])
        layer(*args, **kwargs)
    node = layer._nodes[-1]
    node.masks_beside_states = call.in_old_form
    given[call.owner].append(node.outputs)
