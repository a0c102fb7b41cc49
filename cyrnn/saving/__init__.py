"""Models and weights in files."""

from cyrnn.layers import files
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.export_c import export_c
from cyrnn.saving.model import load_model, save_model
from cyrnn.saving.onnx_export import export_onnx
from cyrnn.saving.onnx_import import from_onnx
from cyrnn.saving.torch import from_torch
from cyrnn.saving.weights import load_weights, save_weights

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
