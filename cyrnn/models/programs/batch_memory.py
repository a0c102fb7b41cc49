"""Memory for the batches of compiled steps of training: targets and weights as the engine compares them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.training.data import Batch


class Room:
    """The memory of batches of so many rows.

    Parameters
    ----------
    inputs : tuple of array or None
        What the program takes.
    x : list of array
        The inputs of the model.
    outputs : list of int
        The numbers of the outputs that have losses.
    targets, weights : tuple of array or None
        For each of these.
    masks : list of array or None
        For each of the inputs; empty where no batch has lengths.
    """

    def __init__(
        self,
        inputs: tuple[Array | None, ...],
        x: list[Array],
        outputs: Sequence[int],
        targets: Sequence[Array],
        weights: Sequence[Array | None],
        masks: Sequence[Array | None] = (),
    ) -> None:
        self.inputs, self.x, self.outputs = inputs, x, outputs
        self.targets, self.weights, self.masks = tuple(targets), tuple(weights), masks

    def fits(self, batch: Batch) -> bool:
        """Whether a batch of so many rows has arrays of these shapes and dtypes."""
        for part, to in zip(batch.parts, self.x, strict=True):
            if part.dtype != to.dtype or part.shape[1:] != to.shape[1:]:
                return False
        for output, target, weights in zip(self.outputs, self.targets, self.weights, strict=True):
            if not (_is_like(batch.targets[output], target) and _is_like(batch.weights[output], weights)):
                return False
        return True

    def sources(self, batch: Batch) -> list[tuple[Array, Array]] | None:
        """The arrays that rows are gathered of, each with the memory for them; None for labels that are not whole."""
        pairs: list[tuple[Any, Any]] = list(zip(batch.parts, self.x, strict=True))
        for output, target, weights in zip(self.outputs, self.targets, self.weights, strict=True):
            given: Any = batch.targets[output]
            if target.dtype == np.int64 and given.dtype.kind == "f" and not _are_whole(given):
                return None
            pairs += [(given, target), (batch.weights[output], weights)]
        return [(source, to) for source, to in pairs if source is not None]


def _are_whole(labels: Any) -> bool:
    """Whether labels of floats are whole numbers; those that are not in memory are not looked at."""
    return isinstance(labels, np.ndarray) and bool(np.all(np.trunc(labels) == labels))


def _is_like(given: Array | None, room: Array | None) -> bool:
    """Whether rows of an array fit in the room for them; both may be None."""
    if given is None or room is None:
        return given is room
    return given.shape[1:] == room.shape[1:]


def target_fits(target: tuple[int, ...], output: tuple[int | None, ...], sparse: bool) -> bool:
    """Whether targets of this shape can be compared with outputs of that one as they lie; both without the batch."""
    if sparse:
        output = output[:-1]
        target = target[:-1] if len(target) == len(output) + 1 and target[-1] == 1 else target
    elif len(target) == len(output) - 1 and output[-1] == 1:
        output = output[:-1]
    elif len(output) == len(target) - 1 and target[-1] == 1:
        target = target[:-1]
    return len(target) == len(output) and all(n is None or n == m for n, m in zip(output, target, strict=True))


def weights_fit(weights: tuple[int, ...], output: tuple[int | None, ...]) -> bool:
    """Whether weights of this shape are for rows, or for each value of a loss of outputs of that one."""
    values = output[:-1]
    weights = weights[:-1] if weights and weights[-1] == 1 and len(weights) == len(values) + 1 else weights
    return all(n == 1 for n in weights) or (
        len(weights) == len(values) and all(n is None or n == m for n, m in zip(values, weights, strict=True))
    )
