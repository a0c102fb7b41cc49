"""cyrnn: Keras' SimpleRNN family on the CPU, as a Cython extension over SIMD and BLAS.

The namespaces are Keras': ``import cyrnn as keras`` runs code that uses `keras.layers.SimpleRNNCell`, `RNN` and
`SimpleRNN`.
"""

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
from cyrnn.config import show_config
from cyrnn.engine.threads import get_num_threads, set_num_threads
from cyrnn.layers import Input, Layer
from cyrnn.models import Model, Sequential
from cyrnn.models.serialization import from_json

__all__ = [
    "Input",
    "Layer",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "capi",
    "constraints",
    "from_json",
    "get_include",
    "get_num_threads",
    "initializers",
    "layers",
    "models",
    "random",
    "regularizers",
    "saving",
    "set_num_threads",
    "show_config",
]
