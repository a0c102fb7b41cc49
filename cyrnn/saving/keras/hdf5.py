"""HDF5 files as Keras writes them, read without HDF5's own library.

That library trusts what a file says: of a thousand real files with a byte or two changed, some made it crash, and some
made it loop. So this module reads the little that h5py writes for Keras, since Keras 1: superblock 0 or 1, groups that
are symbol tables, datasets of numbers in one piece, attributes that are strings. Everything else is refused by name.
Nothing is followed out of the file, and no byte is looked at much more often than once, however the file is knotted.

The words and layouts are those of the HDF5 File Format Specification, version 1.1; numbers are little-endian.
"""

import math
import struct
from collections.abc import KeysView
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.errors import ModelFileError, Reason

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 2**64 - 1  # an address that leads nowhere
_MOST_AXES = 32

# Messages of an object header.
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE, _MANY_ATTRIBUTES = 0x0B, 0x0C, 0x10, 0x11, 0x15

_BFLOAT16 = (0, 16, 7, 8, 0, 7, 127)  # bit offset, precision, exponent at, exponent bits, mantissa at, its bits, bias
_FLOATS = {
    (0, 16, 10, 5, 0, 10, 15): "f2",
    (0, 32, 23, 8, 0, 23, 127): "f4",
    (0, 64, 52, 11, 0, 52, 1023): "f8",
}


class File:
    """An HDF5 file in memory. `root` is its first group."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._bytes_left = 4 * len(content) + 4096  # of a sound file, each byte is read once or twice
        self._nodes: dict[int, Node] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}
        if self.take(0, 8) != SIGNATURE:
            raise ModelFileError("the weights are not an HDF5 file")
        version, _, _, _, _, offset_size, length_size = self.numbers(8, "<7B")
        if version not in (0, 1) or (offset_size, length_size) != (8, 8):
            raise ModelFileError(
                f"the file is of a form of HDF5 that Keras does not write (superblock {version})", Reason.UNSUPPORTED
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

    def numbers(self, at: int, form: str) -> tuple[int, ...]:
        """Numbers from offset `at`, by a format of `struct`."""
        return struct.unpack(form, self.take(at, struct.calcsize(form)))

    def array(self, at: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array whose bytes begin at offset `at`, as a view of the file."""
        count = math.prod(shape)
        self.check(at, count * dtype.itemsize)
        return np.frombuffer(self._content, dtype, count, at).reshape(shape)

    def node(self, address: int) -> "Node":
        """The group or dataset whose object header is at `address`."""
        if address not in self._nodes:
            self._nodes[address] = Node(self, address)
        return self._nodes[address]

    def heap_object(self, address: int, index: int) -> bytes:
        """An object of the global heap: where strings of any length are."""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        if index not in self._heaps[address]:
            raise ModelFileError("the HDF5 file is damaged: a string is not where it should be")
        self.spend(len(self._heaps[address][index]))
        return self._heaps[address][index]

    def _heap(self, address: int) -> dict[int, bytes]:
        signature, version, size = struct.unpack("<4sB3xQ", self.take(address, 16))
        if signature != b"GCOL" or version != 1:
            raise ModelFileError("the HDF5 file is damaged: a heap of strings is not where it should be")
        objects: dict[int, bytes] = {}
        at, end = address + 16, address + size
        while at + 16 <= end:
            index, _, length = self.numbers(at, "<HH4xQ")
            if index == 0:  # the free space at the end
                break
            objects[index] = self.take(at + 16, length)
            at += 16 + _padded(length)
        return objects


