"""Models in files."""

from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.export_c import export_c
from cyrnn.saving.model import load_model

__all__ = ["ModelFileError", "export_c", "load_model"]
