"""The layout of Keras 1 and 2, which Keras 3 writes for ``model.save("x.h5")``: one HDF5 group per layer of the model.

The order of the layers is the attribute `layer_names`, that of a layer's weights `weight_names`: those that are trained
first. A whole model's file has this in the group `model_weights`, and the config in an attribute; a file of weights
alone has it at its root. The names themselves changed from version to version, and say nothing here.
"""

import functools
import itertools

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.weights import WeightSpec
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.hdf5 import Node
from cyrnn.saving.keras.weights_h5 import read_dataset
from cyrnn.saving.weight_paths import EVERYTHING, Choice, Place

_Slots = list[tuple[int, Place, WeightSpec]]  # with the number of each place
_MOST_CHUNKS = 10_000  # of a list of names


def legacy_group(root: Node) -> Node | None:
    """The group in which this layout is; None in a file of another layout."""
    for group in (root.get("model_weights"), root):
        if group is not None and _names(group, "layer_names") is not None:
            return group
    return None


def read_legacy_weights(
    group: Node, of_a_layer: list[Place], choice: Choice = EVERYTHING
) -> list[dict[str, Array] | None]:
    """The weights for each place, by name. Raises ModelFileError where the file has others."""
    stored = [(name, names) for name in _names(group, "layer_names") or [] if (names := _weight_names(group, name))]
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
    if len(weight_names) != len(slots):
        what = f"layer {layer!r} has {len(slots)} weights"
        raise ModelFileError(f"{what}, its group {name!r} in the file holds {len(weight_names)}", Reason.MISMATCH)
    values: dict[int, dict[str, Array]] = {index: {} for index, _, _ in slots}
    for weight_name, (index, place, spec) in zip(weight_names, slots, strict=True):
        values[index][spec.name] = read_dataset(group, f"{name}/{weight_name}", place, spec)
    return values


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
    return _names(layer, "weight_names") or []


def _names(group: Node, attribute: str) -> list[str] | None:
    """A list of names, which may be in parts: ``layer_names0``, ``layer_names1``, ... None if there is none."""
    whole = group.attribute(attribute)
    if whole is None:
        parts = itertools.takewhile(
            lambda part: part is not None, (group.attribute(f"{attribute}{i}") for i in range(_MOST_CHUNKS))
        )
        found = [name for part in parts for name in _listed(part)]
        return found or None
    return _listed(whole)


def _listed(names: object) -> list[str]:
    if not isinstance(names, list):
        raise ModelFileError("the file's lists of names are damaged")
    return names
