"""The program of one layer, or of a whole model, as a call with arrays takes it."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.arguments import Draw, Passed
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowered import ANY_FORM, InputForm, Lowered
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Outside

INPUTS = "inputs"  # the place of a layer's input, and of its mask; of several inputs each has `(INPUTS, number)`


class CallProgram:
    """The program of a call.

    Parameters
    ----------
    lowered : Lowered
        The program.
    results : structure of int
        What the call returns: for each array the number of the output.
    target : Target
        What the program was made for.
    inputs, states : sequence of places
        The places of the call's inputs and initial states.
    made_at : int
        `structure_now` before the program was made.
    form : InputForm
        How a call has the inputs.
    """

    def __init__(
        self,
        lowered: Lowered,
        results: Any,
        target: Target,
        inputs: Sequence[Hashable],
        states: Sequence[Hashable],
        made_at: int,
        form: InputForm = ANY_FORM,
    ) -> None:
        self.lowered = lowered
        self.results = results
        self.target = target
        self.made_at = made_at
        self.inputs = inputs
        self.states = states
        # What the engine calls with arrays; None for a program that it does not know all of.
        self.bound: Any = None
        if not lowered.warnings:
            self.bound = lowered.bound(target, inputs, states, made_at, form, results)
        self.made_for: Any = None

    @property
    def draws(self) -> bool:
        """Whether it draws something for each call, as layers do in training."""
        return any(isinstance(argument, Draw) for argument in self.lowered.arguments)

    def is_for(self, wanted: Any, structure: int) -> bool:
        """Whether it is the program for this, and the structure is still what it was made of."""
        return self.made_for == wanted and self.made_at == structure

    def run(self, inputs: Any, mask: Any = None, initial_state: Sequence[Array | None] = ()) -> Any:
        """What the call returns. Layers that carry states have new ones then.

        Raises
        ------
        UnfitError
            If the arrays do not fit. Nothing has changed then.
        """
        values: dict[Any, tuple[Any, Any]] = {self.inputs[0]: (inputs, mask)}
        given = initial_state or [None] * len(self.states)
        values |= {place: (state, None) for place, state in zip(self.states, given, strict=True)}
        arrays = self.lowered.run(values, self.target)
        return nest.mapped(arrays.__getitem__, self.results)


def program_of(
    layer: Layer,
    shape: Shape | list[Shape],
    target: Target,
    *,
    masked: Sequence[bool] | None = None,
    dtype: np.dtype[Any] | None = None,
    state_sizes: Sequence[int] = (),
    training: bool = False,
    within_its_call: bool = False,
    complete: bool = False,
    rounded: bool = False,
    made_at: int = 0,
) -> CallProgram:
    """The program of a layer that is called alone.

    Parameters
    ----------
    layer : Layer
        It is built.
    shape : tuple of int and None
        That of its input, the batch first. The length of axis 1 may be None where there are timesteps. A list of
        shapes for a layer of several inputs.
    target : Target
        What makes the program.
    masked : sequence of bool, optional
        For each input whether the call brings a mask. Default: there is one input, and it may have a mask or not.
    dtype : dtype, optional
        What it computes in; default: what the layer does.
    state_sizes : sequence of int
        The sizes of the initial states that a call may bring: then they are inputs, zeros where a call brings none. A
        layer that carries states begins with those that it carries unless they are given here.
    training : bool
        Whether the layer is in training.
    within_its_call : bool
        Whether the layer's own `call` runs the program. That does what the engine does not: it rounds, and applies what
        a custom subclass has.
    complete : bool
        Whether ops do all that there is: see `Lowering`.
    rounded : bool
        Whether the caller rounds the results, of a layer with a policy of 16 bits.
    made_at : int
        `structure_now`, before anything was read that the program depends on.

    Raises
    ------
    NotLoweredError
        If the layer cannot be ops, with the reason.
    """
    dtype = layer.dtype_policy.engine_dtype if dtype is None else dtype
    lowering = Lowering(target.program(dtype.name), dtype, within_its_call, complete, rounded)
    lowering.check(layer)
    inputs, mask = _from_outside(shape, masked)
    places = list(range(len(state_sizes)))
    states = [Outside(place, (None, size), optional=True) for place, size in zip(places, state_sizes, strict=True)]
    options = {"initial_state": states} if states else {}
    outputs = layer.lower(lowering, inputs, mask, training, **options)  # type: ignore[attr-defined]
    if isinstance(outputs, Outside) and not complete:
        raise NotLoweredError("it returns its input")
    results = nest.mapped(lowering.result, outputs)
    if isinstance(results, Passed):
        raise NotLoweredError("it returns its input")
    return CallProgram(lowering.finish(), results, target, places_of(shape), places, made_at)


def places_of(inputs: Any) -> list[Hashable]:
    """The places of an input, or of each in a list of several."""
    return [(INPUTS, number) for number in range(len(inputs))] if isinstance(inputs, list) else [INPUTS]


def _from_outside(shape: Shape | list[Shape], masked: Sequence[bool] | None) -> tuple[Any, Any]:
    """What a call brings: the input and its mask, or lists of them."""
    shapes = shape if isinstance(shape, list) else [shape]
    inputs = [Outside(*each) for each in zip(places_of(shape), shapes, strict=True)]
    masks: list[Any] = [Outside(part.place, part.shape, is_mask=True, optional=masked is None) for part in inputs]
    if masked is not None:
        masks = [mask if has else None for mask, has in zip(masks, masked, strict=True)]
    return (inputs, masks) if isinstance(shape, list) else (inputs[0], masks[0])
