"""The partitions of a model that are kept until something changes that they depend on."""

from collections.abc import Callable, Hashable
from typing import Protocol

from cyrnn.layers.base.layer import Layer
from cyrnn.models.programs.parts import Partition

_KEPT = 16  # with masks or without, in training or not, for inputs of other ranks


class Owner(Protocol):
    """The model that partitions are of."""

    _own_structure: object

    def layers_within(self) -> "tuple[Layer, ...]": ...


class KeptPartitions:
    """The partitions of a model, by what they are for, and the structure that they were made of.

    That is a number for all layers together, the model's own token, and those of the layers in it.
    """

    def __init__(self) -> None:
        self._content: tuple[int, object, list[tuple[Layer, object]], dict[Hashable, Partition]] | None = None

    def found(self, model: Owner, structure: int, key: Hashable, make: Callable[[], Partition]) -> Partition:
        """The partition that is kept under `key`, or a new one. `structure` is `structure_now` from before the call."""
        known = self._known(model, structure)
        if key not in known:
            tokens = [(part, part._own_structure) for part in model.layers_within()[1:]]
            known = {**dict(list(known.items())[1 - _KEPT :]), key: make()}
            structures = [(part, token) for part, token in tokens if _derives(part)]
            self._content = (structure, model._own_structure, structures, known)
        return known[key]

    def _known(self, model: Owner, structure: int) -> dict[Hashable, Partition]:
        if self._content is None:
            return {}
        since, own, structures, known = self._content
        if since == structure:
            return known
        if own is not model._own_structure or any(part._own_structure is not token for part, token in structures):
            return {}
        self._content = (structure, own, structures, known)
        return known


def _derives(part: Layer) -> bool:
    """Whether what the layer's calls do follows from its attributes."""
    return type(part)._override is None or part._watched or hasattr(part, "inner_calls")