class Node:
    """A group or a dataset, with its attributes."""

    def __init__(self, file: File, address: int) -> None:
        self._file = file
        self._messages: dict[int, bytes] = {}  # the first of each kind
        self._attributes: dict[str, tuple[bytes, bytes, bytes]] = {}  # datatype, dataspace, value
        for kind, data in _messages(file, address):
            self._messages.setdefault(kind, data)
            if kind == _ATTRIBUTE:
                name, *parts = _attribute(data)
                self._attributes[name] = (parts[0], parts[1], parts[2])
        self._children: dict[str, int | None] | None = None

    def spend(self, count: int) -> None:
        """Count what a reader makes of the file, as that which is read of it. Raises ModelFileError at too much."""
        self._file.spend(count)

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
            tree, heap = _unpacked("<QQ", table)
            self._children = _Symbols(self._file, heap).of_tree(tree)
        return self._children

    # ------------------------------------------------------------ datasets

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a dataset. Raises ModelFileError if it is none."""
        space = self._messages.get(_DATASPACE)
        if space is None or self.is_group:
            raise ModelFileError("it is not a dataset")
        return _dataspace(space)

    @property
    def dtype_name(self) -> str:
        """The name of a dataset's dtype. Raises ModelFileError if it is not of numbers."""
        dtype, of_bfloat16 = _number_type(self._messages.get(_DATATYPE, b"\0"), self.attribute("dtype") == "bfloat16")
        return "bfloat16" if of_bfloat16 else dtype.name

    def read(self) -> Array:
        """A dataset's numbers, as a view of the file or a copy. Raises ModelFileError if they are anything else."""
        shape, datatype, layout = self.shape, self._messages.get(_DATATYPE), self._messages.get(_LAYOUT)
        if datatype is None or layout is None:
            raise ModelFileError("it is not a dataset")
        if self._messages.get(_EXTERNAL_FILES) is not None:
            raise ModelFileError("it is stored outside of the file", Reason.UNSUPPORTED)
        if self._messages.get(_FILTERS) is not None:
            raise ModelFileError("it is compressed, which Keras does not do", Reason.UNSUPPORTED)
        dtype, of_bfloat16 = _number_type(datatype, self.attribute("dtype") == "bfloat16")
        version, storage = layout[0], layout[1]
        if version != 3 or storage != 1:
            raise ModelFileError("it is virtual, or not in one piece; Keras writes neither", Reason.UNSUPPORTED)
        address, size = _unpacked("<QQ", layout[2:])
        if size != math.prod(shape) * dtype.itemsize:
            raise ModelFileError(f"{size} bytes are stored, shape {shape} takes {math.prod(shape) * dtype.itemsize}")
        if size == 0:
            return np.empty(shape, dtype)
        values = self._file.array(address, shape, dtype)
        if of_bfloat16:  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    # ------------------------------------------------------------ attributes

    def attribute(self, name: str) -> Any:
        """An attribute: a str, or a list of str; None if there is none. Raises ModelFileError if it is not text."""
        if _MANY_ATTRIBUTES in self._messages:
            raise ModelFileError("attributes are of a form that Keras does not write", Reason.UNSUPPORTED)
        found = self._attributes.get(name)
        return None if found is None else self._text(name, *found)

    def _text(self, name: str, datatype: bytes, space: bytes, value: bytes) -> Any:
        shape = _dataspace(space)
        count = math.prod(shape)
        if count == 0:
            return []  # of any type: h5py writes an empty list as floats
        kind, (size,) = datatype[0] & 0x0F, _unpacked("<I", datatype[4:])
        if len(shape) > 1 or size == 0 or size * count > len(value):
            raise ModelFileError(f"the attribute {name!r} is damaged")
        self._file.spend(len(value))
        parts = [value[size * i : size * (i + 1)] for i in range(count)]
        if kind == 9 and datatype[1] & 0x0F == 1 and size == 16:  # strings of any length
            places = [struct.unpack("<IQI", part) for part in parts]
            parts = [self._file.heap_object(at, index)[:length] if length else b"" for length, at, index in places]
        elif kind != 3:
            raise ModelFileError(f"the attribute {name!r} must be text")
        try:
            texts = [part.rstrip(b"\0").decode() for part in parts]
        except UnicodeDecodeError:
            raise ModelFileError(f"the attribute {name!r} is not UTF-8 text") from None
        return texts if shape else texts[0]


class _Symbols:
    """The names in an old-style group: a B-tree over symbol table nodes, the names themselves in a local heap."""

    def __init__(self, file: File, heap: int) -> None:
        self._file = file
        signature, size, self._names_at = struct.unpack("<4s4xQ8xQ", file.take(heap, 32))
        if signature != b"HEAP":
            raise ModelFileError("the HDF5 file is damaged: a group's names are not where they should be")
        self._names = file.take(self._names_at, size)

    def of_tree(self, address: int, level: int | None = None) -> dict[str, int | None]:
        """The names below a node of the tree."""
        signature, kind, found_level, count = struct.unpack("<4sBBH", self._file.take(address, 8))
        if signature != b"TREE" or kind != 0 or level not in (None, found_level):
            raise ModelFileError("the HDF5 file is damaged: a group is not where it should be")
        found: dict[str, int | None] = {}
        for number in range(count):
            (child,) = self._file.numbers(address + 32 + 16 * number, "<Q")
            part = self.of_tree(child, found_level - 1) if found_level else self._of_leaf(child)
            if not part.keys().isdisjoint(found):
                raise ModelFileError("the HDF5 file is damaged: a group holds a name twice")
            found |= part
        return found

    def _of_leaf(self, address: int) -> dict[str, int | None]:
        signature, version, count = struct.unpack("<4sBxH", self._file.take(address, 8))
        if signature != b"SNOD" or version != 1:
            raise ModelFileError("the HDF5 file is damaged: a part of a group is not where it should be")
        found: dict[str, int | None] = {}
        for number in range(count):
            name_at, header, cache = self._file.numbers(address + 8 + 40 * number, "<QQI")
            end = self._names.find(b"\0", name_at) if name_at < len(self._names) else -1
            if end <= name_at:
                raise ModelFileError("the HDF5 file is damaged: a name in a group has no end")
            self._file.check(self._names_at + name_at, end - name_at)
            try:
                name = self._names[name_at:end].decode()
            except UnicodeDecodeError:
                raise ModelFileError("the HDF5 file is damaged: a name in a group is not UTF-8 text") from None
            found[name] = None if cache == 2 or header == _UNDEFINED else header
        return found


