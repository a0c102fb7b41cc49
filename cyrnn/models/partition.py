"""Partition: the calls of a model's graph as programs, as few as there can be, and the calls between them.

A program has all the calls that can be ops of it and wait for no other call. What the engine has no op for is a cut:
the executor calls it between programs. Calls of models are replaced by the calls that these are made of.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs import operations
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import AnotherDTypeError, NotLoweredError, why_not
from cyrnn.layers.base.programs.values import Compared, Deferred, Outside, Value
from cyrnn.layers.base.symbolic import Operation
from cyrnn.models.executor import Call, Place, Runnable, filled, masks_of, places_of
from cyrnn.models.parts import Partition, ProgramPart

_MOST_CALLS = 200  # of a program
_MOST_INNER_CALLS = 2000  # that take the place of calls of models

Known = dict[Place, tuple[Any, Any]]  # for each place its value in the program, and that of its mask


def partition(
    calls: Sequence[Call],
    inputs: Sequence[Place],
    outputs: Any,
    target: Target,
    *,
    masked: bool | Sequence[bool],
    masks_wanted: bool,
) -> Partition:
    """Divide the calls of a model.

    Parameters
    ----------
    calls : sequence of Call
        In an order in which they can run.
    inputs : sequence of Place
        What the model takes.
    outputs : structure of Place
        What the model returns.
    target : Target
        What makes and runs programs.
    masked : bool or sequence of bool
        Whether a mask comes with each of the inputs, or for each whether one does.
    masks_wanted : bool
        Whether the masks of the outputs are asked for.
    """
    flat, outputs = _flattened(calls, outputs, [_MOST_INNER_CALLS])
    counts = Counter(call.layer for call in flat)
    for call in flat:
        call.shared = call.shared or counts[call.layer] > 1
    division = _Division(flat, places_of(outputs), target, masks_wanted)
    each = [masked] * len(inputs) if isinstance(masked, bool) else masked
    for place, has_mask in zip(inputs, each, strict=True):
        division.bring(place, has_mask, certain=True)
    return Partition(division.parts(), inputs, outputs, division.reasons)


def undivided(calls: Sequence[Call], inputs: Sequence[Place], outputs: Any) -> Partition:
    """The calls of a model as they are, for the executor alone."""
    return Partition(calls, inputs, outputs, {})


# ---------------------------------------------------------------- models in models


def _flattened(calls: Sequence[Call], outputs: Any, room: list[int]) -> tuple[list[Call], Any]:
    """The calls with those of models replaced by what these call, and the places of the outputs then.

    `room` holds how many more calls there may be. Models that call models, which call models, may have any number.
    """
    found: list[Call] = []
    place: dict[Place, Any] = {}

    def moved(leaf: Any) -> Any:
        return place.get(leaf, leaf) if type(leaf) is Place else leaf

    for call in calls:
        args, options, mask = nest.mapped(moved, (call.args, call.options, call.mask))
        call = Call(call.layer, args, call.outputs, call.training, options, mask, call.alone, call.shared)
        inner = _inner_calls(call) if room[0] > 0 else None
        if inner is None:
            found.append(call)
            continue
        room[0] -= len(inner[0])
        inside, returned = _flattened(*inner, room)
        for part in inside:
            part.shared = part.shared or call.shared
        found += inside
        flat = nest.leaves(returned)
        place.update(
            zip(call.outputs, flat, strict=True) if isinstance(call.outputs, list) else {call.outputs: returned}
        )
    return found, nest.mapped(moved, outputs)


def _inner_calls(call: Call) -> tuple[list[Call], Any] | None:
    """The calls that a call of a model makes, and the places of its outputs; None where it has to be called."""
    layer = call.layer
    plain = len(call.args) == 1 and not call.options and call.mask is None
    if not plain or not isinstance(layer, Layer) or why_not(layer, "inner_calls") is not None:
        return None
    found: tuple[list[Call], Any] | None = layer.inner_calls(call.args[0], call.training)  # type: ignore[attr-defined]
    return found


# ---------------------------------------------------------------- programs and cuts


class _Division:
    """The calls, while they are divided into programs and cuts."""

    def __init__(self, calls: list[Call], ends: list[Place], target: Target, masks_wanted: bool) -> None:
        self.rest = calls
        self.ends = ends
        self.target = target
        self.masks_wanted = masks_wanted
        self.outside: Known = {}  # what comes from the caller, or from parts before
        self.reasons: dict[Call, str] = {}
        for call in calls:
            reason = _why_never(call)
            if reason is not None:
                self.reasons[call] = reason

    def bring(self, place: Place, has_mask: bool, certain: bool = False) -> None:
        """Note that the place has an array when the next part begins, and a mask, for `certain` or perhaps."""
        mask = Outside(place, place.shape, is_mask=True, optional=not certain) if has_mask else None
        self.outside[place] = (Outside(place, place.shape), mask)

    def parts(self) -> list[Runnable]:
        """The programs and cuts. Cuts come first where they can, so that a program has all that waits for them."""
        found: list[Runnable] = []
        while self.rest:
            found += self._cuts()
            if self.rest:
                found += self._program()
        return found

    def _cuts(self) -> list[Call]:
        """Take the calls that are no ops and wait for no program."""
        taken: list[Call] = []
        waiting: set[int] = set()
        for call in self.rest:
            if call in self.reasons and self._ready(call, self.outside, waiting):
                taken.append(call)
                for place in call.fills:
                    self.bring(place, has_mask=getattr(call.layer, "supports_masking", False))
            else:
                waiting |= _states_moved(call)
        self._leave(taken)
        return taken

    def _program(self) -> list[Runnable]:
        """Take the calls that can be ops of the next program. The reasons of those that cannot are noted.

        Calls that compute nothing are left to Python, which moves no numbers for them.
        """
        known, lowering, taken = dict(self.outside), None, list[Call]()
        waiting: set[int] = set()
        for call in self.rest:
            if call not in self.reasons and len(taken) < _MOST_CALLS and self._ready(call, known, waiting):
                if lowering is None or not taken:
                    dtype = self._dtype(call)
                    lowering = Lowering(self.target.program(dtype.name), dtype)
                try:
                    _lower(lowering, call, known)
                    lowering.note_owner(call.layer.name)
                    self._check_comparison(call, known)
                    taken.append(call)
                    continue
                except AnotherDTypeError:
                    pass
                except NotLoweredError as error:
                    self.reasons[call] = str(error)
            waiting |= _states_moved(call)
        self._leave(taken)
        if lowering is None or not taken:
            return []
        if not lowering.program.ops or lowering.program.computes:
            return [self._finished(lowering, taken, known)]
        for call in taken:
            self.reasons[call] = "it computes nothing"
            for place in call.fills:
                self.bring(place, has_mask=getattr(call.layer, "supports_masking", False))
        return list(taken)

    def _check_comparison(self, call: Call, known: Known) -> None:
        """Raises NotLoweredError for a comparison that is more than half of a mask: no op computes it."""
        for place in call.fills:
            if not isinstance(known[place][0], Compared):
                continue
            readers = [part for part in self.rest if place in part.needs]
            if place in self.ends or not all(map(_makes_mask, readers)):
                del known[place]
                raise NotLoweredError("the engine has no op for a comparison alone")

    def _dtype(self, call: Call) -> np.dtype[Any]:
        """What a program that begins with the call computes in: what the next layer does."""
        after = self.rest[self.rest.index(call) :]
        found = (part.layer for part in after if isinstance(part.layer, Layer) and part not in self.reasons)
        return next((layer.dtype_policy.engine_dtype for layer in found), np.dtype(np.float32))

    def _ready(self, call: Call, known: Known, waiting: set[int]) -> bool:
        return all(place in known for place in call.needs) and not (waiting & _states_moved(call))

    def _leave(self, taken: list[Call]) -> None:
        gone = set(taken)
        self.rest = [call for call in self.rest if call not in gone]

    def _finished(self, lowering: Lowering, calls: list[Call], known: Known) -> ProgramPart:
        """The part of the program, which returns what later calls and the caller of the model need."""
        wanted = dict.fromkeys(place for call in self.rest for place in call.needs)
        masks = set(wanted) | (set(self.ends) if self.masks_wanted else set())
        wanted |= dict.fromkeys(self.ends)

        def number(value: Any) -> Any:
            return value if value is None or isinstance(value, Outside) else lowering.result(value)

        results = {}
        for place in wanted:
            if place in known and place not in self.outside:
                outputs, mask = known[place]
                results[place] = (nest.mapped(number, outputs), nest.mapped(number, mask) if place in masks else None)
        needs = [place for place in self.outside if any(place in call.needs for call in calls)]
        for place in results:
            leaves = nest.leaves(known[place][1])
            optional = any(getattr(mask, "optional", False) for mask in leaves)
            self.bring(place, any(mask is not None for mask in leaves), certain=not optional)
            self._describe(place, known[place][0])
        return ProgramPart(lowering.finish(), self.target, calls, results, needs)

    def _describe(self, place: Place, outputs: Any) -> None:
        """Note the shape of what a program returns, for programs after it."""
        shape = getattr(outputs, "shape", None)
        if shape is not None:
            _, mask = self.outside[place]
            mask = None if mask is None else replace(mask, shape=shape)
            self.outside[place] = (Outside(place, shape), mask)


def _why_never(call: Call) -> str | None:
    """Why the call is no op of any program; None if it may be one."""
    if not isinstance(call.layer, Layer):
        known = call.layer.class_name in operations.KNOWN and not call.options
        return None if known else f"the engine has no op for the operation {call.layer.class_name}"
    if hasattr(call.layer, "inner_calls"):  # a model that was not replaced by its calls
        return why_not(call.layer, "inner_calls") or "it must be called to find which input is which, and of what dtype"
    others = call.options.keys() - {"initial_state"}
    if others or len(call.args) > 2:
        return f"it is called with more than its inputs, {sorted(others) or len(call.args)}"
    return why_not(call.layer)


def _states_moved(call: Call) -> set[int]:
    """The layers whose states the call moves: their calls keep their order."""
    parts = call.layer.layers_within() if isinstance(call.layer, Layer) else ()
    return {id(part) for part in parts if part.carries_states}


def _lower(lowering: Lowering, call: Call, known: Known) -> None:
    """Add the ops of a call, and note its outputs and their masks. Raises NotLoweredError."""
    layer = call.layer
    if isinstance(layer, Operation):
        _lower_operation(lowering, call, known)
        return
    lowering.check(layer)
    first, own = filled(call.args[0], known), masks_of(call.args[0], known)
    several = isinstance(first, list) and not layer.takes_one_input
    if not all(isinstance(value, (Value, Outside)) for value in (first if several else [first])):
        raise NotLoweredError("its inputs are no tensors of the model, or they are several")
    mask = own if call.mask is None else filled(call.mask, known)
    parts = mask if several and isinstance(mask, list) else [mask]
    if not all(isinstance(part, (Value, Outside, Deferred, type(None))) for part in parts):
        raise NotLoweredError("its mask is no tensor of the model")
    used = mask if call.alone or call.mask is not None else None
    others = [*call.args[1:], *call.options.values()]
    state = {"initial_state": filled(others[0], known)} if others and others[0] is not None else {}
    outputs = layer.lower(lowering, first, used, call.training, **state)
    masks = lowering.mask_after(layer, first, mask)
    if not isinstance(call.outputs, list):
        known[call.outputs] = (outputs, masks)
        return
    flat, flat_masks = nest.leaves(outputs), nest.leaves(masks)
    flat_masks += [None] * (len(flat) - len(flat_masks))
    known.update(zip(call.outputs, zip(flat, flat_masks, strict=False), strict=True))


def _lower_operation(lowering: Lowering, call: Call, known: Known) -> None:
    (place,) = call.fills
    made = operations.lower_operation(lowering, call.layer, filled(call.args, known))
    if isinstance(made, Compared) and call.args[0].dtype != lowering.dtype.name:
        raise NotLoweredError("its input is compared in another dtype than the program's")
    known[place] = (made, None)


def _makes_mask(call: Call) -> bool:
    """Whether the call makes the mask of a comparison."""
    return not isinstance(call.layer, Layer) and call.layer.class_name == "Any"
