"""Models in files."""

from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.model import load_model

__all__ = ["ModelFileError", "load_model"]
