"""Gradients of an operation that Python computes between programs: those of the ops that it would be in one."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from cyrnn.arrays import converted
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.programs import operations
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError
from cyrnn.layers.base.programs.tape import TAPE, TapedProgram
from cyrnn.layers.base.programs.values import Outside
from cyrnn.models.executor import Call, Place, Values, filled, places_of

Back = Callable[[Array], dict[Hashable, Array]]  # from the gradient of the output to those of places


def why_no_gradients(operation: Any) -> str | None:
    """Why the operation has no gradients, whatever its arguments are; None where it may have some."""
    known = operation.class_name in operations.KNOWN
    return None if known else f"the engine has no op for the operation {operation.class_name}"


def gone_through(call: Call, values: Values) -> tuple[Array, Back]:
    """What the operation returns, and the way back. Integers and masks have no gradients, and what has none is {}.

    Raises
    ------
    ValueError
        If the operation cannot be ops of a program that goes back.
    """
    output = call.layer(*filled(call.args, values), **filled(call.options, values))
    numbers = {place: values[place][0] for place in places_of(call.args) if values[place][0].dtype.kind in "fV"}
    if output.dtype.kind not in "fV" or not numbers:
        return output, lambda gradient: {}
    wide = any(array.dtype == np.float64 for array in numbers.values())
    dtype = np.dtype(np.float64 if wide else np.float32)
    places = {place: Place((None, *array.shape[1:]), dtype.name) for place, array in numbers.items()}
    try:
        tape = _taped(call, places, dtype).run(
            {places[place]: (converted(array, dtype), None) for place, array in numbers.items()}
        )[1]
    except (NotLoweredError, UnfitError) as error:
        raise ValueError(f"{call.layer.class_name} {call.layer.name!r} has no gradients: {error}") from None

    def back(gradient: Array) -> dict[Hashable, Array]:
        found, _ = tape.back([gradient], list(places.values()))
        return {place: found[own] for place, own in places.items() if own in found}

    return output, back


def _taped(call: Call, places: dict[Place, Place], dtype: "np.dtype[Any]") -> TapedProgram:
    """The program of the operation. Raises NotLoweredError."""
    lowering = Lowering(TAPE.program(dtype.name), dtype, complete=True)
    given = {place: Outside(own, own.shape) for place, own in places.items()}
    args = nest.mapped(lambda leaf: given.get(leaf, leaf) if type(leaf) is Place else leaf, call.args)
    lowering.result(operations.lower_operation(lowering, call.layer, args))
    return TapedProgram(lowering.finish())
