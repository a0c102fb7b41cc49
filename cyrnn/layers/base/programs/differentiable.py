"""Layers whose gradients the engine computes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.memory import owned
from cyrnn.layers.base.programs.alone import INPUTS, CallProgram, program_of
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not

if TYPE_CHECKING:
    from cyrnn.layers.base.programs.pullback import Pullback  # imported where gradients are asked for

_KEPT = 8  # programs of a layer: for inputs of other shapes, in training or not, with other trainable weights


class Differentiable(Layer):
    """A layer that the engine has ops for, and the ways back through them."""

    _taped: tuple[int, dict[Any, CallProgram]] = (-1, {})  # the structure that they were made of; the programs

    def vjp(
        self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> tuple[Any, "Pullback"]:
        from cyrnn.layers.base.programs.pullback import Input, Pullback, Tape

        given = as_array("inputs", x)
        array = self.checked_inputs(x)
        states, mask = self.begun_with(array, initial_state, mask)
        if not self.built:
            self.build(array.shape)
        program = self._taped_program(array.shape, bool(training))
        values: dict[Any, Any] = {INPUTS: (array, mask)}
        values |= {place: (state, None) for place, state in zip(program.states, states, strict=True)}
        try:
            tape = Tape(program, values)
        except UnfitError as error:
            if mask is None:
                self(x)  # raises what is wrong
            raise ValueError(f"layer {self.name!r} has no gradients for such inputs: {error}") from None
        sizes = zip(program.states, self.flat_state_sizes, strict=True)
        begun = [(place, (len(array), size)) for place, size in sizes]
        pullback = Pullback(tape, self._weight_slots(trainable=True), Input(INPUTS, given), begun)
        return owned(nest.mapped(tape.outputs.__getitem__, program.results), array, False), pullback

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

    def _taped_program(self, shape: tuple[int, ...], training: bool) -> CallProgram:
        made_at, (known_at, known) = structure_now(), self._taped
        if known_at != made_at:
            known = {}
        rates = [getattr(part, "dropout", 0) for part in self.layers_within()] if training else ()
        trainable = [name for _, name in self._weight_slots(trainable=True)]
        key = (len(shape), shape[2:] if len(shape) > 2 else shape[1:], training, str(rates), tuple(trainable))
        if key not in known:
            made = self._made_taped(
                (None, None, *shape[2:]) if len(shape) > 2 else (None, *shape[1:]), training, made_at
            )
            vars(self)["_taped"] = (made_at, {**dict(list(known.items())[1 - _KEPT :]), key: made})
            return made
        return known[key]

    def _made_taped(self, shape: tuple[int | None, ...], training: bool, made_at: int) -> CallProgram:
        from cyrnn.layers.base.programs.pullback import TAPE, NoWayBackError

        reason = why_not(self)
        try:
            if reason is not None:
                raise NotLoweredError(reason)
            return program_of(self, shape, TAPE, state_sizes=self.flat_state_sizes, training=training, made_at=made_at)
        except (NotLoweredError, NoWayBackError) as error:
            raise ValueError(f"layer {self.name!r} has no gradients: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_taped": (-1, {})}
