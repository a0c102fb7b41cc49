"""The parts of a model's call: its programs, and what the executor calls between them."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs.alone import CallProgram
from cyrnn.layers.base.programs.arguments import Passed
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowered import ANY_FORM, InputForm, Lowered
from cyrnn.layers.base.programs.refusals import UnfitError
from cyrnn.layers.base.programs.values import Outside
from cyrnn.models.executor import (
    Call,
    Losses,
    Place,
    Runnable,
    Values,
    filled,
    masks_of,
    note_last_uses,
    places_of,
    run,
)


class Wanted(Enum):
    """What a call of a model is made for."""

    OUTPUTS = "outputs"
    MASKS = "outputs and their masks"
    LOSS = "these, and what the last softmax or sigmoid is applied to, where an output is one of float32"


class Results(NamedTuple):
    """What a call of a model returns.

    Parameters
    ----------
    outputs : structure of array
    masks : structure of array or None
        Which need not be right unless they are wanted.
    logits : list of array or None
        For each output what its softmax or sigmoid was applied to, where that is wanted and known.
    """

    outputs: Any
    masks: Any
    logits: list[Array | None]


class OfOutputs:
    """A pullback that takes gradients of logits too, of which there are none."""

    def __init__(self, pullback: Any) -> None:
        self._pullback = pullback

    def __call__(self, dy: Any, inputs: bool = True, losses: bool = False) -> Any:
        return self._pullback(dy[0], inputs=inputs, losses=losses)


class Logits(NamedTuple):
    """Where what the softmax or sigmoid of a place is applied to is kept."""

    of: Place


class ProgramPart:
    """Some calls of a model as one program.

    Parameters
    ----------
    lowered : Lowered
        The program.
    target : Target
        What runs it.
    calls : list of Call
        The calls that it makes. The executor makes them where arrays come that do not fit the program: then each layer
        raises its own error, or takes what programs do not.
    results : dict of Place to (outputs, masks)
        For each place that is needed after it the structure of its outputs, and of their masks: each the number of an
        output of the program; or a `Passed` or `Outside`, for what comes in; or None.
    needs : list of Place
        The places that it takes.
    """

    def __init__(
        self, lowered: Lowered, target: Target, calls: list[Call], results: dict[Place, Any], needs: list[Place]
    ) -> None:
        self.lowered = lowered
        self.target = target
        self.calls = calls
        self.results = results
        self.needs = needs
        self.done: list[Place] = []
        self.logits: dict[Place, int] = {}  # the output with what the softmax or sigmoid of a place is applied to
        self.taped: Any = None  # the same, as one that can be gone back through, once that was asked for

    @property
    def fills(self) -> list[Place]:
        """The places that it fills."""
        return list(self.results)

    def run(self, values: Values, losses: Losses) -> None:
        """Run the program, and put its outputs and their masks in their places."""
        try:
            passed = self.passed(values)
            outputs = self.lowered.run(values, self.target)
        except UnfitError:
            self._run_calls(values, losses)
            return
        self.fill(values, outputs, passed)

    def passed(self, values: Values) -> dict[Passed, Any]:
        """The arrays that it returns as they come. Raises UnfitError where one is none."""
        return {leaf: leaf.array(values) for leaf in nest.leaves(list(self.results.values())) if _is_passed(leaf)}

    def fill(self, values: Values, outputs: Sequence[Any], passed: Mapping[Passed, Any]) -> None:
        """Put the outputs of the program, and what it returns as it comes, in their places."""

        def array(leaf: Any) -> Any:
            if isinstance(leaf, Passed):
                return passed[leaf]
            if isinstance(leaf, Outside):
                return values[leaf.place][leaf.is_mask]  # type: ignore[index]  # its places are this model's
            return None if leaf is None else outputs[leaf]

        for place, result in self.results.items():
            values[place] = nest.mapped(array, result)
        for place, number in self.logits.items():
            values[Logits(place)] = (outputs[number], None)  # type: ignore[index]  # beside the places of the model

    def _run_calls(self, values: Values, losses: Losses) -> None:
        for call in self.calls:
            call.run(values, losses)
        for place in [place for call in self.calls for place in call.fills]:
            if place not in self.results:
                values.pop(place, None)


def _is_passed(leaf: Any) -> bool:
    return isinstance(leaf, Passed)


class Partition:
    """A model's calls as programs and cuts.

    Parameters
    ----------
    parts : list of ProgramPart and Call
        In the order in which they run.
    inputs : list of Place
        What the model takes.
    outputs : structure of Place
        What the model returns.
    reasons : dict of Call to str
        Why each cut is no op.
    """

    def __init__(
        self, parts: Sequence[Runnable], inputs: Sequence[Place], outputs: Any, reasons: Mapping[Call, str]
    ) -> None:
        self.parts = parts
        self.inputs = inputs
        self.outputs = outputs
        self.reasons = reasons
        self.trained: list[tuple[Any, str]] | None = None  # the trainable weights, once gradients were asked for
        note_last_uses(parts, places_of(outputs))

    @property
    def programs(self) -> list[ProgramPart]:
        """The programs, in the order in which they run."""
        return [part for part in self.parts if isinstance(part, ProgramPart)]

    @property
    def cuts(self) -> list[tuple[str, str]]:
        """The layers that Python calls, by name, each with the reason."""
        return [(call.layer.name, reason) for call, reason in self.reasons.items()]

    def whole(self, made_at: int, form: InputForm = ANY_FORM) -> CallProgram | None:
        """The one program of the model, as a call takes it; its inputs and masks are those of the model, in order.

        Parameters
        ----------
        made_at : int
            `structure_now` before the partition was made.
        form : InputForm
            How a call has the inputs.

        Returns
        -------
        CallProgram or None
            None where a call takes more than that: several parts, a conversion of inputs that is not the program's,
            something said of masks, or inputs that are returned.
        """
        part = self.parts[0] if len(self.parts) == 1 else None
        if not isinstance(part, ProgramPart) or part.lowered.warnings:
            return None
        if any(not layer.carries_states for layer, _ in part.lowered.carried):
            return None  # statistics of a batch: they become weights
        numbers = nest.mapped(lambda place: part.results.get(place, (None, None))[0], self.outputs)
        flat = nest.leaves(numbers)
        if not all(type(leaf) is int for leaf in flat) or len(set(flat)) < len(flat):  # each array is the caller's own
            return None
        if not part.lowered.takes_as_they_are({place: place.dtype for place in self.inputs}):
            return None
        whole = CallProgram(part.lowered, numbers, part.target, self.inputs, (), made_at, form)
        return None if whole.bound is None else whole

    @property
    def logits(self) -> list[Place | None]:
        """For each output its place, if what its softmax or sigmoid is applied to is known."""
        known = {place for part in self.programs for place in part.logits}
        return [place if place in known else None for place in places_of(self.outputs)]

    def run(self, given: Sequence[tuple[Any, Any]]) -> Results:
        """What a call returns, in the structure of `outputs`, for the array and the mask of each input."""
        values: Values = dict(zip(self.inputs, given, strict=True))
        run(self.parts, values)
        return self.results(values)

    def results(self, values: Values) -> Results:
        """What a call returns, when all parts have run."""
        kept: Any = values  # has logits beside the places of the model
        logits = [None if place is None else kept[Logits(place)][0] for place in self.logits]
        return Results(filled(self.outputs, values), masks_of(self.outputs, values), logits)