def _messages(file: File, address: int) -> list[tuple[int, bytes]]:
    """The messages of an object header of version 1, and of its continuations: their kinds and contents."""
    version, _, left, _, size = file.numbers(address, "<BBHII")
    if version != 1:
        raise ModelFileError(
            "the HDF5 file is damaged, or of a form of HDF5 that Keras does not write (object headers)"
        )
    messages = []
    blocks = [(address + 16, size)]
    for at, length in blocks:  # which grow while they are read
        end = at + length
        while at + 8 <= end and left > 0:
            kind, count, flags = file.numbers(at, "<HHB")
            data = file.take(at + 8, count)
            if at + 8 + count > end:
                raise ModelFileError("the HDF5 file is damaged: a message is longer than its header")
            if kind == _CONTINUATION:
                blocks.append(_unpacked("<QQ", data))  # type: ignore[arg-type]
            elif flags & 2 and kind in (_DATASPACE, _DATATYPE, _ATTRIBUTE, _LAYOUT):
                raise ModelFileError("types or attributes are shared, which Keras does not do", Reason.UNSUPPORTED)
            else:
                messages.append((kind, data))
            at, left = at + 8 + count, left - 1
    return messages


def _attribute(data: bytes) -> tuple[str, bytes, bytes, bytes]:
    """An attribute message: its name, datatype, dataspace and value."""
    version, flags, *sizes = _unpacked("<BBHHH", data)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise ModelFileError("an attribute is damaged, or of a form that Keras does not write")
    at = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(data[at : at + size])
        at += _padded(size) if version == 1 else size
    if at > len(data):
        raise ModelFileError("an attribute is damaged: it is longer than its message")
    name, datatype, space = parts
    return name.rstrip(b"\0").decode(errors="replace"), datatype, space, data[at:]


def _dataspace(data: bytes) -> tuple[int, ...]:
    """The shape that a dataspace message tells."""
    version, axes, _, kind = _unpacked("<BBBB", data)
    if version not in (1, 2) or axes > _MOST_AXES:
        raise ModelFileError("a shape is damaged")
    if version == 2 and kind == 2:  # null: no elements at all
        return (0,)
    return _unpacked(f"<{axes}Q", data[8 if version == 1 else 4 :])


def _number_type(datatype: bytes, marked_as_bfloat16: bool) -> tuple[np.dtype, bool]:
    """The dtype of a dataset's elements in the file, and whether they are bfloat16 (as unsigned integers)."""
    kind, flags, (size,) = datatype[0] & 0x0F, datatype[1], _unpacked("<I", datatype[4:])
    order = ">" if flags & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8) and _unpacked("<HH", datatype[8:]) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}"), False
    layout = _unpacked("<HHBBBBI", datatype[8:]) if kind == 1 and not flags & 0x40 else ()
    if layout in _FLOATS and size == int(_FLOATS[layout][1]):
        return np.dtype(order + _FLOATS[layout]), False
    if size == 2 and (layout == _BFLOAT16 or (kind == 5 and marked_as_bfloat16)):  # opaque, to an older HDF5
        return np.dtype(order + "u2"), True
    raise ModelFileError("it must be of a float type, and the file has another", Reason.MISMATCH)


def _unpacked(form: str, data: bytes) -> tuple[int, ...]:
    """The numbers at the beginning of `data`."""
    size = struct.calcsize(form)
    if len(data) < size:
        raise ModelFileError("the HDF5 file is damaged: something is shorter than it must be")
    return struct.unpack(form, data[:size])


def _padded(size: int) -> int:
    return -(-size // 8) * 8
