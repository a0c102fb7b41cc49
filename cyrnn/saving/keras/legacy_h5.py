"""The layout of Keras 1 and 2, which Keras 3 writes for ``model.save("x.h5")``: one HDF5 group per layer of the model.

The order of the layers is the attribute `layer_names`, that of a layer's weights `weight_names`: those that are trained
first. A whole model's file has this in the group `model_weights`, and the config in an attribute; a file of weights
alone has it at its root. The names themselves changed from version to version, and say nothing here.
"""

import functools
import io
import itertools
import json
from typing import Any

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.names import distinct
from cyrnn.layers.base.weights import Weighted, WeightSpec
from cyrnn.layers.recurrent.gated_cell import GatedCell
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.hdf5 import Node
from cyrnn.saving.keras.name_lists import read_names, write_names
from cyrnn.saving.keras.optimizer_vars import write_legacy_variables
from cyrnn.saving.keras.training_config import training_config_of
from cyrnn.saving.keras.weights_h5 import read_dataset
from cyrnn.saving.keras.written import write_array, written_hdf5
from cyrnn.saving.training_state import Training
from cyrnn.saving.weight_paths import EVERYTHING, Choice, Place

_Slots = list[tuple[int, Place, WeightSpec]]  # with the number of each place


def legacy_group(root: Node) -> Node | None:
    """The group in which this layout is; None in a file of another layout."""
    for group in (root.get("model_weights"), root):
        if group is not None and read_names(group, "layer_names") is not None:
            return group
    return None


def read_legacy_weights(
    group: Node, of_a_layer: list[Place], choice: Choice = EVERYTHING
) -> list[dict[str, Array] | None]:
    """The weights for each place, by name. Raises ModelFileError where the file has others."""
    stored = [(name, names) for name in read_names(group, "layer_names") or [] if (names := _weight_names(group, name))]
    expected = [
        (inner[0][1].layer.name, slots)
        for _, parts in itertools.groupby(enumerate(of_a_layer), key=lambda entry: _layer_of_the_model(entry[1]))
        if (slots := _in_order(inner := list(parts)))
    ]
    if choice.by_name:
        by_name = dict(stored)
        pairs = [((name, by_name[name]), (name, slots)) for name, slots in expected if name in by_name]
    elif len(stored) != len(expected):
        raise ModelFileError(
            f"the model has {len(expected)} layers with weights, the file has {len(stored)}", Reason.MISMATCH
        )
    else:
        pairs = list(zip(stored, expected, strict=True))
    values: list[dict[str, Array] | None] = [None if place.specs else {} for place in of_a_layer]
    for (name, weight_names), (layer, slots) in pairs:
        read = functools.partial(_read_layer, group, name, weight_names, layer, slots)
        for index, own in (choice.values(layer, read) or {}).items():
            values[index] = own
    return values


def _read_layer(
    group: Node, name: str, weight_names: list[str], layer: str, slots: _Slots
) -> dict[int, dict[str, Array]]:
    """The weights of a layer of the model, for each of its places by their numbers."""
    paths = [f"{name}/{weight_name}" for weight_name in weight_names]
    if len(paths) == len(slots):
        values: dict[int, dict[str, Array]] = {index: {} for index, _, _ in slots}
        for path, (index, place, spec) in zip(paths, slots, strict=True):
            values[index][spec.name] = _read(group, path, place, spec)
        return {index: _as_here(place, values[index]) for index, place, _ in slots}
    of_places = {index: place for index, place, _ in slots}
    counts = [_arrays_of_keras_1(place) for place in of_places.values()]
    if len(paths) != sum(counts):
        what = f"layer {layer!r} has {len(slots)} weights"
        raise ModelFileError(f"{what}, its group {name!r} in the file holds {len(paths)}", Reason.MISMATCH)
    rest = iter(paths)
    return {
        index: _read_gates(group, list(itertools.islice(rest, count)), place)
        for (index, place), count in zip(of_places.items(), counts, strict=True)
    }


