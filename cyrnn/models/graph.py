"""The graph of a model: which calls lead from some symbolic tensors to others, and in which order."""

import functools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from cyrnn.arrays import shown
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.names import errors_name
from cyrnn.layers.base.symbolic import KerasTensor, Node


class Graph:
    """The calls that lead from `inputs` to `outputs`: `nodes` in the order to run them, `layers` in Keras' order.

    Raises ValueError where an output does not depend on the inputs alone, or two layers have one name.
    """

    def __init__(self, inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> None:
        ordered, first_seen = _leading_to(outputs)
        depths, layer_depths = _depths(ordered)
        for tensor in inputs:
            node = _node(tensor)
            if node not in depths:  # an input that no output depends on
                depths[node] = 0
                if node.layer not in layer_depths:
                    layer_depths[node.layer], first_seen[node.layer] = 0, -1
        self.nodes = sorted(depths, key=lambda node: -depths[node])
        self.layers = sorted(layer_depths, key=lambda layer: (-layer_depths[layer], first_seen[layer]))
        self._check(inputs)

    def _check(self, inputs: Sequence[KerasTensor]) -> None:
        known = set(inputs)
        for node in self.nodes:
            if not node.inputs and not known.issuperset(node.outputs):
                raise ValueError(f"the outputs depend on {node.outputs[0]}, which is not among the inputs")
            known.update(node.outputs)
        twice = [name for name, count in Counter(layer.name for layer in self.layers).items() if count > 1]
        if twice:
            raise ValueError(f"layers of a model must have different names, got {twice[0]!r} twice")


def checked_tensors(name: str, structure: Any) -> list[KerasTensor]:
    """The symbolic tensors in a structure, all of which layers have returned. Raises ValueError."""
    tensors = nest.leaves(structure)
    for tensor in tensors:
        if not isinstance(tensor, KerasTensor) or tensor.node is None:
            raise ValueError(f"{name} must be symbolic tensors that layers have returned, got {shown(tensor)}")
    if not tensors:
        raise ValueError(f"{name} must hold at least one symbolic tensor, got {structure!r}")
    return tensors


def begun_with(
    inputs: Sequence[KerasTensor], new: Mapping[KerasTensor, KerasTensor], outputs: Sequence[KerasTensor]
) -> dict[KerasTensor, KerasTensor]:
    """Repeat the calls that lead to `outputs`, with `new` tensors in the place of some inputs.

    Returns for each tensor the one that takes its place. The layers do not note these calls.
    """
    place: dict[Any, Any] = {tensor: new.get(tensor, tensor) for tensor in inputs}

    def placed(leaf: Any) -> Any:
        return place[leaf] if type(leaf) is KerasTensor else leaf

    for node in _leading_to(outputs, frozenset(inputs))[0]:
        if not node.inputs:
            place |= {tensor: tensor for tensor in node.outputs}
            continue
        args, kwargs = nest.mapped(placed, (node.args, node.kwargs))
        again = Node(node.layer, args, kwargs, [KerasTensor(t.shape, t.dtype) for t in node.outputs], noted=False)
        again.masks_beside_states = node.masks_beside_states
        for tensor, in_its_place in zip(node.outputs, again.outputs, strict=True):
            place.setdefault(tensor, in_its_place)
    return place


@runtime_checkable
class TakesSequences(Protocol):
    """A recurrent layer, as far as it says which shapes it takes."""

    def check_axes(self, shape: Any) -> None: ...


def check_ranks(layers: Iterable[Layer]) -> None:
    """Raise ValueError for a recurrent layer after others that return no sequences, also before shapes are known."""
    rank: int | None = None  # of what was returned so far
    before: list[str] = []
    for layer in layers:
        if isinstance(layer, TakesSequences):
            with errors_name(before):
                layer.check_axes((None,) * (rank or 3))
            rank = rank or 3
        rank = _rank_after(layer, rank)
        before = [layer.name]


def _rank_after(layer: Layer, rank: int | None) -> int | None:
    """Of what the layer returns; None where that needs more than the rank."""
    if rank is None or layer.is_custom:
        return None
    try:
        returned = layer.compute_output_shape((None,) * rank)
    except (ValueError, TypeError):
        return None
    return len(returned) if nest.is_shape(returned) else None


def still_in_a_row(
    calls: Sequence[tuple[Node, Any]], begin: KerasTensor, layers: Sequence[tuple[Layer, Any]]
) -> list[tuple[Node, Any]]:
    """The first of some calls, as long as they are those of these layers from `begin` on; see `calls_in_a_row`."""
    found: list[tuple[Node, Any]] = []
    for (node, outputs), (layer, shape) in zip(calls, layers, strict=False):
        same = node.layer is layer and nest.mapped(lambda tensor: tensor.shape, outputs) == shape
        if not same or (not found and node.args[0] is not begin):
            break
        found.append((node, outputs))
    return found


def calls_in_a_row(
    known: Sequence[tuple[Node, Any]], begin: KerasTensor, layers: Sequence[tuple[Layer, Any]]
) -> list[tuple[Node, Any]]:
    """The calls of layers one after the other, those that follow the `known` ones: each with what it returns.

    `layers` holds all of them with the shapes of what they return, in a structure. They do not note the calls.
    """
    tensors: Any = known[-1][1] if known else begin
    found = []
    for layer, shape in layers[len(known) :]:
        tensor = functools.partial(KerasTensor, dtype=layer.output_dtype.name)
        node = Node(layer, (tensors,), {}, tensors := nest.mapped_shapes(tensor, shape), noted=False)
        found.append((node, tensors))
    return found


def calls_between(inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> list[Node]:
    """The calls that lead from `inputs` to `outputs`, in the order in which they were made.

    Raises ValueError where an output depends on other tensors too.
    """
    nodes = _leading_to(outputs, frozenset(inputs))[0]
    for node in nodes:
        if not node.inputs:
            raise ValueError(f"the outputs depend on {node.outputs[0]}, which does not come from the inputs")
    return sorted(nodes, key=lambda node: node.number)


def output_shapes(nodes: Iterable[Node]) -> dict[Any, Any]:
    """The output shapes of layers and operations in their first calls; lists where there are several outputs."""
    found: dict[Any, Any] = {}
    for node in sorted(nodes, key=lambda node: node.number):
        shapes = [tensor.shape for tensor in node.outputs]
        found.setdefault(node.layer, shapes[0] if len(shapes) == 1 else shapes)
    return found


def branches(nodes: Sequence[Node]) -> bool:
    """Whether the calls do not simply follow each other: one has several inputs, or two have one depth or layer."""
    depths = Counter(_depths(nodes)[0].values())
    layers = Counter(node.layer for node in nodes)
    return any(len(node.inputs) > 1 for node in nodes) or max(depths.values()) > 1 or max(layers.values()) > 1


def connections(nodes: Iterable[Node]) -> dict[Any, list[str]]:
    """For each layer or operation the outputs that its calls take, as ``name[call][output]``."""
    inputs: dict[Any, list[str]] = defaultdict(list)
    numbers: dict[Node, int] = {}
    calls: Counter[Any] = Counter()
    for node in sorted(nodes, key=lambda node: node.number):
        numbers[node] = calls[node.layer]
        calls[node.layer] += 1
        for tensor in node.inputs:
            source = _node(tensor)
            inputs[node.layer].append(f"{source.layer.name}[{numbers[source]}][{tensor.tensor_index}]")
    return inputs


def _node(tensor: KerasTensor) -> Node:
    if tensor.node is None:
        raise ValueError(f"{tensor} comes from no call of a layer")
    return tensor.node


def _leading_to(
    outputs: Sequence[KerasTensor], known: Collection[KerasTensor] = ()
) -> tuple[list[Node], dict[Any, int]]:
    """All nodes that lead to `outputs`, each after those that it depends on; and when each layer was first seen.

    A node that only returns `known` tensors is left out.

    Depth first, without recursion: a model may be thousands of layers deep. Nodes only ever refer to older ones, so
    there are no cycles.
    """
    ordered: list[Node] = []
    first_seen: dict[Any, int] = {}
    entered: set[Node] = set()
    for output in outputs:
        pending = [] if output in known else [(_node(output), False)]
        while pending:
            node, complete = pending.pop()
            if complete:
                ordered.append(node)
            elif node not in entered:
                entered.add(node)
                first_seen.setdefault(node.layer, len(first_seen))
                pending.append((node, True))
                pending += [(_node(tensor), False) for tensor in reversed(node.inputs) if tensor not in known]
    return ordered, first_seen


def _depths(ordered: Sequence[Node]) -> tuple[dict[Node, int], dict[Any, int]]:
    """The depth of each node and each layer: the most calls that there are to an output; equal for a shared layer's."""
    depths: dict[Node, int] = {}
    layer_depths: dict[Any, int] = {}
    for node in reversed(ordered):
        depth = max(depths.setdefault(node, 0), layer_depths.get(node.layer, 0))
        depths[node] = layer_depths[node.layer] = depth
        for parent in node.parents:
            depths[parent] = max(depth + 1, depths.get(parent, 0))
    return depths, layer_depths


def new_input(tensor: KerasTensor) -> KerasTensor:
    """An input that takes the place of what a layer returned."""
    output: KerasTensor = InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype).output
    return output
