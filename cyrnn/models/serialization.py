"""Layers and models as JSON text, in Keras' form."""

import re
from collections.abc import Mapping
from typing import Any

from cyrnn import activations, budget, objects
from cyrnn.budget import TooLargeError
from cyrnn.layers import RNN, Bidirectional, Layer
from cyrnn.layers.around.merging import Merge
from cyrnn.layers.base import legacy_config
from cyrnn.saving import json_text

_MOST_MEMORY = 48 << 20  # bytes that parsed JSON may take, beside six times its length


def from_json(text: str | bytes, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer or model that JSON text describes, with newly initialised weights.

    Parameters
    ----------
    text : str or bytes
        What `layer.to_json()` returns, or Keras writes.
    custom_objects : mapping of str to class or function, optional
        Custom classes and functions by registered name or class name. Others come from a fixed list.

    Returns
    -------
    Layer
        The layer or model, built if the text says for which input.

    Raises
    ------
    ValueError
        The text is not the config of a layer, or names a class or function that is not known; or it asks for more than
        20,000 layers and calls, or for weights that need more memory than this machine (or its container) has, none of
        which was allocated then.
    TypeError
        `text` is neither str nor bytes.

    Notes
    -----
    No code from the text runs, and reading it takes time and memory proportional to its length. But the weights that
    are made are as large as the text says, as those of Keras are: a hundred characters with ``"units": 50000`` ask for
    10 GB. Where the text comes from a stranger and the process has no limit of its own, use a file of the model with
    its weights and `cyrnn.saving.load_model`, which allocates no more than the file holds.
    """
    if not isinstance(text, (str, bytes, bytearray)):
        hint = "; `from_config` of its class takes the config itself" if isinstance(text, Mapping) else ""
        raise TypeError(f"text must be a str or bytes, got {type(text).__name__}{hint}")
    text = bytes(text) if isinstance(text, bytearray) else text
    try:
        envelope = json_text.parsed(text, _MOST_MEMORY + 6 * len(text))
    except TooLargeError as error:
        raise ValueError(f"not JSON of the size of a config: {error}") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    return from_envelope(envelope, custom_objects)


def from_envelope(
    envelope: Any, custom_objects: Mapping[str, Any] | None = None, keras_version: str | None = None
) -> Any:
    """As `from_json`, from parsed JSON; `keras_version` is that of its writer, if the config does not have it."""
    if not isinstance(envelope, Mapping):
        raise ValueError(f"expected a JSON object with 'class_name' and 'config', got {type(envelope).__name__}")
    version = str(envelope.get("keras_version") or keras_version)
    try:
        with budget.limited(), objects.custom_object_scope({**_meanings(version), **(custom_objects or {})}):
            layer = objects.deserialize(envelope, "keras.layers")
            input_shape = legacy_config.input_shape(envelope)
            if input_shape is not None and isinstance(layer, Layer) and not layer.built:
                layer.build(input_shape)
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a config that makes sense: {type(error).__name__}: {error}") from error
    if not isinstance(layer, Layer):
        raise ValueError(f"expected the config of a layer or model, got that of a {type(layer).__name__}")
    if version.startswith(("1.", "2.")):
        for part in layer.layers_within():
            if isinstance(part, Merge):
                part.masks_as_in_keras2 = True
    if _at_least(version, 3, 16):  # since when recurrent layers use a mask, and no longer pass it on
        for part in layer.layers_within():
            part.supports_masking &= not isinstance(part, (RNN, Bidirectional))
    return layer


def _at_least(version: str, major: int, minor: int) -> bool:
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (major, minor)


def _meanings(keras_version: str) -> dict[str, Any]:
    """What names meant to the Keras that wrote a config, where they mean something else now."""
    return {"hard_sigmoid": activations.get("hard_sigmoid_keras2")} if keras_version.startswith(("1.", "2.")) else {}
