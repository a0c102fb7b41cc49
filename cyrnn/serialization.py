"""Layers and models as JSON text, in Keras' form."""

import json
from collections.abc import Mapping
from typing import Any

from cyrnn import objects
from cyrnn.layers import Layer


def from_json(text: str | bytes, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer or model that `text` describes: what `layer.to_json()` gives, or Keras writes.

    It is built if the text says for which input, with newly initialised weights. Classes and functions of your own are
    looked up in `custom_objects`, by registered name or class name. Raises ValueError for text that is not such a
    config, or names anything unknown.
    """
    try:
        envelope = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    return from_envelope(envelope, custom_objects)


def from_envelope(envelope: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """As `from_json`, from parsed JSON."""
    if not isinstance(envelope, Mapping):
        raise ValueError(f"expected a JSON object with 'class_name' and 'config', got {type(envelope).__name__}")
    module = "keras" if envelope.get("class_name") == "Sequential" else "keras.layers"
    try:
        with objects.custom_object_scope(custom_objects):
            layer = objects.deserialize(envelope, module)
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a config that makes sense: {type(error).__name__}: {error}") from error
    if not isinstance(layer, Layer):
        raise ValueError(f"expected the config of a layer or model, got that of a {type(layer).__name__}")
    return layer
