"""JSON from anywhere: parsed in time proportional to its length, and only if the value fits in the memory allowed.

Parsed JSON can take a hundred times the memory of its text: ``{},`` is 3 bytes, and 72 as a dict in a list.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from cyrnn.budget import TooLargeError

_MOST_DIGITS = 400  # of an integer; more would be slow, and no float64 holds them

# Upper bounds of what CPython needs in 64 bits for what begins with a character, measured: a dict and its first entry,
# a list and its first item, one more item or entry with a number, a key's entry, half of a string's header.
_BYTES = {"{": 130, "[": 96, ",": 40, ":": 60, '"': 25}


def parsed(
    text: str | bytes,
    most_memory: int,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """The value of JSON text, as `json.loads` returns it.

    Parameters
    ----------
    text : str or bytes
        The text; bytes are UTF-8, 16 or 32.
    most_memory : int
        The bytes that the text and the value may take. An upper bound of what they will take is counted first.
    object_pairs_hook : callable, optional
        As in `json.loads`.

    Raises
    ------
    TooLargeError
        They would take more.
    ValueError
        The text is not JSON, is nested too deeply, or holds an integer of more than 400 digits.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        # Text of Python's takes as many bytes for each character as the widest one needs. There is the text, a string
        # that may be as long, and copies of it in messages.
        needed = sys.getsizeof(text) * (3 if text.isascii() else 6)
        needed += sum(text.count(sign) * size for sign, size in _BYTES.items())
        if needed > most_memory:
            raise TooLargeError(f"it would take up to {needed} bytes of memory, more than {most_memory}")
        return json.loads(text, parse_int=_integer, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits, more than {_MOST_DIGITS}")
    return int(digits)
