"""Layers that the engine computes."""

import functools
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


def planned(values: Mapping[str, Array], dtype: np.dtype, activation: str) -> Plan:
    """The plan of a `kernel`, perhaps a `recurrent_kernel` and a `bias`, in the dtype that the engine computes in."""
    weights = {name: value.astype(dtype, copy=False) for name, value in values.items()}
    return Plan(weights["kernel"], weights.get("recurrent_kernel"), weights.get("bias"), activation)


class EngineLayer(Layer):
    """A layer of a `kernel`, perhaps a `recurrent_kernel` and a `bias`, and an `activation`."""

    activation: Callable[..., Any]
    _packed_with: Any = None  # the activation that is part of what the slot has made ready

    def plan(self) -> Plan:
        """The weights made ready for the engine. Assigned weights make a new plan; a call under way keeps its own.

        An activation that is not one of Keras' own is left out of it: the plan is then linear.
        """
        return self.plan_and_weights()[0]

    def plan_and_weights(self) -> tuple[Plan, Mapping[str, Array]]:
        """The plan, and the weights by name that it was made of."""
        slot, activation = self._slot, self.activation
        values, packed = slot.values, slot.packed
        if isinstance(packed, Plan) and self._packed_with is activation and slot.values is values:
            return packed, values
        if not self.built:
            raise ValueError(f"layer {self.name!r} is not built yet: call it or build(input_shape) first")
        name = activations.engine_name(activation)
        plan = planned(values, self.dtype_policy.engine_dtype, name or "linear")
        slot.pack(values, plan)
        self._packed_with = activation
        return plan, values

    def make_ready(self) -> None:
        """Make the weights in the slot ready for programs, if they are not."""
        self.plan_and_weights()

    def own_packed(self) -> Plan:
        """The weights made ready for one owner, who may change them."""
        name = activations.engine_name(self.activation) or "linear"
        return planned(self._slot.values, self.dtype_policy.engine_dtype, name)

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
        if activations.engine_name(self.activation):
            return output
        activated = np.asarray(self.activation(output))
        if activated.shape != output.shape or activated.dtype.kind not in "fiubV":
            raise ValueError(
                f"activation {self.activation!r} must return real numbers of shape {output.shape}, "
                f"got shape {activated.shape} and dtype {activated.dtype}"
            )
        return activated


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
def cell_program(dtype: str, features: int, units: int) -> Program:
    """The program of one step of a cell, of its input, its state, and dropout factors for both."""
    program = Program(dtype)
    x = program.input("number", None, features)
    state, *factors = [program.input("number", None, width, optional=True) for width in (units, features, units)]
    out = program.buffer(None, units)
    program.recurrent(
        program.slot(), x, last_output=out, initial=[state], input_dropout=factors[0], recurrent_dropout=factors[1]
    )
    program.output(out)
    program.finish()
    return program
