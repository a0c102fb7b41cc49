"""HDF5 files byte by byte, sound ones and knotted ones: as h5py writes them, and as it never would."""

import struct

UNDEFINED = 2**64 - 1
DATASPACE, DATATYPE, LAYOUT, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x01, 0x03, 0x08, 0x0C, 0x10, 0x11
FLOAT32 = struct.pack("<BBHIHHBBBBI", 0x11, 0x20, 0x1F, 4, 0, 32, 23, 8, 0, 23, 127)


class Builder:
    """A file that grows: each method appends a block and returns its address."""

    def __init__(self):
        self._blocks = [bytes(96)]  # the superblock, which comes last
        self.size = 96

    def add(self, block):
        at, block = self.size, block + bytes(-len(block) % 8)
        self._blocks.append(block)
        self.size += len(block)
        return at

    def finished(self, root):
        """The file, of which the object header at `root` is the first group."""
        superblock = struct.pack("<8s8B", b"\x89HDF\r\n\x1a\n", 0, 0, 0, 0, 0, 8, 8, 0)
        superblock += struct.pack("<HHIQQQQ", 4, 16, 0, 0, UNDEFINED, self.size, UNDEFINED)
        superblock += struct.pack("<QQIIQQ", 0, root, 0, 0, 0, 0)
        self._blocks[0] = superblock
        return b"".join(self._blocks)

    def header(self, *messages, count=None):
        """An object header."""
        data = b"".join(messages)
        return self.add(struct.pack("<BBHII4x", 1, 0, len(messages) if count is None else count, 1, len(data)) + data)

    def names(self, names):
        """A local heap with these names, and the offset of each."""
        offsets, text = [], b"\0" * 8
        parts = [text]
        at = 8
        for name in names:
            offsets.append(at)
            part = name.encode() + b"\0"
            parts.append(part)
            at += len(part)
        return self.heap(b"".join(parts)), offsets

    def heap(self, text):
        place = self.add(text)
        return self.add(struct.pack("<4sB3xQQQ", b"HEAP", 0, len(text), 1, place))

    def leaf(self, entries):
        """A symbol table node with (offset of the name, address of the header) for each name; HDF5 has up to 8."""
        rows = [struct.pack("<QQII16x", offset, header, 0, 0) for offset, header in entries]
        return self.add((struct.pack("<4sBxH", b"SNOD", 1, len(rows)) + b"".join(rows)).ljust(328, b"\0"))

    def tree(self, children, level=0, keys=None):
        """A node of a group's tree, with the offset of the last name in each child; HDF5 has up to 32."""
        pairs = zip(children, keys or [0] * len(children), strict=True)
        rows = b"".join(struct.pack("<QQ", child, key) for child, key in pairs)
        head = struct.pack("<4sBBHQQQ", b"TREE", 0, level, len(children), UNDEFINED, UNDEFINED, 0)
        return self.add((head + rows).ljust(544, b"\0"))

    def group(self, links, *messages):
        """A group with the header's address for each name."""
        heap, offsets = self.names(sorted(links))
        entries = list(zip(offsets, (links[name] for name in sorted(links)), strict=True))
        parts = [(self.leaf(part), part[-1][0]) for part in _chunks(entries, 8)]
        level = 0
        while len(parts) > 1 or level == 0:
            parts = [
                (self.tree([at for at, _ in part], level, [key for _, key in part]), part[-1][1])
                for part in _chunks(parts, 32)
            ] or [(self.tree([]), 0)]
            level += 1
        return self.header(message(SYMBOL_TABLE, struct.pack("<QQ", parts[0][0], heap)), *messages)

    def dataset(self, values, *messages):
        """A dataset of float32 values."""
        at = self.add(values.astype("<f4").tobytes())
        layout = struct.pack("<BBQQ", 3, 1, at, 4 * values.size)
        parts = (DATASPACE, space(values.shape)), (DATATYPE, FLOAT32), (LAYOUT, layout)
        return self.header(*(message(kind, data) for kind, data in parts), *messages)

    def strings(self, texts):
        """A global heap with these texts, numbered from 1."""
        objects = [
            struct.pack("<HH4xQ", number, 1, len(text)) + text + bytes(-len(text) % 8)
            for number, text in enumerate(texts, 1)
        ]
        data = b"".join(objects) + struct.pack("<HH4xQ", 0, 0, 16)
        return self.add(struct.pack("<4sB3xQ", b"GCOL", 1, 16 + len(data)) + data)


def _chunks(parts, size):
    return [parts[first : first + size] for first in range(0, len(parts), size)]


def message(kind, data):
    data += bytes(-len(data) % 8)
    return struct.pack("<HHB3x", kind, len(data), 0) + data


def space(shape):
    return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)


def texts(name, values):
    """An attribute message: a list of texts of one length, or a text alone."""
    alone = isinstance(values, bytes)
    size = len(values) if alone else max(map(len, values), default=1)
    data = values if alone else b"".join(value.ljust(size, b"\0") for value in values)
    return attribute(name, struct.pack("<BBHI", 0x13, 0, 0, size), space(() if alone else (len(values),)), data)


def long_texts(name, places):
    """An attribute message: a list of texts in global heaps, by (length, address, number), or one alone."""
    alone = isinstance(places, tuple)
    datatype = struct.pack("<BBHI", 0x19, 1, 0, 16) + struct.pack("<BBHI", 0x13, 0, 0, 1)
    data = b"".join(struct.pack("<IQI", *place) for place in ([places] if alone else places))
    return attribute(name, datatype, space(() if alone else (len(places),)), data)


def attribute(name, datatype, shape, data):
    parts = [name.encode() + b"\0", datatype, shape]
    head = struct.pack("<BBHHH", 1, 0, *map(len, parts))
    return message(ATTRIBUTE, head + b"".join(part + bytes(-len(part) % 8) for part in parts) + data)


def continuation(at, length):
    return message(CONTINUATION, struct.pack("<QQ", at, length))
