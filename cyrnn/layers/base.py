"""What every layer has: its name, dtype policy, weights, losses and config; and how arguments are checked."""

import contextlib
import itertools
import json
import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn import dtypes, objects, regularizers

Array = NDArray[Any]
Shape = tuple[int | None, ...]

_counters: dict[str, Iterator[int]] = defaultdict(itertools.count)
_building = threading.RLock()  # a layer is built once, also when several threads call it first


def _renew_lock() -> None:  # in a forked child, the thread that held the old one is gone
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

_deferred: ContextVar[bool] = ContextVar("deferred_building", default=False)


def unique_name(base: str) -> str:
    """Keras' default names: ``dense``, ``dense_1``, ... in the order of construction."""
    number = next(_counters[base])
    return f"{base}_{number}" if number else base


@contextlib.contextmanager
def deferred_building() -> Iterator[None]:
    """Within the block `build` does nothing: whoever makes layers from a file builds them with the file's weights."""
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)


class EmptySequenceError(ValueError, IndexError):
    """A sequence of no timesteps. Keras raises IndexError for it, wrong shapes are ValueErrors here: this is both."""


@dataclass(frozen=True)
class WeightSpec:
    """A weight before it exists: its shape is known from the input's, nothing is allocated yet."""

    name: str
    shape: tuple[int, ...]
    initializer: Callable[..., ArrayLike] | None
    regularizer: Callable[[Array], Any] | None = None
    constraint: Callable[[Array], ArrayLike] | None = None


