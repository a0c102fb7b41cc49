"""The executor: runs the calls of a model's graph with arrays, and the masks that belong to them.

The calls between which nothing but the engine is needed are run together, as programs: see `partition`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from cyrnn import budget, objects
from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.interface import alone, current_target, lowering_to
from cyrnn.layers.base.symbolic import KerasTensor, Node, Operation

__all__ = ["alone", "current_target", "lowering_to", "Call", "Place", "Step", "place_after", "run"]


class Place:
    """Where a call puts an output, with its mask, and later calls find it.

    Parameters
    ----------
    shape : tuple of int and None, optional
        The shape of the array; None if it is not known.
    dtype : str, optional
        The name of its dtype; None if it is not known.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Any = None, dtype: str | None = None) -> None:
        self.shape = shape
        self.dtype = dtype


Values = dict[Place, tuple[Any, Any]]  # for each place the array and its mask, or None; or structures of them
Losses = dict[Layer, list[Any]]


class Step:
    """A node of the graph: the call of a layer or operation with symbolic tensors.

    Parameters
    ----------
    node : Node
        The node.
    shared : bool
        Whether the layer is called more than once.
    """

    def __init__(self, node: Node, shared: bool = False) -> None:
        self.node = node
        self.layer = node.layer
        self.shared = shared
        self.options = {key: value for key, value in node.kwargs.items() if key not in ("mask", "training")}
        self.mask = node.kwargs.get("mask")
        self.training = node.kwargs.get("training")
        # As in Keras: a layer that is called with other arrays too gets the mask of the first only if it was passed on.
        others = nest.leaves((node.args[1:], self.options))
        self.alone = not any(hasattr(leaf, "shape") for leaf in others) or node.masks_beside_states

    def call(self, places: Mapping[KerasTensor, Place], training: bool | None) -> "Call":
        """The call, with these places for the tensors. `training` is the model's; None leaves it to the graph."""

        def placed(leaf: Any) -> Any:
            return places[leaf] if type(leaf) is KerasTensor else leaf

        args, options, mask = nest.mapped(placed, (self.node.args, self.options, self.mask))
        outputs = [places[tensor] for tensor in self.node.outputs]
        training = self.training if training is None else training
        return Call(self.layer, args, outputs, training, options, mask, self.alone, self.shared)

    def run_specs(self, known: dict[KerasTensor, KerasTensor]) -> None:
        """The call with symbolic tensors of other shapes."""
        budget.spend(1 + len(self.node.inputs) + len(self.node.outputs))
        args, kwargs = nest.mapped(
            lambda leaf: known[leaf] if type(leaf) is KerasTensor else leaf, (self.node.args, self.node.kwargs)
        )
        outputs = nest.leaves(self.layer.compute_output_spec(*args, **kwargs))
        known.update(zip(self.node.outputs, outputs, strict=True))


def run_specs(steps: Iterable[Step], known: dict[KerasTensor, KerasTensor]) -> dict[KerasTensor, KerasTensor]:
    """The symbolic tensors of all calls, where those of the inputs are known: they are added to these."""
    for step in steps:
        step.run_specs(known)
    return known


