"""ONNX files among the file formats."""

from cyrnn.saving.file_format import Format
from cyrnn.saving.onnx.export import export_onnx
from cyrnn.saving.onnx.importer import read
from cyrnn.saving.opened import OpenFile


def _sniff(file: OpenFile) -> bool:
    """Files of protobuf have no signature. These begin with the field 1, a number; the name helps where they do not."""
    return file.beginning.startswith(b"\x08") or file.path.name.endswith(".onnx")


ONNX = Format(name="ONNX", ends=(".onnx",), sniff=_sniff, load=read, export=export_onnx, options=("masks",))
