"""Blocks: custom layers whose `call` calls other layers. In a model these calls take the place of the layer's."""

import weakref
from typing import Any

from cyrnn import objects
from cyrnn.layers.base import nest
from cyrnn.layers.base.building import deferred_building
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.signatures import accepted
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.executor import Call, Place
from cyrnn.models.programs.trace import (
    Key,
    NotTracedError,
    Trace,
    arguments_of,
    comes_as_it_is,
    key_of,
    traced,
    with_arguments,
)

_KEPT = 16  # traces of a layer: in training or not, for inputs of other shapes
_WAYS = ("__call__", "inner_call", "call_checked", "computed", "call_and_mask", "compute_mask", "next_mask", "vjp")

# For each layer its structure, and for inputs the trace, or why there is none.
_kept: "weakref.WeakKeyDictionary[Layer, tuple[object, dict[Key, Trace | str]]]" = weakref.WeakKeyDictionary()
_changing: "weakref.WeakSet[Layer]" = weakref.WeakSet()  # the layers whose calls assign their own attributes


class Block:
    """A custom layer in a model, in whose place are the calls that its `call` makes, as far as these can be noted.

    They are noted in traces, as those of a subclass of `Model`. An assignment to an attribute of the layer ends them.

    Parameters
    ----------
    layer : Layer
        A custom one.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def why_not_replaced(self) -> str | None:
        """Why the layer has to be called, whatever its inputs are; None if its calls may take its place."""
        layer, policy = self.layer, self.layer.dtype_policy
        if (reason := self.why_not_noted()) is not None:
            return reason
        if layer.activity_regularizer is not None or not layer.built:
            return "it has an activity regularizer" if layer.built else "it is not built yet"
        rounds = policy.compute_dtype != policy.engine_dtype
        return f"its results are rounded to {policy.compute_dtype.name}" if rounds else None

    def why_not_noted(self) -> str | None:
        """Why there are no traces, whatever the inputs are; None if there may be some."""
        layer, policy = self.layer, self.layer.dtype_policy
        owners = {way: objects.owner(type(layer), way).__module__ for way in _WAYS}
        own = next((way for way, module in owners.items() if module.partition(".")[0] != "cyrnn"), None)
        others = (part.name for part in layer.layers_within() if part.dtype_policy.name != policy.name)
        if own is not None:
            return f"it has its own {own!r}"
        if accepted(type(layer).call, mask=None):
            return "its `call` takes a mask"
        if (other := next(others, None)) is not None:
            return f"its layer {other!r} has another dtype policy"
        return not_noted("it assigns attributes of the layer") if layer in _changing else None

    def why_called(self) -> str | None:
        """Why the layer is called for some inputs; None if that is not known."""
        reason = self._first_refusal()
        return self.why_not_replaced() or (reason and not_noted(reason))

    def inner_calls_of(self, call: Call) -> tuple[list[Call], Any] | None:
        """As `ModelOfCalls.inner_calls_of`, also of a call with several arguments, which are all tensors."""
        given = arguments_of(call)
        return None if given is None else self.inner_calls(given, call.training)

    def inner_calls(self, inputs: Any, training: bool | None) -> tuple[list[Call], Any] | None:
        """As `ModelOfCalls.inner_calls`; None where the layer has to be called."""
        places, dtype = nest.leaves(inputs), self.layer.dtype_policy.engine_dtype.name
        if not all(comes_as_it_is(place, dtype) for place in places):
            return None
        found = self.trace(nest.mapped(lambda place: Place(place.shape, dtype), inputs), bool(training))
        if isinstance(found, str):
            return None
        # The layer makes numbers of integers, of which an Embedding makes integers again.
        pairs = zip(found.tensors, places, strict=True)
        whole = [tensor for tensor, place in pairs if place.dtype not in (None, dtype)]
        if whole and not _are_tokens(found, whole):
            return None
        return found.calls(places, bool(training))

    def why_no_gradients(self) -> str | None:
        """Why `vjp` of the layer alone fails, as far as that is known."""
        reason = self._first_refusal()
        return self.why_not_noted() or (reason and not_noted(reason))

    def _first_refusal(self) -> str | None:
        return next((found for found in self._known().values() if isinstance(found, str)), None)

    # ------------------------------------------------------------ traces

    def _known(self) -> dict[Key, Trace | str]:
        structure, known = _kept.get(self.layer, (None, {}))
        return known if structure is self.layer._own_structure else {}

    def trace(self, specs: Any, training: bool) -> Trace | str:
        """The trace for such inputs, or why there is none."""
        known, key, structure = self._known(), key_of(specs, None, training), self.layer._own_structure
        if key not in known:
            try:
                found: Trace | str = self._new_trace(specs, training)
            except NotTracedError as error:
                found = str(error)
            known = {**dict(list(known.items())[1 - _KEPT :]), key: found}
            self.layer.watch(any(isinstance(found, Trace) for found in known.values()))
            _kept[self.layer] = (structure, known)
        return known[key]

    def _new_trace(self, specs: Any, training: bool) -> Trace:
        """Raises NotTracedError. The attributes of the layer are then as they were."""
        layer, attributes = self.layer, vars(self.layer).copy()
        layer.watch(True)
        structure = layer._own_structure
        tensors = nest.mapped(lambda spec: KerasTensor(spec.shape, spec.dtype), specs)
        try:
            with deferred_building(False):
                trace = traced(with_arguments(layer.call), tensors, accepted(type(layer).call, training=training))
        finally:
            if layer._own_structure is not structure:
                _changing.add(layer)
                _put_back(layer, attributes)
        if layer in _changing:
            raise NotTracedError("it assigns attributes of the layer")
        return trace


def not_noted(reason: str) -> str:
    return f"its `call` cannot be noted as calls of layers, because {reason}"


def _are_tokens(trace: Trace, tensors: list[KerasTensor]) -> bool:
    from cyrnn.layers import Embedding  # which is imported by those who use it

    return all(isinstance(reader, Embedding) for tensor in tensors for reader in trace.readers(tensor))


def _put_back(layer: Layer, attributes: dict[str, Any]) -> None:
    """Give the layer these attributes, and no others."""
    now = vars(layer)
    for name in now.keys() - attributes.keys() - {"_own_structure"}:
        del now[name]
    now.update({name: value for name, value in attributes.items() if name != "_own_structure"})
