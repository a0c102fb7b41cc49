"""Layers whose ops scale and shift by vectors along an axis."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from cyrnn.engine.plan import Packed, Vectors
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs.called import ProgramLayer

if TYPE_CHECKING:  # imported where a model is trained
    from cyrnn.engine.training import Refill


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
            slot.pack(values, self._ready(values))
            self._packed_with = attributes

    def own_packed(self) -> Vectors:
        """The vectors made ready for one owner, who may change them."""
        return self._ready(self._slot.values)

    def refill(self, packed: Packed, places: Mapping[str, Array]) -> "Refill":
        """How vectors that are weights follow flat ones: see `EngineLayer.refill`."""
        from cyrnn.engine.training import Refill

        found = {vector: places[weight] for vector, weight in self.weight_of.items() if weight in places}
        return Refill(packed, **{vector: index.reshape(-1) for vector, index in found.items()})

    def _ready(self, values: Mapping[str, Array]) -> Vectors:
        dtype = self.dtype_policy.engine_dtype
        return Vectors(**{name: array.astype(dtype).reshape(-1) for name, array in self.vectors(values).items()})
