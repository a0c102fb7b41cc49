"""The outputs of a model that is one program, as a compiled step of training compares them with targets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cyrnn.layers.base.arguments import Array
from cyrnn.models.executor import places_of
from cyrnn.models.programs.batch_memory import Room
from cyrnn.models.programs.parts import Partition, ProgramPart
from cyrnn.training.compiled_loss import EngineLoss
from cyrnn.training.data import Batch


class Head(NamedTuple):
    """An output of the model.

    Parameters
    ----------
    loss : EngineLoss or None
    prediction, mask : int
        The numbers of the output of the program, and of its mask, -1 for none.
    compared : int
        The number of what the loss is of: the prediction, or its logits.
    shape : tuple of int or None
        Without the batch axis.
    """

    loss: EngineLoss | None
    prediction: int
    mask: int
    compared: int
    shape: tuple[int | None, ...]


class Taken(NamedTuple):
    """What the gradients of a step are of, for each output; in memory that the next step changes.

    Parameters
    ----------
    total : float
        The loss without penalties.
    each : list of float or None
        Without factors.
    targets : list of array or None
    predictions : list of array
    weights, masks : list of array or None
    """

    total: float
    each: list[float | None]
    targets: list[Any]
    predictions: list[Any]
    weights: list[Any]
    masks: list[Any]

    def copies(self) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Copies of the arrays, for metrics, which may keep what they are given."""
        targets, predictions, weights, masks = (
            [None if array is None else array.copy() for array in arrays] for arrays in self[2:]
        )
        return targets, predictions, weights, masks


def heads_of(made: Partition, part: ProgramPart, losses: Sequence[EngineLoss | None]) -> list[Head] | None:
    """The outputs of a model that is one program; None where they are not all computed by it, or are the same."""
    places, heads = places_of(made.outputs), list[Head]()
    if len(places) != len(losses):
        return None
    for place, loss in zip(places, losses, strict=True):
        number, mask = part.results.get(place, (None, None))
        if type(number) is not int or not isinstance(mask, int | None) or place.shape is None:
            return None
        if loss is not None and loss.dtype != part.lowered.dtype:
            return None
        logits = part.logits.get(place) if loss is not None and loss.is_crossentropy else None
        if loss is not None and logits is not None:
            loss = loss._replace(from_logits=True)
        heads.append(
            Head(loss, number, -1 if mask is None else mask, number if logits is None else logits, place.shape[1:])
        )
    compared = [head.compared for head in heads if head.loss is not None]
    return heads if len(set(compared)) == len(compared) else None


def taken(heads: Sequence[Head], batch: Batch, room: Room, outputs: Sequence[Array], losses: list[float]) -> Taken:
    """What a step has compared: `outputs` are those of the program, and `losses` those of the heads that have one."""
    each: list[float | None] = [None] * len(heads)
    targets, weights = list[Any](each), list[Any](each)
    total = 0.0
    for number, loss, target, of_values in zip(room.outputs, losses, room.targets, room.weights, strict=True):
        each[number], targets[number], weights[number] = loss, target, of_values
        of_head = heads[number].loss
        assert of_head is not None
        total += of_head.factor * loss
    if len(losses) < len(heads):  # the others may have metrics
        for number, head in enumerate(heads):
            if head.loss is None:
                targets[number], weights[number] = batch.y[number], batch.sample_weight[number]
    masks = [None if head.mask < 0 else outputs[head.mask] for head in heads]
    return Taken(total, each, targets, [outputs[head.prediction] for head in heads], weights, masks)
