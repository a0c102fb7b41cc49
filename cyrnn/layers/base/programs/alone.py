"""The program of one layer that is called with arrays, without a model around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.arguments import Passed
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowered import Lowered
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Outside

INPUTS = "inputs"  # the place of the layer's input, and of its mask


@dataclass(frozen=True)
class LayerProgram:
    """The program of a layer's call.

    Parameters
    ----------
    lowered : Lowered
        The program. Its inputs are at the place `INPUTS`, the initial states at the places 0, 1, ...
    results : structure of int
        What the call returns: for each array the number of the output.
    """

    lowered: Lowered
    results: Any

    def run(
        self,
        target: Target,
        inputs: Any,
        mask: Any = None,
        initial_state: Sequence[Array] = (),
        nominal_batch: int = 0,
    ) -> Any:
        """What the layer returns. A layer that carries states has new ones then.

        Raises
        ------
        UnfitError
            If the arrays do not fit, whatever is wrong with them. Nothing has changed then.
        """
        values: dict[Any, tuple[Any, Any]] = {INPUTS: (inputs, mask)}
        values |= {number: (self._state(initial_state, number), None) for number in self._places}
        outputs = self.lowered.run(values, target, nominal_batch)
        return nest.mapped(lambda number: outputs[number], self.results)

    @property
    def _places(self) -> list[int]:
        return [place for place in self.lowered.places if isinstance(place, int)]

    def _state(self, initial_state: Sequence[Array], number: int) -> Array | None:
        return initial_state[number] if initial_state else None


def program_of(
    layer: Layer,
    shape: Shape,
    target: Target,
    *,
    state_sizes: Sequence[int] = (),
    training: bool = False,
) -> LayerProgram:
    """The program of a layer that is called alone.

    Parameters
    ----------
    layer : Layer
        It is built.
    shape : tuple of int and None
        That of its input, the batch first. The length of axis 1 may be None where there are timesteps.
    target : Target
        What makes the program.
    state_sizes : sequence of int
        The sizes of the initial states that a call may bring: then they are inputs, zeros where a call brings none. A
        layer that carries states begins with those that it carries unless they are given here.
    training : bool
        Whether the layer is in training.

    Raises
    ------
    NotLoweredError
        If the layer cannot be ops, with the reason.
    """
    dtype = layer.dtype_policy.engine_dtype
    lowering = Lowering(target.program(dtype.name), dtype)
    lowering.check(layer)
    inputs, mask = Outside(INPUTS, shape), Outside(INPUTS, shape, is_mask=True, optional=True)
    states = [Outside(number, (None, size), optional=True) for number, size in enumerate(state_sizes)]
    options = {"initial_state": states} if states else {}
    outputs = layer.lower(lowering, inputs, mask, training, **options)  # type: ignore[attr-defined]
    if isinstance(outputs, Outside):
        raise NotLoweredError("it returns its input")
    results = nest.mapped(lowering.result, outputs)
    if isinstance(results, Passed):
        raise NotLoweredError("it returns its input")
    return LayerProgram(lowering.finish(), results)
