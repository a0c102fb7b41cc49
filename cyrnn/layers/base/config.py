"""The arguments of a layer's constructor: as type checkers see them, and as plain JSON values in its config."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self, TypedDict

import numpy as np

from cyrnn import objects, regularizers
from cyrnn.layers.base import legacy_config
from cyrnn.layers.base.building import Buildable


class UnnamedOptions(TypedDict, total=False):
    """Arguments of `Layer` that constructors take in their ``**kwargs``, where they have a `name` of their own."""

    dtype: Any
    trainable: bool
    autocast: bool
    input_shape: Sequence[int | None]


class EmbeddingOptions(UnnamedOptions, total=False):
    """The same of an Embedding, whose `input_dim` is something else."""

    name: str | None
    input_length: Any
    quantization_config: None


class CommonOptions(UnnamedOptions, total=False):
    """The arguments of `Layer`, but for `activity_regularizer`."""

    name: str | None
    input_dim: int


class LayerOptions(CommonOptions, total=False):
    """The same of a constructor that does not name `activity_regularizer` itself."""

    activity_regularizer: Any


class QuantizableOptions(CommonOptions, total=False):
    """The same of a constructor that Keras can quantize; only None is supported."""

    quantization_config: None


class RecurrentOptions(CommonOptions, total=False):
    """The same of a recurrent layer that makes its cell."""

    zero_output_for_mask: bool


class GatedOptions(RecurrentOptions, total=False):
    """The same of one with gates."""

    implementation: int


class Configurable(Buildable):
    """A layer as something that a config describes."""

    activity_regularizer: Any

    _own_arguments: Mapping[str, Any] = MappingProxyType({})  # of a custom constructor, as its config
    _extra_arguments: tuple[Any, ...] = ()  # of its `*args`, which have no names

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        layer = super().__new__(cls)
        if (args or kwargs) and not _is_ours(cls, "__init__"):
            with contextlib.suppress(TypeError):  # the constructor will say what is wrong
                layer._note_arguments(inspect.signature(cls.__init__).bind(layer, *args, **kwargs))
        return layer

    def _note_arguments(self, bound: inspect.BoundArguments) -> None:
        kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
        own: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:
            if kinds[name] is inspect.Parameter.VAR_KEYWORD:
                own = {**value, **own}
            elif kinds[name] is inspect.Parameter.VAR_POSITIONAL:
                self._extra_arguments = value
            else:
                own[name] = value
        self._own_arguments = own

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values, under Keras' keys and in their order.

        Raises ValueError for a custom layer that got arguments without names, which its config cannot hold.

        Returns
        -------
        dict
        """
        config = {"name": self.name, "trainable": self.trainable, "dtype": objects.serialize(self.dtype_policy)}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        if not _is_ours(type(self), "get_config"):
            return config  # a custom `get_config` adds what it needs
        if self._extra_arguments:
            raise ValueError(
                f"layer {self.name!r} got {len(self._extra_arguments)} arguments by its constructor's `*args`, which "
                f"have no names in a config: {type(self).__name__} needs a `get_config`"
            )
        own = {key: _plain(value) for key, value in self._own_arguments.items() if key not in config}
        if not _is_ours(type(self), "__init__"):
            config = _accepted(type(self).__init__, config)
        return {**config, **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A new layer of this config, which any Keras since 1 may have written; the config is left as it is.

        Parameters
        ----------
        config : dict
            What `get_config` returned, here or in Keras.
        custom_objects : dict, optional
            Classes and functions by the names that the config has for them.

        Returns
        -------
        object of this class

        Raises
        ------
        ValueError
            It names the layer.
        """
        with objects.custom_object_scope(custom_objects), objects.refusals_named(cls.__name__, config):
            known = inspect.signature(cls).parameters
            new, time_major = legacy_config.modern(cls.__name__ if objects.is_builtin(cls) else "", config, known)
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

    def to_json(self, **kwargs: Any) -> str:
        """The layer's config as JSON text in Keras' form; `kwargs` go to `json.dumps`. See `cyrnn.from_json`.

        Returns
        -------
        str
        """
        import json

        return json.dumps(objects.serialize(self), **kwargs)


def _accepted(constructor: Callable[..., Any], config: dict[str, Any]) -> dict[str, Any]:
    """A config without what the constructor does not take: one without `**kwargs` need not take a name."""
    parameters = inspect.signature(constructor).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return config if takes_all else {key: value for key, value in config.items() if key in parameters}


def _is_ours(cls: type, name: str) -> bool:
    """Whether a method of a class is one that this package wrote."""
    owner = objects.owner(cls, name)
    return objects.is_builtin(owner) or owner.__module__.startswith("cyrnn.layers.base.")


def _plain(value: Any) -> Any:
    """A constructor's argument as a config can hold it."""
    if value is None or isinstance(value, (bool, int, float, str, Mapping)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return objects.serialize(value)
