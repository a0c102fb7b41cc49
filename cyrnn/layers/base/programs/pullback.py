"""Back-propagation through the program of a layer or model: a call leaves a tape, and a pullback goes back along it."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from cyrnn.engine.gradients.taped import NoWayBackError, Taped
from cyrnn.engine.gradients.way_back import WayBack
from cyrnn.engine.plan import Packed, Plan
from cyrnn.engine.program import packed_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs.alone import CallProgram
from cyrnn.layers.base.programs.arguments import Numbers, Values, gathered
from cyrnn.layers.base.programs.gradients import Gradients, Like, checked_gradients
from cyrnn.layers.base.programs.interface import Target, slot_of
from cyrnn.layers.base.programs.refusals import UnfitError

__all__ = ["TAPE", "Input", "NoWayBackError", "Pullback", "TapedCall"]

TAPE = Target(Taped, slot_of)


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


class TapedCall:
    """A call with a tape: its program, made for `TAPE`, and whose gradients a pullback returns.

    Parameters
    ----------
    program : CallProgram
    weights : sequence of (Layer, str)
        The trainable weights, with their names.
    state_sizes : sequence of int
        Those of the initial states.
    """

    def __init__(self, program: CallProgram, weights: Sequence[tuple[Any, str]], state_sizes: Sequence[int]) -> None:
        lowered = program.lowered
        taped: Any = lowered.program
        self.program, self.lowered, self.taped = program, lowered, taped
        self.made_at = program.made_at
        self.weights = list(weights)
        self.states = list(zip(program.states, state_sizes, strict=True))
        arguments = enumerate(lowered.arguments)
        # By place, the number of the input that is its array as numbers.
        self.numbers = {argument.place: number for number, argument in arguments if isinstance(argument, Numbers)}
        inputs = {taped.place_of(view)[0]: number for number, view in enumerate(taped.inputs)}
        # What is on the tape: of each buffer the number of the output, and of the input that it is, or None.
        self.tape = [(storage, number, inputs.get(storage)) for storage, number in taped.tape.items()]

    def run(self, values: Values, inputs: Any) -> tuple[Any, "Pullback"]:
        """The outputs of a call, and their pullback. Layers that carry states have new ones then.

        Parameters
        ----------
        values : mapping of places to (array, mask)
        inputs : Input, or a structure of Input

        Raises
        ------
        UnfitError
            If the arrays do not fit, whatever is wrong with them. Nothing has changed then.
        """
        given = gathered(self.lowered.arguments, values)
        packed, arrays = self._computed(given)
        if self.lowered.carried:
            self.lowered.carry(arrays)
        batch = next((len(array) for array in given if array is not None), 0)
        kept = {
            storage: None if number is not None and given[number] is None else arrays[output]
            for storage, output, number in self.tape
        }
        outputs = arrays[: self.lowered.outputs]
        pullback = Pullback(self, packed, kept, [Like(array) for array in outputs], inputs, batch)
        return structured(outputs.__getitem__, self.program.results), pullback

    def _computed(self, inputs: tuple[Array | None, ...]) -> tuple[tuple[Packed, ...], list[Array]]:
        """The weights of one moment, and what the program returns with them."""
        slots = tuple([slot_of(layer) for layer in self.lowered.slots])
        while (packed := packed_now(slots)) is None:  # they were replaced meanwhile
            slots = tuple([slot_of(layer) for layer in self.lowered.slots])
        results = _run(self.taped, packed, inputs)
        if results is None:
            raise UnfitError("the inputs do not fit the program")
        return packed, results


class Pullback:
    """What `vjp` returns beside the outputs: call it with their gradients.

    It may be called any number of times, from any thread, and does not depend on what becomes of the layer and its
    weights. It holds what the gradients are made of until it is let go of: the inputs, and for each timestep what ops
    have returned.

    Parameters
    ----------
    call : TapedCall
    packed : tuple of Packed
        The weights of the call.
    kept : dict of int to array
        The tape: what buffers held.
    likes : list of Like
        Of the outputs.
    inputs : Input, or a structure of Input
    batch : int
    """

    def __init__(
        self,
        call: TapedCall,
        packed: tuple[Packed, ...],
        kept: dict[int, Array | None],
        likes: list[Like],
        inputs: Any,
        batch: int,
    ) -> None:
        self._call, self._packed, self._kept, self._likes = call, packed, kept, likes
        self._inputs, self._batch = inputs, batch
        self._shapes = [layer._values[name].shape for layer, name in call.weights]

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
        call = self._call
        outputs = self._of_outputs(dy)
        numbers = [call.numbers.get(place) for place, _ in call.states]
        leaves = [leaf for leaf in nest.leaves(self._inputs) if leaf.has_gradient] if inputs else []
        numbers += [call.numbers.get(leaf.place) for leaf in leaves]
        wanted = frozenset(number for number in numbers if number is not None)
        way = call.taped.way_back(wanted, tuple([gradient is not None for gradient in outputs]))
        arrays = self._gone_back(way, outputs)
        of_inputs = dict(zip(way.reached, arrays, strict=False))
        of_weights: dict[Any, Array] = {}
        for (slot, name), array in zip(way.weights, arrays[len(way.reached) :], strict=True):
            key = call.lowered.slots[slot], name
            of_weights[key] = of_weights[key] + array if key in of_weights else array
        dtype = call.lowered.dtype

        def found(place: Hashable, shape: tuple[int, ...]) -> Array:
            gradient = of_inputs.get(call.numbers.get(place))
            return np.zeros(shape, dtype) if gradient is None else gradient.reshape(shape)

        def of_input(leaf: Input) -> Array | None:
            return found(leaf.place, leaf.shape).astype(leaf.dtype, copy=False) if leaf.has_gradient else None

        def of_weight(key: tuple[Any, str], shape: tuple[int, ...]) -> Array:
            gradient = of_weights.get(key)
            return np.zeros(shape, dtype) if gradient is None else gradient

        return Gradients(
            structured(of_input, self._inputs) if inputs else None,
            [found(place, (self._batch, size)) for place, size in call.states],
            [of_weight(*weight) for weight in zip(call.weights, self._shapes, strict=True)],
        )

    def _of_outputs(self, dy: Any) -> list[Array | None]:
        """The gradients of the program's outputs. One may be returned several times: then it is their sum."""
        results = self._call.program.results
        leaves = checked_gradients("dy", dy, structured(self._likes.__getitem__, results))
        found: list[Array | None] = [None] * len(self._likes)
        for number, gradient in zip(nest.leaves(results), leaves, strict=True):
            if gradient is not None:
                before = found[number]
                found[number] = gradient if before is None else before + gradient
        return found

    def _gone_back(self, way: WayBack, outputs: Sequence[Array | None]) -> list[Array]:
        """What the program of gradients returns."""
        if not way.program.ops:  # nothing is reached
            return []
        inputs = tuple(
            [
                outputs[number] if kind == "gradient" else self._kept[number] if kind == "value" else None
                for kind, number in way.inputs
            ]
        )
        packed = tuple([_transposed(self._packed[slot], name) for slot, name in way.slots])
        found = _run(way.program, packed, inputs)
        assert found is not None  # the tape fits the program that it was made for
        return found


def structured(function: Callable[[Any], Any], structure: Any) -> Any:
    """As `nest.mapped`, which takes longer for one leaf."""
    return nest.mapped(function, structure) if nest.is_structure(structure) else function(structure)


def _run(program: Any, packed: tuple[Packed, ...], inputs: tuple[Array | None, ...]) -> list[Array] | None:
    """What a program returns; None where the inputs do not fit."""
    results = program.run(packed, inputs)
    if results is None:  # the engine reads axes that lie like one
        inputs = tuple(None if array is None else np.ascontiguousarray(array) for array in inputs)
        results = program.run(packed, inputs)
    return list(results) if isinstance(results, tuple) else None if results is None else [results]


def _transposed(packed: Packed, name: str) -> Packed:
    return packed.transposed(name) if isinstance(packed, Plan) else packed
