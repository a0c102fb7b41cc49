"""Weights from files into a layer, and from a layer into files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.saving import named_arrays, zipped
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.keras import archive, hdf5
from cyrnn.saving.keras.legacy_h5 import legacy_group, read_legacy_weights
from cyrnn.saving.keras.weights_h5 import read_weights, weights_file
from cyrnn.saving.npz import Npz, write_npz
from cyrnn.saving.safetensors import SafeTensors, write_safetensors
from cyrnn.saving.weight_paths import Place, fill, places

ZIP = b"PK\x03\x04"
_LONGEST_MESSAGE = 1000  # characters; names in a file may have millions


def load_weights(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Give a built layer or model the weights of a file, whose order must be that of its weights.

    The file may be Keras 3's ``.weights.h5`` or ``.keras``, a ``.h5`` of Keras 1 or 2 with weights or a whole model, or
    what `save_weights` writes: its contents decide, not its name. Raises ModelFileError (a ValueError), and changes
    nothing, for a file that is damaged or does not fit; ValueError if the layer is not built; OSError where there is no
    file.
    """
    of_a_layer = places(_checked(layer))
    with refusals_located(path):
        values = _read(path, of_a_layer)
    fill(of_a_layer, values)


def save_weights(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the weights of a built layer or model to a file, at once and whole.

    The end of the path decides: ``.weights.h5`` is Keras 3's format (needs h5py), ``.npz`` and ``.safetensors`` hold
    arrays by name, as ``simple_rnn_1/cell/kernel``. Raises ValueError for another end, or if the layer is not built.
    """
    of_a_layer = places(_checked(layer))
    name = Path(path).name
    if name.endswith(".weights.h5"):
        content = weights_file(of_a_layer)
        with written_at_once(Path(path)) as file:
            file.write(content)
    elif name.endswith((".npz", ".safetensors")):
        named = named_arrays.named_arrays(of_a_layer)
        with written_at_once(Path(path)) as file:
            (write_npz if name.endswith(".npz") else write_safetensors)(file, named)
    else:
        raise ValueError(f"path must end in .weights.h5, .npz or .safetensors, got {os.fspath(path)!r}")


def h5_weights(content: bytes, of_a_layer: list[Place]) -> list[dict[str, Array]]:
    """The weights for each place in the bytes of an HDF5 file, whichever Keras wrote it."""
    root = hdf5.File(content).root
    legacy = legacy_group(root)
    return read_weights(root, of_a_layer) if legacy is None else read_legacy_weights(legacy, of_a_layer)


def _read(path: str | os.PathLike[str], of_a_layer: list[Place]) -> list[dict[str, Array]]:
    begin = beginning(path)
    if begin.startswith(hdf5.SIGNATURE):
        return h5_weights(content(path), of_a_layer)
    if begin.startswith(ZIP):
        with zipped.opened(path, "archive") as members:
            if archive.CONFIG in members.names:
                return h5_weights(archive.read_archive(path).weights, of_a_layer)
            return named_arrays.read_arrays(Npz(members), of_a_layer)
    if begin[8:9] == b"{":
        return named_arrays.read_arrays(SafeTensors(content(path)), of_a_layer)
    if begin.startswith(b"{"):
        raise ModelFileError("it lists shards, in other files: save the weights in one .weights.h5 file")
    raise ModelFileError("it is none of .weights.h5, .h5, .keras, .npz and .safetensors, or is damaged")


def beginning(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file. Raises OSError where there is none."""
    with zipped.regular_file(path) as file:
        return file.read(16)


def content(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file."""
    with zipped.regular_file(path) as file:
        return file.read()


@contextmanager
def refusals_located(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block, whatever a file's contents cause is a ModelFileError that names the file."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        text = str(error)[:_LONGEST_MESSAGE] or type(error).__name__
        raise ModelFileError(text if os.fspath(path) in text else f"{os.fspath(path)}: {text}") from error


def _checked(layer: Layer) -> Layer:
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer or model, got {type(layer).__name__}")
    return layer
