"""All file formats, with those whose models have to be translated: what `cyrnn convert`, `info` and `predict` know.

To add such a format, write a module that ends in a `Format` with `load` or `export`, and list it in `FORMATS`.
"""

import os
from typing import Any

from cyrnn.layers.base.layer import Layer
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.model_files import model_from_file, save_model
from cyrnn.saving import registry
from cyrnn.saving.c.format import C
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.file_format import Format
from cyrnn.saving.onnx.format import ONNX
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.torch import TORCH
from cyrnn.saving.weight_files import save_weights

# torch's weights are in .safetensors files, so they come before these; ONNX's have no signature, so they are last.
FORMATS: tuple[Format, ...] = (TORCH, *registry.FORMATS, ONNX, C)
WRITTEN = tuple(form for form in FORMATS if form.write_model or form.write_weights or form.export)


def recognised(file: OpenFile) -> Format:
    """The format of an open file. Raises ModelFileError if it is none that is known."""
    found = registry.recognised(file, FORMATS)
    if found is None:
        raise registry.not_a_model(file, FORMATS)
    return found


def load(file: OpenFile, form: Format, **options: Any) -> Layer:
    """The layer or model in an open file of this format. Raises ModelFileError if it holds weights alone."""
    if form.load is not None:
        return form.load(file, **options)
    if form.read_model is not None:
        return model_from_file(form.read_model(file))
    raise ModelFileError(
        f"{os.fspath(file.path)} holds weights without a model, which cannot be made of them: convert the model's file",
        Reason.NOT_A_MODEL,
    )


def load_model(path: str | os.PathLike[str]) -> ModelOfLayers:
    """The model in a file of any format that says all of it. Raises ModelFileError for a file of weights alone."""
    with opened(path) as file:
        form = recognised(file)
        if form.list_arrays is not None:
            hint = ": cyrnn convert makes one of them" if form.load is not None else ""
            raise ModelFileError(f"the file holds weights without a model{hint}", Reason.NOT_A_MODEL)
        model = load(file, form)
        if not isinstance(model, ModelOfLayers):
            raise ModelFileError(f"the file holds a {type(model).__name__}, which is not a model", Reason.NOT_A_MODEL)
        return model


def export(layer: Layer, path: str | os.PathLike[str], form: Format, **options: Any) -> None:
    """Write a layer or model to a file of this format, at once and whole."""
    if form.export is not None:
        form.export(layer, path, **options)
    elif form.write_model is not None:
        save_model(layer, path)
    else:
        save_weights(layer, path)
