"""Text as Python's strings, of what NumPy and other packages hold it in."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array

_OTHER_ENCODED = "surrogateescape"  # bytes that are not UTF-8 stay what they are
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}  # no others, as in TensorFlow
_PUNCTUATION = dict.fromkeys(map(ord, "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"))
_SPACES = re.compile("[ \t\n\v\f\r]+")


def text_array(name: str, value: Any) -> Array:
    """An array of objects, each a string, of text in an array or in lists; bytes are read as UTF-8.

    Raises TypeError for what is no text, and ValueError for lists of different lengths.
    """
    if isinstance(value, (str, bytes)):
        value = np.array(value, object)
    try:
        array = np.asarray(value, None if hasattr(value, "dtype") else object)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of text, or lists of the same lengths: {error}") from None
    if array.dtype.kind in "UT":
        return array.astype(object)
    if array.dtype.kind == "S" or (array.dtype.kind == "O" and all(map(_is_text, array.flat))):
        found = np.empty(array.size, object)
        found[:] = [_as_str(part) for part in array.ravel().tolist()]
        return found.reshape(array.shape)
    got = f"dtype {array.dtype}" if array.dtype.kind != "O" else _first_other(array)
    raise TypeError(f"{name} must be an array of text, got {got}")


def _first_other(array: Array) -> str:
    other = next(part for part in array.flat if not _is_text(part))
    return f"{shown(other)} among the elements"


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _as_str(value: Any) -> str:
    return value.decode("utf-8", _OTHER_ENCODED) if isinstance(value, bytes) else str(value)


def as_bytes(text: str) -> bytes:
    """A string as UTF-8."""
    return text.encode("utf-8", _OTHER_ENCODED)


def without_punctuation(text: str) -> str:
    """The text without what is punctuation in ASCII."""
    return text.translate(_PUNCTUATION)


def lowered(text: str) -> str:
    """The text with the letters of ASCII in lower case, and no others, as on TensorFlow."""
    return text.translate(_LOWER)


def words(text: str) -> list[str]:
    """What stands between spaces."""
    return [word for word in _SPACES.split(text) if word]


def characters(text: str) -> list[str]:
    """The characters; what is no UTF-8 is a replacement character each."""
    return ["\ufffd" if "\udc80" <= letter <= "\udcff" else letter for letter in text]


def ngrams(tokens: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Each run of tokens of one of these widths, joined by spaces."""
    return [
        " ".join(tokens[begin : begin + width]) for width in widths for begin in range(max(0, len(tokens) - width + 1))
    ]
