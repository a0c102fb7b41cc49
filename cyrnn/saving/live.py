"""Models that Keras has in memory."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn.arrays import to_numpy
from cyrnn.layers import Discretization
from cyrnn.layers.base.layer import Layer
from cyrnn.models.serialization import from_envelope
from cyrnn.saving.keras.assets import HasAssets

_PACKAGES = ("keras", "tf_keras")


def from_keras(model: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A model or layer that Keras has in memory, as one of cyrnn with the same weights. Keras is not imported.

    What `compile` was given, states of stateful layers and seeds are not taken along.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Of Keras 3 on any backend, or of Keras 2 (tf_keras). It is built.
    custom_objects : mapping of str to class or function, optional
        Classes and functions of cyrnn for custom ones in the model, by registered name or class name.

    Returns
    -------
    Layer or Model

    Raises
    ------
    TypeError
        For what is no model or layer of Keras.
    ValueError
        If the model is not built, or has layers that cyrnn does not have; the layer is named.

    Examples
    --------
    >>> model = cyrnn.from_keras(keras.models.load_model("model.keras"))  # doctest: +SKIP
    """
    package = _package_of(model)
    if package is None:
        hint = "; cyrnn.saving.load_model opens files" if isinstance(model, (str, Path)) else ""
        whose = " of cyrnn, which needs nothing done" if isinstance(model, Layer) else ""
        raise TypeError(f"model must be a model or layer of Keras, got {type(model).__name__}{whose}{hint}")
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built yet: call it, or build() it first")
    version = getattr(sys.modules.get(package), "__version__", None)
    found: Layer = from_envelope(_envelope(model), custom_objects, version)
    weights = [to_numpy(f"weight {number} of {model.name!r}", w) for number, w in enumerate(_weights(model))]
    if not found.built:
        found.build(_input_shape(model))
    _check(found, weights, model.name)
    found.set_weights(weights)
    _take_vocabularies(found, model)
    _take_bins(found, model)
    return found


def _weights(model: Any) -> list[Any]:
    """The arrays of the weights. Keras 2 has what layers have learnt of data among them: vocabularies and bins."""
    arrays: list[Any] = model.get_weights()
    adapted = [part for part in _within(model) if hasattr(part, "get_vocabulary") or hasattr(part, "bin_boundaries")]
    learnt = {id(weight) for layer in adapted for weight in layer.weights}
    if not learnt:
        return arrays
    return [array for weight, array in zip(model.weights, arrays, strict=True) if id(weight) not in learnt]


def _within(model: Any) -> list[Any]:
    """The layers of Keras in a model or layer, and itself."""
    return list(model._flatten_layers()) if hasattr(model, "_flatten_layers") else [model]


def _take_vocabularies(found: Layer, model: Any) -> None:
    """Give layers the vocabularies that those of Keras have, where the configs do not hold them."""
    theirs = {layer.name: layer for layer in _within(model) if hasattr(layer, "get_vocabulary")}
    for layer in found.layers_within():
        other = theirs.get(layer.name)
        if other is None or not isinstance(layer, HasAssets):
            continue
        lookup = getattr(other, "_lookup_layer", other)
        weights = getattr(lookup, "idf_weights_const", None)
        arrays = {} if weights is None else {"idf_weights": to_numpy("idf_weights", weights)}
        tokens = [str(token) for token in other.get_vocabulary()]
        layer.load_assets({"vocabulary.txt": "\n".join(tokens).encode()}, arrays, len(tokens))


def _take_bins(found: Layer, model: Any) -> None:
    """Give layers the bins that those of Keras 2 have found, which are not in its configs."""
    theirs = {layer.name: layer for layer in _within(model) if getattr(layer, "bin_boundaries", None) is not None}
    for layer in found.layers_within():
        if layer.name in theirs and isinstance(layer, Discretization) and layer.bin_boundaries is None:
            layer.bin_boundaries = [float(boundary) for boundary in theirs[layer.name].bin_boundaries]


def _package_of(model: Any) -> str | None:
    """The package of Keras that the class of the model comes from; None if it is of another one."""
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    plain = hasattr(model, "get_config") and hasattr(model, "get_weights") and not isinstance(model, type)
    return next((root for root in roots if root in _PACKAGES), None) if plain else None


def _envelope(model: Any) -> Any:
    """The config of the model, as Keras writes it into files."""
    if hasattr(model, "to_json"):
        return json.loads(model.to_json())
    package: Any = sys.modules[_package_of(model) or "keras"]
    saving = getattr(package, "saving", package)
    return json.loads(json.dumps(saving.serialize_keras_object(model), default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _input_shape(model: Any) -> Any:
    """The shape that the model was built for. Raises ValueError where it does not say it."""
    config = model.get_build_config() if hasattr(model, "get_build_config") else None
    shape = getattr(model, "input_shape", None) or (config or {}).get("input_shape")
    if shape is None:
        raise ValueError(f"model {model.name!r} does not say which shape its inputs have")
    return tuple(shape) if isinstance(shape, list) and all(n is None or isinstance(n, int) for n in shape) else shape


def _check(found: Layer, weights: list[Any], name: str) -> None:
    """Raises ValueError unless there are as many weights of these shapes."""
    ours, theirs = [weight.shape for weight in found.weights], [weight.shape for weight in weights]
    if ours != theirs:
        raise ValueError(f"the weights of model {name!r} have the shapes {theirs}, and here they would have {ours}")
