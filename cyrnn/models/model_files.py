"""Whole models from files, and into them."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cyrnn._version import __version__
from cyrnn.layers import RNN, Bidirectional, Layer, Masking
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.building import deferred_building
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.serialization import from_envelope
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras import archive, hdf5
from cyrnn.saving.keras.legacy_h5 import legacy_group, read_legacy_weights
from cyrnn.saving.keras.weights_h5 import weights_file
from cyrnn.saving.weight_files import ZIP, beginning, content, h5_weights, refusals_located
from cyrnn.saving.weight_paths import Place, fill, places


@dataclass(frozen=True)
class ModelFile:
    """A file that has been read: the model's config, the Keras that wrote it, and a way to its weights."""

    config: Mapping[str, Any]
    keras_version: str
    weights: Callable[[list[Place]], list[dict[str, Array]]]


def load_model(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> ModelOfLayers:
    """The model in a file of Keras: ``.keras`` (Keras 3), or ``.h5`` (Keras 1, 2 and 3).

    custom_objects : your own classes and functions by the name under which the file has them

    No code from the file runs: classes come from a fixed list and from `custom_objects`. Raises ModelFileError (a
    ValueError) for a file that is damaged or holds anything else, with the layer's name; OSError where there is none.
    """
    file = read_model_file(path)
    with refusals_located(path):
        return model_from_file(file, custom_objects)


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """The contents of the file at `path`; what it is is decided by its first bytes. Raises as `load_model` does."""
    with refusals_located(path):
        begin = beginning(path)
        if begin.startswith(hdf5.SIGNATURE):
            return _read_h5(content(path))
        if not begin.startswith(ZIP):
            raise ModelFileError(f"{os.fspath(path)} is neither a sound .keras file nor a sound .h5 file")
        members = archive.read_archive(path)
        return ModelFile(
            members.config,
            version_text(members.metadata.get("keras_version")),
            lambda of_a_layer: h5_weights(members.weights, of_a_layer),
        )


def _read_h5(content: bytes) -> ModelFile:
    root = hdf5.File(content).root
    config, weights = root.attribute("model_config"), legacy_group(root)
    if not isinstance(config, str) or weights is None:
        raise ModelFileError("the file holds weights without a model: build the model, and use load_weights")
    version = root.attribute("keras_version") or weights.attribute("keras_version") or "1.0"
    return ModelFile(
        archive.parsed(config, "model_config"),
        version_text(version),
        lambda of_a_layer: read_legacy_weights(weights, of_a_layer),
    )


def version_text(version: Any) -> str:
    """A version as it may be printed."""
    return version if isinstance(version, str) and re.fullmatch(r"[0-9][\w.+-]{0,40}", version) else "unknown"


def model_from_file(file: ModelFile, custom_objects: Mapping[str, Any] | None = None) -> ModelOfLayers:
    """The model of a file that has been read."""
    with deferred_building():
        model = from_envelope(file.config, custom_objects, file.keras_version)
        if not isinstance(model, ModelOfLayers):
            raise ModelFileError(f"the file holds a {type(model).__name__}, which is not a model")
        config = file.config.get("config")
        input_shape = model.input_shape
        if input_shape is None and isinstance(config, Mapping):
            input_shape = config.get("build_input_shape")
    if not isinstance(input_shape, (list, tuple, dict)):
        raise ModelFileError("the model was saved before it was built: the file does not say what its input looks like")
    of_the_model = places(model, tuple(input_shape) if isinstance(input_shape, list) else input_shape)
    fill(of_the_model, file.weights(of_the_model))
    return model


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a built model to a ``.keras`` file that Keras 3 opens, at once and whole. Needs h5py.

    Functions and classes of your own are in the file by name: a reader needs them as `custom_objects`. So is the
    hard_sigmoid of Keras 2, which no Keras 3 has: as ``hard_sigmoid_keras2``, which `load_model` knows.

    Raises ValueError for a layer that is not a model, is not built, or has the time axis first, as Keras 2 could;
    TypeError for anything else.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a model, got {type(model).__name__}")
    if not isinstance(model, ModelOfLayers):
        raise ValueError(f"layer {model.name!r} is not a model: put it into a Sequential, or use save_weights")
    if not Path(path).name.endswith(".keras"):
        raise ValueError(f"path must end in .keras, got {os.fspath(path)!r}")
    metadata = {
        "keras_version": _version_to_tell(model),
        "date_saved": datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "saved_by": f"cyrnn {__version__}",
    }
    members = {
        archive.METADATA: json.dumps(metadata).encode(),
        archive.CONFIG: model.to_json().encode(),
        archive.WEIGHTS: weights_file(places(model)),
    }
    with written_at_once(Path(path)) as file:
        archive.write_archive(file, members)


def _begins_in_the_old_way(layer: Layer) -> bool:
    """Whether a recurrent layer is given states beside a mask, as in Keras 2: Keras 3 forgets the mask then."""
    nodes = layer._nodes if isinstance(layer, (RNN, Bidirectional)) else ()
    return any(node.masks_beside_states and len(node.inputs) > 1 for node in nodes)


def _version_to_tell(model: Layer) -> str:
    """The first Keras 3 that reads the file, and means the same by it. Raises ValueError if there is none."""
    layers = model.layers_within()
    if any(getattr(layer, "time_major", False) for layer in layers):
        raise ValueError("time_major is not in Keras 3: the model cannot be saved for it")
    if any(isinstance(layer, Masking) or getattr(layer, "mask_zero", False) for layer in layers):
        for layer in layers:
            if getattr(layer, "masks_as_in_keras2", False) or _begins_in_the_old_way(layer):
                raise ValueError(
                    f"the model is of Keras 2, whose masks Keras 3 would combine otherwise at {layer.name!r}"
                )
    passing_on = {layer.supports_masking for layer in layers if isinstance(layer, (RNN, Bidirectional))}
    if len(passing_on) > 1:
        raise ValueError("some recurrent layers pass masks on and others do not: no Keras does that")
    return "3.16.0" if passing_on == {False} else "3.6.0"
