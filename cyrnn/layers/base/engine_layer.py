"""Layers that the engine computes."""

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import numpy as np

from cyrnn import activations
from cyrnn.engine import threads
from cyrnn.engine.plan import MOST_CALLS, Call, Plan, run
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer

_Result = TypeVar("_Result")


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

    def whole_plan(self) -> Plan | None:
        """The plan, if it is at hand and computes the activation too."""
        packed = self._slot.packed
        if not isinstance(packed, Plan) or self._packed_with is not self.activation:
            return None
        return packed if activations.engine_name(self.activation) else None

    def make_ready(self) -> None:
        """Make the weights in the slot ready for programs, if they are not."""
        self.plan_and_weights()

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


def run_together(*works: Generator[list[Call], None, _Result]) -> list[_Result]:
    """Run the engine calls that the generators yield, and return what they return.

    The lists of calls of one generator wait for each other. The calls in a list share the threads, with each other and
    with those of other generators.
    """
    results: dict[int, _Result] = {}
    while len(results) < len(works):
        calls: list[Call] = []
        for index, work in enumerate(works):
            if index not in results:
                try:
                    calls += next(work)
                except StopIteration as stop:
                    results[index] = stop.value
        for first in range(0, len(calls), MOST_CALLS):
            run(calls[first : first + MOST_CALLS], threads.get_num_threads())
    return [results[index] for index in range(len(works))]
