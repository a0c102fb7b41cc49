"""Layers whose gradients the engine computes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cyrnn.engine.program import structure_now
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import INPUTS, program_of
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not

if TYPE_CHECKING:  # imported where gradients are asked for
    from cyrnn.layers.base.programs.pullback import Pullback
    from cyrnn.layers.base.programs.tape import TapedProgram

_KEPT = 8  # programs of a layer: for inputs of other shapes, in training or not


class TapedCall(NamedTuple):
    """A call of a layer with a tape: its program, what it returns of that, and whose gradients are asked for."""

    program: "TapedProgram"
    results: Any
    states: list[tuple[Any, int]]  # the places and sizes of the initial states
    weights: list[tuple[Any, str]]


class Differentiable(Layer):
    """A layer that the engine has ops for, and the ways back through them."""

    _taped: tuple[int, dict[Any, TapedCall]] = (-1, {})  # the structure that they were made of, and calls in it

    def vjp(
        self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> "tuple[Any, Pullback]":
        from cyrnn.layers.base.programs.pullback import Input, PullbackOfTape, structured

        given = as_array("inputs", x)
        array = self.checked_inputs(x)
        begun, mask = self.begun_with(array, initial_state, mask)
        if not self.built:
            self.build(array.shape)
        program, results, places, weights = self._taped_call(array.shape, bool(training))
        values: dict[Any, Any] = {INPUTS: (array, mask)}
        for (place, _), state in zip(places, begun, strict=True):
            values[place] = (state, None)
        try:
            arrays, tape = program.run(values)
        except UnfitError as error:
            if mask is None:
                self(x)  # raises what is wrong
            raise ValueError(f"layer {self.name!r} has no gradients for such inputs: {error}") from None
        outputs = structured(arrays.__getitem__, results)
        dtype = program.lowered.dtype
        states = [Input(place, (len(array), size), dtype) for place, size in places]
        return outputs, PullbackOfTape(tape, results, outputs, Input.of(INPUTS, given), states, weights, dtype)

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

    def _taped_call(self, shape: tuple[int, ...], training: bool) -> TapedCall:
        made_at, (known_at, known) = structure_now(), self._taped
        if known_at != made_at:
            known = {}
        generic = (None, None, *shape[2:]) if len(shape) > 2 else (None, *shape[1:])
        key = (generic, training)
        found = known.get(key)
        if found is None:
            found = self._made_taped(generic, training, made_at)
            vars(self)["_taped"] = (made_at, {**dict(list(known.items())[1 - _KEPT :]), key: found})
        return found

    def _made_taped(self, shape: tuple[int | None, ...], training: bool, made_at: int) -> TapedCall:
        from cyrnn.layers.base.programs.tape import TAPE, NoWayBackError, TapedProgram

        reason, sizes = why_not(self), self.flat_state_sizes
        try:
            if reason is not None:
                raise NotLoweredError(reason)
            program = program_of(self, shape, TAPE, state_sizes=sizes, training=training, made_at=made_at)
        except (NotLoweredError, NoWayBackError) as error:
            raise ValueError(f"layer {self.name!r} has no gradients: {error}") from None
        states = list(zip(program.states, sizes, strict=True))
        return TapedCall(TapedProgram(program.lowered), program.results, states, self._weight_slots(trainable=True))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_taped": (-1, {})}
