"""Files and configs that are knotted, of any size: what a reader may walk along many times."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Json = dict[str, Any]
INPUT = {
    "class_name": "InputLayer",
    "name": "i",
    "config": {"batch_shape": [None, 3], "name": "i"},
    "inbound_nodes": [],
}


def entry(class_name: str, name: str, *calls: Any, **config: Any) -> Json:
    """The entry of a layer, with the layers that each of its calls takes, or pairs of a layer and its call."""
    nodes = [[[of, 0, 0, {}] if isinstance(of, str) else [*of, 0, {}] for of in call] for call in calls]
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def functional(entries: list[Json], output: str, call: int = 0) -> Json:
    ends = {"input_layers": [["i", 0, 0]], "output_layers": [[output, call, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "layers": [INPUT, *entries], **ends}}


def sequential(count: int) -> Json:
    layers = [INPUT, *({"class_name": "ReLU", "config": {"name": f"r{n}"}} for n in range(count))]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}


def chain(count: int) -> Json:
    """Layers, each of which takes the one before; the last is listed first."""
    names = ["i", *(f"r{n}" for n in range(count))]
    return functional([entry("ReLU", names[n + 1], [names[n]]) for n in reversed(range(count))], names[-1])


def ladder(count: int) -> Json:
    """Each layer takes the two before it: there are more ways through than atoms."""
    names = ["i", "i", *(f"a{n}" for n in range(count))]
    return functional([entry("Add", names[n + 2], names[n : n + 2]) for n in range(count)], names[-1])


def star(count: int) -> Json:
    """One layer takes all others."""
    names = [f"r{n}" for n in range(count)]
    return functional([*(entry("ReLU", name, ["i"]) for name in names), entry("Add", "all", names)], "all")


def shared(count: int) -> Json:
    """One layer is called again and again, each time with its last output."""
    return functional([entry("ReLU", "r", ["i"], *([("r", n)] for n in range(count - 1)))], "r", count - 1)


def nest(depth: int) -> Json:
    """Models in models."""
    made = sequential(1)
    for level in range(depth):
        layers = [INPUT, {**made, "name": f"m{level}"}, {"class_name": "ReLU", "config": {"name": f"r{level}"}}]
        made = {"class_name": "Sequential", "config": {"name": f"n{level}", "layers": layers}}
    return made


def cells(count: int) -> Json:
    stack = [{"class_name": "SimpleRNNCell", "config": {"units": 1, "name": f"c{n}"}} for n in range(count // 4)]
    config = {"cell": {"class_name": "StackedRNNCells", "config": {"cells": stack}}, "name": "rnn"}
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, 4, 3], "name": "i"}}
    layers = [first, {"class_name": "RNN", "config": config}]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}


def long_lists(count: int) -> Json:
    """Numbers where a config has a few."""
    shape = {"class_name": "Reshape", "config": {"name": "r", "target_shape": [1] * count}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [INPUT, shape]}}


CONFIGS: dict[str, Callable[[int], Json]] = {
    made.__name__: made for made in (sequential, chain, ladder, star, shared, cells, long_lists)
}


# ------------------------------------------------------------ files of weights


def hdf5(write: Callable[[h5py.File], None], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


def many_groups(count: int) -> bytes:
    def write(file: h5py.File) -> None:
        for n in range(count):
            file.create_group(f"layers/g{n}/vars")

    return hdf5(write)


def many_links(count: int) -> bytes:
    """Names of one array."""

    def write(file: h5py.File) -> None:
        file["layers/dense/vars/0"] = np.zeros((3, 2), "f4")
        for n in range(1, count):
            file[f"layers/dense/vars/{n}"] = file["layers/dense/vars/0"]

    return hdf5(write)


def deep_groups(count: int) -> bytes:
    return hdf5(lambda file: file.create_group("layers/" + "/".join(["g"] * (count // 2))) and None)


def groups_in_a_ring(count: int) -> bytes:
    """Each group holds itself and the next two."""

    def write(file: h5py.File) -> None:
        groups = [file.create_group(f"layers/g{n}") for n in range(count)]
        for number, group in enumerate(groups):
            for step in (0, 1, 2):
                group[f"g{step}"] = groups[(number + step) % count]

    return hdf5(write)


def many_chunks(count: int) -> bytes:
    def write(file: h5py.File) -> None:
        file.create_dataset("layers/dense/vars/0", data=np.zeros((3 * count, 2), "f4"), chunks=(3, 2))

    return hdf5(write)


def many_attributes(count: int) -> bytes:
    """Lists of names in parts; each name has others."""

    def write(file: h5py.File) -> None:
        group = file.create_group("dense")
        for n in range(2 * count):
            group.attrs[f"weight_names{n}"] = np.full(2, b"dense/kernel")
            file.attrs[f"layer_names{n}"] = np.full(2, b"dense")

    return hdf5(write)


def many_names(count: int) -> bytes:
    def write(file: h5py.File) -> None:
        file.attrs["layer_names"] = np.full(count, b"dense")
        group = file.create_group("dense")
        group.attrs["weight_names"] = np.full(count, b"dense/kernel")
        group["dense/kernel"] = np.zeros((3, 2), "f4")

    return hdf5(write)


def safetensors(count: int) -> bytes:
    header = {
        f"layers/dense/vars/{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n in range(count)
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4 * count)


def same_tensors(count: int) -> bytes:
    """Names of the same bytes."""
    header = {
        f"layers/dense/vars/{n}": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
        for n in range(count)
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4 * count)


def members(count: int) -> bytes:
    """An archive of arrays."""
    array, buffer = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(1, "f4"))
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(count):
            archive.writestr(f"layers/dense/vars/{n}.npy", array.getvalue())
    return buffer.getvalue()


def archive(count: int) -> bytes:
    """A model with as many members, most of them of no layer."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("metadata.json", json.dumps({"keras_version": "3.6.0", "date_saved": "2024-01-01@00:00:00"}))
        target.writestr("config.json", json.dumps(sequential(count)))
        target.writestr("model.weights.h5", many_groups(count))
        for n in range(count):
            target.writestr(f"assets/a{n}", b"")
    return buffer.getvalue()


FILES: dict[str, tuple[str, Callable[[int], bytes]]] = {
    made.__name__: (end, made)
    for end, made in [
        *((".weights.h5", made) for made in (many_groups, many_links, deep_groups, groups_in_a_ring, many_chunks)),
        *((".h5", made) for made in (many_attributes, many_names)),
        *((".safetensors", made) for made in (safetensors, same_tensors)),
        (".npz", members),
        (".keras", archive),
    ]
}
