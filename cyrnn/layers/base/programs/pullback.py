"""What `vjp` returns beside the outputs."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from cyrnn import objects
from cyrnn.arrays import converted, shown
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.gradients import Gradients, Like, checked_gradients
from cyrnn.layers.base.programs.penalties import Activity, activity_of, gradient_of
from cyrnn.layers.base.programs.tape import OfWeights, QuickCall, Tape, back_through, transposed

Back = Callable[[list[Array | None], bool], tuple[dict[Hashable, Array], OfWeights]]


class Input:
    """An input of a call: its place, and what its gradient is like. Integers and bools have none.

    Parameters
    ----------
    place : place
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, place: Hashable, shape: tuple[int, ...], dtype: Any) -> None:
        self.place, self.shape, self.dtype = place, shape, np.dtype(dtype)
        self.has_gradient = self.dtype.kind in "fV"

    @classmethod
    def of(cls, place: Hashable, array: Array) -> "Input":
        """The input that is this array."""
        return cls(place, array.shape, array.dtype)


class Pullback:
    """What `vjp` returns beside the outputs: call it with their gradients.

    It may be called any number of times, from any thread, and does not depend on what becomes of the layer and its
    weights. It holds what the gradients are made of until it is let go of: the inputs, and for each timestep what ops
    have returned.

    Parameters
    ----------
    outputs : array, or a structure of arrays
        What the call returned.
    inputs : Input, or a structure of Input
    states : sequence of Input
        The initial states.
    weights : sequence of (Layer, str)
        The trainable weights, with their names.
    dtype : str
        What is computed in.
    """

    def __init__(
        self, outputs: Any, inputs: Any, states: Sequence[Input], weights: Sequence[tuple[Any, str]], dtype: str
    ) -> None:
        self._likes = structured(Like, outputs)
        self.states, self.dtype = states, dtype
        self._inputs, self._weights = inputs, weights
        self._values = [layer._values[name] for layer, name in weights]
        self.activity: Activity | None = None  # the penalty on the outputs
        self.penalizes = True  # there may be penalties on activities, here or within

    def __call__(self, dy: Any, inputs: bool = True, losses: bool = False) -> Gradients:
        """The gradients of a loss with respect to inputs, initial states and weights.

        Parameters
        ----------
        dy : array, or a structure of arrays
            The gradients of the loss with respect to the outputs, in their structure and of their shapes; None for
            outputs that it does not depend on.
        inputs : bool, default True
            Whether the gradients of the inputs are asked for; without them it takes less time.
        losses : bool, default False
            Whether the penalties on weights and activities, which are in `losses` of the layer, are added to the loss.

        Returns
        -------
        Gradients

        Raises
        ------
        ValueError
            For a `dy` of another structure or shape, or that is no array of real numbers; with `losses` for a
            regularizer without a gradient.
        """
        found = self._in_dtypes_of_the_call(self.of_call(dy, inputs, losses))
        if not losses:
            return found
        regularizers = [layer._specs[name].regularizer for layer, name in self._weights]
        triples = zip(found.weights, regularizers, self._values, strict=True)
        weights = [d if penalty is None else d + gradient_of(penalty, value) for d, penalty, value in triples]
        return found._replace(weights=weights)

    def _in_dtypes_of_the_call(self, found: Gradients) -> Gradients:
        """The gradients, those of inputs and states in the dtypes that these had."""

        def like(gradient: Array | None, leaf: Input) -> Array | None:
            return None if gradient is None else converted(gradient, leaf.dtype)

        pairs = zip(found.initial_state, self.states, strict=True)
        states = [converted(gradient, state.dtype) for gradient, state in pairs]
        if found.inputs is None or isinstance(self._inputs, Input):
            return Gradients(like(found.inputs, self._inputs), states, found.weights)
        parts = map(like, nest.leaves(found.inputs), nest.leaves(self._inputs))
        return Gradients(nest.filled(self._inputs, parts), states, found.weights)

    def of_call(self, dy: Any, inputs: bool, losses: bool) -> Gradients:
        """As a call, without the penalties on weights; gradients may have more digits than inputs and states."""
        wanted = [state.place for state in self.states]
        if inputs:
            wanted += [leaf.place for leaf in nest.leaves(self._inputs) if leaf.has_gradient]
        outputs = checked_gradients("dy", dy, self._likes)
        if losses and self.activity is not None:
            outputs = self.activity.added_to(outputs)
        of_places, of_weights = self._back(outputs, wanted, losses)

        def found(leaf: Input) -> Array | None:
            if not leaf.has_gradient:
                return None
            gradient = of_places.get(leaf.place)
            if gradient is None:
                return np.zeros(leaf.shape, leaf.dtype)
            gradient = gradient if gradient.shape == leaf.shape else gradient.reshape(leaf.shape)
            own = all(gradient is not output for output in outputs)  # a `dy` is the caller's
            return gradient if own else gradient.copy()

        return Gradients(
            structured(found, self._inputs) if inputs else None,
            [found(state) for state in self.states],  # type: ignore[misc]  # states are no integers
            [
                np.zeros(value.shape, self.dtype) if (gradient := of_weights.get(key)) is None else gradient
                for key, value in zip(self._weights, self._values, strict=True)
            ],
        )

    def _back(
        self, outputs: list[Array | None], wanted: Sequence[Hashable], losses: bool
    ) -> tuple[dict[Hashable, Array], OfWeights]:
        """The gradients at places, and of weights, for those of the leaves of the outputs; with `losses` also those of
        the penalties on activities within."""
        raise NotImplementedError(f"{type(self).__name__} has no `_back`")