class Weight:
    """A weight as a layer's attribute: None until the layer is built, then a read-only array.

    Assigning checks the shape and stores a copy; the array itself can never change, so what was prepared from it
    can never go stale.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: "Layer | None", owner: type | None = None) -> Any:
        return self if layer is None else layer._values.get(self.name)

    def __set__(self, layer: "Layer", value: ArrayLike) -> None:
        layer._assign({self.name: value})


class Layer:
    """Base of all layers. A subclass gives `weight_specs` and `call`, and a config that its constructor takes.

    Keyword arguments are Keras': `name` (str without "/"), `dtype` (policy, default float32), `trainable` (bool),
    `activity_regularizer`, `autocast` (accepted; inputs are always cast), and the deprecated `input_shape` and
    `input_dim` (accepted with a warning, no effect). Others raise ValueError.
    """

    _keras_module: ClassVar[str]

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        cls = type(self).__name__
        for deprecated in ("input_shape", "input_dim"):
            if kwargs.pop(deprecated, None) is not None:
                warnings.warn(f"{cls}: {deprecated} has no effect; begin the model with an Input", stacklevel=3)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to {cls}: {kwargs}")
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"name must be a string without '/', got {name!r}")
        self.name = unique_name(objects.snake_case(cls)) if name is None else name
        self.dtype_policy = dtypes.get(dtype)
        self._trainable = _checked_bool("trainable", trainable)
        self.autocast = autocast
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self._build_shape: Shape | None = None
        self._specs: dict[str, WeightSpec] = {}
        self._values: Mapping[str, Array] = {}  # replaced as a whole, never changed: readers need no lock
        self._activity_losses: list[Any] = []  # of the last call

    # ------------------------------------------------------------ building

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        """The layer's own weights, in Keras' order, for inputs of this shape (None: any length)."""
        return []

    @property
    def sublayers(self) -> "list[tuple[str, Layer]]":
        """Layers inside this one that hold weights, by Keras' attribute name."""
        return []

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        """The input shape of each of `sublayers`."""
        return []

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of `input_shape`, the batch axis first. A built layer is left as it is."""
        shape = checked_shape("input_shape", input_shape)
        with _building:
            if not self.built and not _deferred.get():
                self.build_with(shape, None)

    def build_with(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        """Build, with own weights of these values instead of the initializers' ones."""
        specs = self.weight_specs(input_shape)
        if values is None:
            values = {spec.name: self._initial_value(spec) for spec in specs}
            for (_, sublayer), shape in zip(self.sublayers, self.sublayer_shapes(input_shape), strict=True):
                sublayer.build(shape)
        self._specs = {spec.name: spec for spec in specs}
        self._values = {name: self._checked_weight(name, value) for name, value in values.items()}
        self._build_shape = input_shape
        self.built = True

    def _initial_value(self, spec: WeightSpec) -> ArrayLike:
        from cyrnn.initializers import GlorotUniform  # what Keras takes for None

        return (spec.initializer or GlorotUniform())(spec.shape, dtype=self.dtype_policy.variable_dtype.name)

    # ------------------------------------------------------------ weights

    @property
    def trainable(self) -> bool:
        """Whether the weights count as trainable: False leaves them out of `trainable_weights` and `losses`."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _checked_bool("trainable", value)
        for _, sublayer in self.sublayers:
            sublayer.trainable = value

    @property
    def weights(self) -> list[Array]:
        """All weights as read-only arrays, in Keras' order."""
        return [layer._values[name] for layer, name in self._weight_slots()]

    @property
    def trainable_weights(self) -> list[Array]:
        """`weights`, without those of frozen layers."""
        return [layer._values[name] for layer, name in self._weight_slots(trainable=True)]

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras' order."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replace all weights. Raises ValueError, and changes nothing, if the number or a shape does not fit."""
        slots = self._weight_slots()
        if len(weights) != len(slots):
            raise ValueError(
                f"layer {self.name!r} has {len(slots)} weights, got {len(weights)}"
                + ("" if self.built else ": it is not built yet; call it or build(input_shape) first")
            )
        new: dict[Layer, dict[str, Array]] = defaultdict(dict)
        for (layer, name), value in zip(slots, weights, strict=True):
            new[layer][name] = layer._checked_weight(name, value)
        for layer, values in new.items():
            layer._values = {**layer._values, **values}

    def _weight_slots(self, trainable: bool = False) -> "list[tuple[Layer, str]]":
        """Where each of `weights` lives; with `trainable`, only where it is not frozen."""
        if trainable and not self.trainable:
            return []
        own = [(self, name) for name in self._specs]
        return own + [slot for _, sublayer in self.sublayers for slot in sublayer._weight_slots(trainable)]

    def _assign(self, values: Mapping[str, ArrayLike]) -> None:
        for name in values:
            if name not in self._specs:
                raise ValueError(
                    f"layer {self.name!r} has no weight {name!r}" + ("" if self.built else " yet: build it")
                )
        self._values = {**self._values, **{name: self._checked_weight(name, v) for name, v in values.items()}}

    def _checked_weight(self, name: str, value: ArrayLike) -> Array:
        array = np.array(value, dtype=self.dtype_policy.variable_dtype, order="C")
        expected = self._specs[name].shape if name in self._specs else array.shape
        if array.shape != expected:
            raise ValueError(f"weight {name!r} of layer {self.name!r} has shape {expected}, got {array.shape}")
        array.flags.writeable = False
        return array

    def count_params(self) -> int:
        """The number of weights' elements. Raises ValueError before the layer is built."""
        if not self.built:
            raise ValueError(f"layer {self.name!r} has no weights to count before it is built: call it or build() it")
        return sum(weight.size for weight in self.weights)

    # ------------------------------------------------------------ losses and constraints

    @property
    def losses(self) -> list[Any]:
        """Penalties: of the last call's activity first, then one for each regularized trainable weight."""
        losses = self._all_activity_losses()
        for layer, name in self._weight_slots(trainable=True):
            regularizer = layer._specs[name].regularizer
            if regularizer is not None:
                losses.append(regularizer(layer._values[name]))
        return losses

    def _all_activity_losses(self) -> list[Any]:
        inner = [loss for _, sublayer in self.sublayers for loss in sublayer._all_activity_losses()]
        return self._activity_losses + inner

    def apply_constraints(self) -> None:
        """Replace each constrained weight w by constraint(w), as Keras' optimizers do after each update."""
        new: dict[Layer, dict[str, ArrayLike]] = defaultdict(dict)
        for layer, name in self._weight_slots():
            constraint = layer._specs[name].constraint
            if constraint is not None:
                new[layer][name] = constraint(layer._values[name])
        for layer, values in new.items():
            layer._assign(values)

    def _record_activity(self, *arrays: Array) -> None:
        """Note the activity penalty of this call's outputs, per sample as Keras does since 3.14."""
        if self.activity_regularizer is not None:
            self._activity_losses = [self.activity_regularizer(a) / max(1, len(a)) for a in arrays]

    # ------------------------------------------------------------ calling

    def __call__(self, inputs: ArrayLike, mask: ArrayLike | None = None, training: bool = False) -> Any:
        x = self.checked_inputs(inputs)
        if not self.built:
            self.build(x.shape)
        outputs = self.call(x, mask=mask, training=training)
        self._record_activity(outputs)
        return outputs

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        return inputs

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        """Inputs as an array of the compute dtype, not copied where they are already."""
        return self.cast(as_array("inputs", inputs))

    def cast(self, array: Array) -> Array:
        """`array` in the dtype that the engine computes in, aligned."""
        dtype = self.dtype_policy.engine_dtype
        return array if array.dtype == dtype and array.flags.aligned else np.require(array, dtype, "A")

    def returned(self, array: Array) -> Array:
        """A result in the dtype that the layer returns."""
        return (
            array if array.dtype == self.dtype_policy.compute_dtype else array.astype(self.dtype_policy.compute_dtype)
        )

    @property
    def output_dtype(self) -> np.dtype:
        """The dtype of what the layer returns."""
        return self.dtype_policy.compute_dtype

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """The shape of the output for inputs of `input_shape`; None stands for any length."""
        return tuple(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the layer hands on: its input's."""
        return mask

    def call_and_mask(self, x: Any, mask: Any, training: bool) -> tuple[Any, Any]:
        """The layer's output, and the mask for the layer behind it."""
        return self(x, mask=mask, training=training), self.compute_mask(x, mask)

    def reset_state(self) -> None:
        """Set carried states to zeros; nothing to do for a layer that carries none."""

    # ------------------------------------------------------------ configs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values, under Keras' keys and in their order."""
        config = {"name": self.name, "trainable": self.trainable, "dtype": objects.serialize(self.dtype_policy)}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A new layer of this config, which is left as it is."""
        with objects.custom_object_scope(custom_objects):
            return cls(**config)

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build` was told, so that a reader can build the layer again."""
        return None if self._build_shape is None else {"input_shape": list(self._build_shape)}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build as a saved layer was built."""
        shape = config.get("input_shape") or (config.get("shapes_dict") or {}).get("sequences_shape")
        if shape is not None:
            self.build(shape)

    def to_json(self, **kwargs: Any) -> str:
        """The layer's config as JSON text in Keras' form; `kwargs` go to `json.dumps`. See `cyrnn.from_json`."""
        return json.dumps(objects.serialize(self), **kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for value in self._values.values():  # a copy or an unpickled array has forgotten that it is read-only
            value.flags.writeable = False

    def __repr__(self) -> str:
        built = f", parameters={self.count_params()}" if self.built else ", built=False"
        return f"<{type(self).__name__} name={self.name!r}{built}, dtype={self.dtype_policy.name!r}>"


# ---------------------------------------------------------------- arguments


def as_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array of numbers: a view where its owner allows one. Raises TypeError or ValueError."""
    if value is None or isinstance(value, (list, tuple, str, bytes, int, float, complex)):
        raise ValueError(f"{name} must be an array, got {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float32):  # bfloat16 is of kind "V"
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    return array


def _checked_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be a bool, got {value!r}")
    return value


def checked_shape(name: str, shape: Any) -> Shape:
    """A shape of at least one axis as a tuple of non-negative ints and None. Raises ValueError."""
    axes = tuple(shape) if isinstance(shape, (list, tuple)) else ()
    if not axes or any(n is not None and (isinstance(n, bool) or not hasattr(n, "__index__") or n < 0) for n in axes):
        raise ValueError(f"{name} must be a tuple of non-negative integers and None, got {shape!r:.100}")
    return tuple(None if n is None else n.__index__() for n in axes)


def checked_int(name: str, value: Any) -> int:
    """A positive Python int from anything that is one. Raises TypeError or ValueError."""
    if isinstance(value, bool) or value is None or not hasattr(value, "__index__"):
        kind = ValueError if isinstance(value, (bool, float)) else TypeError  # as Keras has it for 2.5 and for "3"
        raise kind(f"{name} must be a positive integer, got {value!r}")
    if value.__index__() <= 0:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return value.__index__()


def checked_rate(name: str, value: Any) -> float:
    """A dropout rate: clamped to [0, 1], as Keras does. Raises TypeError for what is not a number."""
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number between 0 and 1, got {value!r}")
    if value != value:
        raise ValueError(f"{name} must be a number between 0 and 1, got nan")
    return min(1.0, max(0.0, float(value)))
