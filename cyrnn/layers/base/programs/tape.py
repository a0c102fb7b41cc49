"""Programs with a tape: a run leaves what the way back is made of."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cyrnn.engine.gradients.taped import Taped
from cyrnn.engine.plan import Packed, Plan
from cyrnn.engine.program import packed_now
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs.arguments import Numbers, Values, gathered
from cyrnn.layers.base.programs.interface import OfVectors, Target, slot_of
from cyrnn.layers.base.programs.lowered import Lowered
from cyrnn.layers.base.programs.refusals import UnfitError

__all__ = ["TAPE", "Tape", "TapedProgram"]

TAPE = Target(Taped, slot_of)

_KEPT = 16  # ways back through a program: from some of its outputs, to some of its inputs

_GRADIENT, _NOTHING = -1, -2  # in the place of the number of an array

OfWeights = dict[tuple[Any, str], Array]  # by layer and name


class TapedProgram:
    """A program of layers that was made for `TAPE`.

    Parameters
    ----------
    lowered : Lowered
    """

    def __init__(self, lowered: Lowered) -> None:
        taped: Any = lowered.program
        self.lowered, self.taped = lowered, taped
        self.of_vectors = [(slot, layer) for slot, layer in enumerate(lowered.slots) if isinstance(layer, OfVectors)]
        arguments = enumerate(lowered.arguments)
        # By place, the number of the input that is its array as numbers.
        self.numbers = {argument.place: number for number, argument in arguments if isinstance(argument, Numbers)}
        inputs = {taped.place_of(view)[0]: number for number, view in enumerate(taped.inputs)}
        # What is on the tape: of each buffer the number of the output, and of the input that it is, or None.
        self._kept = [(storage, number, inputs.get(storage)) for storage, number in taped.tape.items()]
        self._routes: dict[Any, Route] = {}

    def route(self, wanted: tuple[Hashable, ...], given: tuple[bool, ...]) -> "Route":
        """The way back to the wanted places from those of the outputs that have a gradient."""
        found = self._routes.get((wanted, given))
        if found is None:
            places = {number: place for place in wanted if (number := self.numbers.get(place)) is not None}
            way = self.taped.way_back(frozenset(places), given)
            layers = [self.lowered.slots[slot] for slot, _ in way.weights]
            reached = [places[number] for number in way.reached]
            found = Route(way.program, way.inputs, way.slots, reached, way.weights, layers)
            self._routes = {**dict(list(self._routes.items())[1 - _KEPT :]), (wanted, given): found}
        return found

    def run(self, values: Values) -> tuple[list[Array], "Tape"]:
        """The outputs for what a call has at its places, and the tape. Layers that carry states have new ones then.

        Raises
        ------
        UnfitError
            If the arrays do not fit. Nothing has changed then.
        """
        return self.after(*self.returned(values))

    def returned(self, values: Values) -> tuple[list[Array], tuple[Packed, ...], tuple[Array | None, ...]]:
        """All that the program returns, its weights, and its inputs; else as `run`, but no layer has new states."""
        inputs = gathered(self.lowered.arguments, values)
        slots = tuple([slot_of(layer) for layer in self.lowered.slots])
        while (packed := packed_now(slots)) is None:  # they were replaced meanwhile
            slots = tuple([slot_of(layer) for layer in self.lowered.slots])
        arrays = _run(self.taped, packed, inputs)
        if arrays is None:
            raise UnfitError("the inputs do not fit the program")
        return arrays, packed, inputs

    def after(
        self, arrays: Sequence[Array], packed: tuple[Packed, ...], inputs: Sequence[Array | None]
    ) -> tuple[list[Array], "Tape"]:
        """As `run`, when the program has returned these arrays with these weights for these inputs."""
        arrays = list(arrays)
        if self.lowered.carried:
            self.lowered.carry(arrays)
        return arrays[: self.lowered.outputs], self.tape(arrays, packed, [array is None for array in inputs])

    def tape(self, arrays: Sequence[Any], packed: tuple[Packed, ...], absent: Sequence[bool]) -> "Tape":
        """The tape of a run that has returned these arrays with these weights; `absent` says which inputs were not."""
        kept = {
            storage: None if number is not None and absent[number] else arrays[output]
            for storage, output, number in self._kept
        }
        lengths = {timeline: arrays[output] for timeline, output in self.taped.lengths.items()}
        return Tape(self, packed, kept, lengths)

    def taken_from_tape(self, route: "Route") -> list[tuple[int, int]]:
        """What each input of a way back is, see `_Way`: arrays count from the first on the tape."""
        kept = {storage: (output, -1 if number is None else number) for storage, output, number in self._kept}
        found, first = [], self.lowered.outputs
        for kind, number in route.inputs:
            if kind == "gradient":
                found.append((_GRADIENT, -1))
            elif kind == "value":
                output, given = kept[number]
                found.append((output - first, given))
            else:
                found.append((self.taped.lengths[number] - first if kind == "length" else _NOTHING, -1))
        return found


class Route(NamedTuple):
    """A way back, as it is gone."""

    program: Any
    inputs: list[tuple[str, int]]  # what each is: see `WayBack`
    slots: list[tuple[int, str, tuple[int, ...]]]  # which have a weight, transposed, perhaps in parts
    places: list[Hashable]  # of the first outputs; those after them are of weights
    weights: list[tuple[int, str]]  # by slot
    layers: list[Any]  # of these slots


class _Way(NamedTuple):
    """A way back from the output, made ready.

    Parameters
    ----------
    route : Route
    inputs : list of (int, int)
        What each input of it is: the number of an array on the tape, `_GRADIENT` or `_NOTHING`; and the number of an
        input of the call without which it is nothing, or -1.
    of_inputs : int
        The number of the gradient of the inputs.
    of_states, of_weights : list of int
        Those of the initial states, and of the trainable weights.
    """

    route: Route
    inputs: list[tuple[int, int]]
    of_inputs: int
    of_states: list[int]
    of_weights: list[int]


class QuickCall:
    """What such pullbacks have in common.

    Parameters
    ----------
    call : TapedCall
        Of one input and one output; see `fits`.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self._ways: dict[bool, _Way | None] = {}

    @staticmethod
    def fits(call: Any) -> bool:
        """Whether there can be such pullbacks of the call."""
        program = call.program
        plain = type(call.results) is int and len(call.inputs) == 1 and program.lowered.outputs == 1
        return plain and not program.lowered.carried and not program.of_vectors

    def way(self, inputs: bool) -> _Way | None:
        """The way back to states, weights and perhaps inputs; None where more is to be done than to move arrays."""
        if inputs not in self._ways:
            self._ways = {**self._ways, inputs: self._made(inputs)}
        return self._ways[inputs]

    def _made(self, inputs: bool) -> _Way | None:
        call, program = self.call, self.call.program
        states = [place for place, _ in call.states]
        route = program.route((*states, *(call.inputs if inputs else ())), (True,))
        keys = list(zip(route.layers, (name for _, name in route.weights), strict=True))
        found = [*route.places, *keys]
        asked = [*states, *(call.inputs if inputs else ()), *call.weights]
        if len(set(keys)) < len(keys) or not set(asked) <= set(found):
            return None
        return _Way(
            route,
            program.taken_from_tape(route),
            found.index(call.inputs[0]) if inputs else -1,
            [found.index(place) for place in states],
            [found.index(key) for key in call.weights],
        )


