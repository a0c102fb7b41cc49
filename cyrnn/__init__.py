"""cyrnn: Keras' recurrent networks on the CPU, as a Cython extension over SIMD and BLAS.

The namespaces are Keras': ``import cyrnn as keras`` runs code that uses `keras.layers.SimpleRNNCell`, `RNN` and
`SimpleRNN`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cyrnn._version import __version__
from cyrnn.notices.names import missing

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
    from cyrnn import backend, callbacks, config, losses, metrics, mixed_precision, optimizers, preprocessing, utils
    from cyrnn.config import show_config
    from cyrnn.dtypes import DTypePolicy
    from cyrnn.initializers import Initializer
    from cyrnn.layers.base.symbolic import KerasTensor
    from cyrnn.losses import Loss
    from cyrnn.metrics import Metric
    from cyrnn.models.serialization import from_json
    from cyrnn.optimizers import Optimizer
    from cyrnn.regularizers import Regularizer
    from cyrnn.saving.live import from_keras
    from cyrnn.timing.profiling import profile

_MODULES = {  # what is imported when it is first used
    "DTypePolicy": "cyrnn.dtypes",
    "Initializer": "cyrnn.initializers",
    "KerasTensor": "cyrnn.layers.base.symbolic",
    "Loss": "cyrnn.losses",
    "Metric": "cyrnn.metrics",
    "Optimizer": "cyrnn.optimizers",
    "Regularizer": "cyrnn.regularizers",
    "from_json": "cyrnn.models.serialization",
    "from_keras": "cyrnn.saving.live",
    "profile": "cyrnn.timing.profiling",
    "show_config": "cyrnn.config",
}
_PACKAGES = (  # these too
    "backend",
    "callbacks",
    "config",
    "losses",
    "metrics",
    "mixed_precision",
    "optimizers",
    "preprocessing",
    "utils",
)

__all__ = [
    "DTypePolicy",
    "Initializer",
    "Input",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "capi",
    "config",
    "constraints",
    "from_json",
    "from_keras",
    "get_include",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "optimizers",
    "preprocessing",
    "profile",
    "random",
    "regularizers",
    "saving",
    "set_num_threads",
    "show_config",
    "utils",
]


if not TYPE_CHECKING:  # else every name would be one that there is

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return importlib.import_module(f"cyrnn.{name}")  # which is an attribute from then on
        if name not in _MODULES:
            raise missing(__name__, name, __all__)
        found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
