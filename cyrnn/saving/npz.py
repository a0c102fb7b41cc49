"""NumPy's .npz archives. No object arrays: these are pickles, which are never run.

The arrays may be compressed, and expand a thousand times: so an array is read only after its header was, and its caller
has seen that it is of the shape of a weight. Reading then takes, beside the weights, the time and memory of `zipped`.
"""

import io
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from cyrnn.layers.base.arguments import MOST_AXES, Array, is_size, size_of
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.named_arrays import array_format
from cyrnn.saving.opened import OpenFile
from cyrnn.saving.zipped import Members

_SUFFIX = ".npy"
_LONGEST_HEADER = 2_000  # characters; a shape of 64 axes takes up to 1400


class Npz:
    """The arrays in an archive that is open."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._headers: dict[str, tuple[tuple[int, ...], str]] = {}  # the shapes and dtypes that have been asked for

    @property
    def names(self) -> list[str]:
        return [name.removesuffix(_SUFFIX) for name in self._members.names]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._described(name)[0]

    def dtype_name(self, name: str) -> str:
        return self._described(name)[1]

    def _described(self, name: str) -> tuple[tuple[int, ...], str]:
        if name not in self._headers:
            with self._members.opened(name + _SUFFIX) as file:
                shape, _, dtype = _header(file, name)
            self._headers[name] = shape, str(dtype)
        return self._headers[name]

    def read(self, name: str) -> Array:
        with self._members.opened(name + _SUFFIX) as file:
            shape, by_columns, dtype = _header(file, name)
            if dtype.kind not in "fiu":
                raise ModelFileError(
                    f"the array {name!r} must be of numbers, the file has {dtype}",
                    Reason.CODE if dtype.hasobject else Reason.MISMATCH,
                )
            stored, size = self._members.size(name + _SUFFIX) - file.tell(), size_of(shape) * dtype.itemsize
            if stored != size:
                raise ModelFileError(f"the array {name!r} of shape {shape} and type {dtype} has {stored} bytes")
            values = np.frombuffer(file.read(size), dtype)
        return values.reshape(shape, order="F" if by_columns else "C")


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What the header of a .npy file says: shape, order, dtype."""
    try:
        return npy_header(file)
    except MemoryError:
        raise
    except Exception as error:  # a damaged header can raise almost anything
        raise ModelFileError(f"the array {name!r} is not a sound .npy file: {error}") from None


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What the header of a .npy file says: shape, whether it is stored column by column, dtype. Raises almost anything.

    NumPy reads a header before it looks how long it is.
    """
    from numpy.lib import format as npy

    digits, read = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}[
        npy.read_magic(file)
    ]
    written = file.read(digits)
    length = int.from_bytes(written, "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {_LONGEST_HEADER}")
    shape, by_columns, dtype = read(io.BytesIO(written + file.read(length)), max_header_size=_LONGEST_HEADER)
    if len(shape) > MOST_AXES or not all(map(is_size, shape)):
        raise ValueError(f"it has a shape that no array can have: {shape!r:.200}")
    return shape, by_columns, dtype


def write_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write an archive. NumPy has no bfloat16: those arrays become float32, which holds the same values."""
    import zipfile

    from numpy.lib import format as npy

    with zipfile.ZipFile(file, "w") as archive:  # `numpy.savez` knows no arrays called "file" or "allow_pickle"
        for name, array in arrays.items():
            known = array.astype(np.float32) if array.dtype.kind == "V" else array
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                npy.write_array(member, known, allow_pickle=False)


def _sniff(file: OpenFile) -> bool:
    return file.is_zip and all(name.endswith(_SUFFIX) for name in file.members.names)


NPZ = array_format("NumPy", (".npz",), _sniff, lambda file: Npz(file.members), write_npz)
