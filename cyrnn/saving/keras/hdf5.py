"""HDF5 files as Keras writes them, read without HDF5's own library.

That library trusts what a file says: of a thousand real files with a byte or two changed, some made it crash, and some
made it loop. So this module reads the little that h5py writes for Keras, since Keras 1: superblock 0 or 1, groups that
are symbol tables, datasets of numbers in one piece or in chunks, attributes that are strings. Everything else is
refused by name. Nothing is followed out of the file.

However a file is knotted, with groups in circles, shared heaps or lists that contain each other, reading it is bounded:
of a file of n bytes at most 4 n bytes are looked at, and no more than 8 n bytes and 32 MB are unpacked, so the time is
proportional to its size; and what is made of it takes at most 8 n bytes of memory and 32 MB, the file itself and the
weights included.

The words and layouts are those of the HDF5 File Format Specification, version 1.1; numbers are little-endian.
"""

import struct
from collections.abc import Iterator, KeysView
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array, size_of
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.hdf5_chunks import CURE, read_chunks
from cyrnn.saving.keras.hdf5_messages import attribute, dataspace, number_type, padded, unpacked
from cyrnn.saving.named_arrays import from_bfloat16

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 2**64 - 1  # an address that leads nowhere
_LONGEST_ATTRIBUTE = 8 << 20  # bytes; the longest that Keras writes is a model's config

# Bytes of memory: what the parts of a file take in Python at most, beside the bytes that they hold.
_NODE, _MESSAGE, _NAME, _STRING = 1000, 300, 250, 120

# Messages of an object header.
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE, _MANY_ATTRIBUTES = 0x0B, 0x0C, 0x10, 0x11, 0x15
_KEPT = {_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT, _FILTERS, _SYMBOL_TABLE, _MANY_ATTRIBUTES}


