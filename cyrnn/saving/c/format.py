"""C files among the file formats: they are only written."""

from cyrnn.saving.c.export import export_c
from cyrnn.saving.file_format import Format

C = Format(name="C", ends=(".c",), sniff=lambda file: False, export=export_c)
