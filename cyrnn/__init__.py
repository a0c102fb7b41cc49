"""cyrnn: Keras' recurrent networks on the CPU, as a Cython extension over SIMD and BLAS.

The namespaces are Keras': ``import cyrnn as keras`` runs code that uses `keras.layers.SimpleRNNCell`, `RNN` and
`SimpleRNN`.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from cyrnn import layers, models, saving  # whose names are imported when they are first used
from cyrnn._version import __version__
from cyrnn.notices.classes import classes_are_in
from cyrnn.notices.names import missing

if importlib.util.find_spec("cyrnn.engine.plan") is None:
    raise ImportError(
        "this cyrnn has no compiled modules: Python has found its source folder. Leave that folder, or build there: "
        "pip install -e ."
    )

if TYPE_CHECKING:
    from cyrnn import (
        activations,
        backend,
        callbacks,
        capi,
        config,
        constraints,
        initializers,
        losses,
        metrics,
        mixed_precision,
        optimizers,
        preprocessing,
        random,
        regularizers,
        utils,
    )
    from cyrnn.capi import get_include
    from cyrnn.config import show_config
    from cyrnn.dtypes import DTypePolicy
    from cyrnn.engine.precision import get_precision, set_precision
    from cyrnn.engine.threads import get_num_threads, set_num_threads
    from cyrnn.initializers import Initializer
    from cyrnn.layers.around.core import Input
    from cyrnn.layers.base.layer import Layer
    from cyrnn.layers.base.symbolic import KerasTensor
    from cyrnn.losses import Loss
    from cyrnn.metrics import Metric
    from cyrnn.models.functional import Model
    from cyrnn.models.sequential import Sequential
    from cyrnn.models.serialization import from_json
    from cyrnn.optimizers import Optimizer
    from cyrnn.regularizers import Regularizer
    from cyrnn.saving.live import from_keras
    from cyrnn.timing.profiling import profile

_MODULES = {  # by name, what is imported when it is first used
    "DTypePolicy": "cyrnn.dtypes",
    "Initializer": "cyrnn.initializers",
    "Input": "cyrnn.layers.around.core",
    "KerasTensor": "cyrnn.layers.base.symbolic",
    "Layer": "cyrnn.layers.base.layer",
    "Loss": "cyrnn.losses",
    "Metric": "cyrnn.metrics",
    "Model": "cyrnn.models.functional",
    "Optimizer": "cyrnn.optimizers",
    "Regularizer": "cyrnn.regularizers",
    "Sequential": "cyrnn.models.sequential",
    "from_json": "cyrnn.models.serialization",
    "from_keras": "cyrnn.saving.live",
    "get_include": "cyrnn.capi",
    "get_num_threads": "cyrnn.engine.threads",
    "get_precision": "cyrnn.engine.precision",
    "profile": "cyrnn.timing.profiling",
    "set_num_threads": "cyrnn.engine.threads",
    "set_precision": "cyrnn.engine.precision",
    "show_config": "cyrnn.config",
}
_OF_CLASSES = ("constraints", "initializers", "losses", "metrics", "optimizers", "random", "regularizers")
_PACKAGES = (  # these too
    *_OF_CLASSES,
    "activations",
    "backend",
    "callbacks",
    "capi",
    "config",
    "mixed_precision",
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
    "get_precision",
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
    "set_precision",
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


for _name in _OF_CLASSES:
    classes_are_in(f"keras.{_name}", f"cyrnn.{_name}")
classes_are_in("keras.optimizers.schedules", "cyrnn.optimizers")
classes_are_in("keras", "cyrnn.dtypes")
