"""The layout of Keras 3's weights file: HDF5 groups that follow the layers' attributes.

A layer's own weights are ``vars/0``, ``vars/1``, ...; a layer inside it is a group of the attribute's name (``cell``);
the layers of a model are in ``layers``, named by class: ``simple_rnn``, ``simple_rnn_1``, ... in order.
"""

import io
from collections import Counter
from typing import Any

import numpy as np

from cyrnn import objects
from cyrnn.layers.arguments import Array, Shape
from cyrnn.layers.base import Layer
from cyrnn.layers.weights import WeightSpec
from cyrnn.saving.errors import ModelFileError

_MOST_EXPANSION = 1000  # of all weights together: a dataset may say it is large and store nothing, or be read twice


class _Budget:
    """The bytes that may still be read."""

    def __init__(self, bytes_left: int) -> None:
        self.bytes_left = bytes_left

    def spend(self, count: int, what: str) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ModelFileError(f"{what} would expand to {count} bytes, far more than the file holds")


def build_from_h5(layer: Layer, input_shape: Shape, content: bytes, stored_bytes: int) -> None:
    """Build `layer` for inputs of `input_shape`, with the weights in `content`, the bytes of an HDF5 file.

    `stored_bytes` is the size of what came from outside: all weights together may be a thousand times larger.

    Every shape is known from the configs before anything is read or allocated. Raises ModelFileError where the file
    does not fit, and ImportError without h5py.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(".keras files need h5py: pip install 'cyrnn[h5]'") from error
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _build(h5py, layer, input_shape, file, "", _Budget(_MOST_EXPANSION * stored_bytes))
    except (OSError, RuntimeError, KeyError) as error:  # what h5py makes of damaged files
        raise ModelFileError(f"the weights are not a sound HDF5 file: {error}") from None


def _build(h5py: Any, layer: Layer, input_shape: Shape, file: Any, path: str, budget: "_Budget") -> None:
    if layer.makes_its_own_weights:
        layer.build(input_shape)
        return _fill(h5py, layer, file, path, budget)
    values = _values(h5py, layer, layer.weight_specs(input_shape), file, path, budget)
    shapes, paths = layer.sublayer_shapes(input_shape), _sublayer_paths(layer)
    if len(shapes) != len(paths):
        raise ModelFileError(f"layer {layer.name!r} must have a build(input_shape) that builds the layers in it")
    for (_, sublayer), shape, name in zip(layer.sublayers, shapes, paths, strict=True):
        _build(h5py, sublayer, shape, file, f"{path}{name}/", budget)
    if not layer.built:
        layer.build_with(input_shape, values)
    return None


def _fill(h5py: Any, layer: Layer, file: Any, path: str, budget: "_Budget") -> None:
    """Give a layer that has built itself, and those in it, the weights of the file."""
    if not layer.built:
        raise ModelFileError(f"layer {layer.name!r} is not built by the layer that it is in: its weights have no place")
    layer.assign(_values(h5py, layer, layer.own_specs, file, path, budget))
    for (_, sublayer), name in zip(layer.sublayers, _sublayer_paths(layer), strict=True):
        _fill(h5py, sublayer, file, f"{path}{name}/", budget)


def _values(
    h5py: Any, layer: Layer, specs: list[WeightSpec], file: Any, path: str, budget: "_Budget"
) -> dict[str, Array]:
    """The layer's own weights in the file, by name."""
    stored = _member(h5py, file, f"{path}vars", h5py.Group) if specs else ()
    if len(stored) != len(specs):
        raise ModelFileError(f"layer {layer.name!r} has {len(specs)} weights, its group {path}vars holds {len(stored)}")
    return {
        spec.name: _read(
            h5py, file, f"{path}vars/{index}", spec, f"weight {spec.name!r} of layer {layer.name!r}", budget
        )
        for index, spec in enumerate(specs)
    }


def _sublayer_paths(layer: Layer) -> list[str]:
    """The group of each sublayer: its attribute, or in a list of layers the class, numbered."""
    counts: Counter[str] = Counter()
    paths = []
    for attribute, sublayer in layer.sublayers:
        path = attribute
        if isinstance(getattr(layer, attribute), list):
            path = f"{attribute}/{objects.snake_case(type(sublayer).__name__)}"
        paths.append(f"{path}_{counts[path]}" if counts[path] else path)
        counts[path] += 1
    return paths


def _member(h5py: Any, file: Any, path: str, kind: type) -> Any:
    """The group or dataset at `path`, reached through hard links alone: no link leads out of this file."""
    node = file
    for part in path.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise ModelFileError(f"the weights file holds no {path!r}")
        if not isinstance(link, h5py.HardLink):
            raise ModelFileError(f"{path!r} in the weights file is a link to elsewhere")
        node = node[part]
    if not isinstance(node, kind):
        raise ModelFileError(f"{path!r} in the weights file is not a {kind.__name__.lower()}")
    return node


def _read(h5py: Any, file: Any, path: str, spec: WeightSpec, what: str, budget: "_Budget") -> Array:
    dataset = _member(h5py, file, path, h5py.Dataset)
    if dataset.shape != spec.shape:
        raise ModelFileError(f"{what} has shape {spec.shape}, the file has {dataset.shape}")
    if dataset.is_virtual or dataset.external:
        raise ModelFileError(f"{what} is stored outside of the file")
    budget.spend(dataset.nbytes, what)
    dtype = dataset.dtype
    if dataset.attrs.get("dtype") == "bfloat16" and dtype.itemsize == 2:
        bits = np.asarray(dataset[()]).view(np.uint16)
        return (bits.astype(np.uint32) << 16).view(np.float32)  # a bfloat16 is the upper half of a float32
    if dtype.kind != "f" and (spec.dtype is None or dtype.kind != spec.dtype.kind):
        raise ModelFileError(f"{what} must be of {spec.dtype or 'a float type'}, the file has {dtype}")
    return dataset[()]
