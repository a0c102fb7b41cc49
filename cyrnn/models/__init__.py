"""Models: layers put together, and files of them. The names are those of ``keras.models``, and `Functional`.

Only names stand here; each is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cyrnn.notices.classes import classes_are_in
from cyrnn.notices.names import missing

if TYPE_CHECKING:
    from cyrnn.models.cloning import clone_model
    from cyrnn.models.functional import Functional, Model
    from cyrnn.models.model_files import load_model, model_from_json, save_model
    from cyrnn.models.sequential import Sequential

_MODULES = {
    "Functional": "cyrnn.models.functional",
    "Model": "cyrnn.models.functional",
    "Sequential": "cyrnn.models.sequential",
    "clone_model": "cyrnn.models.cloning",
    "load_model": "cyrnn.models.model_files",
    "model_from_json": "cyrnn.models.model_files",
    "save_model": "cyrnn.models.model_files",
}

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


if not TYPE_CHECKING:  # else every name would be one that there is

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise missing(__name__, name, __all__)
        found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)


for _module in ("keras", "keras.layers", "keras.src.models.functional"):
    classes_are_in(_module, "cyrnn.models.functional", "cyrnn.models.sequential")
