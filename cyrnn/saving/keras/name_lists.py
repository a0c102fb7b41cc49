"""Lists of names in attributes of HDF5 groups, of which one holds 64 kB: longer lists are in several parts."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras.hdf5 import Node

_MOST_PARTS = 10_000
_LARGEST_PART = 64_000  # bytes


def read_names(group: Node, attribute: str) -> list[str] | None:
    """A list of names, which may be in parts: ``layer_names0``, ``layer_names1``, ... None if there is none."""
    whole = group.attribute(attribute)
    if whole is None and attribute not in group.lists:
        parts = itertools.takewhile(
            lambda part: part is not None, (group.attribute(f"{attribute}{i}") for i in range(_MOST_PARTS))
        )
        group.lists[attribute] = [name for part in parts for name in _listed(part)]
    return group.lists[attribute] or None if whole is None else _listed(whole)


def write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    """Write a list of names into a group of h5py. Raises ValueError for a name that is too long."""
    encoded = [name.encode() for name in names]
    longest = max(map(len, encoded), default=0)
    if longest > _LARGEST_PART:
        raise ValueError(f"a name of {longest} bytes is longer than a .h5 file can hold: save a .keras file")
    each = max(1, _LARGEST_PART // max(longest, 1))  # all take as much as the longest
    if len(encoded) <= each:
        group.attrs[attribute] = np.array(encoded)
        return
    for number, begin in enumerate(range(0, len(encoded), each)):
        group.attrs[f"{attribute}{number}"] = np.array(encoded[begin : begin + each])


def _listed(names: object) -> list[str]:
    if not isinstance(names, list):
        raise ModelFileError("the file's lists of names are damaged")
    return names
