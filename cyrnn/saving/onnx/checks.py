"""What can be exported to ONNX at all: the layers that are known, and the error for all others."""

from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.recurrent.rnn import RNN
from cyrnn.models.functional import Functional
from cyrnn.models.sequential import Sequential
from cyrnn.saving.onnx import layers as onnx_layers
from cyrnn.saving.onnx.graph import Graph

_MODELS = (Sequential, Functional)
MERGING = (*onnx_layers.MERGES, layers.Concatenate)
_KNOWN: tuple[type, ...] = (
    *(*_MODELS, RNN, layers.SimpleRNN, layers.LSTM, layers.GRU, layers.Bidirectional, layers.TimeDistributed),
    *(layers.Masking, InputLayer, *MERGING, *onnx_layers.FUNCTIONS),
)


class Refusal(ValueError):
    """The error of an inner layer, which its name is in already."""


def refused(layer: Any, reason: str) -> ValueError:
    """The error for a layer."""
    return Refusal(f"layer {layer.name!r} ({type(layer).__name__}) cannot be exported to ONNX: {reason}")


def checked_kind(layer: Any) -> type:
    """The class of those known here whose calls are the layer's calls. Raises ValueError."""
    kind = next((known for known in type(layer).__mro__ if known in _KNOWN), None)
    ways = ("__call__", "call", "call_and_mask", "compute_mask", "compute_output_shape")
    if kind is None or any(getattr(type(layer), way) is not getattr(kind, way) for way in ways):
        raise refused(layer, "it is not one of the layers that are known here")
    if not layer.built:
        raise refused(layer, "it is not built yet: call it or build(input_shape) first")
    return kind


def checked_dtype(model: Any) -> np.dtype[Any]:
    """The dtype that all layers compute in. Raises ValueError unless that is float32 or float64, and one."""
    first: Any = None
    for layer in model.layers_within():
        if isinstance(layer, (*_MODELS, InputLayer)):
            continue
        if layer.dtype_policy.name not in ("float32", "float64"):
            raise refused(layer, f"its dtype must be float32 or float64, got {layer.dtype_policy.name}")
        first = first or layer
        if layer.dtype_policy != first.dtype_policy:
            other = f"{first.dtype_policy.name} of {first.name!r}"
            raise refused(layer, f"its dtype must be the {other}, got {layer.dtype_policy.name}")
    return (first or model).dtype_policy.engine_dtype


def check_masks(graph: Graph) -> None:
    """Raises ValueError unless the caller says what the masks are like."""
    if graph.masks is None:
        raise ValueError(
            "masks depend on the data, and ONNX's recurrent operators know only lengths; if in your data all that is "
            "masked is at the end of its sequence, say masks='right-padded'"
        )
