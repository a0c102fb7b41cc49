"""What an optimizer remembers of each weight, and the variables that Keras has for it, in names, order and dtypes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import dtypes, locks
from cyrnn.arrays import array_of_numbers, quietly
from cyrnn.configurable import Configurable
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.weights import writing
from cyrnn.optimizers.checks import Key, checked_learning_rate
from cyrnn.utils.variables import Variable

_MOST_ITERATIONS = 2**53  # schedules compute in float64, which has each number up to there


class Slot(NamedTuple):
    """An array that an optimizer remembers of a weight.

    Parameters
    ----------
    name : str, optional
        How the name of its variable ends; None: it has the name of the weight alone, as some have in Keras.
    initial : float
        Its elements before the first step.
    shape, dtype : optional
        None: those of the weight.
    group : int
        Variables are in the order of their groups, and within these in that of the weights.
    """

    name: str | None
    initial: float = 0.0
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    group: int = 0


class Kept(NamedTuple):
    """What an optimizer remembers of a weight."""

    slots: tuple[Any, ...]
    path: str
    decays: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    average: Array | None = None  # None before the first update
    accumulated: Array | None = None  # None for zeros

    def with_slots(self, slots: Sequence[Slot | None]) -> "Kept":
        """The same with these slots: new ones are as before the first step."""
        held = [*self.slots, *[None] * (len(slots) - len(self.slots))]
        pairs = zip(held, slots, strict=False)
        return self._replace(slots=tuple([None if slot is None else self._known(a, slot) for a, slot in pairs]))

    def _known(self, array: Array | None, slot: Slot) -> Array:
        return self._initial(slot) if array is None else array

    def _initial(self, slot: Slot) -> Array:
        shape, dtype = self.form_of(slot)
        return np.zeros(shape, dtype) if slot.initial == 0 else np.full(shape, slot.initial, dtype)

    def form_of(self, slot: Slot) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """The shape and the dtype of a slot."""
        shape = self.shape if slot.shape is None else slot.shape
        return shape, self.dtype if slot.dtype is None else np.dtype(slot.dtype)


class Place(NamedTuple):
    """What a variable stands for."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    part: str | int  # the number of a slot, or what else it is
    weight: int = -1  # the number of the weight


