"""Arrays from .npy, .npz and .csv files, for the inputs of a model. What can be mapped into memory is not read."""

import contextlib
import math
import mmap
import os
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cyrnn.cli.checks import STANDARD
from cyrnn.cli.csv_files import read_csv
from cyrnn.layers.base.arguments import Array, Shape
from cyrnn.saving.keras import hdf5
from cyrnn.saving.npz import npy_header
from cyrnn.saving.opened import opened

_NPY = b"\x93NUMPY"


@contextlib.contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """A regular file within the block: the one at the path, or all that comes from the standard input."""
    if path != STANDARD:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cyrnn-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "standard input.csv"  # a CSV, if its first bytes do not say otherwise
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield copy


def kind_of(path: Path) -> str:
    """What a file of arrays is: ".npy", ".npz" or ".csv". Raises ValueError if it is none, OSError if there is none.

    The first bytes decide, and the end of the name for .csv, which has no such bytes.
    """
    with opened(path) as file:
        begin, is_zip = file.beginning, file.is_zip
    if begin.startswith(_NPY):
        return ".npy"
    if is_zip:
        return ".npz"
    if path.suffix.lower() == ".csv" and not begin.startswith(hdf5.SIGNATURE):
        return ".csv"
    raise ValueError(f"{path} is not a .npy file, nor .npz, nor .csv")


def read_inputs(path: Path, names: list[str], shapes: list[Shape], series: bool = False) -> Any:
    """An array, or for several inputs a dict of them by name; `shapes` are the model's.

    With `series` the lines of a .csv file are the timesteps of one sample, not samples. Raises ValueError that names
    the file, and OSError where there is none.
    """
    kind = kind_of(path)
    if series and kind != ".csv":
        raise ValueError(f"--series is for .csv files, and {path} is a {kind} file, which has its axes")
    if kind == ".npy":
        return _only_one(path, names, _read_npy(path))
    if kind == ".npz":
        return _chosen(path, names, _read_npz(path))
    in_shape = _as_one_sample if series else _in_shape
    return _only_one(path, names, in_shape(path, read_csv(path), shapes[0]))


def _only_one(path: Path, names: list[str], array: Array) -> Array:
    if len(names) > 1:
        raise ValueError(
            f"{path} holds one array, the model has the inputs {', '.join(names)}: put them in a .npz file"
        )
    return array


def _chosen(path: Path, names: list[str], arrays: dict[str, Array]) -> Any:
    if len(names) == 1 and len(arrays) == 1:
        return next(iter(arrays.values()))
    if len(names) == 1 and names[0] not in arrays:
        raise ValueError(f"{path} must hold one array, or one called {names[0]!r}, got {', '.join(arrays) or 'none'}")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold the inputs {', '.join(names)}, got {', '.join(arrays) or 'no arrays'}")
    return arrays[names[0]] if len(names) == 1 else {name: arrays[name] for name in names}


def _read_npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            return _mapped(file, os.fstat(file.fileno()).st_size)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"{path} is not a .npy file of numbers: {error}") from None


def _read_npz(path: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename:
                    raise ValueError(f"it holds {info.filename!r}")
                if name in found:
                    raise ValueError(f"it holds {info.filename!r} twice")
                stored = info.compress_type == zipfile.ZIP_STORED
                found[name] = _mapped_member(file, info) if stored else _unpacked(archive, info)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # as above
        raise ValueError(f"{path} is not a .npy file, nor a .npz file of numbers: {error}") from None
    return found


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as member:
        shape, by_columns, dtype = npy_header(member)
        count = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or count > info.file_size:
            raise ValueError(f"it holds {dtype} of shape {shape} in {info.file_size} bytes")
        return np.frombuffer(member.read(count), dtype).reshape(shape, order="F" if by_columns else "C")


def _mapped_member(file: BinaryIO, info: zipfile.ZipInfo) -> Array:
    """A member that is not compressed."""
    file.seek(info.header_offset)
    header = file.read(30)  # of the member itself, whose extra field may have another length than in the directory
    name, extra = struct.unpack("<HH", header[26:30])
    file.seek(info.header_offset + 30 + name + extra)
    return _mapped(file, info.file_size)


def _mapped(file: BinaryIO, size: int) -> Array:
    """The array in the next `size` bytes of a file, which are those of a .npy file, as a memory map."""
    end = file.tell() + size
    shape, by_columns, dtype = npy_header(file)
    if dtype.hasobject:
        raise ValueError(f"it holds {dtype} of shape {shape}")
    begin, count = file.tell(), math.prod(shape) * dtype.itemsize
    if begin + count > end:
        raise ValueError(f"an array of shape {shape} and type {dtype} has {count} bytes, the file {end - begin}")
    order: Any = "F" if by_columns else "C"
    if count == 0:
        return np.empty(shape, dtype, order)
    page = begin - begin % mmap.ALLOCATIONGRANULARITY
    pages = mmap.mmap(file.fileno(), begin - page + count, access=mmap.ACCESS_READ, offset=page)
    return np.ndarray(shape, dtype, pages, begin - page, order=order)


def _in_shape(path: Path, rows: Array, shape: Shape) -> Array:
    """Rows of numbers as samples of the model's shape, which may be flat in the file."""
    inner, width = shape[1:], rows.shape[1]
    if len(inner) == 1:
        return rows
    known = math.prod(n for n in inner if n is not None)
    open_axes = sum(n is None for n in inner)
    fits = width == known if not open_axes else open_axes == 1 and known and width % known == 0 and width > 0
    if not fits:
        raise ValueError(f"{path} has {width} numbers a row, which make no sample of the model's shape {shape}")
    return rows.reshape(len(rows), *(width // known if n is None else n for n in inner))


def _as_one_sample(path: Path, rows: Array, shape: Shape) -> Array:
    """Rows of numbers as the timesteps of one sample of the model's shape."""
    (steps, width), inner = rows.shape, shape[1:]
    if not inner or inner[0] not in (None, steps) or None in inner[1:] or math.prod(inner[1:]) != width:  # type: ignore[arg-type]
        raise ValueError(
            f"{path} has {steps} lines of {width} numbers, which make no series of the model's shape {shape}"
        )
    return rows.reshape(1, steps, *inner[1:])
