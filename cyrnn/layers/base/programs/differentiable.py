"""Layers whose gradients the engine computes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import INPUTS, program_of
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not

if TYPE_CHECKING:  # imported where gradients are asked for
    from cyrnn.layers.base.programs.pullback import Pullback
    from cyrnn.layers.base.programs.tape import TapedProgram

_Key = tuple[tuple[int | None, ...], bool, bool]  # the shape of inputs; whether they have a mask, and in training
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
        program, results, places, weights = self._taped_call(array.shape, mask is not None, bool(training))
        values: dict[Any, Any] = {INPUTS: (array, mask)}
        for (place, _), state in zip(places, begun, strict=True):
            values[place] = (state, None)
        called = None
        try:
            arrays, tape = program.run(values)
        except UnfitError as error:
            called = self(x) if mask is None else self(x, mask=mask)  # raises what is wrong
            own = self.dtype_policy.engine_dtype
            if array.dtype.kind != "f" or array.dtype == own:
                raise ValueError(f"layer {self.name!r} has no gradients for such inputs: {error}") from None
            # It computes in more digits than its own, and rounds what comes out. The gradients are those of its own.
            arrays, tape = program.run({**values, INPUTS: (array.astype(own), mask)})
        outputs = structured(arrays.__getitem__, results) if called is None else called
        self._record_activity(outputs)
        dtype = program.lowered.dtype
        states = [Input(place, (len(array), size), dtype) for place, size in places]
        pullback = PullbackOfTape(tape, results, outputs, Input.of(INPUTS, given), states, weights, dtype)
        if self.activity_regularizer is not None:
            pullback.activity = self.activity_regularizer, [output.copy() for output in nest.leaves(outputs)]
        return outputs, pullback

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

    def _taped_call(self, shape: tuple[int, ...], masked: bool, training: bool) -> TapedCall:
        made_at, (known_at, known) = structure_now(), self._taped
        if known_at != made_at:
            known = {}
        fixed = (None, *shape[1:])  # some ops must know the timesteps
        forms = [(None, None, *shape[2:]), fixed] if len(shape) > 2 else [fixed]
        keys = [(form, masked, training) for form in forms]
        for key in keys:
            found = known.get(key)
            if found is not None:
                return found
        key, found = self._made_taped(keys, made_at)
        vars(self)["_taped"] = (made_at, {**dict(list(known.items())[1 - _KEPT :]), key: found})
        return found

    def _made_taped(self, keys: Sequence[_Key], made_at: int) -> tuple[_Key, TapedCall]:
        """The call for the first of the keys that there are ops for, and that key."""
        from cyrnn.layers.base.programs.tape import TAPE, NoWayBackError, TapedProgram

        penalized, sizes = self.activity_regularizer is not None, self.flat_state_sizes
        reason = why_not(self, penalized=penalized)
        for shape, masked, training in keys if reason is None else ():
            options: Any = {"masked": masked, "training": training, "complete": True, "made_at": made_at}
            try:
                program = program_of(self, shape, TAPE, state_sizes=sizes, within_its_call=penalized, **options)
            except (NotLoweredError, NoWayBackError) as error:
                reason = str(error)
                continue
            states, weights = list(zip(program.states, sizes, strict=True)), self._weight_slots(trainable=True)
            call = TapedCall(TapedProgram(program.lowered), program.results, states, weights)
            return (shape, masked, training), call
        raise ValueError(f"layer {self.name!r} has no gradients: {reason}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_taped": (-1, {})}