class HasState(Configurable):
    """An optimizer as the holder of its state."""

    name: str
    use_ema: bool
    gradient_accumulation_steps: int | None
    _learning_rate: Any

    def __init__(self) -> None:
        self._iterations = 0  # calls of `apply`
        self._state: dict[Key, Kept] = {}
        self._borrower: Any = None  # trains with the state meanwhile, and has a method `publish` that puts it back
        self._waiting: list[Kept] = []  # of a copy: the state, until it is known of which weights it is now
        self._lock = locks.ForkSafeLock()

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        """What `update` remembers of a weight of this shape, in its order; None for what it does without."""
        return ()

    def shared(self, updates: int, dtype: np.dtype[Any]) -> Mapping[str, Any]:
        """By the name of the variable what Keras remembers once for all weights: numbers that follow from that of the
        updates."""
        return {}

    @property
    def _kept(self) -> dict[Key, Kept]:
        """What is remembered of each weight."""
        if self._borrower is not None:
            self._borrower.publish()
        return self._state

    @_kept.setter
    def _kept(self, state: dict[Key, Kept]) -> None:
        vars(self).update(held_as(state))  # no interrupt comes between

    @property
    def _updates(self) -> int:
        return self._iterations // (self.gradient_accumulation_steps or 1)

    @property
    def built(self) -> bool:
        """Whether it has begun with the weights of a model."""
        return bool(self._remembered())

    def _remembered(self) -> list[Kept]:
        return [self.fitting(of_weight) for of_weight in list(self._kept.values()) or self._waiting]

    def fitting(self, of_weight: Kept) -> Kept:
        """What is remembered of a weight, with the slots and sums that the options ask for as they are set now."""
        fitted = of_weight.with_slots(self.slots(of_weight.shape, of_weight.path))
        summed = fitted.accumulated is not None and not self.gradient_accumulation_steps
        return fitted._replace(accumulated=None) if summed else fitted

    def __getstate__(self) -> dict[str, Any]:
        # A copy would be of no use with copies of the layers that the state belongs to.
        with self._lock, writing:  # no step comes between the number of updates and what is remembered of weights
            remembered = self._remembered()
            return {**vars(self), "_state": {}, "_borrower": None, "_waiting": remembered}

    # ------------------------------------------------------------ variables

    @property
    def variables(self) -> list[Variable]:
        """The state, as Keras has it; before `build` and the first step without what is remembered of weights."""
        return [OptimizerVariable(self, place) for place in self._places(self._remembered())]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replace the values of all `variables`, for which the optimizer must be built.

        Parameters
        ----------
        weights : list of array
            In the order of `variables`.

        Raises
        ------
        ValueError
            If their number or their shapes do not fit. Nothing has changed then.
        """
        with self._lock:
            state, remembered = self._kept, self._remembered()
            restored = self._restored(remembered, weights)
            if state:
                self._kept = dict(zip(state, restored, strict=True))
            else:
                self._waiting = restored

    def _places(self, kept: Sequence[Kept]) -> list[Place]:
        found = [Place("iteration", (), np.dtype("int64"), "iteration")]
        if not callable(self._learning_rate):
            found.append(Place("learning_rate", (), np.dtype(dtypes.floatx()), "learning_rate"))
        names = [of_weight.path.replace("/", "_") for of_weight in kept]
        for part, end, wanted in (
            ("average", "average", self.use_ema),
            ("accumulated", "gradient_accumulator", self.gradient_accumulation_steps),
        ):
            pairs = enumerate(zip(names, kept, strict=True)) if wanted else ()
            found += [Place(f"{name}_{end}", k.shape, k.dtype, part, weight) for weight, (name, k) in pairs]
        groups: dict[int, list[Place]] = defaultdict(list)
        for weight, of_weight in enumerate(kept):
            for number, slot in enumerate(self.slots(of_weight.shape, of_weight.path)):
                if slot is not None:
                    name = of_weight.path.split("/")[-1] if slot.name is None else f"{names[weight]}_{slot.name}"
                    groups[slot.group].append(Place(name, *of_weight.form_of(slot), number, weight))
        found += [place for group in sorted(groups) for place in groups[group]]
        dtype = kept[0].dtype if kept else np.dtype("float32")
        return found + [Place(name, (), dtype, "shared") for name in (self.shared(0, dtype) if kept else ())]

    def _value_at(self, place: Place) -> Array:
        if place.part == "iteration":
            return np.asarray(self._iterations, place.dtype)
        if place.part == "learning_rate":
            return np.asarray(self._learning_rate, place.dtype)
        if place.part == "shared":
            return np.asarray(self.shared(self._updates, place.dtype)[place.name], place.dtype)
        of_weight = self._remembered()[place.weight]
        if isinstance(place.part, int):
            return np.asarray(of_weight.slots[place.part])
        value: Array | None = getattr(of_weight, place.part)
        return np.zeros(place.shape, place.dtype) if value is None else value

    def _replace_at(self, place: Place, value: Array) -> None:
        with self._lock:
            places = self._places(self._remembered())
            self.set_weights([value if other == place else self._value_at(other) for other in places])

    @quietly
    def _restored(self, kept: Sequence[Kept], values: Sequence[ArrayLike]) -> list[Kept]:
        """What is remembered of each weight when the variables have these values; the two numbers are taken."""
        places = self._places(kept)
        if len(values) != len(places):
            raise ValueError(f"the optimizer {self.name!r} has {len(places)} variables, got {len(values)} values")
        rate, iterations = self._learning_rate, 0
        parts: list[dict[str | int, Array]] = [{} for _ in kept]
        for place, value in zip(places, values, strict=True):
            array = array_of_numbers(f"variable {place.name!r}", value)
            if array.shape != place.shape:
                raise ValueError(f"variable {place.name!r} must have the shape {place.shape}, got {array.shape}")
            if place.part == "iteration":
                iterations = _checked_iterations(array)
            elif place.part == "learning_rate":
                rate = checked_learning_rate(float(array))
            elif place.part != "shared":
                parts[place.weight][place.part] = array.astype(place.dtype)
        updates = iterations // (self.gradient_accumulation_steps or 1)
        restored = [
            of_weight._replace(
                slots=tuple(own.get(number) for number in range(len(self.slots(of_weight.shape, of_weight.path)))),
                average=own.get("average") if updates else None,
                accumulated=own.get("accumulated"),
            )
            for of_weight, own in zip(kept, parts, strict=True)
        ]
        self._learning_rate, self._iterations = rate, iterations
        return restored


def held_as(state: dict[Key, Kept]) -> dict[str, Any]:
    """The attributes of an optimizer that has this state, and that no training has borrowed."""
    return {"_state": state, "_borrower": None, "_waiting": []}


class OptimizerVariable(Variable):
    """A part of the state of an optimizer. `assign` replaces it there."""

    def __init__(self, optimizer: HasState, place: Place) -> None:
        self.name, self.shape, self.dtype = place.name, place.shape, place.dtype
        self.path = f"{optimizer.name}/{place.name}"
        self._optimizer, self._place = optimizer, place

    @property
    def value(self) -> Array:
        """The present value, a read-only array."""
        view = self._optimizer._value_at(self._place)[...]
        view.setflags(write=False)
        return view

    def _replace(self, value: Array) -> None:
        self._optimizer._replace_at(self._place, value)


def _checked_iterations(value: Array) -> int:
    number = value.item()
    if not 0 <= number <= _MOST_ITERATIONS or number != int(number):
        raise ValueError(f"variable 'iteration' must be an integer from 0 to 2 ** 53, got {number}")
    return int(number)
