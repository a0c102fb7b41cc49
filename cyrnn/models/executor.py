"""The executor: runs the calls of a model's graph with arrays, and the masks that belong to them."""

from typing import Any

from cyrnn import budget
from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.symbolic import KerasTensor, Node

Values = dict[KerasTensor, tuple[Any, Any]]  # for each tensor its array and its mask, or None


class Step:
    """A node of the graph, prepared to be run in each call of the model.

    Parameters
    ----------
    node : Node
        The call of a layer or operation, with symbolic tensors.
    done : list of KerasTensor
        The tensors that no later step needs.
    shared : bool
        Whether the layer is called more than once.
    """

    def __init__(self, node: Node, done: list[KerasTensor], shared: bool) -> None:
        self.node = node
        self.layer = node.layer
        self.done = done
        self.shared = shared
        self.options = {key: value for key, value in node.kwargs.items() if key not in ("mask", "training")}
        self.mask = node.kwargs.get("mask")
        self.training = node.kwargs.get("training")
        # As in Keras: a layer that is called with other arrays too gets the mask of the first only if it was passed on.
        others = nest.leaves((node.args[1:], self.options))
        self.alone = not any(hasattr(leaf, "shape") for leaf in others) or node.masks_beside_states

    def run(self, values: Values, training: bool | None, losses: dict[Layer, list[Any]]) -> None:
        """Run the step, store its outputs and their masks in `values`, and drop tensors that no later step needs."""
        node, layer = self.node, self.layer
        if isinstance(layer, Layer):
            outputs, masks = self._called(layer, values, self.training if training is None else training)
            if self.shared:
                for part in layer.layers_within():
                    if part.activity_regularizer is not None:
                        losses.setdefault(part, []).extend(part._activity_losses)
        else:
            outputs, masks = layer(*_filled(node.args, values), **_filled(node.kwargs, values)), None
        flat, flat_masks = nest.leaves(outputs), nest.leaves(masks)
        if len(flat) != len(node.outputs):
            raise ValueError(f"layer {layer.name!r} must return {len(node.outputs)} arrays, got {len(flat)}")
        flat_masks += [None] * (len(flat) - len(flat_masks))
        for tensor, output, mask in zip(node.outputs, flat, flat_masks, strict=False):
            values[tensor] = (output, mask)
        for tensor in self.done:
            values.pop(tensor, None)

    def _called(self, layer: Layer, values: Values, training: bool | None) -> tuple[Any, Any]:
        first = _filled(self.node.args[0], values)
        own = _masks(self.node.args[0], values)
        mask = own if self.mask is None else _filled(self.mask, values)
        training = training if layer.keeps_training_open else bool(training)
        if not self.options and len(self.node.args) == 1:
            return layer.call_and_mask(first, mask, training)  # type: ignore[arg-type]
        passed = {"mask": mask} if self.alone or self.mask is not None else {}
        rest, options = _filled(self.node.args[1:], values), _filled(self.options, values)
        output = layer.inner_call(first, *rest, **options, **passed, training=training)
        return output, layer.next_mask(first, mask)

    def run_specs(self, known: dict[KerasTensor, KerasTensor]) -> None:
        """As `run`, with symbolic tensors of other shapes."""
        budget.spend(1 + len(self.node.inputs) + len(self.node.outputs))
        args, kwargs = nest.mapped(
            lambda leaf: known[leaf] if type(leaf) is KerasTensor else leaf, (self.node.args, self.node.kwargs)
        )
        outputs = nest.leaves(self.layer.compute_output_spec(*args, **kwargs))
        known.update(zip(self.node.outputs, outputs, strict=True))


def _filled(structure: Any, values: Values) -> Any:
    if type(structure) is KerasTensor:
        return values[structure][0]
    return nest.mapped(lambda leaf: values[leaf][0] if type(leaf) is KerasTensor else leaf, structure)


def _masks(structure: Any, values: Values) -> Any:
    """The masks of the tensors in a structure, in the same; None if there are none."""
    if type(structure) is KerasTensor:
        return values[structure][1]
    masks = nest.mapped(lambda leaf: values[leaf][1] if type(leaf) is KerasTensor else None, structure)
    return None if all(mask is None for mask in nest.leaves(masks)) else masks