def _read(group: Node, path: str, place: Place, spec: WeightSpec) -> Array:
    """A weight as it is in the file: a bias may be one of cuDNN."""
    cell, dataset = place.layer, group.get(path)
    if isinstance(cell, GatedCell) and spec.name == "bias" and dataset is not None and not dataset.is_group:
        spec = spec._replace(shape=dataset.shape if dataset.shape == cell.cudnn_bias_shape else spec.shape)
    return read_dataset(group, path, place, spec)


def _as_here(place: Place, values: dict[str, Array]) -> dict[str, Array]:
    """The weights of a place, of what Keras 2 had for it."""
    cell = place.layer
    of_cudnn = isinstance(cell, GatedCell) and "bias" in values and values["bias"].shape == cell.cudnn_bias_shape
    return cell.weights_of_cudnn(values) if of_cudnn else values  # type: ignore[attr-defined]


def _arrays_of_keras_1(place: Place) -> int:
    """How many arrays Keras 1 had for the weights of a place."""
    cell = place.layer
    plain = isinstance(cell, GatedCell) and cell.use_bias and len(cell.bias_shape) == 1
    return 3 * cell.gates if plain else len(place.specs)  # type: ignore[attr-defined]


def _read_gates(group: Node, paths: list[str], place: Place) -> dict[str, Array]:
    """The weights of a place, of the arrays that Keras 1 had for it: of a cell's gates three each."""
    cell = place.layer
    if len(paths) == len(place.specs) or not isinstance(cell, GatedCell):
        pairs = zip(paths, place.specs, strict=True)
        return {spec.name: read_dataset(group, path, place, spec) for path, spec in pairs}
    specs = [spec._replace(shape=(*spec.shape[:-1], cell.units)) for spec in place.specs]
    pairs = zip(paths, itertools.cycle(specs), strict=False)
    return cell.weights_of_keras_1([read_dataset(group, path, place, spec) for path, spec in pairs])


def _layer_of_the_model(place: Place) -> str:
    """``layers/dense_1`` for all that is in that layer; nothing for a layer that is in no model."""
    parts = place.path.split("/")
    return "/".join(parts[:2]) if parts[0] == "layers" else ""


def _in_order(inner: list[tuple[int, Place]]) -> _Slots:
    """The weights of one layer of the model, those that are trained first."""
    slots = [(index, place, spec) for index, place in inner for spec in place.specs]
    return sorted(slots, key=lambda slot: slot[1].frozen or not slot[2].trainable)


def _weight_names(group: Node, layer_name: str) -> list[str]:
    layer = group.get(layer_name)
    if layer is None or not layer.is_group:
        raise ModelFileError(f"the file names a layer {layer_name!r}, and holds no such group")
    return read_names(layer, "weight_names") or []


def legacy_file(model: Layer, config: str, keras_version: str, training: Training | None) -> bytes:
    """The bytes of a file with a whole model. Raises ValueError if weights of it are in no layer of the model."""
    buffer = io.BytesIO()
    with written_hdf5(buffer) as file:
        about = {"keras_version": keras_version, "backend": "cyrnn"}
        file.attrs.update({**about, "model_config": config})
        group = file.create_group("model_weights")
        group.attrs.update(about)
        _write_weights(group, model)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training_config_of(training.compile_config))
            write_legacy_variables(file, training.variables)
    return buffer.getvalue()


def _write_weights(group: Any, model: Layer) -> None:
    by_layer = {layer.name: _trained_first(layer) for layer in getattr(model, "layers", ())}
    outside = set(model._weight_slots()).difference(*by_layer.values())
    if outside:
        names = sorted(name for _, name in outside)
        raise ValueError(f"model {model.name!r} has weights outside of its layers, {names}: save a .keras file")
    write_names(group, "layer_names", list(by_layer))
    for layer_name, slots in by_layer.items():
        of_layer = group.create_group(layer_name)
        names = distinct(f"{layer_name}/{layer.name}/{name}" for layer, name in slots)
        write_names(of_layer, "weight_names", names)
        for name, (layer, own_name) in zip(names, slots, strict=True):
            write_array(of_layer, name, layer._values[own_name])
    write_names(group.create_group("top_level_model_weights"), "weight_names", [])


def _trained_first(layer: Layer) -> list[tuple[Weighted, str]]:
    trained = layer._weight_slots(trainable=True)
    return [*trained, *(slot for slot in layer._weight_slots() if slot not in set(trained))]
