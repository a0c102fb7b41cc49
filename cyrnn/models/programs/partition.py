"""Partition: the calls of a model's graph as programs, as few as there can be, and the calls between them.

A program has all the calls that can be ops of it and wait for no other call. What the engine has no op for is a cut:
the executor calls it between programs. Calls of models are replaced by the calls that these are made of.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs import operations
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError, why_not
from cyrnn.layers.base.programs.values import Compared, Deferred, Outside, Value
from cyrnn.layers.base.symbolic import Operation
from cyrnn.models.executor import Call, Place, Runnable, filled, masks_of, places_of
from cyrnn.models.programs.blocks import Block
from cyrnn.models.programs.parts import Partition, ProgramPart, Wanted
from cyrnn.models.programs.readiness import Readiness

_MOST_CALLS = 200  # of a program
_MOST_INNER_CALLS = 2000  # that take the place of calls of models


@runtime_checkable
class Replaced(Protocol):
    """A model or block, calls of which in a model are replaced by the calls that it makes."""

    def why_not_replaced(self) -> str | None: ...

    def inner_calls_of(self, call: Call) -> tuple[list[Call], Any] | None: ...


Known = dict[Place, tuple[Any, Any]]  # for each place its value in the program, and that of its mask


def partition(
    calls: Sequence[Call],
    inputs: Sequence[Place],
    outputs: Any,
    target: Target,
    *,
    masked: bool | Sequence[bool],
    wanted: Wanted,
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
    wanted : Wanted
        What is asked for.
    """
    flat, outputs = _flattened(calls, outputs, [_MOST_INNER_CALLS])
    counts = Counter(call.layer for call in flat)
    for call in flat:
        call.shared = call.shared or counts[call.layer] > 1
    division = _Division(flat, inputs, places_of(outputs), target, wanted)
    each = [masked] * len(inputs) if isinstance(masked, bool) else masked
    for place, has_mask in zip(inputs, each, strict=True):
        division.bring(place, has_mask, certain=True)
    return Partition(division.parts(), inputs, outputs, division.reasons)


def undivided(calls: Sequence[Call], inputs: Sequence[Place], outputs: Any) -> Partition:
    """The calls of a model as they are, for the executor alone; those of blocks are replaced here too."""
    flat, outputs = _flattened(calls, outputs, [_MOST_INNER_CALLS], _block_of)
    return Partition(flat, inputs, outputs, {})


# ---------------------------------------------------------------- models in models


def _replaced(layer: Layer | Operation) -> Replaced | None:
    """The model or block that a layer is, None if it is none."""
    return layer if isinstance(layer, Replaced) else _block_of(layer)


def _block_of(layer: Layer | Operation) -> Block | None:
    if isinstance(layer, Layer) and layer.is_custom and layer.sublayers and not isinstance(layer, Replaced):
        return Block(layer)
    return None


def _flattened(
    calls: Sequence[Call],
    outputs: Any,
    room: list[int],
    which: Callable[[Layer | Operation], Replaced | None] = _replaced,
) -> tuple[list[Call], Any]:
    """The calls with those of models and blocks replaced by what these call, and the places of the outputs then.

    `room` holds how many more calls there may be. Models that call models, which call models, may have any number.
    `which` finds the layers whose calls are replaced.
    """
    found: list[Call] = []
    place: dict[Place, Any] = {}

    def moved(leaf: Any) -> Any:
        return place.get(leaf, leaf) if type(leaf) is Place else leaf

    for call in calls:
        args, options, mask = nest.mapped(moved, (call.args, call.options, call.mask))
        call = Call(call.layer, args, call.outputs, call.training, options, mask, call.alone, call.shared)
        inner = _inner_calls(call, which(call.layer)) if room[0] > 0 else None
        if inner is None:
            found.append(call)
            continue
        room[0] -= len(inner[0])
        inside, returned = _flattened(*inner, room, which)
        for part in inside:
            part.shared = part.shared or call.shared
        found += inside
        flat = nest.leaves(returned)
        place.update(
            zip(call.outputs, flat, strict=True) if isinstance(call.outputs, list) else {call.outputs: returned}
        )
    return found, nest.mapped(moved, outputs)


def _inner_calls(call: Call, replaced: Replaced | None) -> tuple[list[Call], Any] | None:
    """The calls that a call of a model makes, and the places of its outputs; None where it has to be called."""
    if call.mask is not None or replaced is None or replaced.why_not_replaced() is not None:
        return None
    return replaced.inner_calls_of(call)


