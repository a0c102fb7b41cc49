"""Hugging Face's .safetensors files: eight bytes with the length of a JSON header, the header, the arrays.

The format is so small that it is read and written here, without a library. A file of n bytes is read in time
proportional to n, and with at most 8 n bytes and 100 MB of memory, the weights included.
"""

import json
import struct
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from cyrnn.budget import TooLargeError
from cyrnn.layers.base.arguments import MOST_AXES, Array, is_shape, is_size, size_of
from cyrnn.saving import json_text
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.named_arrays import array_format, from_bfloat16
from cyrnn.saving.opened import OpenFile

_LARGEST_HEADER = 16 << 20  # bytes; a real one has a hundred for each array
_MOST_MEMORY = 64 << 20  # bytes that it may take when it is parsed, beside six times the file's size
_NUMBERS: dict[str, np.dtype[Any]] = {
    f"{name}{8 * size}": np.dtype(f"<{kind}{size}")
    for name, kind, sizes in (("F", "f", (2, 4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}
_SIZES = {"BOOL": 1, "BF16": 2} | {name: dtype.itemsize for name, dtype in _NUMBERS.items()}


class SafeTensors:
    """The arrays of a file in memory."""

    def __init__(self, content: bytes) -> None:
        size = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else len(content)
        if size > min(_LARGEST_HEADER, len(content) - 8):
            reason = Reason.TOO_LARGE if _LARGEST_HEADER < size <= len(content) else Reason.DAMAGED
            raise ModelFileError(f"it is not a sound .safetensors file: its header would have {size} bytes", reason)
        self._data = memoryview(content)[8 + size :]
        try:
            text = str(memoryview(content)[8 : 8 + size], "utf-8")
            header = json_text.parsed(text, _MOST_MEMORY + 6 * len(content), _each_once)
        except TooLargeError as error:
            raise ModelFileError(
                f"the header of the .safetensors file is too large: {error}", Reason.TOO_LARGE
            ) from None
        except ValueError as error:
            raise ModelFileError(f"the header of the .safetensors file is not sound: {error}") from None
        if not isinstance(header, dict):
            raise ModelFileError("the header of the .safetensors file must be a JSON object")
        header.pop("__metadata__", None)
        self._entries = {name: _entry(name, header.pop(name)) for name in list(header)}
        end = 0
        for name, (_, _, begin, stop) in sorted(self._entries.items(), key=lambda item: item[1][2:]):
            if begin != end or stop > len(self._data):
                raise ModelFileError(f"the array {name!r} overlaps another, leaves a gap, or ends outside of the file")
            end = stop
        if end != len(self._data):
            raise ModelFileError(f"{len(self._data) - end} bytes at the end of the file belong to no array")

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name][1]

    def dtype_name(self, name: str) -> str:
        kind = self._entries[name][0]
        return _NUMBERS[kind].name if kind in _NUMBERS else {"BF16": "bfloat16", "BOOL": "bool"}[kind]

    def read(self, name: str) -> Array:
        kind, shape, begin, end = self._entries[name]
        if kind == "BF16":
            return from_bfloat16(np.frombuffer(self._data[begin:end], "<u2").reshape(shape))
        if kind not in _NUMBERS:
            raise ModelFileError(f"the array {name!r} must be of numbers, the file has {kind}", Reason.MISMATCH)
        return np.frombuffer(self._data[begin:end], _NUMBERS[kind]).reshape(shape)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it holds a name twice")
    return found


def _entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """The dtype, shape and offsets of an array. Raises ModelFileError unless they agree."""
    described = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = (described.get(key) for key in ("dtype", "shape", "data_offsets"))
    if isinstance(kind, str) and kind in _SIZES and _counts(shape) and _counts(offsets) and len(offsets) == 2:
        begin, end = offsets
        if end - begin == size_of(shape) * _SIZES[kind] and is_shape(shape):
            return kind, tuple(shape), begin, end
    raise ModelFileError(f"the array {name!r} of the .safetensors file is not described as it must be: {entry!r:.200}")


def _counts(numbers: Any) -> TypeGuard[list[int]]:
    """Whether it is a list of sizes, no longer than a shape can be."""
    return (
        isinstance(numbers, list) and len(numbers) <= MOST_AXES and all(type(n) is int and is_size(n) for n in numbers)
    )


def write_safetensors(file: BinaryIO, arrays: dict[str, Array]) -> None:
    """Write a file. Raises ValueError for arrays that are not of numbers."""
    kinds = {dtype: kind for kind, dtype in _NUMBERS.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    end = 0
    for name, array in arrays.items():
        kind = "BF16" if array.dtype.name == "bfloat16" else kinds.get(array.dtype)
        if kind is None:
            raise ValueError(f"weight {name!r} of dtype {array.dtype} cannot be written to a .safetensors file")
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for array in arrays.values():
        bits = array.view(f"u{array.itemsize}")
        file.write(bits.astype(f"<u{array.itemsize}", copy=False).tobytes())


def _sniff(file: OpenFile) -> bool:
    return file.beginning[8:9] == b"{"


def tensors_in(file: OpenFile) -> SafeTensors:
    """The arrays in an open file. Raises ModelFileError if it is damaged."""
    return file.parsed(SafeTensors)


SAFETENSORS = array_format("safetensors", (".safetensors",), _sniff, tensors_in, write_safetensors)
