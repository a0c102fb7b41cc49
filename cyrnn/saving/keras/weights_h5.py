"""The layout of Keras 3's weights files: HDF5 groups that follow the layers' attributes.

A layer's own weights are ``vars/0``, ``vars/1``, ...; a layer inside it is a group of the attribute's name (``cell``);
the layers of a model are in ``layers``, named by class: ``simple_rnn``, ``simple_rnn_1``, ... in order.
"""

import functools
import io
import re
from collections.abc import Iterable

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.weights import WeightSpec
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.assets import stored_arrays
from cyrnn.saving.keras.hdf5 import Node
from cyrnn.saving.keras.optimizer_vars import write_variables
from cyrnn.saving.keras.written import write_array, written_hdf5
from cyrnn.saving.training_state import Variables
from cyrnn.saving.weight_paths import EVERYTHING, Choice, Place

_LAYERS, _OLD_LAYERS = "layers", "_layer_checkpoint_dependencies"  # the latter in Keras 2.12 and 2.13


def read_weights(root: Node, of_a_layer: list[Place], choice: Choice = EVERYTHING) -> list[dict[str, Array] | None]:
    """The weights for each place, by name. Raises ModelFileError where the file has others."""
    orders: _Orders = {}
    paths = _paths_by_name(root, of_a_layer) if choice.by_name else [place.path for place in of_a_layer]
    return [
        None
        if path is None
        else choice.values(place.layer.name, functools.partial(_own_weights, root, place, path, orders))
        for place, path in zip(of_a_layer, paths, strict=True)
    ]


def _paths_by_name(root: Node, of_a_layer: list[Place]) -> list[str | None]:
    """The path of each place in the file, in the layers of the model that have the names of layers there."""
    layers = root.get(_LAYERS)
    stored: dict[str, str] = {}
    for group_name in layers.names if layers is not None and layers.is_group else ():
        own = root.get(f"{_LAYERS}/{group_name}/vars")
        name = None if own is None else own.attribute("name")
        if isinstance(name, str):
            stored[name] = f"{_LAYERS}/{group_name}"
    paths: list[str | None] = []
    begin: str | None = None
    for place in of_a_layer:
        top, *rest = place.path.split("/")
        if top == _LAYERS and len(rest) == 1:
            begin = stored.get(place.layer.name)
        paths.append(None if top != _LAYERS or begin is None else "/".join([begin, *rest[1:]]))
    return paths


_Orders = dict[Node, dict[str, str]]  # for groups whose names were counted: see `_in_order`


def _own_weights(root: Node, place: Place, path: str, orders: _Orders) -> dict[str, Array]:
    if not place.specs:
        return {}
    name = f"{path}/vars".removeprefix("/")
    inside, _, attribute = path.rpartition("/")
    group = (
        _group(root, name, orders)
        or root.get(path.replace("/", "\\") + "/vars")  # of Keras 3.0 on Windows
        or root.get(f"{inside}/_{attribute}/vars")  # the projections of attention in Keras 2
    )
    if group is None or not group.is_group:
        raise ModelFileError(f"the weights file holds no {name!r}", Reason.MISMATCH)
    if len(group.names) != len(place.specs):
        raise ModelFileError(
            f"layer {place.layer.name!r} has {len(place.specs)} weights, its group {name!r} holds {len(group.names)}",
            Reason.MISMATCH,
        )
    return {spec.name: read_dataset(group, str(i), place, spec) for i, spec in enumerate(place.specs)}


def read_dataset(group: Node, path: str, place: Place, spec: WeightSpec) -> Array:
    """The weight at `path`. Raises ModelFileError, before anything is read, if it is not of the shape in the spec."""
    what, dataset = place.described(spec), group.get(path)
    if dataset is None:
        raise ModelFileError(f"{what}: the file holds no {path!r}", Reason.MISMATCH)
    try:
        shape = dataset.shape
        values = dataset.read() if shape == spec.shape else None
        if values is not None:  # the layer will hold a copy, in its own dtype
            dataset.keep(values.size * (spec.dtype or place.layer.dtype_policy.variable_dtype).itemsize)
    except ModelFileError as error:
        raise ModelFileError(f"{what}: {error}", error.reason) from None
    if values is None:
        raise ModelFileError(f"{what} has shape {spec.shape}, the file has {shape}", Reason.MISMATCH)
    place.check_kind(spec, values.dtype)
    return values


def _group(root: Node, path: str, orders: _Orders) -> Node | None:
    """The group at `path`, which Keras 2.13 had elsewhere: there, names leave numbers out, and their order counts."""
    node: Node | None = root
    counted = False
    for part in path.split("/"):
        if node is None or not node.is_group:
            return None
        names, name = node.names, part
        if counted:
            if node not in orders:  # once for a group: it may be a list of thousands of layers
                orders[node] = _in_order(names)
            name = orders[node].get(part, part)
        elif part == _LAYERS and _LAYERS not in names and _OLD_LAYERS in names:
            name = _OLD_LAYERS
        counted = name == _OLD_LAYERS
        node = node.get(name)
    return node


def _in_order(names: Iterable[str]) -> dict[str, str]:
    """For ``dense`` and ``dense_2`` their places in the order: ``dense`` and ``dense_1``."""
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        base, number = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL).groups()  # type: ignore[union-attr]
        numbered.setdefault(base, []).append((int(number or 0), name))
    return {
        f"{base}_{place}" if place else base: name
        for base, found in numbered.items()
        for place, (_, name) in enumerate(sorted(found))
    }


def weights_file(of_a_layer: list[Place], variables: Variables = ()) -> bytes:
    """The bytes of a file with these weights, and variables of an optimizer, as Keras 3 writes it.

    Raises ImportError without h5py.
    """
    buffer = io.BytesIO()
    with written_hdf5(buffer) as file:
        for place in of_a_layer:
            group = file.create_group(f"{place.path}/vars".removeprefix("/"))
            group.attrs["name"] = place.layer.name
            for index, value in enumerate(place.values()):
                write_array(group, str(index), value)
            for name, value in stored_arrays(place).items():
                write_array(group, name, value)
        write_variables(file, variables)
    return buffer.getvalue()
