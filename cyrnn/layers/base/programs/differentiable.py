"""Layers whose gradients the engine computes."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import places_of, program_of
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not
from cyrnn.layers.base.signatures import accepted

if TYPE_CHECKING:  # imported where gradients are asked for
    from cyrnn.layers.base.programs.pullback import Input, Pullback, QuickVjp
    from cyrnn.layers.base.programs.tape import TapedProgram

_KEPT = 8  # programs of a layer: for inputs of other shapes, in training or not


class TapedCall(NamedTuple):
    """A call of a layer with a tape: its program, what it returns of that, and whose gradients are asked for."""

    program: "TapedProgram"
    bound: Any  # with its slots, as the engine calls it; None where a call takes more
    results: Any
    inputs: Sequence[Hashable]  # the places
    states: list[tuple[Any, int]]  # the places and sizes of the initial states
    weights: list[tuple[Any, str]]


class Differentiable(Layer):
    """A layer that the engine has ops for, and the ways back through them."""

    # The structure that they were made of, and calls in it, or the reasons why there are none.
    _taped: tuple[int, dict[Any, TapedCall | str]] = (-1, {})
    # In training or not: the last call of one input, and what makes others like it of arrays alone; they may be out of
    # date.
    _recent: "Mapping[bool, tuple[TapedCall, QuickVjp | None, type[Input]]]" = MappingProxyType({})

    @property
    def rounds_as_numpy(self) -> bool:
        """Whether a call in inference computes by NumPy, which rounds in another way than the ops."""
        return self.rounds_results

    @property
    def rounds_results(self) -> bool:
        """Whether results have fewer digits than what is computed: those of the 16-bit policies."""
        return self.dtype_policy.compute_dtype != self.dtype_policy.engine_dtype

    def vjp_in_python(self, x: Any, mask: Any, training: bool) -> "tuple[Any, Pullback] | None":
        """What `vjp` returns where no program goes back through such a call; None for a layer that has nothing else."""
        return None

    def vjp(
        self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> "tuple[Any, Pullback]":
        from cyrnn.layers.base.programs.pullback import Input

        again = self.as_the_last(x, initial_state, mask, training)
        if again is not None:
            return again
        checked = self.checked_inputs(x)
        begun, keeps = self.begun_with(checked, initial_state, mask)
        several = isinstance(checked, list)
        given, arrays, masks = (x, checked, keeps) if several else ([x], [checked], [keeps])
        shapes: Any = [array.shape for array in arrays] if several else checked.shape
        if not self.built:
            self.build(shapes)
        each = zip(places_of(shapes), given, strict=True)
        parts = [Input.of(place, as_array("inputs", part)) for place, part in each]
        like = parts if several else parts[0]
        if not any(array.size for array in arrays) and not begun and not self._weight_slots(trainable=True):
            return self._constant(self(x) if mask is None else self(x, mask=mask), like)
        masked = tuple([keep is not None for keep in masks])
        call = self._taped_call(shapes, masked, bool(training))
        if isinstance(call, str):
            found_in_python = (
                None if why_not(self, penalized=True, rounded=True) else self.vjp_in_python(x, mask, training)
            )
            if found_in_python is None:
                raise ValueError(f"layer {self.name!r} has no gradients: {call}")
            return found_in_python
        values: dict[Any, Any] = dict(zip(call.inputs, zip(arrays, masks, strict=True), strict=True))
        for (place, _), state in zip(call.states, begun, strict=True):
            values[place] = (state, None)
        called = None
        try:
            found, tape = call.program.run(values)
        except UnfitError as error:
            called = self(x) if mask is None else self(x, mask=mask)  # raises what is wrong
            if all(output.dtype.kind in "iub" for output in nest.leaves(called)):
                return self._constant(called, like)
            own = self.dtype_policy.engine_dtype
            if any(array.dtype.kind != "f" for array in arrays) or all(array.dtype == own for array in arrays):
                raise ValueError(f"layer {self.name!r} has no gradients for such inputs: {error}") from None
            # It computes in more digits than its own, and rounds what comes out. The gradients are those of its own.
            narrow = [(array.astype(own), keep) for array, keep in zip(arrays, masks, strict=True)]
            found, tape = call.program.run(values | dict(zip(call.inputs, narrow, strict=True)))
        called = self._called(found, call.results, x, mask, training) if called is None else called
        if called is None and not several:
            self._note_call(call, bool(training))
        return self._with_pullback(call, found, tape, like, len(arrays[0]), called)

    def _note_call(self, call: TapedCall, training: bool) -> None:
        """Keep what makes further calls like this one."""
        from cyrnn.layers.base.programs.pullback import Input, QuickVjp
        from cyrnn.layers.base.programs.tape import QuickCall

        if call.bound is not None:
            quick = QuickVjp(call) if QuickCall.fits(call) else None
            vars(self)["_recent"] = {**self._recent, training: (call, quick, Input)}

    def _called(self, found: list[Array], results: Any, x: Any, mask: Any, training: bool) -> Any:
        """What a call returns where that is not what its program does; else None. It changes nothing."""
        changes = training and accepted(type(self).call, training=True)  # it draws numbers, or moves averages
        if self.rounds_as_numpy and not changes:
            return self(x) if mask is None else self(x, mask=mask)
        return nest.mapped(lambda number: self.returned(found[number]), results) if self.rounds_results else None

    def as_the_last(self, x: Any, initial_state: Any, mask: Any, training: bool) -> "tuple[Any, Pullback] | None":
        """What `vjp` returns for arrays like those of the last call; None where they are others."""
        recent = self._recent.get(bool(training))
        if recent is None or type(x) is not np.ndarray:
            return None
        call, quick, kind = recent
        states = self.states if initial_state is None else initial_state
        if quick is not None and self.activity_regularizer is None:
            return quick(x, mask, states)
        result = call.bound.with_weights(x, mask, states)
        if result is None:
            return None
        return self._with_pullback(call, *call.program.after(*result), kind.of(call.inputs[0], x), len(x))

    def _with_pullback(
        self, call: TapedCall, found: list[Array], tape: Any, inputs: Any, batch: int, called: Any = None
    ) -> "tuple[Any, Pullback]":
        """What `vjp` returns, of the outputs of the program and its tape; `called` is what a call has returned."""
        from cyrnn.layers.base.programs.penalties import activity_of
        from cyrnn.layers.base.programs.pullback import Input, PullbackOfTape, structured

        outputs = structured(found.__getitem__, call.results) if called is None else called
        dtype = call.program.lowered.dtype
        states = [Input(place, (batch, size), dtype) for place, size in call.states]
        pullback = PullbackOfTape(tape, call.results, outputs, inputs, states, call.weights, dtype)
        if self.activity_regularizer is not None:
            pullback.activity = activity_of(self, outputs)
        return outputs, pullback

    def _constant(self, outputs: Any, like: Any) -> "tuple[Any, Pullback]":
        """A call that nothing has a gradient through: it has moved integers, or there are no elements."""
        from cyrnn.layers.base.programs.pullback import PullbackThrough

        dtype = self.dtype_policy.engine_dtype.name
        weights = self._weight_slots(trainable=True)
        return outputs, PullbackThrough(_nothing, outputs, like, [], weights, dtype)

    @property
    def flat_state_sizes(self) -> list[int]:
        """The sizes of the states that a call begins with, in flat order."""
        return []

    def begun_with(self, x: Array, initial_state: Any, mask: Any) -> tuple[Sequence[Array | None], Any]:
        """The states that a call begins with, in flat order, None for zeros; and its mask.

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit. Nothing has changed then.
        """
        if initial_state is not None:
            raise ValueError(f"layer {self.name!r} has no states, got initial_state")
        return [], mask

    def _taped_call(self, shapes: Any, masked: tuple[bool, ...], training: bool) -> TapedCall | str:
        """A call with inputs of these shapes, or why there is none."""
        made_at, (known_at, known) = structure_now(), self._taped
        if known_at != made_at:
            known = {}
        found: TapedCall | str = ""
        for form in _forms(shapes):
            key = (tuple(form), masked, training)
            if key not in known:
                made = self._made_taped(form, masked, training, made_at)
                known = {**dict(list(known.items())[1 - _KEPT :]), key: made}
                vars(self)["_taped"] = (made_at, known)
            found = known[key]
            if not isinstance(found, str):
                return found
        return found

    def _made_taped(self, form: Any, masked: tuple[bool, ...], training: bool, made_at: int) -> TapedCall | str:
        """A call, or why there is none."""
        from cyrnn.layers.base.programs.tape import TAPE, TapedProgram

        sizes = self.flat_state_sizes
        reason = why_not(self, penalized=True, rounded=True)
        if reason is not None:
            return reason
        options: Any = {"masked": masked, "training": training, "complete": True, "made_at": made_at}
        within, rounded = self.activity_regularizer is not None, self.rounds_results
        try:
            made = program_of(self, form, TAPE, state_sizes=sizes, within_its_call=within, rounded=rounded, **options)
        except NotLoweredError as error:
            return str(error)
        states, weights = list(zip(made.states, sizes, strict=True)), self._weight_slots(trainable=True)
        return TapedCall(TapedProgram(made.lowered), made.bound, made.results, made.inputs, states, weights)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_taped": (-1, {}), "_recent": {}}


def _nothing(gradients: Any, losses: bool) -> tuple[dict[Hashable, Array], dict[tuple[Any, str], Array]]:
    return {}, {}


def _forms(shapes: Any) -> Iterator[Any]:
    """The shapes, first for any number of timesteps, and then for these: there are ops that must know it.

    Where inputs have several numbers of timesteps, some are repeated: that must be known too.
    """
    several = isinstance(shapes, list)
    numbers = {shape[1] for shape in (shapes if several else [shapes]) if len(shape) > 2}
    for any_number in (True, False) if len(numbers) == 1 else (False,):
        found = [
            (None, None if any_number and len(shape) > 2 else shape[1], *shape[2:]) if len(shape) > 1 else (None,)
            for shape in (shapes if several else [shapes])
        ]
        yield found if several else found[0]
