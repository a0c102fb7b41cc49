"""Steppers of models whose steps take or return other things than their programs: dicts, states, unread inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cyrnn.engine.recorded import RecordedProgram
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import check_out
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.recurrent.stepper import Stepper
from cyrnn.models.inputs import Feed


class StepForm(NamedTuple):
    """How a step has its inputs and outputs.

    Parameters
    ----------
    inputs : structure of str
        The names of the model's inputs.
    numbers : tuple of int
        For each of them, in the order of `nest.leaves`, its number in the program; -1 for one that no output reads.
    outputs : structure of int
        For each of the model's outputs its number in the program.
    """

    inputs: Any
    numbers: tuple[int, ...]
    outputs: Any

    def is_that_of(self, program: RecordedProgram) -> bool:
        """Whether a step of the program has the inputs and outputs like this."""
        flat = all(not isinstance(part, dict) and not _is_nested(part) for part in (self.inputs, self.outputs))
        return flat and -1 not in self.numbers and not any(_final_states(program))


class ModelStepper(Stepper):
    """A stepper of a model, which takes and returns what the model does, in its structure.

    Final states that the model returns are those after the step; with `out`, they are copied. Inputs that no output
    reads are taken and ignored. Inputs that states begin with are no inputs of a step: see `initial_state`.

    Parameters
    ----------
    *facts
        As `Stepper` has them, all of them.
    form : StepForm
    """

    def __init__(self, *facts: Any) -> None:
        *others, form = facts
        super().__init__(*others)
        self._form = form
        places = {port.number: index for index, port in enumerate(self.inputs)}
        begun = [number >= 0 and number not in places for number in form.numbers]  # states begin with them
        names = zip(nest.leaves(form.inputs), begun, strict=True)
        taken = _without_none(nest.filled(form.inputs, [None if begins else name for name, begins in names]))
        numbers = [number for number, begins in zip(form.numbers, begun, strict=True) if not begins]
        self._takes = _feed(taken)
        self._read = sorted(
            (places[number], index) for index, number in enumerate(numbers) if number >= 0
        )  # of the runner's inputs and the model's
        labels = _labels(taken, "x_t")
        self._names_in = [labels[index] for _, index in self._read]
        # For each output that of the runner, or, counted from -1 down, the state.
        assert isinstance(self.program, RecordedProgram)
        firsts = [index for index, port in enumerate(self.states) if port.number not in _numbers(self.states[:index])]
        states = [final and -1 - firsts[final[0]] - final[1] for final in _final_states(self.program)]
        shown = {port.number: index for index, port in enumerate(self.outputs)}
        self._shown = [
            shown[number] if states[number] is None else states[number] for number in nest.leaves(form.outputs)
        ]
        self._returns = tuple(form.outputs) if isinstance(form.outputs, list) else form.outputs
        self._fills = _feed(nest.mapped(lambda number: self.names[1][number], form.outputs))
        labels = _labels(form.outputs, "out")
        self._names_out = [labels[self._shown.index(index)] for index in range(len(self.outputs))]

    def step(self, x_t: Any, out: Any = None) -> Any:
        given = self._takes.matched(x_t, "x_t")
        x = [given[index] for _, index in self._read]
        into = None if out is None else self._checked_out(out)
        stepped = super().step(x[0] if len(x) == 1 else x, into)
        outputs = [stepped] if len(self.outputs) == 1 else stepped
        found = [outputs[number] if number >= 0 else self.get_state(-1 - number) for number in self._shown]
        if out is None:
            return nest.filled(self._returns, found)
        for array, values in zip(self._fills.matched(out, "out"), found, strict=True):
            if array is not values:
                array[...] = values
        return out

    def _checked_out(self, out: Any) -> Any:
        """The arrays for the runner's outputs. Raises ValueError unless those for states fit too."""
        arrays, into = self._fills.matched(out, "out"), [None] * len(self.outputs)
        for array, number in zip(arrays, self._shown, strict=True):
            if number >= 0:
                into[number] = array
                continue
            check_out(array, (self.batch_size, *self.states[-1 - number].shape), self.dtype)
            if any(other is not array and np.may_share_memory(other, array) for other in arrays):
                raise ValueError("out must hold arrays that share no memory with each other")
        return into[0] if len(into) == 1 else into

    def name_of(self, name: str, index: int) -> str:
        return (self._names_in if name == "x_t" else self._names_out)[index]

    @property
    def returned(self) -> list[tuple[str, int]]:
        """For each output of a step its name, and its number in the program."""
        return [(self.names[1][number], number) for number in nest.leaves(self._form.outputs)]

    def _made_of(self) -> tuple[Any, ...]:
        return (*super()._made_of(), self._form)


def _final_states(program: RecordedProgram) -> list[tuple[int, int] | None]:
    """For each output of the program: which recurrence ends with it, and which of its states it is; None for others."""
    found: dict[int, tuple[int, int]] = {}
    recurrences = [options for name, _, options in program.calls if name == "recurrent"]
    for index, options in enumerate(recurrences):
        for number, view in enumerate(options.get("final", ())):
            found[program.place_of(view)[0]] = index, number
    return [found.get(program.place_of(args[0])[0]) for name, args, _ in program.calls if name == "output"]


def _numbers(ports: Sequence[Any]) -> set[int]:
    return {port.number for port in ports}


def _is_nested(structure: Any) -> bool:
    return isinstance(structure, (list, tuple)) and any(map(nest.is_structure, structure))


def _feed(names: Any) -> Feed:
    return Feed(nest.mapped(lambda name: KerasTensor((), name=name), names), [False] * len(nest.leaves(names)))


def _without_none(structure: Any) -> Any:
    """The structure without the leaves that are None."""
    if isinstance(structure, dict):
        return {key: _without_none(part) for key, part in structure.items() if part is not None}
    return [_without_none(part) for part in structure if part is not None] if nest.is_nested(structure) else structure


def _labels(structure: Any, label: str) -> list[str]:
    """How messages call the leaves."""
    if not nest.is_structure(structure):
        return [label]
    keys = sorted(structure) if isinstance(structure, dict) else range(len(structure))
    return [found for key in keys for found in _labels(structure[key], f"{label}[{key!r}]")]
