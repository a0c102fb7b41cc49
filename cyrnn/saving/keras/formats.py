"""The file formats of Keras: ``.keras`` archives, and HDF5 files of weights and of whole models."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from cyrnn._version import __version__
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.file_format import Format, ModelFile, StoredArray
from cyrnn.saving.keras import archive, assets, hdf5
from cyrnn.saving.keras.legacy_h5 import legacy_file, legacy_group, read_legacy_weights
from cyrnn.saving.keras.optimizer_vars import legacy_variables, stored_variables
from cyrnn.saving.keras.training_config import compile_config_of
from cyrnn.saving.keras.versions import first_version_that_reads, version_text
from cyrnn.saving.keras.weights_h5 import read_weights, weights_file
from cyrnn.saving.opened import OpenFile
from cyrnn.saving.training_state import Training, Variables
from cyrnn.saving.weight_paths import EVERYTHING, Choice, Place, places

# ------------------------------------------------------------ HDF5


def _holds_hdf5(file: OpenFile) -> bool:
    return file.beginning.startswith(hdf5.SIGNATURE)


@dataclass(frozen=True)
class _Hdf5:
    """An HDF5 file that has been parsed; the config of a model is read once, for it may be most of the file."""

    root: hdf5.Node
    config: Any = None
    refusal: ModelFileError | None = None  # of what stands in the config's place


def _hdf5(content: bytes) -> _Hdf5:
    root = hdf5.File(content).root
    try:
        return _Hdf5(root, root.attribute("model_config"))
    except ModelFileError as error:
        return _Hdf5(root, refusal=error)


def _root(file: OpenFile) -> hdf5.Node:
    return file.parsed(_hdf5).root


def _holds_a_model(file: OpenFile) -> bool:
    found = file.parsed(_hdf5)
    return found.config is not None or found.refusal is not None


def _weights_of(
    root: hdf5.Node, of_a_layer: list[Place], choice: Choice = EVERYTHING
) -> Sequence[dict[str, Array] | None]:
    """The weights for each place, in the layout of Keras 1 and 2, or of Keras 3."""
    legacy = legacy_group(root)
    if legacy is None:
        return read_weights(root, of_a_layer, choice)
    return read_legacy_weights(legacy, of_a_layer, choice)


def _read_h5(file: OpenFile) -> ModelFile:
    found = file.parsed(_hdf5)
    if found.refusal is not None:
        raise found.refusal
    weights = legacy_group(found.root)
    if not isinstance(found.config, str) or weights is None:
        raise ModelFileError("the file holds the config of a model without its weights, or not as one text")

    def compile_config() -> Any:
        text = found.root.attribute("training_config")
        if text is None:
            return None
        if not isinstance(text, str):
            raise ModelFileError("the file's training_config is not one text")
        return compile_config_of(archive.parsed(text, "training_config", len(file.content)))

    version = found.root.attribute("keras_version") or weights.attribute("keras_version") or "1.0"
    return ModelFile(
        archive.parsed(found.config, "model_config", len(file.content)),
        version_text(version),
        functools.partial(read_legacy_weights, weights),
        compile_config,
        lambda: legacy_variables(found.root),
        wrong_variables_are_left=True,
    )


def _arrays_in_h5(file: OpenFile) -> list[StoredArray]:
    return list(_datasets(_root(file)))


def _datasets(root: hdf5.Node) -> Iterator[StoredArray]:
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


def _write_weights(file: BinaryIO, of_a_layer: list[Place], variables: Variables) -> None:
    file.write(weights_file(of_a_layer, variables))


def _write_h5(file: BinaryIO, model: Layer, training: Training | None) -> None:
    assets.refuse(places(model))
    file.write(legacy_file(model, model.to_json(), first_version_that_reads(model), training))


WEIGHTS_H5 = Format(
    name="Keras' weights",
    ends=(".weights.h5",),
    sniff=lambda file: _holds_hdf5(file) and not _holds_a_model(file),
    read_weights=lambda file, of_a_layer, choice: _weights_of(_root(file), of_a_layer, choice),
    write_weights=_write_weights,
    read_variables=lambda file: stored_variables(_root(file)),
    list_arrays=_arrays_in_h5,
)
MODEL_H5 = Format(
    name="Keras' models in HDF5",
    ends=(".h5",),
    sniff=lambda file: _holds_hdf5(file) and _holds_a_model(file),
    read_weights=lambda file, of_a_layer, choice: _weights_of(_root(file), of_a_layer, choice),
    read_model=_read_h5,
    write_model=_write_h5,
)

# ------------------------------------------------------------ .keras


def _archive(file: OpenFile) -> archive.Archive:
    return archive.read_archive(file.members)


def _archived_root(file: OpenFile) -> hdf5.Node:
    found = file.once(_archive)
    return hdf5.File(found.weights, found.stored_bytes).root


def _read_archive(file: OpenFile) -> ModelFile:
    found = file.once(_archive)
    return ModelFile(
        found.config,
        version_text(found.metadata.get("keras_version")),
        lambda of_a_layer, choice=EVERYTHING: _weights_of(file.once(_archived_root), of_a_layer, choice),
        lambda: found.config.get("compile_config"),
        lambda: stored_variables(file.once(_archived_root)),
        functools.partial(assets.load, file.members, lambda: file.once(_archived_root)),
    )


def _write_archive(file: BinaryIO, model: Layer, training: Training | None) -> None:
    metadata = {
        "keras_version": first_version_that_reads(model),
        "date_saved": datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "saved_by": f"cyrnn {__version__}",
    }
    config = model.to_json()
    if training is not None:
        config = json.dumps({**json.loads(config), "compile_config": training.compile_config})
    of_the_model = places(model)
    members = {
        archive.METADATA: json.dumps(metadata).encode(),
        archive.CONFIG: config.encode(),
        archive.WEIGHTS: weights_file(of_the_model, () if training is None else training.variables),
        **assets.members(of_the_model),
    }
    archive.write_archive(file, members)


ARCHIVE = Format(
    name="Keras",
    ends=(".keras",),
    sniff=lambda file: file.is_zip and not archive.NAMES.isdisjoint(file.members.names),
    read_weights=lambda file, of_a_layer, choice: _weights_of(file.once(_archived_root), of_a_layer, choice),
    read_variables=lambda file: stored_variables(file.once(_archived_root)),
    read_model=_read_archive,
    write_model=_write_archive,
)
