"""Weights as named arrays, in .npz and .safetensors files: ``simple_rnn_1/cell/kernel``.

The name is the path in Keras' weights files without `layers`, then the weight's own name. Files of arrays without names
(``numpy.savez(path, *layer.get_weights())``) are read in the order of the weights.
"""

import functools
import re
from collections.abc import Callable
from typing import BinaryIO, Protocol

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.names import distinct
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.file_format import Format, StoredArray
from cyrnn.saving.opened import OpenFile
from cyrnn.saving.weight_paths import EVERYTHING, Choice, Place


class Arrays(Protocol):
    """The arrays in a file, none of them read yet."""

    @property
    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype_name(self, name: str) -> str: ...

    def read(self, name: str) -> Array:
        """An array of numbers. Raises ModelFileError if it is of another type."""
        ...


def array_format(
    name: str,
    ends: tuple[str, ...],
    sniff: Callable[[OpenFile], bool],
    arrays_in: Callable[[OpenFile], Arrays],
    write: Callable[[BinaryIO, dict[str, Array]], None],
) -> Format:
    """The format of files that hold arrays by name, from what finds the arrays in a file, and writes some."""

    def listed(file: OpenFile) -> list[StoredArray]:
        stored = arrays_in(file)
        return [StoredArray(name, stored.shape(name), stored.dtype_name(name)) for name in stored.names]

    return Format(
        name=name,
        ends=ends,
        sniff=sniff,
        read_weights=lambda file, of_a_layer, choice: read_arrays(arrays_in(file), of_a_layer, choice),
        write_weights=lambda file, of_a_layer, _: write(file, named_arrays(of_a_layer)),
        list_arrays=listed,
    )


def weight_names(of_a_layer: list[Place]) -> list[list[str]]:
    """The name of each weight of each place; no two are equal, also where only `layers` made the difference."""
    paths = [re.sub(r"(^|/)layers/", r"\1", place.path) for place in of_a_layer]
    pairs = zip(paths, of_a_layer, strict=True)
    names = iter(distinct(f"{path}/{spec.name}".removeprefix("/") for path, place in pairs for spec in place.specs))
    return [[next(names) for _ in place.specs] for place in of_a_layer]


def read_arrays(arrays: Arrays, of_a_layer: list[Place], choice: Choice = EVERYTHING) -> list[dict[str, Array] | None]:
    """The weights for each place, by name. Raises ModelFileError where the file has others."""
    names = weight_names(of_a_layer)
    expected = [name for own in names for name in own]
    stored = {name: name for name in arrays.names}
    if stored and all(re.fullmatch(r"arr_\d{1,9}", name) for name in stored):  # as `numpy.savez` calls them
        in_order = sorted(stored, key=lambda name: int(name[4:]))
        if len(in_order) != len(expected):
            raise ModelFileError(
                f"the layer has {len(expected)} weights, the file {len(in_order)} arrays", Reason.MISMATCH
            )
        stored = dict(zip(expected, in_order, strict=True))
    missing = [name for name in expected if name not in stored]
    if choice == EVERYTHING and (missing or len(stored) != len(expected)):
        unknown = sorted(set(stored) - set(expected))
        raise ModelFileError(f"the file has no {missing[:5]}, and the layer no {unknown[:5]}", Reason.MISMATCH)
    values: list[dict[str, Array] | None] = []
    for place, own in zip(of_a_layer, names, strict=True):
        absent = choice.by_name and bool(own) and stored.keys().isdisjoint(own)
        read = functools.partial(_of_a_place, arrays, place, own, stored)
        values.append(None if absent else choice.values(place.layer.name, read))
    return values


def _of_a_place(arrays: Arrays, place: Place, names: list[str], stored: dict[str, str]) -> dict[str, Array]:
    found = {}
    for name, spec in zip(names, place.specs, strict=True):
        if name not in stored:
            raise ModelFileError(f"the file has no {name!r}", Reason.MISMATCH)
        shape = arrays.shape(stored[name])
        if shape != spec.shape:
            raise ModelFileError(
                f"{place.described(spec)} has shape {spec.shape}, the file has {shape}", Reason.MISMATCH
            )
        found[spec.name] = arrays.read(stored[name])
        place.check_kind(spec, found[spec.name].dtype)
    return found


def named_arrays(of_a_layer: list[Place]) -> dict[str, Array]:
    """The weights of built layers by name."""
    names = weight_names(of_a_layer)
    return {
        name: value
        for own, place in zip(names, of_a_layer, strict=True)
        for name, value in zip(own, place.values(), strict=True)
    }


def from_bfloat16(bits: Array) -> Array:
    """float32 of the same values: a bfloat16 is the upper half of one. `bits` are unsigned 16-bit integers."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
