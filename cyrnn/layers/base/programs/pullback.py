"""Back-propagation through the program of a layer or model: `vjp` runs it with a tape, and makes a pullback of that."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from cyrnn.engine.gradients.taped import NoWayBackError, Taped
from cyrnn.engine.plan import Packed, Plan
from cyrnn.engine.program import packed_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import CallProgram
from cyrnn.layers.base.programs.arguments import Numbers, Values, gathered
from cyrnn.layers.base.programs.gradients import Gradients, Like, checked_gradients
from cyrnn.layers.base.programs.interface import Target, slot_of
from cyrnn.layers.base.programs.lowered import Lowered
from cyrnn.layers.base.programs.refusals import UnfitError

__all__ = ["TAPE", "Input", "NoWayBackError", "Pullback", "Tape"]

TAPE = Target(Taped, slot_of)


class Tape:
    """What a call has left for the way back: it never changes.

    Parameters
    ----------
    program : CallProgram
        It was made for `TAPE`.
    values : mapping of places to (array, mask)
        What the call got.
    """

    def __init__(self, program: CallProgram, values: Values) -> None:
        lowered = program.lowered
        taped: Any = lowered.program
        self.program, self._taped = program, taped
        inputs = gathered(lowered.arguments, values)
        self.packed, arrays = _run(lowered, inputs)
        lowered.carry(arrays)
        absent = {taped.place_of(view)[0] for view, array in zip(taped.inputs, inputs, strict=True) if array is None}
        self._values = {
            storage: None if storage in absent else arrays[number] for storage, number in taped.tape.items()
        }
        self.outputs = arrays[: lowered.outputs]
        self._likes = [Like(array) for array in self.outputs]

    def gradients(
        self, outputs: Sequence[Array | None], wanted: Sequence[int]
    ) -> tuple[dict[int, Array], dict[tuple[Layer, str], Array]]:
        """The gradients of the inputs with the `wanted` numbers, and of weights; those that are missing are zeros."""
        given = tuple(gradient is not None for gradient in outputs)
        way = self._taped.way_back(frozenset(wanted), given)
        if not way.program.ops:
            return {}, {}
        inputs = tuple(
            outputs[number] if kind == "gradient" else self._values[number] if kind == "value" else None
            for kind, number in way.inputs
        )
        packed = tuple(_transposed(self.packed[slot], name) for slot, name in way.slots)
        found = way.program.run(packed, inputs)
        if found is None:  # the gradients of the outputs may lie in any way
            inputs = tuple(None if array is None else np.ascontiguousarray(array) for array in inputs)
            found = way.program.run(packed, inputs)
        assert found is not None  # the tape fits the program that it was made for
        arrays = list(found) if isinstance(found, tuple) else [found]
        of_inputs = dict(zip(way.reached, arrays, strict=False))
        of_weights: dict[tuple[Layer, str], Array] = {}
        for (slot, name), array in zip(way.weights, arrays[len(way.reached) :], strict=True):
            key = self.program.lowered.slots[slot], name
            of_weights[key] = of_weights[key] + array if key in of_weights else array
        return of_inputs, of_weights

    def likes(self) -> Any:
        """The shapes and dtypes of what the call returned, in its structure."""
        return nest.mapped(self._likes.__getitem__, self.program.results)

    def by_output(self, leaves: Sequence[Array | None]) -> list[Array | None]:
        """For each output of the program the sum of the gradients of what was returned of it."""
        found: list[Array | None] = [None] * len(self.outputs)
        for number, gradient in zip(nest.leaves(self.program.results), leaves, strict=True):
            if gradient is not None:
                before = found[number]
                found[number] = gradient if before is None else before + gradient
        return found

    def numbers_of(self, place: Hashable) -> int | None:
        """The number of the input that is the array of a place, as numbers; None where nothing reads it so."""
        arguments = self.program.lowered.arguments
        found = (n for n, argument in enumerate(arguments) if isinstance(argument, Numbers) and argument.place == place)
        return next(found, None)


class Input:
    """An input of a call: its place, and what its gradient is like. Integers and bools have none.

    Parameters
    ----------
    place : place
    array : ndarray
        What the call got.
    """

    def __init__(self, place: Hashable, array: Array) -> None:
        self.place = place
        self.shape, self.dtype = array.shape, array.dtype
        self.has_gradient = array.dtype.kind in "fV"


class Pullback:
    """What `vjp` returns beside the outputs: call it with their gradients.

    It may be called any number of times, from any thread, and does not depend on what becomes of the layer and its
    weights. It holds what the gradients are made of until it is let go of: the inputs, and for each timestep what ops
    have returned.

    Parameters
    ----------
    tape : Tape
    weights : list of (Layer, str)
        The weights whose gradients are returned, with their names.
    inputs : Input, or a structure of Input
    states : sequence of (place, shape)
        The initial states.
    """

    def __init__(
        self,
        tape: Tape,
        weights: Sequence[tuple[Any, str]],
        inputs: Any,
        states: Sequence[tuple[Hashable, tuple[int, ...]]],
    ) -> None:
        self._tape = tape
        self._weights = [(layer, name, layer._values[name].shape) for layer, name in weights]
        self._inputs = inputs
        self._states = states

    def __call__(self, dy: Any, inputs: bool = True) -> Gradients:
        """The gradients of a loss with respect to inputs, initial states and weights.

        Parameters
        ----------
        dy : array, or a structure of arrays
            The gradients of the loss with respect to the outputs, in their structure and of their shapes; None for
            outputs that it does not depend on.
        inputs : bool, default True
            Whether the gradients of the inputs are asked for; without them it takes less time.

        Returns
        -------
        Gradients

        Raises
        ------
        ValueError
            For a `dy` of another structure or shape, or that is no array of real numbers.
        """
        tape = self._tape
        outputs = tape.by_output(checked_gradients("dy", dy, tape.likes()))
        leaves = [leaf for leaf in nest.leaves(self._inputs) if leaf.has_gradient] if inputs else []
        numbers = {leaf.place: tape.numbers_of(leaf.place) for leaf in leaves}
        numbers |= {place: tape.numbers_of(place) for place, _ in self._states}
        wanted = [number for number in numbers.values() if number is not None]
        of_inputs, of_weights = tape.gradients(outputs, wanted)
        dtype = self._tape.program.lowered.dtype

        def found(place: Hashable, shape: tuple[int, ...]) -> Array:
            gradient = of_inputs.get(numbers[place])  # type: ignore[arg-type]
            return np.zeros(shape, dtype) if gradient is None else gradient.reshape(shape)

        def of_input(leaf: Input) -> Array | None:
            return found(leaf.place, leaf.shape).astype(leaf.dtype, copy=False) if leaf.has_gradient else None

        def of_weight(layer: Layer, name: str, shape: tuple[int, ...]) -> Array:
            gradient = of_weights.get((layer, name))
            return np.zeros(shape, dtype) if gradient is None else gradient

        return Gradients(
            nest.mapped(of_input, self._inputs) if inputs else None,
            [found(*state) for state in self._states],
            [of_weight(*weight) for weight in self._weights],
        )


def _run(lowered: Lowered, inputs: tuple[Array | None, ...]) -> tuple[tuple[Packed, ...], list[Array]]:
    """The weights of one moment, and what the program returns with them."""
    while True:
        packed = packed_now(tuple(slot_of(layer) for layer in lowered.slots))
        if packed is None:  # others were put there meanwhile
            continue
        results: Any = lowered.program.run(packed, inputs)
        if results is None:
            inputs = tuple(None if array is None else np.ascontiguousarray(array) for array in inputs)
            results = lowered.program.run(packed, inputs)
        if results is None:
            raise UnfitError("the inputs do not fit the program")
        return packed, list(results) if isinstance(results, tuple) else [results]


def _transposed(packed: Packed, name: str) -> Packed:
    return packed.transposed(name) if isinstance(packed, Plan) else packed
