"""cyrnn: Keras' recurrent networks on the CPU, as a Cython extension over SIMD and BLAS.

The namespaces are Keras': ``import cyrnn as keras`` runs code that uses `keras.layers.SimpleRNNCell`, `RNN` and
`SimpleRNN`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cyrnn._version import __version__

try:
    import cyrnn.engine.plan  # noqa: F401  (the compiled part, named in the error if it is missing)
    from cyrnn import activations, capi, constraints, initializers, layers, models, random, regularizers, saving
except ModuleNotFoundError as error:
    if error.name != "cyrnn.engine.plan":
        raise
    raise ImportError(
        "this cyrnn has no compiled modules: Python has found its source folder. Leave that folder, or build there: "
        "pip install -e ."
    ) from error

from cyrnn.capi import get_include
from cyrnn.engine.threads import get_num_threads, set_num_threads
from cyrnn.layers import Input, Layer
from cyrnn.models import Model, Sequential

if TYPE_CHECKING:
    from cyrnn import backend, callbacks, losses, metrics, optimizers, preprocessing, utils
    from cyrnn.config import show_config
    from cyrnn.models.serialization import from_json
    from cyrnn.saving.live import from_keras

_MODULES = {  # what is imported when it is first used
    "from_json": "cyrnn.models.serialization",
    "from_keras": "cyrnn.saving.live",
    "show_config": "cyrnn.config",
}
_PACKAGES = ("backend", "callbacks", "losses", "metrics", "optimizers", "preprocessing", "utils")  # these too

__all__ = [
    "Input",
    "Layer",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "capi",
    "constraints",
    "from_json",
    "from_keras",
    "get_include",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "set_num_threads",
    "show_config",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"cyrnn.{name}")  # which is an attribute from then on
    if name not in _MODULES:
        raise AttributeError(f"module 'cyrnn' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_PACKAGES})
