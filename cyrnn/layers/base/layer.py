"""What every layer has, beside its weights: a name, a dtype policy, losses, a config, and how it is called."""

import contextlib
import inspect
import json
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import dtypes, objects, regularizers
from cyrnn.layers.base import legacy_config, nest, symbolic
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.names import unique_name
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.base.weights import Weighted, deferred_building


class Layer(Weighted):
    """Base of all layers, and of your own: a subclass has ``call(inputs, ...)``, and perhaps ``build(input_shape)``,
    which makes weights by `add_weight`, and ``get_config()``, with what its constructor takes.

    Keyword arguments are Keras': `name` (str without "/"), `dtype` (policy, default float32), `trainable` (bool),
    `activity_regularizer`, `autocast` (accepted; inputs are always cast), and the deprecated `input_shape` and
    `input_dim` (with a warning): they build a `Sequential` that begins with the layer. Others raise ValueError.

    Where a layer of your own has no `get_config`, its constructor's arguments are its config, as in Keras.
    """

    _keras_module: ClassVar[str]

    # Whether a mask goes on behind this layer, as `compute_mask` says; else it ends here, with a warning. Layers of
    # your own pass masks on if they have a `compute_mask`.
    supports_masking: bool = False

    keeps_training_open: ClassVar[bool] = False  # whether a call's `training` may be None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compute_mask" in vars(cls) and "supports_masking" not in vars(cls):
            cls.supports_masking = True

    _own_arguments: Mapping[str, Any] = MappingProxyType({})  # of a constructor that is not of this package

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        layer = super().__new__(cls)
        if (args or kwargs) and _owner(cls, "__init__") is not Layer and not _built_in(_owner(cls, "__init__")):
            with contextlib.suppress(TypeError):  # the constructor will say what is wrong
                bound = inspect.signature(cls.__init__).bind(layer, *args, **kwargs)
                arguments = dict(list(bound.arguments.items())[1:])
                layer._own_arguments = {**arguments.pop("kwargs", {}), **arguments}
        return layer

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
        input_dim, self.first_input_shape = kwargs.pop("input_dim", None), kwargs.pop("input_shape", None)
        if input_dim is not None:
            self.first_input_shape = (input_dim,)
        if self.first_input_shape is not None:
            warnings.warn(
                f"{cls}: input_shape and input_dim are deprecated; begin the model with an Input", stacklevel=3
            )
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to {cls}: {kwargs}")
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"name must be a string without '/', got {name!r}")
        super().__init__(trainable)
        self.name = unique_name(objects.snake_case(cls)) if name is None else name
        self.dtype_policy = dtypes.get(dtype)
        self.autocast = autocast
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._activity_losses: list[Any] = []  # of the last call
        self._nodes: deque[symbolic.Node] = deque()  # the calls with symbolic tensors; no list: none holds layers
        self._called_with: Any = None  # the shape of the first of these

    # ------------------------------------------------------------ losses

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
        return [loss for layer in self.layers_within() for loss in layer._activity_losses]

    def _record_activity(self, outputs: Any) -> None:
        """Note the activity penalty of this call's outputs, per sample as Keras does since 3.14."""
        if self.activity_regularizer is not None:
            self._activity_losses = [self.activity_regularizer(a) / max(1, len(a)) for a in nest.flatten(outputs)]

    # ------------------------------------------------------------ calling

    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """``call(inputs, ...)`` with inputs of the layer's dtype, after building it; see the class for the arguments.

        `mask` and `training` are left out where `call` does not take them. Symbolic tensors give symbolic tensors.
        """
        if symbolic.among(inputs, args, kwargs):
            return symbolic.call(self, (inputs, *args), kwargs)
        x = self.checked_inputs(inputs)
        if not self.built:
            self.build(symbolic.shapes_of(x))
        told = {key: kwargs.pop(key) for key in ("mask", "training") if key in kwargs}
        outputs = self.call(x, *args, **kwargs, **accepted(type(self).call, **told))
        if self.is_your_own and isinstance(outputs, np.ndarray) and outputs.dtype.kind == "f":
            outputs = self.returned(outputs)
        self._record_activity(outputs)
        return outputs

    @property
    def is_your_own(self) -> bool:
        """Whether a user wrote the layer, from `Layer` and nothing else of this package."""
        return type(self).checked_inputs is Layer.checked_inputs and not _built_in(type(self))

    def call(self, inputs: Array, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes; inputs are an array of its dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no `call(inputs, ...)`")

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        """Inputs as an array of the compute dtype, not copied where they are already.

        A layer of your own may have several, in lists, tuples and dicts.
        """
        if nest.is_structure(inputs) and self.is_your_own:
            return nest.mapped(lambda part: self.cast(as_array("inputs", part)), inputs)
        return self.cast(as_array("inputs", inputs))

    def cast(self, array: Array) -> Array:
        """`array` in the dtype that the engine computes in, aligned."""
        dtype = self.dtype_policy.engine_dtype
        return array if array.dtype == dtype and array.flags.aligned else np.require(array, dtype, "A")

    def returned(self, array: Array) -> Array:
        """A result in the dtype that the layer returns."""
        dtype = self.dtype_policy.compute_dtype
        return array if array.dtype == dtype else array.astype(dtype)

    @property
    def compute_dtype(self) -> str:
        """The name of the dtype that the layer returns."""
        return self.dtype_policy.compute_dtype.name

    @property
    def variable_dtype(self) -> str:
        """The name of the weights' dtype."""
        return self.dtype_policy.variable_dtype.name

    @property
    def dtype(self) -> str:
        """The name of the weights' dtype."""
        return self.variable_dtype

    @property
    def output_dtype(self) -> np.dtype:
        """The dtype of what the layer returns."""
        return self.dtype_policy.compute_dtype

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """The shape of the output for inputs of `input_shape`; None stands for any length.

        A layer of your own that has no such method is called with zeros, to see what it gives.
        """
        if not self.is_your_own:
            return tuple(input_shape)
        with deferred_building(False):
            found = self(nest.mapped_shapes(symbolic.zeros_of, input_shape))
        return nest.mapped(lambda array: symbolic.shape_found(np.shape(array), _first_shape(input_shape)), found)

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """What a call with these symbolic tensors gives, as such. The layer is built for them, if it is not yet.

        Raises ValueError and TypeError, as the call with arrays would.
        """
        shape = symbolic.shapes_of(inputs)
        dtype = self.dtype_policy.engine_dtype
        placeholders = nest.mapped(lambda tensor: symbolic.placeholder(tensor, dtype), inputs)
        if all(array.size <= symbolic.MOST_ELEMENTS for array in nest.leaves(placeholders)):
            self.checked_inputs(placeholders)
        if not self.is_your_own:
            self._build_symbolically(shape)
            outputs = self.compute_output_shape(shape)
        elif type(self).compute_output_shape is not Layer.compute_output_shape:
            with deferred_building(False):
                self._build_symbolically(shape)
            outputs = self.compute_output_shape(shape)
        else:
            with deferred_building(False):
                zeros = nest.mapped(symbolic.zeros, [inputs, args, kwargs])
                found = self(zeros[0], *zeros[1], **zeros[2])
            given = _first_shape(shape)
            outputs = nest.mapped(lambda array: symbolic.shape_found(np.shape(array), given), found)
        returned = self.output_dtype.name
        return nest.mapped_shapes(lambda shape: KerasTensor(shape, returned), outputs)

    def _build_symbolically(self, shape: Any) -> None:
        if not self.built and not self._nodes:
            self.build(shape)
            self._called_with = shape
            return
        built_for = self._called_with if self._build_shape is None else self._build_shape
        for wrong in () if built_for is None else symbolic.specs_that_differ(self, shape, built_for):
            raise ValueError(wrong)

    @property
    def input(self) -> Any:
        """The symbolic tensors that the layer was called with. Raises AttributeError unless that was once."""
        node = self._only_node()
        return node.args[0] if node.args else self.output

    @property
    def output(self) -> Any:
        """The symbolic tensors that the layer has given. Raises AttributeError unless it was called with such once."""
        outputs = self._only_node().outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _only_node(self) -> symbolic.Node:
        if len(self._nodes) != 1:
            raise AttributeError(
                f"layer {self.name!r} was called with symbolic tensors {len(self._nodes)} times, not once"
            )
        return self._nodes[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_nodes": deque()}  # the calls are the model's that they belong to

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the layer hands on: its input's."""
        return mask

    def call_and_mask(self, x: Any, mask: Any, training: bool) -> tuple[Any, Any]:
        """The layer's output, and the mask for the layer behind it; of several inputs, lists."""
        return self(x, mask=mask, training=training), self.mask_behind(x, mask)

    def mask_behind(self, x: Any, mask: Any) -> Any:
        """The mask for the layer behind this one."""
        if self.supports_masking:
            return self.compute_mask(x, mask)
        if mask is not None:
            warnings.warn(f"layer {self.name!r} does not pass the mask on: layers behind it run without", stacklevel=3)
        return None

    def reset_state(self) -> None:
        """Set carried states to zeros; nothing to do for a layer that carries none."""

    # ------------------------------------------------------------ configs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values, under Keras' keys and in their order."""
        config = {"name": self.name, "trainable": self.trainable, "dtype": objects.serialize(self.dtype_policy)}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        described = _built_in(_owner(type(self), "get_config")) or _owner(type(self), "get_config") is Layer
        own = {key: value for key, value in self._own_arguments.items() if described and key not in config}
        return {**config, **{key: _plain(value) for key, value in own.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A new layer of this config, which any Keras since 1 may have written; the config is left as it is.

        Raises ValueError that names the layer.
        """
        with objects.custom_object_scope(custom_objects), objects.refusals_named(cls.__name__, config):
            known = inspect.signature(cls).parameters
            new, time_major = legacy_config.modern(cls.__name__ if _built_in(cls) else "", config, known)
            if time_major and not isinstance(getattr(cls, "time_major", None), bool):
                raise ValueError("time_major is true, but it is not a recurrent layer")
            layer = cls(**cls.arguments_of(new))
        if time_major:
            layer.time_major = True
        return layer

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments of a config: the config, if it holds no layers."""
        return dict(config)

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

    def __repr__(self) -> str:
        facts = {**self.described(), "dtype": self.dtype_policy.name}
        return f"<{type(self).__name__} name={self.name!r}, {', '.join(f'{k}={v!r}' for k, v in facts.items())}>"

    def described(self) -> dict[str, Any]:
        """What `repr` says of the layer, beside its name and dtype."""
        if not self.built:
            return {"built": False}
        features = {} if self._build_shape is None else {"features": self._build_shape[-1]}
        return {**features, "parameters": self.count_params()}


def _first_shape(shapes: Any) -> Any:
    """A shape, or the first of several."""
    found: list[Any] = []
    nest.mapped_shapes(found.append, shapes)
    return found[0]


def _built_in(cls: type) -> bool:
    return "_keras_module" in vars(cls)


def _owner(cls: type, name: str) -> type:
    """The class from which `cls` has this attribute."""
    return next(owner for owner in cls.__mro__ if name in vars(owner))


def _plain(value: Any) -> Any:
    """A constructor's argument as a config can hold it."""
    if value is None or isinstance(value, (bool, int, float, str, Mapping)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return objects.serialize(value)


_parameters: weakref.WeakKeyDictionary[Callable[..., Any], frozenset[str] | None] = weakref.WeakKeyDictionary()


def accepted(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that the function has parameters for; all, if it takes any keyword."""
    if function not in _parameters:
        found = inspect.signature(function).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in found.values())
        _parameters[function] = None if takes_all else frozenset(found)
    names = _parameters[function]
    return options if names is None else {key: value for key, value in options.items() if key in names}
