"""C files among the file formats: they are only written. What writes them is imported when it is needed."""

import os
from typing import Any

from cyrnn.layers.base.layer import Layer
from cyrnn.saving.file_format import Format


def _export(layer: Layer, path: str | os.PathLike[str], **options: Any) -> None:
    from cyrnn.saving.c.export import export_c

    export_c(layer, path, **options)


C = Format(name="C", ends=(".c",), sniff=lambda file: False, export=_export)
