"""The variables of optimizers in HDF5 files, in the two layouts that Keras 3 writes.

Beside the weights they are ``optimizer/vars/0``, ``optimizer/vars/1``, ...; in a ``.h5`` of a whole model the group
`optimizer_weights` has them by path, in the order of its attribute `weight_names`.
"""

from typing import Any

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.names import distinct
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras.hdf5 import Node
from cyrnn.saving.keras.name_lists import read_names, write_names
from cyrnn.saving.keras.written import write_array
from cyrnn.saving.training_state import Variables

_SCALED, _PLAIN, _LEGACY = "optimizer/inner_optimizer/vars", "optimizer/vars", "optimizer_weights"
_OF_LOSS_SCALE = 4  # variables of a LossScaleOptimizer, which stand before those of the optimizer in it


class StoredInGroup:
    """Variables in a group, by the names of their datasets."""

    def __init__(self, group: Node, names: list[str]) -> None:
        self._group, self._names = group, names

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, number: int) -> tuple[int, ...]:
        return self._dataset(number).shape

    def read(self, number: int) -> Array:
        dataset = self._dataset(number)
        values = dataset.read()
        dataset.keep(8 * values.size)  # the optimizer will hold a copy
        return values

    def _dataset(self, number: int) -> Node:
        name = self._names[number]
        found = self._group.get(name)
        if found is None:
            raise ModelFileError(f"the file holds no variable {name!r} of the optimizer")
        return found


def stored_variables(root: Node) -> StoredInGroup | None:
    """Those beside the weights; None if there is no such group."""
    for path in (_SCALED, _PLAIN):
        group = root.get(path)
        if group is not None and group.is_group:
            return StoredInGroup(group, [str(number) for number in range(len(group.names))])
    return None


def legacy_variables(root: Node) -> StoredInGroup | None:
    """Those of a whole model in HDF5."""
    group = root.get(_LEGACY)
    if group is None or not group.is_group:
        return None
    names = read_names(group, "weight_names") or []
    scaled = len(names) > _OF_LOSS_SCALE and names[_OF_LOSS_SCALE - 1].endswith("/dynamic_scale")
    return StoredInGroup(group, names[_OF_LOSS_SCALE:] if scaled else names)


def write_variables(file: Any, variables: Variables) -> None:
    """Write them into an open file of h5py, beside the weights."""
    if not variables:
        return
    group = file.create_group(_PLAIN)
    group.attrs["name"] = variables[0][0].partition("/")[0]
    for number, (_, value) in enumerate(variables):
        write_array(group, str(number), value)


def write_legacy_variables(file: Any, variables: Variables) -> None:
    """Write them into an open file of h5py, as it is for a whole model."""
    if not variables:
        return
    group = file.create_group(_LEGACY)
    write_names(group, "weight_names", names := distinct(path for path, _ in variables))
    for name, (_, value) in zip(names, variables, strict=True):
        write_array(group, name, value)
