"""The arrays in a file of weights without a model: names, shapes and dtypes, none of them read."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cyrnn.saving import named_arrays, zipped
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras import archive, hdf5
from cyrnn.saving.npz import Npz
from cyrnn.saving.safetensors import SafeTensors
from cyrnn.saving.weight_files import ZIP, beginning, content, refusals_located


@dataclass(frozen=True)
class StoredArray:
    """An array in a file; `refusal` says why it cannot be read, if it cannot."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    refusal: str | None = None

    @property
    def size(self) -> int:
        """The number of elements; 0 where it is not known."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def shape_text(self) -> str:
        return "?" if self.shape is None else str(self.shape)


def arrays_in(path: str | os.PathLike[str]) -> list[StoredArray] | None:
    """What a file of weights alone holds; None if it holds a model, or is something else.

    Raises ModelFileError for a damaged file, OSError where there is none.
    """
    with refusals_located(path):
        begin = beginning(path)
        if begin.startswith(hdf5.SIGNATURE):
            root = hdf5.File(content(path)).root
            return None if root.attribute("model_config") is not None else list(_of_h5(root))
        if begin.startswith(ZIP):
            with zipped.opened(path, "archive") as members:
                return None if archive.CONFIG in members.names else _of(Npz(members))
        return _of(SafeTensors(content(path))) if begin[8:9] == b"{" else None


def _of(stored: named_arrays.Arrays) -> list[StoredArray]:
    return [StoredArray(name, stored.shape(name), stored.dtype_name(name)) for name in stored.names]


def _of_h5(root: hdf5.Node) -> Iterator[StoredArray]:
    """The datasets, in the order of the file; a group that is in several places is opened once."""
    seen, pending = {id(root)}, [("", root)]
    while pending:
        path, node = pending.pop()
        if not node.is_group:
            try:
                yield StoredArray(path, node.shape, node.dtype_name)
            except ModelFileError as error:
                yield StoredArray(path, None, "?", str(error))
            continue
        inner = []
        for name in node.names:
            root.spend(len(path) + len(name))
            try:
                child = node.get(name) if "/" not in name else None
            except ModelFileError as error:
                yield StoredArray(f"{path}/{name}".removeprefix("/"), None, "?", str(error))
                continue
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                inner.append((f"{path}/{name}".removeprefix("/"), child))
        pending += reversed(inner)