class PullbackThrough(Pullback):
    """The pullback of what Python computes.

    Parameters
    ----------
    back : callable
        Takes the gradients of the leaves of the outputs, and whether penalties on activities count; returns the
        gradients at places, and of weights by layer and name.
    *args
        See `Pullback`.
    """

    def __init__(self, back: Back, *args: Any) -> None:
        super().__init__(*args)
        self._back_through = back

    def _back(
        self, outputs: list[Array | None], wanted: Sequence[Hashable], losses: bool
    ) -> tuple[dict[Hashable, Array], OfWeights]:
        return self._back_through(outputs, losses)


class PullbackOfTape(Pullback):
    """The pullback of one program.

    Parameters
    ----------
    tape : Tape
    results : structure of int
        What the call returned: for each array the number of the program's output.
    *args
        See `Pullback`.
    """

    def __init__(self, tape: Tape, results: Any, *args: Any) -> None:
        super().__init__(*args)
        self._tape, self._results = tape, results

    def _back(
        self, outputs: list[Array | None], wanted: Sequence[Hashable], losses: bool
    ) -> tuple[dict[Hashable, Array], OfWeights]:
        found: list[Array | None] = [None] * self._tape.program.lowered.outputs
        for number, gradient in zip(nest.leaves(self._results), outputs, strict=True):
            if gradient is not None:  # an output may be returned several times
                before = found[number]
                found[number] = gradient if before is None else before + gradient
        return self._tape.back(found, wanted)


class QuickPullback(Pullback):
    """The pullback of a call that is as the last one of the layer was: little is done between the engine's runs.

    Parameters
    ----------
    quick : QuickCall
    y : array
        What the call has returned.
    tape, packed, given : tuple
        What the program has returned beside it, its weights, and its inputs.
    x : array
    """

    activity = None
    penalizes = True

    def __init__(
        self,
        quick: QuickCall,
        y: Array,
        tape: tuple[Any, ...],
        packed: tuple[Any, ...],
        given: tuple[Any, ...],
        x: Array,
    ) -> None:
        self._quick, self._tape, self._packed = quick, tape, packed
        self._absent = [array is None for array in given]
        self._y, self._x = (y.shape, y.dtype), (x.shape, x.dtype)

    def __call__(self, dy: Any, inputs: bool = True, losses: bool = False) -> Gradients:
        shape, dtype = self._y
        way = self._quick.way(bool(inputs)) if not losses and (not inputs or self._x[1] == dtype) else None
        if way is None or type(dy) is not np.ndarray or dy.shape != shape or dy.dtype != dtype:
            return self._whole()(dy, inputs, losses)
        tape, absent = (*self._tape, None, dy), self._absent  # whose numbers in a way count from the end
        taken = tuple([None if given >= 0 and absent[given] else tape[number] for number, given in way.inputs])
        packed = tuple([transposed(self._packed[slot], name, parts) for slot, name, parts in way.route.slots])
        found = back_through(way.route.program, packed, taken)
        return Gradients(
            found[way.of_inputs] if inputs else None,
            [found[n] for n in way.of_states],
            [found[n] for n in way.of_weights],
        )

    def of_call(self, dy: Any, inputs: bool, losses: bool) -> Gradients:
        return self._whole().of_call(dy, inputs, losses)

    def _whole(self) -> Pullback:
        """The same as a pullback for gradients of any kind."""
        call, (shape, dtype), (x_shape, x_dtype) = self._quick.call, self._y, self._x
        program = call.program
        tape = program.tape((None, *self._tape), self._packed, self._absent)
        states = [Input(place, (x_shape[0], size), program.lowered.dtype) for place, size in call.states]
        like = Input(call.inputs[0], x_shape, x_dtype)
        y = np.broadcast_to(np.zeros((), dtype), shape)
        found = PullbackOfTape(tape, call.results, y, like, states, call.weights, program.lowered.dtype)
        values = {layer: packed.values for layer, packed in zip(program.lowered.slots, self._packed, strict=True)}
        found._values = [values[layer][name] for layer, name in call.weights]  # those of the call
        return found


