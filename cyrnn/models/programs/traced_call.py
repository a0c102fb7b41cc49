"""Calls of models whose `call` was traced: as programs, run and gone back through like those of a graph."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.models import executor
from cyrnn.models.executor import Place
from cyrnn.models.inputs import Leaf
from cyrnn.models.programs import partition
from cyrnn.models.programs.parts import Partition, Results, Wanted
from cyrnn.models.programs.trace import Trace

if TYPE_CHECKING:
    from cyrnn.layers.base.programs.pullback import QuickVjp  # imported where gradients are asked for


class TracedModel(Protocol):
    """What a trace needs of its model."""

    _own_structure: object

    @property
    def name(self) -> str: ...

    @property
    def built(self) -> bool: ...

    def layers_within(self) -> "tuple[Layer, ...]": ...

    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def partition_of(
    trace: Trace,
    model: TracedModel,
    masked: tuple[bool, ...],
    training: bool,
    *,
    wanted: Wanted = Wanted.OUTPUTS,
    target: Target | None = None,
) -> Partition:
    """The calls as programs, kept until something changes that they depend on; see `ModelOfCalls.partition`."""
    structure = structure_now()
    target = target or (executor.current_target() if model.built else None)

    def made() -> Partition:
        places = [Place(tensor.shape, tensor.dtype) for tensor in trace.tensors]
        calls, outputs = trace.calls(places, training)
        if target is None:
            return partition.undivided(calls, places, outputs)
        return partition.partition(calls, places, outputs, target, masked=masked, wanted=wanted)

    return trace.partitions.found(model, structure, (target, training, masked, wanted), made)


class TracedCall:
    """One call of a model that was traced, as `gradients.vjp` takes models.

    Parameters
    ----------
    model : TracedModel
    trace : Trace
    inputs, mask : array, or several in a structure
        Those of the call, checked.
    """

    has_its_own_call = False

    def __init__(self, model: TracedModel, trace: Trace, inputs: Any, mask: Any) -> None:
        self._model, self._trace = model, trace
        self.name = model.name
        self.arrays: list[Array | None] = nest.leaves(inputs)
        own = nest.leaves(mask) if mask is not None else [None] * len(self.arrays)
        extra = [part for part in own if part is not None][: len(trace.tensors) - len(self.arrays)]
        self.masks = [*own, *(None for _ in extra)]  # for each of the tensors of the trace
        self.arrays += extra
        self.quick_vjp: QuickVjp | None = None

    def inputs_of_vjp(self, x: Any) -> tuple[list[Array | None], Any]:
        numbers = iter(range(len(self.arrays)))
        return self.arrays, nest.mapped(lambda array: Leaf(array, next(numbers)), x)

    def known_inputs(self) -> tuple[Any, InputForm]:
        return None, self._trace.form

    def note_quick_vjp(self, vjp: "QuickVjp | None", training: bool) -> None:
        self.quick_vjp = vjp

    def partition_for(
        self, masks: Sequence[Any], training: bool, target: Target, wanted: Wanted = Wanted.OUTPUTS
    ) -> Partition:
        masked = tuple(mask is not None for mask in masks)
        return partition_of(self._trace, self._model, masked, training, wanted=wanted, target=target)

    def run(self, training: bool, wanted: Wanted) -> Results:
        """What a call returns."""
        masked = tuple(mask is not None for mask in self.masks)
        made = partition_of(self._trace, self._model, masked, training, wanted=wanted)
        return made.run(list(zip(self.arrays, self.masks, strict=True)))

    def layers_within(self) -> tuple[Layer, ...]:
        return self._model.layers_within()

    def _weight_slots(self, trainable: bool = False) -> list[tuple[Any, str]]:
        return self._model._weight_slots(trainable)
