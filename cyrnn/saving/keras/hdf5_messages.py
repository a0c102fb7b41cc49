"""What the messages of an HDF5 object header say: attributes, shapes, types of numbers."""

import struct

import numpy as np

from cyrnn.layers.base.arguments import is_shape
from cyrnn.saving.errors import ModelFileError, Reason

_MOST_AXES = 32
_BFLOAT16 = (0, 16, 7, 8, 0, 7, 127)  # bit offset, precision, exponent at, exponent bits, mantissa at, its bits, bias
_FLOATS = {
    (0, 16, 10, 5, 0, 10, 15): "f2",
    (0, 32, 23, 8, 0, 23, 127): "f4",
    (0, 64, 52, 11, 0, 52, 1023): "f8",
}


def attribute(data: bytes) -> tuple[str, bytes, bytes, bytes]:
    """An attribute message: its name, datatype, dataspace and value."""
    version, flags, *sizes = unpacked("<BBHHH", data)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise ModelFileError("an attribute is damaged, or of a form that Keras does not write")
    at = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(data[at : at + size])
        at += padded(size) if version == 1 else size
    if at > len(data):
        raise ModelFileError("an attribute is damaged: it is longer than its message")
    name, datatype, space = parts
    return name.rstrip(b"\0").decode(errors="replace"), datatype, space, data[at:]


def dataspace(data: bytes) -> tuple[int, ...]:
    """The shape in a dataspace message."""
    version, axes, _, kind = unpacked("<BBBB", data)
    if version not in (1, 2) or axes > _MOST_AXES:
        raise ModelFileError("a shape is damaged")
    if version == 2 and kind == 2:  # null: no elements at all
        return (0,)
    shape = unpacked(f"<{axes}Q", data[8 if version == 1 else 4 :])
    if not is_shape(shape):
        raise ModelFileError(f"no array can have the shape {shape}")
    return shape


def number_type(datatype: bytes, marked_as_bfloat16: bool) -> tuple[np.dtype, bool]:
    """The dtype of a dataset's elements in the file, and whether they are bfloat16 (as unsigned integers)."""
    kind, flags, size = unpacked("<BB2xI", datatype)
    kind &= 0x0F
    order = ">" if flags & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8) and unpacked("<HH", datatype[8:]) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}"), False
    layout = unpacked("<HHBBBBI", datatype[8:]) if kind == 1 and not flags & 0x40 else ()
    if layout in _FLOATS and size == int(_FLOATS[layout][1]):
        return np.dtype(order + _FLOATS[layout]), False
    if size == 2 and (layout == _BFLOAT16 or (kind == 5 and marked_as_bfloat16)):  # opaque, to an older HDF5
        return np.dtype(order + "u2"), True
    raise ModelFileError("it must be of a float type, and the file has another", Reason.MISMATCH)


def unpacked(form: str, data: bytes) -> tuple[int, ...]:
    """The numbers at the beginning of `data`."""
    size = struct.calcsize(form)
    if len(data) < size:
        raise ModelFileError("the HDF5 file is damaged: something is shorter than it must be")
    return struct.unpack(form, data[:size])


def padded(size: int) -> int:
    return -(-size // 8) * 8
