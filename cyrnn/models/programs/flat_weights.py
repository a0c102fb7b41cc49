"""Weights, and what an optimizer remembers of them, in flat arrays while a model is trained.

They come back, as they are after the last finished step, when somebody asks for them: see `FlatWeights.publish`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cyrnn.engine.plan import defer, holds, replace
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import Weighted, read_only, writing
from cyrnn.optimizers import Optimizer

Key = tuple[Weighted, str]  # a layer, and the name of one of its weights


class Place(NamedTuple):
    """Where a weight is in the flat arrays."""

    first: int
    size: int
    shape: tuple[int, ...]

    @property
    def part(self) -> slice:
        """The elements of it."""
        return slice(self.first, self.first + self.size)


class FlatWeights:
    """The trainable weights of a model, their gradients, and the slots of an optimizer.

    Parameters
    ----------
    model : Layer
    optimizer : Optimizer
    keys : sequence of (layer, str)
        The weights, all of one dtype.
    dtype : dtype
        That one.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, keys: Sequence[Key], dtype: np.dtype[Any]) -> None:
        self.optimizer, self.dtype = optimizer, dtype
        self.places = dict[Key, Place]()
        first = 0
        for layer, name in keys:
            value = layer._values[name]
            self.places[layer, name] = Place(first, value.size, value.shape)
            first += value.size
        self.layers = list(dict.fromkeys(layer for layer, _ in keys))
        self.w, self.g = np.zeros(first, dtype), np.zeros(first, dtype)
        self.slots: tuple[Array | None, ...] = ()
        self._slots = [layer._slot for layer in self.layers]
        # What layers and optimizer had when they were last in step with the flat arrays.
        self._held: list[Any] = []
        self._state: Any = None
        self._newer = False  # whether the flat arrays are newer than that
        optimizer.build(model)

    def indices(self, layer: Weighted) -> dict[str, Array]:
        """For each weight of a layer where its elements are, 1 for the first; 0 where it is not trained."""
        found = {}
        kind = np.int32 if self.dtype.itemsize == 4 else np.int64
        for name, value in layer._values.items():
            place = self.places.get((layer, name))
            flat = np.zeros(value.size, kind)
            if place is not None:
                flat = np.arange(place.first + 1, place.first + place.size + 1, dtype=kind)
            found[name] = flat.reshape(value.shape)
        return found

    @property
    def in_step(self) -> bool:
        """Whether layers and optimizer have nothing that the flat arrays do not have."""
        optimizer = self.optimizer
        mine = optimizer._state is self._state and (optimizer._borrower is None or optimizer._borrower is self)
        return mine and holds(self._slots, self._held, self)

    def take(self) -> None:
        """Take weights and slots from the layers and the optimizer."""
        with writing:
            for (layer, name), place in self.places.items():
                self.w[place.part] = layer._values[name].reshape(-1)
            kept = self.optimizer._kept
            flat: list[Array | None] = []
            for number, first in enumerate(next(iter(kept.values())).slots):
                parts = [kept[key].slots[number] for key in self.places]
                flat.append(None if first is None else np.concatenate([part.reshape(-1) for part in parts]))
            self.slots = tuple(flat)
            self._held, self._state = [slot.values for slot in self._slots], self.optimizer._state

    def borrow(self) -> None:
        """From now on layers and optimizer ask for what they are. The caller is `writing`, and `in_step`."""
        if not self._newer:
            self._newer = True
            self.optimizer._borrower = self
            defer(self._slots, self)

    def publish(self) -> None:
        """Give the layers and the optimizer what they are after the last finished step."""
        with writing:  # no step moves anything meanwhile
            if not self._newer:
                return
            held, state = dict(zip(self.layers, map(dict, self._held), strict=True)), dict(self._state)
            for (layer, name), place in self.places.items():
                held[layer][name] = read_only(self.w[place.part].reshape(place.shape))
                slots = [None if flat is None else flat[place.part].reshape(place.shape).copy() for flat in self.slots]
                state[layer, name] = state[layer, name]._replace(slots=tuple(slots))
            # An interrupt comes before all of this, or after it: nothing is called but what ends it.
            self._held, self._state, self._newer = list(held.values()), state, False
            self.optimizer._state, self.optimizer._borrower = state, None
            replace(self._slots, self._held)
