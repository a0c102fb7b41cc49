"""Whole models from files."""

import os
from collections.abc import Mapping
from typing import Any

from cyrnn.layers.models import ModelOfLayers
from cyrnn.layers.weights import deferred_building
from cyrnn.saving.archive import Archive, read_archive
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.weights_h5 import build_from_h5
from cyrnn.serialization import from_envelope


def load_model(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> ModelOfLayers:
    """The model in a ``.keras`` file that Keras 3 saved: a Sequential or Model of layers from `cyrnn.layers`.

    custom_objects : your own classes and functions by the name under which the file has them

    No code from the file runs: classes come from a fixed list and from `custom_objects`. Raises ModelFileError (a
    ValueError) for a file that is damaged or holds anything else, with the layer's name; OSError where there is none;
    ImportError without h5py.
    """
    archive = read_archive(path)
    try:
        return model_from_archive(archive, custom_objects)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ModelFileError(f"{os.fspath(path)}: {error or type(error).__name__}") from error


def model_from_archive(archive: Archive, custom_objects: Mapping[str, Any] | None = None) -> ModelOfLayers:
    """The model of an archive that has been read."""
    class_name = archive.config.get("class_name")
    if class_name not in ("Sequential", "Functional", "Model"):
        raise ModelFileError(f"the model is a {class_name!r}; only Sequential and Functional models can be loaded")
    with deferred_building():
        model = from_envelope(archive.config, custom_objects, archive.keras_version)
    if not isinstance(model, ModelOfLayers):
        raise ModelFileError(
            f"the model is a {type(model).__name__}; only Sequential and Functional models can be loaded"
        )
    input_shape = model.input_shape or archive.config["config"].get("build_input_shape")
    if not isinstance(input_shape, (list, tuple)):
        raise ModelFileError("the model was saved before it was built: the file does not say what its input looks like")
    build_from_h5(model, tuple(input_shape), archive.weights, archive.stored_bytes)
    return model
