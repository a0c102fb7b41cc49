"""Layers whose ops scale and shift by vectors along an axis."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from cyrnn.engine.plan import Vectors
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs.called import ProgramLayer


class VectorLayer(ProgramLayer):
    """A layer whose op scales and shifts by vectors that follow from its weights and some attributes."""

    weight_of: ClassVar[Mapping[str, str]] = MappingProxyType({})  # by the name of a vector the weight that it follows
    _packed_with: tuple[Any, ...] = ()  # the attributes that are part of what the slot has made ready

    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """`scale`, and perhaps `shift` and `offset`, each (length,), for these weights."""
        raise NotImplementedError(f"{type(self).__name__} has no `vectors`")

    def slopes(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """By how much vectors grow with those weights, (length,), where that is not 1."""
        return {}

    @property
    def vectors_follow_from(self) -> tuple[Any, ...]:
        """The values of the attributes that `vectors` depends on."""
        return ()

    def make_ready(self) -> None:
        """Make the vectors in the slot ready for programs, if they are not."""
        slot, attributes = self._slot, (self.dtype_policy, *self.vectors_follow_from)
        values, known = slot.values, self._packed_with
        same = len(known) == len(attributes) and all(a is b for a, b in zip(known, attributes, strict=True))
        if slot.packed is None or not same:
            dtype = self.dtype_policy.engine_dtype
            vectors = {name: array.astype(dtype).reshape(-1) for name, array in self.vectors(values).items()}
            slot.pack(values, Vectors(**vectors))
            self._packed_with = attributes