class Call:
    """A call of a layer or operation, which the executor makes.

    Parameters
    ----------
    layer : Layer or Operation
        What is called.
    args : tuple
        Its arguments, in which there are places.
    outputs : list of Place, or Place
        Where its outputs are put, flat; a single place gets them in the structure in which they come.
    training : bool, optional
        Passed to the layer; None leaves it to the calls that a model is made of.
    options : dict
        Its arguments by name, without `mask` and `training`.
    mask : Place, or a structure of places, optional
        The argument `mask`.
    alone : bool
        Whether the mask of the first argument is passed on.
    shared : bool
        Whether the layer is called more than once.
    """

    def __init__(
        self,
        layer: Layer | Operation,
        args: tuple[Any, ...],
        outputs: list[Place] | Place,
        training: bool | None,
        options: dict[str, Any] | None = None,
        mask: Any = None,
        alone: bool = True,
        shared: bool = False,
    ) -> None:
        self.layer: Any = layer
        self.args = args
        self.outputs = outputs
        keeps_open = isinstance(layer, Layer) and layer.keeps_training_open
        self.training = training if keeps_open else bool(training)
        self.options = options or {}
        self.mask = mask
        self.alone = alone
        self.shared = shared
        self.done: list[Place] = []  # the places that no later one needs

    @property
    def needs(self) -> list[Place]:
        """The places of its arguments."""
        return places_of((self.args, self.options, self.mask))

    @property
    def fills(self) -> list[Place]:
        """The places of its outputs."""
        return self.outputs if isinstance(self.outputs, list) else [self.outputs]

    def run(self, values: Values, losses: Losses) -> None:
        """Make the call, and put its outputs and their masks in their places."""
        layer = self.layer
        if isinstance(layer, Layer):
            outputs, masks = self._called(layer, values)
            self.note_losses(losses)
        else:
            outputs, masks = layer(*filled(self.args, values), **filled(self.options, values)), None
        if not isinstance(self.outputs, list):
            values[self.outputs] = (outputs, masks)
            return
        flat, flat_masks = nest.leaves(outputs), nest.leaves(masks)
        if len(flat) != len(self.outputs):
            raise ValueError(f"layer {layer.name!r} must return {len(self.outputs)} arrays, got {len(flat)}")
        flat_masks += [None] * (len(flat) - len(flat_masks))
        values.update(zip(self.outputs, zip(flat, flat_masks, strict=False), strict=True))

    def note_losses(self, losses: Losses) -> None:
        """Add the penalties of the call to those of the layer's other calls, if it has several."""
        for part in self.layer.layers_within() if self.shared else ():
            if part.activity_regularizer is not None:
                losses.setdefault(part, []).extend(part._activity_losses)

    def _called(self, layer: Layer, values: Values) -> tuple[Any, Any]:
        first, training = filled(self.args[0], values), self.training
        own = masks_of(self.args[0], values)
        mask = own if self.mask is None else filled(self.mask, values)
        if not self.options and len(self.args) == 1:
            return layer.call_and_mask(first, mask, training)  # type: ignore[arg-type]
        passed = {"mask": mask} if self.alone or self.mask is not None else {}
        if layer.masks_by_argument:
            passed = self._masks_by_name(layer.masks_by_argument, values)
        rest, options = filled(self.args[1:], values), filled(self.options, values)
        output = layer.inner_call(first, *rest, **options, **passed, training=training)
        return output, layer.next_mask(first, mask)

    def _masks_by_name(self, names: Sequence[str], values: Values) -> dict[str, Any]:
        """The masks of arguments of these names, where they have some and the call was not given others."""
        named = {**dict(zip(names, self.args, strict=False)), **self.options}
        masks = {f"{name}_mask": masks_of(named[name], values) for name in names if name in named}
        return {name: mask for name, mask in masks.items() if mask is not None and self.options.get(name) is None}


class Runnable(Protocol):
    """A part of a model's call: of one layer, or a program."""

    done: list[Place]

    @property
    def needs(self) -> list[Place]: ...

    @property
    def fills(self) -> list[Place]: ...

    def run(self, values: Values, losses: Losses) -> None: ...


def run(parts: Iterable[Runnable], values: Values) -> None:
    """Run the parts of a model's call one after the other, and drop what no later one needs."""
    losses: Losses = {}
    for part in parts:
        part.run(values, losses)
        for place in part.done:
            values.pop(place, None)
    for layer, of_all_calls in losses.items():
        layer._activity_losses = of_all_calls


def note_last_uses(parts: Sequence[Runnable], kept: Iterable[Place]) -> None:
    """Note at each part the places that no later one takes, and that are not `kept`."""
    last: dict[Place, Runnable] = {}
    for part in parts:
        last |= dict.fromkeys([*part.needs, *part.fills], part)
    needed = set(kept)
    for place, part in last.items():
        if place not in needed:
            part.done.append(place)


def places_of(structure: Any) -> list[Place]:
    """The places in a structure, in order."""
    return [leaf for leaf in nest.leaves(structure) if type(leaf) is Place]


def filled(structure: Any, values: Values) -> Any:
    """The structure with the arrays of its places."""
    if type(structure) is Place:
        return values[structure][0]
    return nest.mapped(lambda leaf: values[leaf][0] if type(leaf) is Place else leaf, structure)


def masks_of(structure: Any, values: Values) -> Any:
    """The masks of the places in a structure, in the same; None if there are none."""
    if type(structure) is Place:
        return values[structure][1]
    masks = nest.mapped(lambda leaf: values[leaf][1] if type(leaf) is Place else None, structure)
    return None if all(mask is None for mask in nest.leaves(masks)) else masks


def place_after(layer: Layer, shape: Any, built_with: Sequence[Any]) -> Place:
    """The place of what a layer returns for inputs of this shape, as far as it is known without calling it: where a
    layer is a custom one, the shape that the model was built with, but for the batch."""
    if not all(objects.is_builtin(type(part)) for part in layer.layers_within()):
        return Place((None, *built_with[0][1:]) if built_with and nest.is_shape(built_with[0]) else None)
    try:
        after = None if shape is None else layer.compute_output_shape(shape)
    except (ValueError, TypeError):  # the call says what is wrong
        after = None
    return Place(after, layer.output_dtype.name)
