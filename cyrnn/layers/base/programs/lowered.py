"""A finished program of layers: what a call passes to it, and what comes of it."""

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cyrnn import notices
from cyrnn.engine.program import CARRIED, DRAWN, INPUT, MASK, STATE, Bound, Drawn
from cyrnn.engine.program import Program as EngineProgram
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.arguments import Argument, Draw, Mask, Numbers, State, Tokens, Values, gathered
from cyrnn.layers.base.programs.interface import Program, Target
from cyrnn.layers.base.programs.refusals import UnfitError


class InputForm(NamedTuple):
    """How the inputs of a call come.

    Parameters
    ----------
    lengths : tuple of int
        The lengths that their second axes must have, -1 for any; empty if all may have any.
    keys : tuple of str
        Their keys in a dict, in their order.
    keyed : bool
        Whether they come in a dict only.
    """

    lengths: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    keyed: bool = False


ANY_FORM = InputForm()

_batch: ContextVar[tuple[int, int]] = ContextVar("batch", default=(-1, 0))


@contextlib.contextmanager
def of_a_batch(rows: int, nominal: int) -> Iterator[None]:
    """Context manager: within it programs that get so many rows compute as if these were among `nominal` ones."""
    token = _batch.set((rows, nominal))
    try:
        yield
    finally:
        _batch.reset(token)


@dataclass(frozen=True)
class Lowered:
    """A program that layers became.

    Parameters
    ----------
    program : Program
        It is finished.
    dtype : str
        The name of the dtype that it computes in.
    slots : list of Layer
        Whose weights each slot has.
    arguments : list of Argument
        Where each input comes from.
    outputs : int
        How many there are.
    carried : list of (layer, list of int)
        The layers that carry states, and the outputs that these are after the call.
    warnings : list of (str, place)
        What is to be said of masks that end here, with the place whose mask it is; None for one of the program.
    owners : list of str
        For each op the name of the layer that a model calls for it; "" in the program of one layer.
    """

    program: Program
    dtype: str
    slots: list[Layer]
    arguments: list[Argument]
    outputs: int
    carried: list[tuple[Layer, list[int]]]
    warnings: list[tuple[str, Hashable]]
    owners: list[str]

    @property
    def places(self) -> dict[Hashable, None]:
        """The places whose array or mask is an input, in order."""
        found = (argument.place for argument in self.arguments if isinstance(argument, (Numbers, Tokens, Mask)))
        return dict.fromkeys(found)

    def takes_as_they_are(self, dtypes: Mapping[Hashable, str | None]) -> bool:
        """Whether arrays that are converted to these dtypes, None for any, need not be: the program does the same."""
        for argument in self.arguments:
            dtype = dtypes.get(argument.place) if isinstance(argument, (Numbers, Tokens)) else None
            if dtype is None:
                continue
            if not (_has_all_tokens(dtype, argument) if isinstance(argument, Tokens) else dtype == self.dtype):
                return False
        return True

    def bound(
        self,
        target: Target,
        inputs: Sequence[Hashable],
        states: Sequence[Hashable] = (),
        made_at: int = 0,
        form: InputForm = ANY_FORM,
        results: Any = None,
    ) -> Bound | None:
        """The program with its slots, as the engine calls it with arrays.

        Parameters
        ----------
        target : Target
            The engine.
        inputs, states : sequence of places
            The places that the call's inputs and initial states come to, in their order.
        made_at : int
            `structure_now` before the program was made.
        form : InputForm
            How a call has the inputs.
        results : int, or structure of int, optional
            What a call returns: the numbers of outputs. Default: all. Layers keep what they carry.

        Returns
        -------
        Bound or None
            None for a program that takes what earlier parts of a model return.
        """
        sources: list[tuple[int, int]] = []
        carriers: list[tuple[Any, int]] = []
        drawn: list[Drawn] = []
        arrays = (Numbers, Tokens)
        numbers = {a.place: number for number, a in enumerate(self.arguments) if isinstance(a, arrays)}
        for argument in self.arguments:
            if isinstance(argument, State):
                sources.append((CARRIED, len(carriers)))
                carriers.append((argument.layer, argument.number))
            elif isinstance(argument, (Numbers, Tokens)) and argument.place in inputs:
                sources.append((INPUT, inputs.index(argument.place)))
            elif isinstance(argument, Numbers) and argument.place in states:
                sources.append((STATE, states.index(argument.place)))
            elif isinstance(argument, Mask) and argument.place in inputs:
                sources.append((INPUT if argument.is_array else MASK, inputs.index(argument.place)))
            elif isinstance(argument, Draw) and (argument.timed is None or argument.timed in numbers):
                sources.append((DRAWN, len(drawn)))
                timed = -1 if argument.timed is None else numbers[argument.timed]
                drawn.append(Drawn(argument.source, argument.number, timed))
            else:
                return None
        if not isinstance(self.program, EngineProgram):
            return None
        slots = tuple(target.slot(layer) for layer in self.slots)
        kept = tuple((layer, tuple(numbers)) for layer, numbers in self.carried)
        return Bound(self.program, slots, tuple(sources), tuple(carriers), made_at, *form, kept, results, tuple(drawn))

    def run(self, values: Values, target: Target) -> list[Array]:
        """Run the program with what a call has at its places, and let the layers carry their new states.

        Parameters
        ----------
        values : mapping of places to (array, mask)
        target : Target
            The one that the program was made for.

        Returns
        -------
        list of arrays
            In new memory.

        Raises
        ------
        UnfitError
            If the arrays do not fit. Nothing has changed then.
        """
        arrays = self._computed(values, target) if self.outputs else []
        self.carry(arrays)
        for text, place in self.warnings:
            if place is None or values[place][1] is not None:
                notices.warn(text)
        return arrays

    def _computed(self, values: Values, target: Target) -> list[Array]:
        inputs = gathered(self.arguments, values)
        rows, nominal_batch = _batch.get()
        if rows != next((len(array) for array in inputs if array is not None), None):
            nominal_batch = 0
        results = self._results(inputs, target, nominal_batch)
        if results is None:  # the engine reads axes that lie like one
            inputs = tuple(None if array is None else np.ascontiguousarray(array) for array in inputs)
            results = self._results(inputs, target, nominal_batch)
        if results is None:
            raise UnfitError("the inputs do not fit the program")
        return list(results) if isinstance(results, tuple) else [results]

    def _results(self, inputs: tuple[Array | None, ...], target: Target, nominal_batch: int) -> Any:
        """What the program returns; it is run again where weights were replaced after they had been made ready."""
        while True:
            slots = tuple(target.slot(layer) for layer in self.slots)
            results = self.program.run(slots, inputs, nominal_batch)
            if results is not None or all(getattr(slot, "packed", slot) is not None for slot in slots):
                return results

    def carry(self, arrays: list[Array]) -> None:
        """Let the layers carry the states that are among the outputs."""
        for layer, numbers in self.carried:
            _carrying(layer).carry_flat([arrays[number] for number in numbers])


def _has_all_tokens(dtype: str, argument: Tokens) -> bool:
    """Whether a token is the same one when it was converted to a dtype, or is none of the embedding before and after.

    Models of Keras' users often have an input of float32, the default, for integers.
    """
    if dtype.startswith(("int", "uint")):
        return True
    most = {"float32": 2**24, "float64": 2**53}.get(dtype, 0)
    return argument.embedding is not None and argument.embedding.input_dim <= most


def _carrying(layer: Layer) -> Any:
    """The layer, which carries states; its class is known to floors above this one."""
    return layer
