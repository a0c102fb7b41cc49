"""Models and weights in files."""

from cyrnn.models import files
from cyrnn.models.model_files import load_model, save_model
from cyrnn.saving.c.export import export_c
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.export import export_onnx
from cyrnn.saving.onnx.importer import from_onnx
from cyrnn.saving.torch import from_torch
from cyrnn.saving.weight_files import load_weights, save_weights

__all__ = [
    "ModelFileError",
    "export_c",
    "export_onnx",
    "from_onnx",
    "from_torch",
    "load_model",
    "load_weights",
    "save_model",
    "save_weights",
]

files.provide(save_model=save_model, save_weights=save_weights, load_weights=load_weights)
