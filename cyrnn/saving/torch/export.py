"""The weights of a model in a .safetensors file, with torch's names and shapes: what `load_state_dict` takes."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from cyrnn.layers import Bidirectional, Dense, Embedding, Layer, LayerNormalization
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.safetensors import write_safetensors
from cyrnn.saving.torch.weights import torch_weights


def export_torch(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the weights of a layer or model as torch has them.

    Recurrent layers that follow each other and are alike are the layers of one module. Names begin with that of the
    first layer, as ``lstm.weight_ih_l0`` and ``dense.weight``, unless there is a single module.

    Raises
    ------
    ValueError
        For a layer with weights that torch's modules do not have.
    """
    modules = list(_modules(_layers(layer)))
    arrays: dict[str, Array] = {}
    for name, weights in modules:
        prefix = f"{name}." if len(modules) > 1 else ""
        arrays |= {f"{prefix}{key}": np.ascontiguousarray(array) for key, array in weights.items()}
    with written_at_once(path) as file:
        write_safetensors(file, arrays)


def _layers(layer: Layer) -> Iterator[Layer]:
    """The layers that have weights of their own, one by one."""
    inner = None if isinstance(layer, Bidirectional) else getattr(layer, "layers", None)
    for part in [layer] if inner is None else inner:
        if part is not layer and getattr(part, "layers", None) is not None and not isinstance(part, Bidirectional):
            yield from _layers(part)
        elif part.weights:
            yield part


def _modules(layers: Iterator[Layer]) -> Iterator[tuple[str, dict[str, Array]]]:
    """Each module of torch: the name of its first layer, and its weights."""
    found: list[tuple[str, dict[str, Array], object]] = []
    for layer in layers:
        kind, ends = _recurrent(layer)
        if kind is None:
            found.append((layer.name, _plain(layer), None))
            continue
        name, weights, before = found[-1] if found and found[-1][2] == kind else (layer.name, {}, None)
        if before is None:
            found.append((name, weights, kind))
        number = sum(key.startswith("weight_ih") and not key.endswith("_reverse") for key in weights)
        for part, end in ends:
            weights |= torch_weights(part, f"_l{number}{end}")
    yield from ((name, weights) for name, weights, _ in found)


def _recurrent(layer: Layer) -> tuple[object, Sequence[tuple[Layer, str]]]:
    """What recurrent layers of one module have in common, with each direction and the end of its names."""
    if type(layer) is Bidirectional:
        if layer.merge_mode != "concat":
            raise ValueError(f"layer {layer.name!r} must have merge_mode='concat', got {layer.merge_mode!r}")
        first, second = layer.forward_layer, layer.backward_layer
        return (type(first), getattr(first, "units", None), 2, len(first.weights)), [(first, ""), (second, "_reverse")]
    if type(layer).__name__ in ("SimpleRNN", "LSTM", "GRU"):
        if getattr(layer, "go_backwards", False):
            raise ValueError(f"layer {layer.name!r} goes backwards, as no module of torch does alone")
        return (type(layer), getattr(layer, "units", None), 1, len(layer.weights)), [(layer, "")]
    return None, []


def _plain(layer: Layer) -> dict[str, Array]:
    """The weights of a module that is not recurrent. Raises ValueError for other layers."""
    values = layer.get_weights()
    if type(layer) is Dense:
        return dict(zip(("weight", "bias"), [values[0].T, *values[1:]], strict=False))
    if type(layer) is Embedding:
        return {"weight": values[0]}
    if type(layer) is LayerNormalization and len(values) == 2:
        return dict(zip(("weight", "bias"), values, strict=True))
    raise ValueError(
        f"layer {layer.name!r} is a {type(layer).__name__}, which torch has in another form: SimpleRNN, LSTM, GRU, "
        "Bidirectional, Dense, Embedding and LayerNormalization are written"
    )