# ---------------------------------------------------------------- programs and cuts


class _Division:
    """The calls, while they are divided into programs and cuts."""

    def __init__(
        self,
        calls: list[Call],
        inputs: Sequence[Place],
        ends: list[Place],
        target: Target,
        wanted: Wanted,
    ) -> None:
        self.calls = calls
        self.ends = {place: number for number, place in enumerate(ends)}
        self.target = target
        self.wanted = wanted
        self.logits: dict[Place, Value] = {}  # of the next program
        self.known: Known = {}  # what comes from the caller, or from parts before; and what the next program has so far
        reasons = ((call, _why_never(call)) for call in calls)
        self.reasons: dict[Call, str] = {call: reason for call, reason in reasons if reason is not None}
        self.readiness = Readiness(calls, inputs)
        # The numbers of the calls that can be made, in heaps: the cuts, and the others by the dtype they compute in.
        self.cuts: list[int] = []
        self.ops: dict[np.dtype[Any] | None, list[int]] = {None: []}
        self.made: set[int] = set()
        self.later = list(range(1, len(calls) + 1))  # for each call one after it: see `_dtype`
        self._queue(self.readiness.at_first)

    def bring(self, place: Place, has_mask: bool, certain: bool = False) -> None:
        """Note that the place has an array when the next part begins, and a mask, for `certain` or perhaps."""
        mask = Outside(place, place.shape, is_mask=True, optional=not certain) if has_mask else None
        self.known[place] = (Outside(place, place.shape), mask)

    def parts(self) -> list[Runnable]:
        """The programs and cuts. Cuts come first where they can, so that a program has all that waits for them."""
        found: list[Runnable] = []
        while self.cuts or any(self.ops.values()):
            found += self._cuts()
            found += self._program()
        return found

    def _queue(self, numbers: Iterable[int]) -> None:
        """Note that these calls can be made."""
        for number in numbers:
            call = self.calls[number]
            dtype = call.layer.dtype_policy.engine_dtype if isinstance(call.layer, Layer) else None
            heapq.heappush(self.cuts if call in self.reasons else self.ops.setdefault(dtype, []), number)

    def _make(self, number: int) -> None:
        self.made.add(number)
        self._queue(self.readiness.made(number))

    def _cuts(self) -> list[Call]:
        """Take the calls that are no ops and wait for no program."""
        taken: list[Call] = []
        while self.cuts:
            number = heapq.heappop(self.cuts)
            taken.append(self.calls[number])
            self._bring_outputs(self.calls[number])
            self._make(number)
        return taken

    def _bring_outputs(self, call: Call) -> None:
        """Note what the executor's call has put in its places."""
        for place in call.fills:
            self.bring(place, has_mask=getattr(call.layer, "supports_masking", False))

    def _program(self) -> list[Runnable]:
        """Take the calls that can be ops of the next program. The reasons of those that cannot are noted.

        Calls that compute nothing are left to Python, which moves no numbers for them.
        """
        lowering, taken = None, list[Call]()
        while len(taken) < _MOST_CALLS:
            dtypes = [None, lowering.dtype] if lowering is not None and taken else list(self.ops)
            heaps = [heap for dtype in dtypes if (heap := self.ops.get(dtype))]
            if not heaps:
                break
            number = heapq.heappop(min(heaps, key=lambda heap: heap[0]))
            call = self.calls[number]
            if lowering is None or not taken:
                dtype = self._dtype(number)
                lowering = Lowering(self.target.program(dtype.name), dtype)
            lowering.wants_logits = self._gives_logits(call) and lowering.dtype == np.float32
            try:
                _lower(lowering, call, self.known)
                lowering.note_owner(call.layer.name)
                self._check_comparison(call)
            except NotLoweredError as error:
                self.reasons[call] = str(error)
                self._queue([number])
                continue
            if lowering.wants_logits:
                self._note_logits(lowering, call)
            taken.append(call)
            self._make(number)
        if lowering is None or not taken:
            return []
        if not lowering.program.ops or lowering.program.computes:
            return [self._finished(lowering, taken)]
        for call in taken:
            self.reasons[call] = "it computes nothing"
            self._bring_outputs(call)
        return list(taken)

    def _gives_logits(self, call: Call) -> bool:
        """Whether the call returns an output of the model, and what its activation is applied to is asked for."""
        last = type(call.outputs) is Place and call.outputs in self.ends
        return self.wanted is Wanted.LOSS and last and getattr(call.layer, "may_have_logits", False)

    def _note_logits(self, lowering: Lowering, call: Call) -> None:
        (place,) = call.fills
        output = self.known[place][0]
        logits = lowering.logits.get(output.view) if isinstance(output, Value) else None
        if logits is not None:
            self.logits[place] = logits

    def _check_comparison(self, call: Call) -> None:
        """Raises NotLoweredError for a comparison that is more than half of a mask: no op computes it."""
        for place in call.fills:
            if not isinstance(self.known[place][0], Compared):
                continue
            if place in self.ends or not all(map(_makes_mask, self.readiness.readers(place))):
                del self.known[place]
                raise NotLoweredError("the engine has no op for a comparison alone")

    def _dtype(self, number: int) -> np.dtype[Any]:
        """What a program that begins with the call computes in: what the next layer does that may become an op."""
        passed = []
        while number < len(self.calls) and not self._may_set_dtype(number):
            passed.append(number)
            number = self.later[number]
        for other in passed:  # the next search goes past them at once
            self.later[other] = number
        if number == len(self.calls):
            return np.dtype(np.float32)
        found: np.dtype[Any] = self.calls[number].layer.dtype_policy.engine_dtype
        return found

    def _may_set_dtype(self, number: int) -> bool:
        call = self.calls[number]
        return isinstance(call.layer, Layer) and number not in self.made and call not in self.reasons

    def _finished(self, lowering: Lowering, calls: list[Call]) -> ProgramPart:
        """The part of the program, which returns what later calls and the caller of the model need."""
        filled_places = dict.fromkeys(place for call in calls for place in call.fills)
        ends = sorted(filled_places.keys() & self.ends.keys(), key=self.ends.__getitem__)
        needed = [place for place in filled_places if self.readiness.is_needed(place)]
        masks = {*needed, *(ends if self.wanted is not Wanted.OUTPUTS else [])}

        def number(value: Any) -> Any:
            return value if value is None or isinstance(value, Outside) else lowering.result(value)

        results: dict[Place, Any] = {}
        for place in dict.fromkeys([*needed, *ends]):
            outputs, mask = self.known[place]
            results[place] = (nest.mapped(number, outputs), nest.mapped(number, mask) if place in masks else None)
        numbers = ((place, lowering.result(value)) for place, value in self.logits.items() if place in results)
        logits = {place: number for place, number in numbers if isinstance(number, int)}
        self.logits = {}
        needs = dict.fromkeys(place for call in calls for place in call.needs if place not in filled_places)
        for place in filled_places:
            outputs, mask = self.known.pop(place)
            if place in results:
                self._bring_result(place, outputs, mask)
        part = ProgramPart(lowering.finish(), self.target, calls, results, list(needs))
        part.logits = logits
        return part

    def _bring_result(self, place: Place, outputs: Any, mask: Any) -> None:
        """Note what a program has put in a place, with its shape, for programs after it."""
        leaves = nest.leaves(mask)
        optional = any(getattr(leaf, "optional", False) for leaf in leaves)
        self.bring(place, any(leaf is not None for leaf in leaves), certain=not optional)
        shape = getattr(outputs, "shape", None)
        if shape is not None:
            own = self.known[place][1]
            self.known[place] = (Outside(place, shape), None if own is None else replace(own, shape=shape))


def _why_never(call: Call) -> str | None:
    """Why the call is no op of any program; None if it may be one."""
    if not isinstance(call.layer, Layer):
        known = call.layer.class_name in operations.KNOWN and not call.options
        return None if known else f"the engine has no op for the operation {call.layer.class_name}"
    if isinstance(call.layer, Replaced):  # a model that was not replaced by its calls
        return call.layer.why_not_replaced() or "it must be called to find which input is which, and of what dtype"
    others = call.options.keys() - {"initial_state"}
    if others or len(call.args) > 2:
        return f"it is called with more than its inputs, {sorted(others) or len(call.args)}"
    reason, block = why_not(call.layer), _block_of(call.layer)
    detail = None if block is None else block.why_called()
    return reason if detail is None else f"{reason}, and {detail}"


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
