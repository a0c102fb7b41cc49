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
from cyrnn.optimizers.state import held_as

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

    def of(self, flat: Array) -> Array:
        """A view of what a flat array has of the weight."""
        return flat[self.part].reshape(self.shape)


def _places(keys: Sequence[Key]) -> tuple[dict[Key, Place], int]:
    """Where weights are in a flat array, and how long that is."""
    found, first = dict[Key, Place](), 0
    for layer, name in keys:
        value = layer._values[name]
        found[layer, name] = Place(first, value.size, value.shape)
        first += value.size
    return found, first


class FlatWeights:
    """The trainable weights of a model, their gradients, the slots of an optimizer, and moving averages of layers.

    Parameters
    ----------
    model : Layer
    optimizer : Optimizer
    keys : sequence of (layer, str)
        The weights, all of one dtype.
    averaged : sequence of (layer, str)
        Weights that are moving averages, of this dtype too.
    dtype : dtype
        That one.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        keys: Sequence[Key],
        averaged: Sequence[Key],
        dtype: np.dtype[Any],
    ) -> None:
        self.optimizer, self.dtype = optimizer, dtype
        self.places, size = _places(keys)
        self.averages, count = _places(averaged)
        self.layers = list(dict.fromkeys(layer for layer, _ in (*keys, *averaged)))
        self.w, self.g, self.moving = np.zeros(size, dtype), np.zeros(size, dtype), np.zeros(count, dtype)
        self.slots: tuple[Array | None, ...] = ()
        self.of_weights: Array | None = None  # the averages that `use_ema` keeps
        self.of_weights_begun = False  # whether there was an update that they are of
        self.sums: Array | None = None  # of gradients, where these are accumulated
        self._slots = [layer._slot for layer in self.layers]
        # What layers and optimizer had when they were last in step with the flat arrays.
        self._held: list[Any] = []
        self._state: Any = None
        self._newer = False  # whether the flat arrays are newer than that
        self._attributes = vars(optimizer)  # to assign to them calls nothing: see `publish`
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
            for array, places in ((self.w, self.places), (self.moving, self.averages)):
                for (layer, name), place in places.items():
                    array[place.part] = layer._values[name].reshape(-1)
            optimizer = self.optimizer
            kept = [optimizer.fitting(optimizer._kept[key]) for key in self.places]
            slots = range(len(kept[0].slots))
            self.slots = tuple([self._joined([of_weight.slots[number] for of_weight in kept]) for number in slots])
            averages, sums = ([getattr(of_weight, name) for of_weight in kept] for name in ("average", "accumulated"))
            self.of_weights_begun = all(average is not None for average in averages)
            self.of_weights = self._joined(averages, self.w) if optimizer.use_ema else None
            nothing = np.zeros_like(self.w)
            self.sums = self._joined(sums, nothing) if optimizer.gradient_accumulation_steps else None
            self._held, self._state = [slot.values for slot in self._slots], self.optimizer._state

    def _joined(self, arrays: Sequence[Array | None], otherwise: Array | None = None) -> Array | None:
        """Arrays, one for each weight, as a flat one; with parts of another where there is none."""
        if otherwise is None and arrays[0] is None:
            return None
        parts = [
            otherwise[place.part] if array is None and otherwise is not None else np.ravel(array)  # type: ignore[arg-type]
            for array, place in zip(arrays, self.places.values(), strict=True)
        ]
        return np.concatenate(parts)

    def borrow(self) -> None:
        """From now on layers and optimizer ask for what they are. The caller is `writing`, and `in_step`."""
        if not self._newer:
            self._newer = True
            self._attributes["_borrower"] = self
            defer(self._slots, self)

    def publish(self) -> None:
        """Give the layers and the optimizer what they are after the last finished step."""
        with writing:  # no step moves anything meanwhile
            if not self._newer:
                return
            held, state = dict(zip(self.layers, map(dict, self._held), strict=True)), dict(self._state)
            for (layer, name), place in self.averages.items():
                held[layer][name] = read_only(place.of(self.moving))
            of_weights = self.of_weights if self.of_weights_begun else None
            for (layer, name), place in self.places.items():
                held[layer][name] = read_only(place.of(self.w))
                *slots, average, total = (
                    None if flat is None else place.of(flat).copy() for flat in (*self.slots, of_weights, self.sums)
                )
                state[layer, name] = state[layer, name]._replace(slots=tuple(slots), average=average, accumulated=total)
            values, attributes = list(held.values()), held_as(state)
            # An interrupt comes before all of this, or after it: nothing is called but what ends it.
            self._held, self._state, self._newer = values, state, False
            replace(self._slots, values, self._attributes, attributes)
