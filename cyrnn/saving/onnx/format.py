"""ONNX files among the file formats. What reads and writes them is imported when it is needed."""

import os
from typing import Any

from cyrnn.layers.base.layer import Layer
from cyrnn.saving.file_format import Format
from cyrnn.saving.opened import OpenFile


def _sniff(file: OpenFile) -> bool:
    """Files of protobuf have no signature. These begin with the field 1, a number; the name helps where they do not."""
    return file.beginning.startswith(b"\x08") or file.path.name.endswith(".onnx")


def _load(file: OpenFile) -> Layer:
    from cyrnn.saving.onnx.importer import read

    return read(file)


def _export(layer: Layer, path: str | os.PathLike[str], **options: Any) -> None:
    from cyrnn.saving.onnx.export import export_onnx

    export_onnx(layer, path, **options)


ONNX = Format(name="ONNX", ends=(".onnx",), sniff=_sniff, load=_load, export=_export, options=("masks",))
