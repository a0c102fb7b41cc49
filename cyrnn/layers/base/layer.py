"""Layer: what every layer is, put together: a name, a config, weights, and how it is built and called."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from cyrnn import budget, dtypes, notices, objects, regularizers
from cyrnn.arrays import shown
from cyrnn.layers.base.calling import CallableLayer
from cyrnn.layers.base.config import Configurable
from cyrnn.notices.names import suggestion

__all__ = ["Layer", "deserialize", "serialize"]


class Layer(CallableLayer, Configurable):
    """Base class of all layers.

    A custom layer has a method ``call(inputs, ...)``. It may have ``build(input_shape)``, which makes weights by
    `add_weight`, and ``get_config()``, which returns its constructor's arguments; without that, they are noted when
    it is made, as in Keras.

    Parameters
    ----------
    name : str, optional
        Without "/"; default: the snake case of the class, numbered.
    dtype : str or policy, optional
        The dtype policy, default "float32".
    trainable : bool
        Whether the weights are in `trainable_weights`.
    autocast : bool
        Accepted; inputs are always cast.
    activity_regularizer : str, dict or callable, optional
        The penalty on the output, in `losses`.
    input_shape, input_dim : optional
        Deprecated: the input of a `Sequential` that begins with the layer.

    Raises
    ------
    ValueError
        For other arguments, and for a name with "/".
    """

    _made_from: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"dtype_policy": dtypes.get}

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
        budget.spend(budget.LAYER)
        cls = type(self).__name__
        input_dim, self.first_input_shape = kwargs.pop("input_dim", None), kwargs.pop("input_shape", None)
        if input_dim is not None:
            self.first_input_shape = (input_dim,)
        if self.first_input_shape is not None:
            notices.warn(f"{cls}: input_shape and input_dim are deprecated; begin the model with an Input")
        if kwargs:
            hint = suggestion(next(iter(kwargs)), _arguments_of(type(self)))
            raise ValueError(f"Unrecognized keyword arguments passed to {cls}: {shown(kwargs)}{hint}")
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"name must be a string without '/', got {shown(name)}")
        super().__init__(trainable)
        self.name = objects.unique_name(objects.snake_case(cls)) if name is None else name
        self.dtype_policy = dtypes.get(dtype)
        self.autocast = autocast
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def __repr__(self) -> str:
        facts = {**self.described(), "dtype": self.dtype_policy.name}
        return f"<{type(self).__name__} name={self.name!r}, {', '.join(f'{k}={v!r}' for k, v in facts.items())}>"

    def described(self) -> dict[str, Any]:
        """What `repr` says of the layer, beside its name and dtype."""
        if not self.built:
            return {"built": False}
        features = {} if self._build_shape is None else {"features": self._build_shape[-1]}
        return {**features, "parameters": self.count_params()}


def _arguments_of(cls: type[Layer]) -> set[str]:
    """The names of the constructor's arguments, and those of the classes that it is derived from."""
    constructors = (vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base))
    return {name for made in constructors for name in inspect.signature(made).parameters} - {"self", "args", "kwargs"}


def serialize(layer: Layer) -> dict[str, Any]:
    """The class and config of a layer as a dict, in Keras' form. Raises TypeError for what is no layer.

    Parameters
    ----------
    layer : Layer
        The layer.

    Returns
    -------
    str or dict
        A name where there is nothing else to say, or a config.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer, got {shown(layer)}")
    entry: dict[str, Any] = objects.serialize(layer)
    return entry


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """The layer that a dict describes, as `serialize` or Keras returns it, with new weights.

    Raises ValueError for what describes no layer, or names a class that is neither built in nor in `custom_objects`.

    Parameters
    ----------
    config : dict
        What `serialize`, or `get_config`, has returned.
    custom_objects : mapping of str to class or function, optional
        Custom classes and functions by name; these go before the fixed list.

    Returns
    -------
    object
        What the config describes.
    """
    with objects.custom_object_scope(custom_objects):
        layer = objects.deserialize(config, "keras.layers")
    if not isinstance(layer, Layer):
        raise ValueError(f"config must describe a layer, got that of a {type(layer).__name__}")
    return layer
