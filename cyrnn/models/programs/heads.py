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

    @property
    def factor(self) -> float:
        """What the loss counts in the total."""
        return 0.0 if self.loss is None else self.loss.factor


class Taken:
    """What the gradients of a step are of.

    Parameters
    ----------
    heads : sequence of Head
    batch : Batch
    room : Room
        The memory of the batch.
    outputs : sequence of array
        Those of the program, in memory that the next step changes.
    losses : list of float
        For each head that has one.
    """

    __slots__ = ("_batch", "_heads", "_outputs", "_room", "losses")

    def __init__(
        self, heads: Sequence[Head], batch: Batch, room: Room, outputs: Sequence[Array], losses: list[float]
    ) -> None:
        self._heads, self._batch, self._room, self._outputs, self.losses = heads, batch, room, outputs, losses

    @property
    def total(self) -> float:
        """The loss without penalties."""
        if len(self._heads) == 1 and self._heads[0].factor == 1.0:
            return self.losses[0]
        factors = [self._heads[number].factor for number in self._room.outputs]
        return sum(factor * loss for factor, loss in zip(factors, self.losses, strict=True))

    @property
    def each(self) -> list[float | None]:
        """The losses of all outputs without factors, None where there is none."""
        if len(self.losses) == len(self._heads):
            return [*self.losses]
        found = dict(zip(self._room.outputs, self.losses, strict=True))
        return [found.get(number) for number in range(len(self._heads))]

    def copies(self) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Copies of targets, predictions, weights and masks, for metrics, which may keep what they are given."""
        heads, room = self._heads, self._room
        pairs: dict[int, tuple[Any, Any]] = dict(
            zip(room.outputs, zip(room.targets, room.weights, strict=True), strict=True)
        )
        if len(pairs) < len(heads):  # the others may have metrics
            given = list(zip(self._batch.y, self._batch.sample_weight, strict=True))
            pairs = {number: pairs.get(number, given[number]) for number in range(len(heads))}
        of_heads = [pairs[number] for number in range(len(heads))]
        masks = [None if head.mask < 0 else self._outputs[head.mask] for head in heads]
        found = (
            [target for target, _ in of_heads],
            [self._outputs[head.prediction] for head in heads],
            [weights for _, weights in of_heads],
            masks,
        )
        targets, predictions, weights, masks = (
            [None if array is None else array.copy() for array in arrays] for arrays in found
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
