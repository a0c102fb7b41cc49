"""Traces: the calls of layers that a `call` written in Python makes, found by one call with symbolic tensors.

A trace is run and gone back through like the graph of a Functional model. It is right as long as the `call` would make
the same calls: what it computes with Python numbers, and which way it takes, is noted as it was.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.layers.base.symbolic import KerasTensor, Node, unnoted
from cyrnn.models.executor import Call, Place, Step
from cyrnn.models.graph import calls_between, output_shapes
from cyrnn.models.programs.kept import KeptPartitions

Key = tuple[Any, ...]


class NotTracedError(Exception):
    """A `call` cannot be noted as calls of layers; the text is the reason."""


class _Step(Step):
    """A call in a trace: as in Python, `training` is the model's unless it is passed."""

    def call(self, places: Any, training: bool | None) -> Call:
        own = self.node.training
        return super().call(places, training if own is None else own)


class Trace:
    """The calls that lead from symbolic inputs to what a `call` returned for them.

    Parameters
    ----------
    inputs, mask : symbolic tensor, or several in a structure
        What it was called with; no mask is None.
    outputs : symbolic tensor, or several in a structure
        What it returned.

    Raises
    ------
    NotTracedError
        If the outputs do not come from the inputs alone.
    """

    def __init__(self, inputs: Any, mask: Any, outputs: Any) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.tensors: list[KerasTensor] = [*nest.leaves(inputs), *(m for m in nest.leaves(mask) if m is not None)]
        try:
            nodes = calls_between(self.tensors, nest.leaves(outputs))
        except ValueError as error:
            raise NotTracedError(str(error)) from None
        for node in nodes:
            _check_arguments(node)
        calls = Counter(node.layer for node in nodes)
        self._steps = [_Step(node, calls[node.layer] > 1) for node in nodes]
        self.partitions = KeptPartitions()  # that were made of it

    @property
    def output_shapes(self) -> dict[Any, Any]:
        """The output shapes of layers and operations in their first calls; lists where there are several outputs."""
        return output_shapes(step.node for step in self._steps)

    def readers(self, tensor: KerasTensor) -> list[Any]:
        """The layers and operations that take the tensor; None among them if it is returned."""
        found = [step.layer for step in self._steps if tensor in step.node.inputs]
        return [*found, None] if tensor in nest.leaves(self.outputs) else found

    @property
    def form(self) -> InputForm:
        """How a call has the inputs."""
        lengths = [tensor.shape[1] if tensor.ndim > 1 else None for tensor in self.tensors]
        keys = tuple(sorted(self.inputs)) if isinstance(self.inputs, dict) else ()
        return InputForm(tuple(-1 if n is None else n for n in lengths), keys, isinstance(self.inputs, dict))

    def calls(self, places: Sequence[Place], training: bool) -> tuple[list[Call], Any]:
        """The calls, with these places for the tensors of `inputs` and `mask`; and where the outputs are then."""
        known: dict[KerasTensor, Place] = dict(zip(self.tensors, places, strict=True))
        made = []
        for step in self._steps:
            known |= {tensor: Place(tensor.shape, tensor.dtype) for tensor in step.node.outputs}
            made.append(step.call(known, training))
        return made, nest.mapped(known.__getitem__, self.outputs)


def traced(call: Callable[..., Any], inputs: Any, options: dict[str, Any]) -> Trace:
    """The trace of ``call(inputs, **options)``. `inputs`, and a `mask` among the options, hold symbolic tensors.

    Raises NotTracedError.
    """
    try:
        with unnoted():
            outputs = call(inputs, **options)
    except Exception as error:
        raise NotTracedError(f"with symbolic tensors it raises {type(error).__name__}: {str(error)[:300]}") from error
    for leaf in nest.leaves(outputs):
        if type(leaf) is not KerasTensor:
            raise NotTracedError(f"it returns a {type(leaf).__name__} that layers have not computed")
    return Trace(inputs, options.get("mask"), outputs)


def _check_arguments(node: Node) -> None:
    """Raises NotTracedError for a call with arrays: another call may have others in their place, such as weights."""
    for leaf in nest.leaves((node.args, node.kwargs)):
        if type(leaf) is not KerasTensor and hasattr(leaf, "__array__"):
            raise NotTracedError(f"{node.layer.name!r} gets an array that Python has computed, or a weight")


# ---------------------------------------------------------------- calls with several arguments


def arguments_of(call: Call) -> Any:
    """What a call gets: its inputs, or where it has several arguments a pair of them, by place and by name.

    None where one of them is no tensor.
    """
    if len(call.args) == 1 and not call.options:
        return call.args[0]
    given = (call.args, call.options)
    return given if all(type(leaf) is Place for leaf in nest.leaves(given)) else None


def are_several(given: Any) -> bool:
    """Whether what `arguments_of` returned are several arguments."""
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], tuple) and type(given[1]) is dict


def with_arguments(call: Callable[..., Any]) -> Callable[..., Any]:
    """A `call` that takes its arguments as `arguments_of` returns them."""
    return lambda given, **options: (
        call(*given[0], **given[1], **options) if are_several(given) else call(given, **options)
    )


# ---------------------------------------------------------------- what traces are for


def key_of(inputs: Any, mask: Any, training: bool, any_length: bool = False) -> Key:
    """What a trace is kept under: the structures, shapes and dtypes of what a call gets."""
    specs = nest.mapped(of_any_length, [inputs, mask]) if any_length else [inputs, mask]
    parts = (None if spec is None else (spec.shape, spec.dtype) for spec in nest.leaves(specs))
    return repr(nest.mapped(lambda _: 0, specs)), tuple(parts), training


def of_any_length(spec: Place | None) -> Place | None:
    """The same with any number of timesteps, which are the second axis."""
    if spec is None or len(spec.shape) < 2:
        return spec
    return Place((spec.shape[0], None, *spec.shape[2:]), spec.dtype)


def kind_of(x: Any, mask: Any, training: bool) -> Any:
    """What a refusal is kept under: it may not depend on lengths, which can be any."""
    kinds = tuple((getattr(leaf, "ndim", None), getattr(leaf, "dtype", None)) for leaf in nest.leaves([x, mask]))
    return repr(nest.mapped(lambda _: 0, [x, mask])), kinds, training


def comes_as_it_is(place: Any, dtype: str) -> bool:
    """Whether the shape of what comes to a place is known, and the model does not convert it to its own `dtype`."""
    if type(place) is not Place or place.shape is None:
        return False
    return place.dtype in (None, dtype) or np.dtype(place.dtype).kind in "iub"
