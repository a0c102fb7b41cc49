"""A model's outputs in a .npy, .npz or .csv file, through memory maps: they may be larger than memory."""

import contextlib
import io
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from cyrnn.cli.checks import STANDARD
from cyrnn.cli.csv_files import write_csv
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.names import distinct
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.npz import write_npz


def member_names(names: Iterable[str]) -> list[str]:
    """Names from a file as the members of an archive may have them, each once."""
    return distinct(re.sub(r"[^\w.-]", "_", name) for name in names)


class Writer:
    """The file at `path`, for outputs of these names: a block in which it is written; whole, or not at all.

    The names are the layers', and may come again. `end` is the format, ".npy", ".npz" or ".csv"; with `series` the
    lines of a .csv file are the timesteps of the one sample that there is. Raises ValueError where the file cannot hold
    the outputs, OSError where it cannot be written.
    """

    def __init__(self, path: Path, names: Iterable[str], end: str, series: bool = False) -> None:
        self.written: list[str] = []  # what was written, a line each
        self._path, self._names = path, member_names(names)
        self._end, self._series = end, series
        if len(self._names) > 1 and self._end != ".npz":
            raise ValueError(f"{path} cannot hold the outputs {', '.join(self._names)}: write a .npz file")
        self._in_place = False  # whether the array that is filled is the file itself
        self._blocks = contextlib.ExitStack()

    def __enter__(self) -> "Writer":
        block = _standard_output() if self._path == STANDARD else written_at_once(self._path)
        self._file = self._blocks.enter_context(block)
        return self

    def __exit__(self, *error: Any) -> None:
        self._blocks.__exit__(*error)

    def arrays(self, shapes: Any, dtypes: list[np.dtype]) -> Any:
        """Arrays for the outputs, in their structure; None where `predict` has to make them in memory."""
        wanted = nest.leaves_of_shapes(shapes)
        if not self._is_on_disk() or not all(isinstance(n, int) for shape in wanted for n in shape):
            return None
        if not all(math.prod(shape) for shape in wanted) or any(dtype.kind == "V" for dtype in dtypes):
            return None  # nothing to map; or bfloat16, which is written as float32
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
        """Write what is not yet in the file. NumPy has no bfloat16: it becomes float32, which holds the same values."""
        outputs = [output.astype(np.float32) if output.dtype.kind == "V" else output for output in nest.leaves(result)]
        if self._end == ".npz":
            named = dict(zip(self._names, outputs, strict=True))
            write_npz(self._file, named)
            self.written += [f"{name} {output.shape} {output.dtype}" for name, output in named.items()]
            return
        output = outputs[0]
        line = f"{output.shape} {output.dtype}"
        if self._end == ".csv":
            write_csv(self._file, output[0] if self._series and output.ndim > 2 else output)
            if output.ndim > 2 and self._series:
                line += f", as {output.shape[1]} lines"
            elif output.ndim > 2:
                line += f", as {math.prod(output.shape[1:])} columns"
        elif not self._in_place:
            np.save(self._file, output)
        self.written.append(line)


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    """Bytes that are written to the standard output when the block ends well."""
    buffer = io.BytesIO()  # a pipe has no position, which `numpy.save` asks for
    yield buffer
    sys.stdout.flush()
    sys.stdout.buffer.write(buffer.getbuffer())
    sys.stdout.buffer.flush()


def _mapped(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """An array after the present contents of the file, as a memory map. Raises OSError where the disk is too full."""
    file.flush()
    begin, size = file.tell(), math.prod(shape) * dtype.itemsize
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), begin, size)  # else a full disk would be a bus error
    return np.memmap(file, dtype, "r+", begin, shape)
