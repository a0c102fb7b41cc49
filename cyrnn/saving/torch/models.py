"""The weights of a model with torch's names and shapes, which `load_state_dict` takes, in a .safetensors file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cyrnn.layers import Bidirectional, Dense, Embedding, Layer, LayerNormalization
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.safetensors import write_safetensors
from cyrnn.saving.torch.weights import keras_weights, torch_weights


class _Place(NamedTuple):
    """A layer, or a direction of one, and where torch has its weights."""

    layer: Layer
    module: str
    end: str | None  # of the names in a recurrent module

    def arrays(self) -> dict[str, Array]:
        """The weights by their names in the module."""
        return _plain(self.layer) if self.end is None else torch_weights(self.layer, self.end)

    def values(self, arrays: Mapping[str, Array]) -> list[Array]:
        """The weights of the layer, of arrays with the names and shapes of `arrays()`."""
        if self.end is not None:
            return keras_weights(arrays, self.end)
        return [array.T if type(self.layer) is Dense else array for array in arrays.values()]


def export_torch(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the weights of a layer or model as torch has them.

    Recurrent layers that follow each other and are alike are the layers of one module. Names begin with that of the
    first layer, as ``lstm.weight_ih_l0`` and ``dense.weight``, unless there is a single module.

    Raises
    ------
    ValueError
        For a layer with weights that torch's modules do not have.
    """
    arrays = {
        prefix + name: np.ascontiguousarray(array)
        for prefix, place in _places(layer)
        for name, array in place.arrays().items()
    }
    with written_at_once(path) as file:
        write_safetensors(file, arrays)


def fill_from_torch(layer: Layer, arrays: Mapping[str, Array]) -> None:
    """Give a layer or model the weights that `export_torch` would write under these names.

    Raises
    ------
    ModelFileError
        For other names or shapes. Nothing has changed then.
    ValueError
        For a layer with weights that torch's modules do not have.
    """
    places = [(place, {name: prefix + name for name in place.arrays()}) for prefix, place in _places(layer)]
    expected = {names[name]: array.shape for place, names in places for name, array in place.arrays().items()}
    got = {name: array.shape for name, array in arrays.items()}
    if got != expected:
        wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
        first = wrong[0]
        raise ModelFileError(
            f"torch's weights of {layer.name!r} have other names or shapes, among them {', '.join(wrong[:3])}: "
            f"{first} must have the shape {expected.get(first)}, the file has {got.get(first)}",
            Reason.MISMATCH,
        )
    for place, names in places:
        place.layer.set_weights(place.values({name: arrays[whole] for name, whole in names.items()}))


def _layers(layer: Layer) -> Iterator[Layer]:
    """The layers that have weights of their own, one by one."""
    inner = None if isinstance(layer, Bidirectional) else getattr(layer, "layers", None)
    for part in [layer] if inner is None else inner:
        if part is not layer and getattr(part, "layers", None) is not None and not isinstance(part, Bidirectional):
            yield from _layers(part)
        elif part.weights:
            yield part


def _places(layer: Layer) -> list[tuple[str, _Place]]:
    """All places, and with what the names of each begin in a file."""
    found: list[_Place] = []
    modules: list[Layer] = []  # the first layer of each
    before, number = None, 0  # what the last layers of the module have in common, and how many they are
    for part in _layers(layer):
        kind, ends = _recurrent(part)
        if kind is None or kind != before:
            modules.append(part)
            before, number = kind, 0
        found += [_Place(one, modules[-1].name, None if end is None else f"_l{number}{end}") for one, end in ends]
        number += 1
    names = [module.name for module in modules]
    if len(set(names)) < len(names):
        raise ValueError(f"layers of {layer.name!r} have equal names, which torch's modules cannot have: {names}")
    return [(f"{place.module}." if len(modules) > 1 else "", place) for place in found]


def _recurrent(layer: Layer) -> tuple[object, Sequence[tuple[Layer, str | None]]]:
    """What recurrent layers of one module have in common, and each direction with the end of its names; for another
    layer None, and the layer alone."""
    if type(layer) is Bidirectional:
        if layer.merge_mode != "concat":
            raise ValueError(f"layer {layer.name!r} must have merge_mode='concat', got {layer.merge_mode!r}")
        first, second = layer.forward_layer, layer.backward_layer
        return (type(first), getattr(first, "units", None), 2, len(first.weights)), [(first, ""), (second, "_reverse")]
    if type(layer).__name__ in ("SimpleRNN", "LSTM", "GRU"):
        if getattr(layer, "go_backwards", False):
            raise ValueError(f"layer {layer.name!r} goes backwards, as no module of torch does alone")
        return (type(layer), getattr(layer, "units", None), 1, len(layer.weights)), [(layer, "")]
    return None, [(layer, None)]


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
