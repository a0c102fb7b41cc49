"""Models whose `call` the user wrote: how that is traced, and run as the calls of layers that it makes."""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.engine.program import structure_changed, structure_now
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, Shape, as_array, as_mask, is_true
from cyrnn.layers.base.building import Buildable, deferred_building
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.names import distinct
from cyrnn.layers.base.programs.interface import Target, current_target
from cyrnn.layers.base.signatures import accepted
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.executor import Call, Place
from cyrnn.models.programs.parts import Partition, Results, Wanted
from cyrnn.models.programs.trace import (
    Key,
    NotTracedError,
    Trace,
    are_several,
    arguments_of,
    comes_as_it_is,
    key_of,
    kind_of,
    of_any_length,
    traced,
    with_arguments,
)
from cyrnn.models.programs.traced_call import TracedCall, partition_of
from cyrnn.models.trained import Trained

_KEPT = 16  # traces of a model: in training or not, with masks, for inputs of other shapes and dtypes


class SubclassedModel(Trained):
    """What `Model` is for its subclasses: a model that Python code describes.

    The code of `call` is run once with symbolic tensors for each kind of inputs: a trace. Then the model runs the calls
    of layers that were noted, as programs where that is possible, and has gradients. Where a call cannot be noted,
    because it computes with NumPy or looks at numbers, it is run as it is written. An assignment to an attribute of the
    model ends its traces; with `run_eagerly` there are none but for gradients.
    """

    run_eagerly: bool = False
    _traces: Mapping[Key, Trace] = MappingProxyType({})  # by what they are for
    _refusals: Mapping[Key, str] = MappingProxyType({})  # why there is no trace for inputs of such ranks and dtypes
    _lengths_seen: frozenset[Key] = frozenset()  # what there were traces for, whatever the number of timesteps
    _inputs: Any = None  # shapes and dtypes of the last inputs that there was a trace for
    _trains_by_default: bool = False  # whether a call is in training where that is not said
    _names_of_ours: frozenset[str] | None = None  # the attributes that this package sets
    _changes: object = None  # another one whenever another attribute is assigned
    _parts_at: int = -1  # the structure with which the model is not one program

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.is_custom:
            parameter = inspect.signature(type(self).call).parameters.get("training")
            vars(self)["_trains_by_default"] = parameter is not None and parameter.default is True
            vars(self)["_names_of_ours"] = frozenset(vars(self))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        ours = self._names_of_ours
        if ours is not None and name not in ours and (name == "run_eagerly" or not hasattr(SubclassedModel, name)):
            self._end_traces()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if self._names_of_ours is not None:
            self._end_traces()

    def _end_traces(self) -> None:
        had_some = bool(self._traces)
        vars(self).update(_changes=object(), _traces={}, _lengths_seen=frozenset(), _bound=None, _parts_at=-1)
        if had_some:
            vars(self)["_own_structure"] = object()
            structure_changed()

    @property
    def layers(self) -> list[Layer]:
        """The layers that the attributes hold, in the order of their assignment."""
        return [layer for _, layer in self.sublayers]

    def output_shapes_of_layers(self) -> list[Any]:
        traces = list(self._traces.values())
        known = traces[-1].output_shapes if traces else {}
        pairs = zip(self.layers, super().output_shapes_of_layers(), strict=True)
        batch = nest.leaves_of_shapes(self._build_shape)[0][:1] if known else ()  # that of the first call, as in Keras

        def of_call(shape: Any) -> Any:
            return batch + shape[1:] if shape[:1] == (None,) else shape

        # Keras does not know the shapes of layers that have nothing to build.
        seen = {layer for layer in known if isinstance(layer, Layer) and layer.weights}
        return [nest.mapped_shapes(of_call, known[layer]) if layer in seen else shape for layer, shape in pairs]

    def sublayer_paths(self) -> list[str]:
        """Where Keras' files have the layers of a subclass: Keras sorts the attributes, and `layers` is one of them."""
        paths = super().sublayer_paths()
        if not self.is_custom:
            return paths
        in_layers = distinct(f"layers/{objects.snake_case(type(layer).__name__)}" for layer in self.layers)
        triples = zip(self.sublayers, paths, in_layers, strict=True)
        return [path if name < "layers" and name[0] != "_" else other for (name, _), path, other in triples]

    @property
    def is_custom(self) -> bool:
        return type(self).checked_inputs is SubclassedModel.checked_inputs and not objects.is_builtin(type(self))

    def checked_inputs(self, inputs: Any) -> Any:
        """Inputs as arrays, in the structure in which they come: floating numbers in the dtype of the model."""
        arrays = nest.mapped(lambda part: as_array("inputs", part), inputs)
        return nest.mapped(lambda array: array if array.dtype.kind in "iub" else self.cast(array), arrays)

    # ------------------------------------------------------------ building

    @property
    def makes_its_own_weights(self) -> bool:
        return self.is_custom or super().makes_its_own_weights

    def _make_weights(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        super()._make_weights(input_shape, values)
        if self.is_custom:
            self.compute_output_shape(input_shape)  # by a call, which builds the layers

    def get_build_config(self) -> dict[str, Any] | None:
        shape = self._build_shape
        return None if shape is None else {"input_shape": nest.mapped_shapes(list, shape)}

    @property
    def _has_a_build(self) -> bool:
        return type(self).build is not Buildable.build

    def _built_by_a_call(self, shape: Any) -> None:
        """Note that a call has built the layers."""
        if not self.built:
            self._build_shape = shape
            self.built = True

    # ------------------------------------------------------------ calling

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.is_custom:
            return super().__call__(inputs, *args, **kwargs)
        result = None if args or kwargs else self.through_program(inputs)
        if result is None:
            result = super().__call__(inputs, *args, **kwargs)
            if not args and not kwargs:
                self.note_program(inputs)
        return result

    def call_checked(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if self.built or not self.is_custom or self._has_a_build:
            return super().call_checked(x, *args, **kwargs)
        outputs = self.computed(x, *args, **kwargs)  # the first call builds the layers
        self._built_by_a_call(symbolic.shapes_of(x))
        return outputs

    def computed(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.is_custom or args or self.run_eagerly or not kwargs.keys() <= {"mask", "training"}:
            return super().computed(x, *args, **kwargs)
        return self._outputs_and_masks(x, kwargs, wanted=Wanted.OUTPUTS)[0]

    def call_and_mask(self, x: Any, mask: Any, training: bool) -> tuple[Any, Any]:
        ways = (objects.owner(type(self), way).__module__ for way in ("__call__", "compute_mask", "next_mask"))
        own = any(module.partition(".")[0] != "cyrnn" for module in ways)
        if own or not self.is_custom or not self.built or self.run_eagerly:
            return super().call_and_mask(x, mask, training)
        options = {"mask": mask, "training": training}
        return self._outputs_and_masks(self.checked_inputs(x), options, wanted=Wanted.MASKS)

    def _outputs_and_masks(self, x: Any, options: dict[str, Any], wanted: Wanted) -> tuple[Any, Any]:
        """What a call returns, and the masks of that, which need not be right unless they are wanted."""
        mask, training = options.get("mask"), self._in_training(options.get("training"))
        kind = kind_of(x, mask, training)
        try:
            if kind in self._refusals:
                raise NotTracedError(self._refusals[kind])
            call = self._traced_call(x, mask, training)
        except NotTracedError as error:
            outputs = super().computed(x, **options)
            if kind not in self._refusals:  # now it is known that the inputs are sound
                vars(self)["_refusals"] = {**self._refusals, kind: str(error)}
            return outputs, self.next_mask(x, mask) if wanted is Wanted.MASKS else None
        outputs, masks, _ = call.run(training, wanted)
        if isinstance(outputs, np.ndarray) and outputs.dtype.kind == "f":
            outputs = self.returned(outputs)
        self._record_activity(outputs)
        return outputs, masks

    def note_program(self, inputs: Any) -> None:
        now, arrays = structure_now(), nest.leaves(inputs)
        if self._parts_at == now or (self._bound is not None and self._bound.up_to_date):
            return
        found = None
        plain = self.activity_regularizer is None and not self.run_eagerly and not self._in_training(None)
        if plain and current_target() is not None and all(isinstance(array, np.ndarray) for array in arrays):
            trace = self._known_trace(nest.mapped(self._spec_of, inputs), None, False)
            if trace is not None:
                found = partition_of(trace, self, (False,) * len(arrays), False).whole(now, trace.form)
        vars(self).update(_bound=found and found.bound, _parts_at=now if found is None else -1)

    def predict_inputs(self, x: Any) -> list[Array]:
        return [as_array("x", part) for part in nest.leaves(x)] if self.is_custom else super().predict_inputs(x)

    def in_structure(self, parts: list[Any], like: Any = None) -> Any:
        return nest.filled(like, parts) if nest.is_structure(like) else parts[0]

    def output_shapes_found(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if args or not kwargs.keys() <= {"training"}:
            return super().output_shapes_found(inputs, *args, **kwargs)
        shape, training = symbolic.shapes_of(inputs), self._in_training(kwargs.get("training"))
        if not self.built and self._has_a_build:
            with deferred_building(False):
                self.build(shape)
        try:
            trace = self._trace(nest.mapped(self._spec_of, inputs), None, training)
        except NotTracedError:
            return super().output_shapes_found(inputs, **kwargs)
        self._built_by_a_call(shape)
        batch = nest.leaves_of_shapes(shape)[0][:1]
        return nest.mapped(
            lambda tensor: batch + tensor.shape[1:] if tensor.shape[:1] == (None,) else tensor.shape, trace.outputs
        )

    # ------------------------------------------------------------ gradients

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        from cyrnn.models.programs import gradients

        found = None if self._in_training(training) else self.vjp_again(x, initial_state, mask, False)
        if found is None:
            call, given, in_training = self._call_with_gradients(x, mask, training)
            found = gradients.vjp(call, given, initial_state, call.masks, in_training)
            self.note_quick_vjp(None if in_training else call.quick_vjp, False)
        return found

    def taped(self, x: Any, mask: Any = None) -> tuple[Results, Any]:
        from cyrnn.models.programs import gradients

        if objects.owner(type(self), "vjp") is not SubclassedModel:
            return super().taped(x, mask)
        call, given, _ = self._call_with_gradients(x, mask, True)
        return gradients.taped(call, given, call.masks)

    def compiled_step(self, compiled: Any, masked: tuple[bool, ...] = ()) -> Any:
        from cyrnn.models.programs.training_step import ProgramStep

        own = objects.owner(type(self), "vjp") is not SubclassedModel or self.activity_regularizer is not None
        if own or self.run_eagerly or self._inputs is None or any(masked):
            return None
        try:
            trace = self._trace(self._inputs, None, True)
        except NotTracedError:
            return None
        return ProgramStep.made(self, compiled, (False,) * len(trace.tensors))

    @property
    def has_its_own_call(self) -> bool:
        """Whether a call is more than the calls of layers in a trace."""
        return False

    def partition_for(
        self, masks: Sequence[Any], training: bool, target: Target, wanted: Wanted = Wanted.OUTPUTS
    ) -> Partition:
        """The partition for a call with inputs such as the last ones, without masks."""
        try:
            trace = self._trace(self._inputs, None, training)
        except NotTracedError as error:
            raise self._without_gradients(error) from error
        return partition_of(trace, self, (False,) * len(masks), training, wanted=wanted, target=target)

    def called(self, x: Any, mask: Any = None) -> Results:
        if not self.is_custom or not self.built:
            return super().called(x, mask)
        return Results(*self.call_and_mask(x, mask, False), [])

    def _call_with_gradients(self, x: Any, mask: Any, training: bool) -> tuple[TracedCall, Any, bool]:
        """The call as a trace has it, its inputs as arrays, and whether it is in training. Raises ValueError."""
        if self.activity_regularizer is not None:
            raise ValueError(f"model {self.name!r} has no gradients: it has an activity regularizer itself")
        inputs, in_training = self.checked_inputs(x), self._in_training(training)
        if not self.built and self._has_a_build:
            self.build(symbolic.shapes_of(inputs))
        try:
            call = self._traced_call(inputs, mask, in_training)
        except NotTracedError as error:
            raise self._without_gradients(error) from error
        self._built_by_a_call(symbolic.shapes_of(inputs))
        return call, nest.mapped(lambda part: as_array("inputs", part), x), in_training

    def _without_gradients(self, error: NotTracedError) -> ValueError:
        return ValueError(
            f"model {self.name!r} has no gradients: its `call` cannot be noted as calls of layers, because {error}; "
            "it needs a `vjp` beside it"
        )

    # ------------------------------------------------------------ in other models

    def why_not_replaced(self) -> str | None:
        """Why calls of the model in another one are not replaced by the calls that it makes; None if they are."""
        if accepted(type(self).call, mask=None):
            return "its `call` takes a mask"
        if self.activity_regularizer is not None:
            return "it has an activity regularizer"
        if self.run_eagerly or not self.built:
            return "it is to run eagerly" if self.run_eagerly else "it is not built yet"
        return next((f"its `call` cannot be noted, because {reason}" for reason in self._refusals.values()), None)

    def inner_calls_of(self, call: Call) -> tuple[list[Call], Any] | None:
        given = arguments_of(call)
        return None if given is None else self.inner_calls(given, call.training)

    def inner_calls(self, inputs: Any, training: bool | None) -> tuple[list[Call], Any] | None:
        """As `ModelOfCalls.inner_calls`; None where there is no trace."""
        places, in_training, dtype = nest.leaves(inputs), bool(training), self.dtype_policy.engine_dtype.name
        if not all(comes_as_it_is(place, dtype) for place in places):
            return None
        specs = nest.mapped(lambda place: Place(place.shape, place.dtype or dtype), inputs)
        try:
            return self._trace(specs, None, in_training).calls(places, in_training)
        except NotTracedError:
            return None

    # ------------------------------------------------------------ traces

    def _traced_call(self, x: Any, mask: Any, training: bool) -> TracedCall:
        """A call with these arrays. Raises NotTracedError."""
        masks = None if mask is None else nest.mapped(lambda part: None if part is None else as_mask(part), mask)
        specs = None
        if masks is not None and accepted(type(self).call, mask=None):
            specs = nest.mapped(lambda part: None if part is None else Place((None, *part.shape[1:]), "bool"), masks)
        return TracedCall(self, self._trace(nest.mapped(self._spec_of, x), specs, training), x, masks)

    def _spec_of(self, array: Any) -> Place:
        """Shape and dtype of an input. The number of rows may be any, unless a layer carries states for them."""
        batch = array.shape[0] if array.shape and self.stateful else None
        return Place((batch, *array.shape[1:]), str(array.dtype))

    def _trace(self, inputs: Any, mask: Any, training: bool) -> Trace:
        """The trace for such inputs, made if it is not known. Raises NotTracedError."""
        if mask is None and not are_several(inputs):
            vars(self)["_inputs"] = inputs
        trace = self._known_trace(inputs, mask, training)
        if trace is not None:
            return trace
        if key_of(inputs, mask, training, any_length=True) in self._lengths_seen:  # with another length, to begin with
            any_inputs, any_mask = nest.mapped(of_any_length, [inputs, mask])
            with contextlib.suppress(NotTracedError):
                return self._new_trace(any_inputs, any_mask, training)
        return self._new_trace(inputs, mask, training)

    def _known_trace(self, inputs: Any, mask: Any, training: bool) -> Trace | None:
        if not self._traces:
            return None
        trace = self._traces.get(key_of(inputs, mask, training, any_length=True))
        return trace or self._traces.get(key_of(inputs, mask, training))

    def _new_trace(self, inputs: Any, mask: Any, training: bool) -> Trace:
        options: dict[str, Any] = {}
        if mask is not None:
            options["mask"] = nest.mapped(lambda spec: spec and KerasTensor(spec.shape, spec.dtype), mask)
        if training or self._trains_by_default:
            options |= accepted(type(self).call, training=training)
        tensors = nest.mapped(lambda spec: KerasTensor(spec.shape, spec.dtype), inputs)
        for _ in range(2):  # the first call may make layers, and keep them in attributes
            before = self._changes
            with deferred_building(False):
                trace = traced(with_arguments(self.call), tensors, options)
            if self._changes is before:
                break
        else:
            raise NotTracedError("it assigns attributes of the model")
        for layer in self.layers_within()[1:]:
            if layer.dtype_policy.name != self.dtype_policy.name:
                raise NotTracedError(f"layer {layer.name!r} has another dtype policy than the model")
        known = dict(list(self._traces.items())[1 - _KEPT :])
        vars(self)["_traces"] = {**known, key_of(inputs, mask, training): trace}
        vars(self)["_lengths_seen"] = self._lengths_seen | {key_of(inputs, mask, training, any_length=True)}
        return trace

    def _in_training(self, training: Any) -> bool:
        return self._trains_by_default if training is None else bool(is_true("training", training))

    def __getstate__(self) -> dict[str, Any]:
        ended = ("_traces", "_lengths_seen", "_refusals", "_changes", "_inputs")  # made again when they are needed
        return {name: value for name, value in super().__getstate__().items() if name not in ended}
