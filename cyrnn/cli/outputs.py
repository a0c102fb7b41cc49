"""A model's outputs into a .npy, .npz or .csv file, through memory maps: they may be larger than memory."""

import contextlib
import math
import os
import re
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from cyrnn.cli.csv_files import write_csv
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.atomic import written_at_once

_ENDS = (".npy", ".npz", ".csv")


class Writer:
    """The file at `path`, for outputs of these names: a block in which it is written; whole, or not at all.

    Raises ValueError where the file cannot hold them, OSError where it cannot be written.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.written: list[str] = []  # what was written, a line each
        self._path, self._names = path, names
        self._end = path.suffix.lower() or ".npy"
        if path.exists() and not path.is_file() and self._end not in _ENDS:
            self._end = ".npy"  # a pipe or device has any name
        if self._end not in _ENDS:
            raise ValueError(f"{path} must end in one of {', '.join(_ENDS)}")
        if len(names) > 1 and self._end != ".npz":
            raise ValueError(f"{path} cannot hold the outputs {', '.join(names)}: write a .npz file")
        self._in_place = False  # whether the array that is filled is the file itself
        self._blocks = contextlib.ExitStack()

    def __enter__(self) -> "Writer":
        self._file = self._blocks.enter_context(written_at_once(self._path))
        return self

    def __exit__(self, *error: Any) -> None:
        self._blocks.__exit__(*error)

    def arrays(self, shapes: Any, dtypes: list[np.dtype]) -> Any:
        """Arrays for the outputs, in their structure; None where they are to be made in memory."""
        wanted = nest.leaves_of_shapes(shapes)
        if not self._is_on_disk() or not all(isinstance(n, int) for shape in wanted for n in shape):
            return None
        if not all(math.prod(shape) for shape in wanted):
            return None  # nothing to map
        rest = iter(dtypes)
        return nest.mapped_shapes(lambda shape: self._array(shape, next(rest)), shapes)

    def _is_on_disk(self) -> bool:
        try:
            return stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        except OSError:  # a buffer
            return False

    def _array(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        if self._end == ".npy":  # the file itself
            description: Any = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(self._file, description)
            self._in_place = True
            return _mapped(self._file, shape, dtype)
        folder = self._path.resolve().parent
        return _mapped(self._blocks.enter_context(tempfile.TemporaryFile(dir=folder)), shape, dtype)

    def write(self, result: Any) -> None:
        """Write what is not yet in the file."""
        outputs = nest.leaves(result)
        if self._end == ".npz":
            with zipfile.ZipFile(self._file, "w") as archive:
                for name, output in zip(self._names, outputs, strict=True):
                    name = re.sub(r"[^\w.-]", "_", name)  # it comes from a file
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, output, allow_pickle=False)
                    self.written.append(f"{name} {output.shape} {output.dtype}")
            return
        output = outputs[0]
        told = f"{output.shape} {output.dtype}"
        if self._end == ".csv":
            write_csv(self._file, output)
            told += f", as {math.prod(output.shape[1:])} columns" if output.ndim > 2 else ""
        elif not self._in_place:
            np.save(self._file, output)
        self.written.append(told)


def _mapped(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """An array behind what is in the file already, as a memory map. Raises OSError where the disk has not the room."""
    file.flush()
    begin, size = file.tell(), math.prod(shape) * dtype.itemsize
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), begin, size)  # else a full disk would be a bus error
    return np.memmap(file, dtype, "r+", begin, shape)
