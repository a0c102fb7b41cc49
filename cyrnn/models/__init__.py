"""Models: layers put together, and files of them. The names are those of ``keras.models``, and `Functional`."""

from cyrnn.models.cloning import clone_model
from cyrnn.models.functional import Functional, Model
from cyrnn.models.model_files import load_model, model_from_json, save_model
from cyrnn.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
