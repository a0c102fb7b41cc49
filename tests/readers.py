"""All that the readers of HDF5 and .safetensors do with a file, for fuzzing."""

from collections.abc import Callable

from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras.hdf5 import File, Node
from cyrnn.saving.keras.name_lists import read_names
from cyrnn.saving.safetensors import SafeTensors

MOST_NODES = 500


def read_hdf5(content: bytes) -> None:
    root = File(content).root
    seen, pending = {id(root)}, [root]
    while pending and len(seen) < MOST_NODES:
        node = pending.pop()
        _allowed(lambda node=node: read_names(node, "weight_names"))
        _allowed(lambda node=node: [node.attribute(name) for name in ("layer_names", "model_config", "dtype")])
        if not node.is_group:
            _allowed(lambda node=node: (node.shape, node.dtype_name, node.read().tobytes()))
            continue
        for name in node.names:
            child = _child(node, name)
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                pending.append(child)


def read_safetensors(content: bytes) -> None:
    arrays = SafeTensors(content)
    for name in arrays.names:
        _allowed(lambda name=name: (arrays.shape(name), arrays.dtype_name(name), arrays.read(name).tobytes()))


def _child(node: Node, name: str) -> Node | None:
    try:
        return node.get(name)
    except ModelFileError:
        return None


def _allowed(act: Callable[[], object]) -> None:
    try:
        act()
    except ModelFileError as error:
        assert len(str(error)) < 3000


READERS: dict[str, Callable[[bytes], None]] = {"hdf5": read_hdf5, "safetensors": read_safetensors}


def check(kind: str, content: bytes) -> bool:
    """Whether a file is read, or refused by a ModelFileError. Any other error is a fault of the reader."""
    try:
        READERS[kind](content)
    except ModelFileError as error:
        assert len(str(error)) < 3000
        return False
    return True