class File:
    """An HDF5 file in memory. `root` is its first group.

    Parameters
    ----------
    content : bytes
        The file.
    stored_bytes : int, optional
        The size of the file that it comes from, where that is an archive: it bounds the memory, as described above.

    Raises
    ------
    ModelFileError
        The file is damaged, is of a form that Keras does not write, or would take more time or memory than its size
        allows. So do all methods here, and those of `Node`.
    """

    def __init__(self, content: bytes, stored_bytes: int | None = None) -> None:
        self._content = content
        self._bytes_left = 4 * len(content) + 4096  # of a sound file, each byte is read once or twice
        allowed = 8 * (len(content) if stored_bytes is None else stored_bytes) + (32 << 20)
        self._memory_left = allowed - len(content)
        self._unpacked_left = allowed
        self._nodes: dict[int, Node] = {}
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        if self.take(0, 8) != SIGNATURE:
            raise ModelFileError("the weights are not an HDF5 file")
        version, _, _, _, _, offset_size, length_size = self.numbers(8, "<7B")
        if version not in (0, 1) or (offset_size, length_size) != (8, 8):
            raise ModelFileError(
                f"the file is of a form of HDF5 that Keras does not write (superblock {version}): {CURE}",
                Reason.UNSUPPORTED,
            )
        base, _, end = self.numbers(24 if version == 0 else 28, "<QQQ")
        if base != 0 or end > len(content):
            raise ModelFileError(
                f"the HDF5 file is cut off: it should have {end} bytes from {base} on, it has {len(content)}"
            )
        self.root = self.node(self.numbers(64 if version == 0 else 68, "<Q")[0])

    def take(self, at: int, count: int) -> bytes:
        """`count` bytes from offset `at`. Raises ModelFileError where the file has none, or has been read too often."""
        self.check(at, count)
        return self._content[at : at + count]

    def check(self, at: int, count: int) -> None:
        """Raises ModelFileError unless these bytes are there, and may be read."""
        if at < 0 or count < 0 or at + count > len(self._content):
            raise ModelFileError(f"the HDF5 file is damaged: {count} bytes at {at} are outside of it")
        self.spend(count + 8)

    def spend(self, count: int) -> None:
        """Count bytes that are looked at. Raises ModelFileError when they are more than a sound file can ask for."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ModelFileError("the HDF5 file is damaged: its parts overlap, or contain each other")

    def keep(self, count: int) -> None:
        """Count bytes of memory. Raises ModelFileError when they are more than the file's size allows."""
        self._memory_left -= count
        if self._memory_left < 0:
            raise self._too_large()

    def unpack(self, count: int) -> None:
        """Count bytes that are unpacked. Raises ModelFileError when they are more than the file's size allows."""
        self._unpacked_left -= count
        if self._unpacked_left < 0:
            raise self._too_large()

    def _too_large(self) -> ModelFileError:
        return ModelFileError(
            "the HDF5 file would take far more memory than it has bytes: it is compressed too well, "
            f"or its parts overlap, or contain each other. If you trust it, {CURE}",
            Reason.TOO_LARGE,
        )

    def numbers(self, at: int, form: str) -> tuple[int, ...]:
        """Numbers from offset `at`, by a format of `struct`."""
        return struct.unpack(form, self.take(at, struct.calcsize(form)))

    def array(self, at: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array whose bytes begin at offset `at`, as a view of the file."""
        count = size_of(shape)
        self.check(at, count * dtype.itemsize)
        return np.frombuffer(self._content, dtype, count, at).reshape(shape)

    def node(self, address: int) -> "Node":
        """The group or dataset whose object header is at `address`."""
        if address not in self._nodes:
            self.keep(_NODE)
            self._nodes[address] = Node(self, address)
        return self._nodes[address]

    def heap_object(self, address: int, index: int) -> bytes:
        """An object of the global heap: where strings of any length are."""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        if index not in self._heaps[address]:
            raise ModelFileError("the HDF5 file is damaged: a string is not where it should be")
        return self.take(*self._heaps[address][index])

    def find_end(self, at: int, end: int) -> int:
        """Where the first zero byte from offset `at` is, before `end`; -1 if there is none."""
        return self._content.find(b"\0", at, end)

    def _heap(self, address: int) -> dict[int, tuple[int, int]]:
        """Where the objects of a heap are, and their lengths, by index."""
        signature, version, size = struct.unpack("<4sB3xQ", self.take(address, 16))
        if signature != b"GCOL" or version != 1:
            raise ModelFileError("the HDF5 file is damaged: a heap of strings is not where it should be")
        objects: dict[int, tuple[int, int]] = {}
        at, end = address + 16, address + size
        while at + 16 <= end:
            index, _, length = self.numbers(at, "<HH4xQ")
            if index == 0:  # the free space at the end
                break
            self.check(at + 16, length)
            self.keep(_NAME)
            objects[index] = (at + 16, length)
            at += 16 + padded(length)
        return objects


class Node:
    """A group or a dataset, with its attributes."""

    def __init__(self, file: File, address: int) -> None:
        self._file = file
        self._messages: dict[int, bytes] = {}  # the first of each kind
        self._attributes: dict[str, tuple[bytes, bytes, bytes]] = {}  # datatype, dataspace, value
        self._texts: dict[str, Any] = {}  # attributes that have been read
        self.lists: dict[str, list[str]] = {}  # in several attributes, once a reader has put them together
        for kind, data in _messages(file, address):
            if kind == _ATTRIBUTE:
                file.keep(_MESSAGE + len(data))
                name, *parts = attribute(data)
                self._attributes[name] = (parts[0], parts[1], parts[2])
            elif kind in _KEPT and kind not in self._messages:
                file.keep(_MESSAGE + len(data))
                self._messages[kind] = data
        self._children: dict[str, int | None] | None = None

    def spend(self, count: int) -> None:
        """Count the bytes of something that a reader makes of the file, and keeps."""
        self._file.spend(count)
        self._file.keep(_MESSAGE + count)

    def keep(self, count: int) -> None:
        """Count the bytes of memory that a reader takes for something of the file."""
        self._file.keep(count)

    # ------------------------------------------------------------ groups

    @property
    def is_group(self) -> bool:
        """Whether it is a group, of any form."""
        return not self._messages.keys().isdisjoint((_SYMBOL_TABLE, _LINK_INFO, _LINK))

    @property
    def names(self) -> KeysView[str]:
        """The names in a group."""
        return self._links().keys()

    def get(self, path: str) -> "Node | None":
        """The group or dataset at `path`; None if there is none. Raises ModelFileError if a link leads elsewhere."""
        node = self
        self._file.spend(len(path) + 8)
        for name in path.split("/"):
            links = node._links() if node.is_group else {}
            if name not in links:
                return None
            address = links[name]
            if address is None:
                raise ModelFileError(f"{path!r} is a link to elsewhere", Reason.UNSUPPORTED)
            node = self._file.node(address)
        return node

    def _links(self) -> dict[str, int | None]:
        """The address of each object header in the group; None for links to other places."""
        if self._children is None:
            table = self._messages.get(_SYMBOL_TABLE)
            if table is None:
                raise ModelFileError(
                    "a group is of a form that Keras does not write, such as one with external links",
                    Reason.UNSUPPORTED,
                )
            tree, heap = unpacked("<QQ", table)
            self._children = _Symbols(self._file, heap).of_tree(tree)
        return self._children

    # ------------------------------------------------------------ datasets

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a dataset. Raises ModelFileError if it is none."""
        space = self._messages.get(_DATASPACE)
        if space is None or self.is_group:
            raise ModelFileError("it is not a dataset")
        return dataspace(space)

    @property
    def dtype_name(self) -> str:
        """The name of a dataset's dtype. Raises ModelFileError if it is not of numbers."""
        dtype, of_bfloat16 = number_type(self._messages.get(_DATATYPE, b"\0"), self.attribute("dtype") == "bfloat16")
        return "bfloat16" if of_bfloat16 else dtype.name

    def read(self) -> Array:
        """A dataset's numbers, as a view of the file or a copy. Raises ModelFileError if they are anything else."""
        shape, datatype, layout = self.shape, self._messages.get(_DATATYPE), self._messages.get(_LAYOUT)
        count = size_of(shape)
        if datatype is None or layout is None:
            raise ModelFileError("it is not a dataset")
        if self._messages.get(_EXTERNAL_FILES) is not None:
            raise ModelFileError("it is stored outside of the file", Reason.UNSUPPORTED)
        dtype, of_bfloat16 = number_type(datatype, self.attribute("dtype") == "bfloat16")
        values = self._stored(layout, shape, dtype)
        if of_bfloat16:  # the upper half of a float32
            self.keep(4 * count)
            return from_bfloat16(values)
        return values

    def _stored(self, layout: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The numbers as they are in the file: in one piece, or in chunks."""
        pipeline, (version, storage) = self._messages.get(_FILTERS), unpacked("<BB", layout)
        if version == 3 and storage == 2:
            return read_chunks(self._file, layout, pipeline, shape, dtype)
        if version != 3 or storage != 1 or pipeline is not None:
            raise ModelFileError(
                f"it is virtual, or in pieces of a form that Keras does not write: {CURE}", Reason.UNSUPPORTED
            )
        address, size = unpacked("<QQ", layout[2:])
        if size != size_of(shape) * dtype.itemsize:
            raise ModelFileError(f"{size} bytes are stored, shape {shape} takes {size_of(shape) * dtype.itemsize}")
        return self._file.array(address, shape, dtype) if size else np.empty(shape, dtype)

    # ------------------------------------------------------------ attributes

    def attribute(self, name: str) -> Any:
        """An attribute: a str, or a list of str; None if there is none. Raises ModelFileError if it is not text."""
        if _MANY_ATTRIBUTES in self._messages:
            raise ModelFileError("attributes are of a form that Keras does not write", Reason.UNSUPPORTED)
        if name not in self._texts and name in self._attributes:
            self._texts[name] = self._text(name, *self._attributes[name])
        return self._texts.get(name)

    def _text(self, name: str, datatype: bytes, space: bytes, value: bytes) -> Any:
        shape = dataspace(space)
        count = size_of(shape)
        if count == 0:
            return []  # of any type: h5py writes an empty list as floats
        kind, flags, size = unpacked("<BB2xI", datatype)
        if len(shape) > 1 or size == 0 or size * count > len(value):
            raise ModelFileError(f"the attribute {name!r} is damaged")
        self._file.keep(_STRING * count + len(value))
        parts: Iterator[bytes] = (value[size * i : size * (i + 1)] for i in range(count))
        if kind & 0x0F == 9 and flags & 0x0F == 1 and size == 16:  # strings of any length
            parts = self._long_strings(name, parts)
        elif kind & 0x0F != 3:
            raise ModelFileError(f"the attribute {name!r} must be text")
        try:
            texts = [part.rstrip(b"\0").decode() for part in parts]
        except UnicodeDecodeError:
            raise ModelFileError(f"the attribute {name!r} is not UTF-8 text") from None
        return texts if shape else texts[0]

    def _long_strings(self, name: str, places: Iterator[bytes]) -> Iterator[bytes]:
        """The strings that lie in a heap. Raises ModelFileError where one is longer than any that Keras writes."""
        for place in places:
            length, at, index = struct.unpack("<IQI", place)
            if length > _LONGEST_ATTRIBUTE:
                raise ModelFileError(
                    f"the attribute {name!r} has {length} bytes, more than {_LONGEST_ATTRIBUTE}", Reason.TOO_LARGE
                )
            self._file.keep(2 * length)
            yield self._file.heap_object(at, index)[:length] if length else b""


class _Symbols:
    """The names in an old-style group: a B-tree over symbol table nodes, the names themselves in a local heap."""

    def __init__(self, file: File, heap: int) -> None:
        self._file = file
        self._found: dict[str, int | None] = {}
        signature, size, self._names_at = struct.unpack("<4s4xQ8xQ", file.take(heap, 32))
        if signature != b"HEAP":
            raise ModelFileError("the HDF5 file is damaged: a group's names are not where they should be")
        file.check(self._names_at, size)
        self._names_end = self._names_at + size

    def of_tree(self, address: int) -> dict[str, int | None]:
        """The names in the tree whose root is at `address`, each with the address of its object header."""
        self._add_tree(address, None)
        return self._found

    def _add_tree(self, address: int, level: int | None) -> None:
        signature, kind, found_level, count = struct.unpack("<4sBBH", self._file.take(address, 8))
        if signature != b"TREE" or kind != 0 or level not in (None, found_level):
            raise ModelFileError("the HDF5 file is damaged: a group is not where it should be")
        for number in range(count):
            (child,) = self._file.numbers(address + 32 + 16 * number, "<Q")
            if found_level:
                self._add_tree(child, found_level - 1)
            else:
                self._add_leaf(child)

    def _add_leaf(self, address: int) -> None:
        signature, version, count = struct.unpack("<4sBxH", self._file.take(address, 8))
        if signature != b"SNOD" or version != 1:
            raise ModelFileError("the HDF5 file is damaged: a part of a group is not where it should be")
        for number in range(count):
            offset, header, cache = self._file.numbers(address + 8 + 40 * number, "<QQI")
            begin = self._names_at + offset
            end = self._file.find_end(begin, self._names_end)
            if end <= begin:
                raise ModelFileError("the HDF5 file is damaged: a name in a group has no end")
            try:
                name = self._file.take(begin, end - begin).decode()
            except UnicodeDecodeError:
                raise ModelFileError("the HDF5 file is damaged: a name in a group is not UTF-8 text") from None
            if name in self._found:
                raise ModelFileError("the HDF5 file is damaged: a group holds a name twice")
            self._file.keep(_NAME + len(name))
            self._found[name] = None if cache == 2 or header == _UNDEFINED else header


def _messages(file: File, address: int) -> Iterator[tuple[int, bytes]]:
    """The messages of an object header of version 1, and of its continuations: their kinds and contents."""
    version, _, left, _, size = file.numbers(address, "<BBHII")
    if version != 1:
        raise ModelFileError(
            "the HDF5 file is damaged, or of a form of HDF5 that Keras does not write (object headers)"
        )
    blocks = [(address + 16, size)]
    for at, length in blocks:  # which grow while they are read
        end = at + length
        while at + 8 <= end and left > 0:
            kind, count, flags = file.numbers(at, "<HHB")
            data = file.take(at + 8, count)
            if at + 8 + count > end:
                raise ModelFileError("the HDF5 file is damaged: a message is longer than its header")
            if kind == _CONTINUATION:
                blocks.append(unpacked("<QQ", data))  # type: ignore[arg-type]
            elif flags & 2 and kind in (_DATASPACE, _DATATYPE, _ATTRIBUTE, _LAYOUT):
                raise ModelFileError("types or attributes are shared, which Keras does not do", Reason.UNSUPPORTED)
            else:
                yield kind, data
            at, left = at + 8 + count, left - 1
