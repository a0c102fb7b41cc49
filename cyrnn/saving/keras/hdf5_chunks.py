"""Datasets of an HDF5 file that lie in chunks, perhaps compressed, as `h5repack` and h5py's ``compression="gzip"`` do.

However well a chunk is compressed, no more of it is unpacked than its shape needs; and the chunks of all datasets
together are unpacked to no more than the file allows, in time as in memory.
"""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from cyrnn.layers.base.arguments import Array, size_of
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.hdf5_messages import padded, unpacked

CURE = "load the model in Keras, which has HDF5's own library, and save it again"
_DEFLATE, _SHUFFLE = 1, 2
_OTHERS = {3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc", 32015: "zstd"}
_FIRST_WITH_A_NAME = 256  # in messages of version 2
_MOST_FILTERS = 32  # that HDF5 allows


class Bounded(Protocol):
    """What is asked of the file."""

    def take(self, at: int, count: int) -> bytes: ...
    def keep(self, count: int) -> None: ...
    def unpack(self, count: int) -> None: ...


class _Chunk(NamedTuple):
    """Where a chunk begins in the array; where it is in the file, and its bytes there; and filters it is without."""

    offsets: tuple[int, ...]
    address: int
    stored: int
    skipped: int  # a bit for each filter


def read_chunks(file: Bounded, layout: bytes, pipeline: bytes | None, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """The array in chunks.

    Parameters
    ----------
    file : Bounded
        The file, whose memory and time are counted.
    layout : bytes
        The layout message, of version 3.
    pipeline : bytes, optional
        The filter pipeline message, None without filters.
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    ModelFileError
        The chunks are damaged, missing, too large, or changed by a filter that is not known here.
    """
    (axes,) = unpacked("<B", layout[2:])
    if axes != len(shape) + 1:
        raise ModelFileError(f"its chunks have {axes - 1} axes, its shape {shape}")
    root, *lengths = unpacked(f"<Q{axes}I", layout[3:])
    chunk, itemsize = tuple(lengths[:-1]), lengths[-1]
    if itemsize != dtype.itemsize or 0 in chunk:
        raise ModelFileError(f"its chunks are of shape {chunk}, with elements of {itemsize} bytes")
    filters = [] if pipeline is None else _filters(pipeline, itemsize)
    size = size_of(chunk) * itemsize
    counts = [-(-n // m) for n, m in zip(shape, chunk, strict=True)]
    if size_of(shape) == 0:
        return np.empty(shape, dtype)
    file.unpack(math.prod(counts) * size)
    file.keep(size_of(shape) * itemsize + size)
    array, seen = np.empty(shape, dtype), set[tuple[int, ...]]()
    for offsets, at, stored, skipped in _chunks(file, root, len(shape)):
        if offsets in seen or any(o % m or o >= n for o, m, n in zip(offsets, chunk, shape, strict=True)):
            raise ModelFileError(f"it has a chunk at {offsets}, twice or where none can be")
        seen.add(offsets)
        content = _unfiltered(file.take(at, stored), filters, skipped, size, itemsize)
        part = np.frombuffer(content, dtype).reshape(chunk)
        ends = [min(o + m, n) for o, m, n in zip(offsets, chunk, shape, strict=True)]
        place = tuple(map(slice, offsets, ends))
        array[place] = part[tuple(slice(end - o) for o, end in zip(offsets, ends, strict=True))]
    if len(seen) != math.prod(counts):
        raise ModelFileError(f"it has {len(seen)} chunks, and shape {shape} takes {math.prod(counts)} of {chunk}")
    return array


# ---------------------------------------------------------------- filters


def _filters(pipeline: bytes, itemsize: int) -> list[int]:
    """The numbers of the filters, in the order of writing. Raises ModelFileError for those that are not known."""
    version, count = unpacked("<BB", pipeline)
    if version not in (1, 2) or count > _MOST_FILTERS:
        raise ModelFileError("its filters are damaged")
    at, found = 8 if version == 1 else 2, list[int]()
    for _ in range(count):
        (number,), name_length = unpacked("<H", pipeline[at:]), 0
        at += 2
        if version == 1 or number >= _FIRST_WITH_A_NAME:
            (name_length,) = unpacked("<H", pipeline[at:])
            at += 2
        _, values = unpacked("<HH", pipeline[at:])
        at += 4 + (padded(name_length) if version == 1 else name_length)
        if number not in (_DEFLATE, _SHUFFLE):
            name = _OTHERS.get(number, f"number {number}")
            raise ModelFileError(f"it is stored with the HDF5 filter {name}: {CURE}", Reason.UNSUPPORTED)
        if number == _SHUFFLE and (values < 1 or unpacked("<I", pipeline[at:]) != (itemsize,)):
            raise ModelFileError("its bytes are shuffled for elements of another size")
        at += 4 * (values + values % 2 if version == 1 else values)
        found.append(number)
    return found


def _unfiltered(content: bytes, filters: list[int], skipped: int, size: int, itemsize: int) -> bytes:
    """The bytes of a chunk, which must be `size`; `skipped` has a bit for each filter that was not used for it."""
    for number, kind in reversed(list(enumerate(filters))):
        if skipped >> number & 1:
            continue
        if kind == _DEFLATE:
            content = _inflated(content, size)
        elif len(content) == size:
            content = np.frombuffer(content, np.uint8).reshape(itemsize, -1).T.tobytes()
    if len(content) != size:
        raise ModelFileError(f"a chunk holds {len(content)} bytes, its shape takes {size}")
    return content


def _inflated(content: bytes, size: int) -> bytes:
    """What zlib has packed; no more than one byte more than `size` is unpacked."""
    import zlib

    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(content, size + 1)
    except zlib.error as error:
        raise ModelFileError(f"a chunk is damaged: {error}") from None
    if len(found) != size or not unpacking.eof:
        raise ModelFileError(f"a chunk would be unpacked to more or less than the {size} bytes that its shape takes")
    return found


# ---------------------------------------------------------------- where chunks are


def _chunks(file: Bounded, address: int, axes: int, level: int | None = None) -> Iterator[_Chunk]:
    """What the B-tree at `address` says of each chunk, in the order of the tree."""
    signature, kind, found_level, count = struct.unpack("<4sBBH", file.take(address, 8))
    if signature != b"TREE" or kind != 1 or level not in (None, found_level):
        raise ModelFileError("the HDF5 file is damaged: a list of chunks is not where it should be")
    key = 8 + 8 * (axes + 1)  # bytes: size, filters that were skipped, offsets
    rows = file.take(address + 24, count * (key + 8))
    for begin in range(0, len(rows), key + 8):
        stored, skipped, *offsets, _, child = struct.unpack_from(f"<II{axes + 1}QQ", rows, begin)
        if found_level:
            yield from _chunks(file, child, axes, found_level - 1)
        else:
            yield _Chunk(tuple(offsets), child, stored, skipped)
