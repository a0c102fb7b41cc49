"""Models and weights in files. Only names stand here; each is imported when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

from cyrnn.notices.names import missing

if TYPE_CHECKING:
    from cyrnn.models.model_files import load_model, save_model
    from cyrnn.objects import (
        CustomObjectScope,
        custom_object_scope,
        deserialize_keras_object,
        get_custom_objects,
        get_registered_name,
        get_registered_object,
        register_keras_serializable,
        serialize_keras_object,
    )
    from cyrnn.saving.c.export import export_c
    from cyrnn.saving.errors import ModelFileError, Reason
    from cyrnn.saving.onnx.export import export_onnx
    from cyrnn.saving.onnx.importer import from_onnx
    from cyrnn.saving.torch import from_torch
    from cyrnn.saving.weight_files import load_weights, save_weights

_OF_CONFIGS = (  # Keras has these here too
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
    "serialize_keras_object",
)
_MODULES = {
    "ModelFileError": "cyrnn.saving.errors",
    "Reason": "cyrnn.saving.errors",
    **dict.fromkeys(_OF_CONFIGS, "cyrnn.objects"),
    "export_c": "cyrnn.saving.c.export",
    "export_onnx": "cyrnn.saving.onnx.export",
    "from_onnx": "cyrnn.saving.onnx.importer",
    "from_torch": "cyrnn.saving.torch",
    "load_model": "cyrnn.models.model_files",
    "load_weights": "cyrnn.saving.weight_files",
    "save_model": "cyrnn.models.model_files",
    "save_weights": "cyrnn.saving.weight_files",
}
_SUBMODULES = ("c", "keras", "onnx", "torch")

__all__ = [
    "CustomObjectScope",
    "ModelFileError",
    "Reason",
    "custom_object_scope",
    "deserialize_keras_object",
    "export_c",
    "export_onnx",
    "from_onnx",
    "from_torch",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]


if not TYPE_CHECKING:  # else every name would be one that there is

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"cyrnn.saving.{name}")
        if name not in _MODULES:
            raise missing(__name__, name, __all__)
        found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