class QuickVjp:
    """`vjp` of calls that are as the last one was, and bring arrays: it takes the input and its mask.

    It returns None where a call is another one.

    Parameters
    ----------
    call : TapedCall
        See `QuickCall`.
    """

    def __init__(self, call: Any) -> None:
        self._quick, self._bound = QuickCall(call), call.bound

    def __call__(self, x: Any, mask: Any, states: Any = None) -> tuple[Array, QuickPullback] | None:
        result = self._bound.with_weights(x, mask, states) if type(x) is np.ndarray else None
        if result is None:
            return None
        arrays, packed, given = result
        return arrays[0], QuickPullback(self._quick, arrays[0], arrays[1:], packed, given, x)


class ForeignPullback:
    """A pullback of a layer or cell that a user wrote, with the penalty on what its call has returned.

    Parameters
    ----------
    pullback : callable
        Takes the gradients of the outputs; returns `Gradients`.
    layer : Layer, or any cell
    outputs : array, or a structure of arrays
        What the call returned.
    x, states : array, or a structure of arrays
        What it was given; None for states where there are none.
    """

    def __init__(self, pullback: Callable[..., Gradients], layer: object, outputs: Any, x: Any, states: Any) -> None:
        self._pullback, self._name = pullback, _named(layer)
        self._inputs = [np.shape(part) for part in nest.leaves(x)]
        self._states = [np.shape(state) for state in nest.leaves(states) if state is not None]
        weights = layer._weight_slots(trainable=True) if isinstance(layer, Layer) else []
        self._weights = [part._specs[name].shape for part, name in weights]
        self._structure = structured(lambda _: None, outputs)
        within = layer.layers_within() if isinstance(layer, Layer) else ()
        penalized = [part for part in within if part.activity_regularizer is not None]
        self._activity = activity_of(layer, outputs) if isinstance(layer, Layer) else None
        self._unknown = [] if isinstance(pullback, Pullback) else [part for part in penalized if part is not layer]

    @property
    def penalizes(self) -> bool:
        """Whether there may be penalties."""
        return self._activity is not None or bool(self._unknown) or isinstance(self._pullback, Pullback)

    def of_call(self, dy: Any, inputs: bool, losses: bool) -> Gradients:
        """As `Pullback.of_call`; dy may be None."""
        if losses and self._unknown:
            raise ValueError(
                f"the penalty on the activity of layer {self._unknown[0].name!r} has no gradient: "
                "it is inside a layer that has a `vjp` of its own"
            )
        if losses and self._activity is not None:
            leaves = nest.leaves(self._structure)
            rest = iter(self._activity.added_to(leaves if dy is None else nest.leaves(dy)))
            dy = structured(lambda _: next(rest), self._structure)
        if isinstance(self._pullback, Pullback):
            return self._pullback.of_call(dy, inputs, losses)
        return self._checked(self._pullback(dy) if inputs else self._pullback(dy, inputs=False), inputs)

    def _checked(self, found: Any, inputs: bool) -> Gradients:
        """What the pullback has returned. Raises ValueError where it does not fit the call."""
        if not all(hasattr(found, name) for name in Gradients._fields):
            raise ValueError(
                f"the pullback of {self._name} must return an object with `inputs`, `initial_state` and `weights`, got "
                f"{type(found).__name__}"
            )
        if inputs and found.inputs is not None:
            shapes = [None if part is None else np.shape(part) for part in nest.leaves(found.inputs)]
            self._check("inputs", shapes, self._inputs)
        states = nest.leaves(found.initial_state)
        if self._states:
            self._check("initial_state", [np.shape(state) for state in states], self._states)
        weights = list(found.weights)
        self._check("weights", [np.shape(weight) for weight in weights], self._weights)
        return Gradients(found.inputs, states, weights)

    def _check(self, what: str, got: Sequence[Any], expected: Sequence[Any]) -> None:
        if len(got) != len(expected) or any(g not in (None, e) for g, e in zip(got, expected, strict=True)):
            raise ValueError(
                f"the pullback of {self._name} must return in `{what}` gradients of the shapes {list(expected)}, "
                f"got {list(got)}"
            )


def _named(layer: object) -> str:
    return f"layer {layer.name!r}" if isinstance(layer, Layer) else f"the cell {layer!r:.100}"


def pair_of(result: Any, layer: object) -> tuple[Any, Any]:
    """What the `vjp` of a layer or cell has returned: outputs, and the pullback. ValueError for anything else."""
    if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
        return result
    raise ValueError(f"`vjp` of {_named(layer)} must return a tuple of outputs and a pullback, got {shown(result)}")


def pullback_of_call(pullback: Any, layer: object, outputs: Any, x: Any, states: Any) -> "Pullback | ForeignPullback":
    """What the `vjp` of a layer or cell has returned, such that it knows of penalties on activities."""
    if isinstance(pullback, Pullback):
        ours = objects.owner(type(layer), "vjp").__module__.partition(".")[0] == "cyrnn"
        if ours or (pullback.activity is not None and pullback.activity.layer is layer):
            return pullback
    return ForeignPullback(pullback, layer, outputs, x, states)


def structured(function: Callable[[Any], Any], structure: Any) -> Any:
    """As `nest.mapped`, which takes longer for one leaf."""
    return nest.mapped(function, structure) if nest.is_structure(structure) else function(structure)
