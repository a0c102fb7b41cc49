"""Layers that the engine computes."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cyrnn import activations
from cyrnn.engine.plan import Packed, Plan
from cyrnn.engine.program import Program
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer

if TYPE_CHECKING:  # imported where a model is trained
    from cyrnn.engine.training import Refill

_MOST_TRIES = 1000  # of a call whose weights another thread replaces again and again


class EngineLayer(Layer):
    """A layer of a `kernel`, perhaps a `recurrent_kernel` and a `bias`, and an `activation`."""

    activation: Callable[..., Any]
    engine_cell: str | None = None  # the engine's name of the cell that it is, if it is one of several gates
    _packed_with: tuple[Any, ...] = ()  # what beside the weights is part of what the slot has made ready

    @property
    def functions(self) -> tuple[Any, ...]:
        """What the plan applies to sums: the activation, and of a cell of gates the recurrent activation."""
        return (self.activation,)

    @property
    def planned_with(self) -> tuple[Any, ...]:
        """What a plan follows beside the weights."""
        return self.functions

    def planned(self, weights: Mapping[str, Array], precision: str) -> Plan:
        """The plan of these weights, in the dtype that the engine computes in; `precision` is that of its products."""
        name = activations.engine_name(self.activation) or "linear"
        return Plan(weights["kernel"], weights.get("recurrent_kernel"), weights.get("bias"), name, precision=precision)

    def plan(self) -> Plan:
        """The weights made ready for the engine. Assigned weights make a new plan; a call under way keeps its own.

        An activation that is not one of Keras' own is left out of it: the plan is then linear.
        """
        return self.plan_and_weights()[0]

    def plan_and_weights(self) -> tuple[Plan, Mapping[str, Array]]:
        """The plan, and the weights by name that it was made of."""
        slot, planned_with = self._slot, self.planned_with
        values, packed = slot.values, slot.packed
        if isinstance(packed, Plan) and _same(self._packed_with, planned_with) and slot.values is values:
            return packed, values
        if not self.built:
            raise ValueError(f"layer {self.name!r} is not built yet: call it or build(input_shape) first")
        plan = self._ready(values, self.dtype_policy.precision)
        slot.pack(values, plan)
        self._packed_with = planned_with
        return plan, values

    def make_ready(self) -> None:
        """Make the weights in the slot ready for programs, if they are not."""
        self.plan_and_weights()

    def own_packed(self) -> Plan:
        """The weights made ready for one owner, who may change them: who trains them, which no policy rounds."""
        return self._ready(self._slot.values, "float32")

    def _ready(self, values: Mapping[str, Array], precision: str) -> Plan:
        dtype = self.dtype_policy.engine_dtype
        return self.planned({name: value.astype(dtype, copy=False) for name, value in values.items()}, precision)

    def refill(self, packed: Packed, places: Mapping[str, Array]) -> "Refill":
        """How such weights follow flat ones: `places` has for each weight where each element of it is, see `Refill`."""
        from cyrnn.engine.training import Refill

        return Refill(packed, places["kernel"], places.get("recurrent_kernel"), places.get("bias"))

    def run_program(self, program: Program, *inputs: Array | None) -> Array:
        """The output of a program with the layer's weights for inputs that fit."""
        for _ in range(_MOST_TRIES):
            self.make_ready()
            output = program.run((self._slot,), inputs)
            if output is not None:  # else weights were replaced after these had been made ready
                result: Array = output
                return result
        shapes = [None if array is None else array.shape for array in inputs]
        raise ValueError(f"layer {self.name!r} must be given arrays that fit its weights, got the shapes {shapes}")

    def activated(self, output: Array) -> Array:
        """What the plan gave, with the activation that it left out."""
        return output if activations.engine_name(self.activation) else applied(self.activation, output)


def applied(activation: Callable[..., Any], sums: Array) -> Array:
    """What an activation returns. Raises ValueError unless that has the shape of its argument."""
    outputs = np.asarray(activation(sums))
    if outputs.shape != sums.shape or outputs.dtype.kind not in "fiubV":
        raise ValueError(
            f"activation {activation!r} must return real numbers of shape {sums.shape}, "
            f"got shape {outputs.shape} and dtype {outputs.dtype}"
        )
    return outputs


def _same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


@functools.cache
def dense_program(dtype: str, features: int, units: int) -> Program:
    """The program of rows that are multiplied with a kernel; it is structure only, and so any layer's."""
    program = Program(dtype)
    rows, out = program.input("number", None, features), program.buffer(None, units)
    program.dense(program.slot(), rows, out)
    program.output(out)
    program.finish()
    return program


@functools.cache
def cell_program(dtype: str, features: int, units: int, states: int, widths: tuple[int, int]) -> Program:
    """The program of one step of a cell, of its input, its states, and dropout factors for the input and h.

    It returns the new states. `widths` are those of the factors.
    """
    program = Program(dtype)
    x = program.input("number", None, features)
    initial = [program.input("number", None, units, optional=True) for _ in range(states)]
    factors = [program.input("number", None, width, optional=True) for width in widths]
    final = [program.buffer(None, units) for _ in range(states)]
    program.recurrent(
        program.slot(), x, initial=initial, final=final, input_dropout=factors[0], recurrent_dropout=factors[1]
    )
    for view in final:
        program.output(view)
    program.finish()
    return program
