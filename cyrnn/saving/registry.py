"""The file formats of weights and models: recognised by their contents when read, by their names when written.

To add a format, write a module that ends in a `Format`, and list it in `FORMATS`; one that has to translate models, as
ONNX does, is listed in `cyrnn.saving.interchange`. The library and the command line then know it.
"""

import os
from collections.abc import Iterable, Sequence

from cyrnn.layers.base.layer import Layer
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.errors import ModelFileError, Reason, as_path
from cyrnn.saving.file_format import Format, ModelFile
from cyrnn.saving.keras.formats import ARCHIVE, MODEL_H5, WEIGHTS_H5
from cyrnn.saving.npz import NPZ
from cyrnn.saving.opened import OpenFile
from cyrnn.saving.safetensors import SAFETENSORS
from cyrnn.saving.training_state import Training

FORMATS: tuple[Format, ...] = (WEIGHTS_H5, ARCHIVE, MODEL_H5, NPZ, SAFETENSORS)


def recognised(file: OpenFile, formats: Iterable[Format]) -> Format | None:
    """The format of an open file, by its contents alone; None if it is none of these."""
    return next((form for form in formats if form.sniff(file)), None)


def by_end(path: str | os.PathLike[str], formats: Sequence[Format]) -> Format:
    """The format for a file that is to be written. Raises ValueError if the name has none of their endings."""
    name = as_path(path).name
    found = next((form for form in formats if name.endswith(form.ends)), None)
    if found is None:
        *first, last = ends_of(formats)
        wanted = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"path must end in {wanted}, got {os.fspath(path)!r}")
    return found


def ends_of(formats: Iterable[Format]) -> list[str]:
    """The endings of the names of files, each once."""
    return list(dict.fromkeys(end for form in formats for end in form.ends))


def read_model(file: OpenFile) -> ModelFile:
    """The config of the model in an open file, and a way to its weights. Raises ModelFileError if it holds none."""
    form = recognised(file, FORMATS)
    if form is None:
        raise not_a_model(file, FORMATS)
    if form.read_model is None:
        raise ModelFileError(
            "the file holds weights without a model: build the model, and use load_weights", Reason.NOT_A_MODEL
        )
    return form.read_model(file)


def not_a_model(file: OpenFile, formats: Sequence[Format]) -> ModelFileError:
    """The error for a file of none of these formats, where a model was expected."""
    readable = [form for form in formats if form.read_model is not None or form.load is not None]
    ends = ends_of(sorted(readable, key=lambda form: form.load is not None))
    kinds = " nor ".join(f"a sound .{end.rpartition('.')[2]} file" for end in ends)
    return ModelFileError(f"{os.fspath(file.path)} is neither {kinds}", Reason.UNKNOWN_FORMAT)


def write_model(layer: Layer, path: str | os.PathLike[str], training: Training | None = None) -> None:
    """Write a layer that is a model to a file, at once and whole. Raises ValueError unless it ends in .keras or .h5."""
    form = by_end(path, [form for form in FORMATS if form.write_model is not None])
    with written_at_once(path) as file:
        form.write_model(file, layer, training)  # type: ignore[misc]