class Tape:
    """What a call has left for the way back. It never changes.

    Parameters
    ----------
    program : TapedProgram
    packed : tuple of Packed
        The weights of the call.
    kept : dict of int to array
        What buffers held.
    lengths : dict of int to array
        Of timelines, arrays of so many timesteps without elements.
    """

    def __init__(
        self,
        program: TapedProgram,
        packed: tuple[Packed, ...],
        kept: dict[int, Array | None],
        lengths: dict[int, Array],
    ) -> None:
        self.program = program
        self._packed, self._kept, self._lengths = packed, kept, lengths
        self._slopes = {slot: layer.slopes(packed[slot].values) for slot, layer in program.of_vectors}

    def back(
        self, outputs: Sequence[Array | None], wanted: Sequence[Hashable]
    ) -> tuple[dict[Hashable, Array], OfWeights]:
        """The gradients of the arrays at the `wanted` places, and of weights. Where one is missing it is zero.

        Parameters
        ----------
        outputs : sequence of array or None
            The gradients of the outputs.
        wanted : sequence of places
        """
        given = tuple([gradient is not None for gradient in outputs])
        route = self.program.route(tuple(wanted), given)
        if not route.program.ops:  # nothing is reached
            return {}, {}
        known: dict[str, Any] = {"gradient": outputs, "value": self._kept, "length": self._lengths}
        inputs = tuple([known[kind][number] if kind in known else None for kind, number in route.inputs])
        packed = tuple([transposed(self._packed[slot], name, parts) for slot, name, parts in route.slots])
        arrays = back_through(route.program, packed, inputs)
        rest = iter(arrays)
        of_places = {place: next(rest) for place in route.places}
        of_weights: OfWeights = {}
        for (slot, name), layer, array in zip(route.weights, route.layers, rest, strict=True):
            if slot in self._slopes:
                name, array = self._of_weight(slot, name, array)
            add_to(of_weights, (layer, name), array)
        return of_places, of_weights

    def _of_weight(self, slot: int, vector: str, gradient: Array) -> tuple[str, Array]:
        """The name of the weight that a vector follows, and its gradient for that of the vector."""
        slope = self._slopes[slot].get(vector)
        name = dict(self.program.of_vectors)[slot].weight_of[vector]
        return name, gradient if slope is None else gradient * slope.reshape(gradient.shape)


def add_to(gradients: dict[Any, Array], key: Any, gradient: Array) -> None:
    """Add a gradient to the one that is known."""
    gradients[key] = gradients[key] + gradient if key in gradients else gradient


def _run(program: Any, packed: tuple[Packed, ...], inputs: tuple[Array | None, ...]) -> list[Array] | None:
    """What a program returns; None where the inputs do not fit."""
    results = program.run(packed, inputs)
    if results is None:  # the engine reads axes that lie like one
        inputs = tuple([None if array is None else np.ascontiguousarray(array) for array in inputs])
        results = program.run(packed, inputs)
    return list(results) if isinstance(results, tuple) else None if results is None else [results]


def back_through(program: Any, packed: tuple[Packed, ...], inputs: tuple[Array | None, ...]) -> list[Array]:
    """The gradients that a way back returns."""
    arrays = _run(program, packed, inputs)
    assert arrays is not None  # the tape fits the program that it was made for
    return arrays


def transposed(packed: Packed, name: str, parts: tuple[int, ...]) -> Packed:
    """Weights as ways back read them."""
    return packed.transposed(name, parts) if isinstance(packed, Plan) else packed
