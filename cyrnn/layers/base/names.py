"""Keras' default names of layers and operations, and names that must be distinct."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

_counters: dict[str, Iterator[int]] = {}


def unique_name(base: str) -> str:
    """Keras' default names: ``dense``, ``dense_1``, ... in the order of construction."""
    number = next(_counters.setdefault(base, itertools.count()))  # one step each: no two threads get the same
    return f"{base}_{number}" if number else base


def distinct(names: Iterable[str]) -> list[str]:
    """The names, each once: the second "rnn" becomes "rnn_1". A name that occurs as such is never given to another."""
    wanted = list(names)
    taken, numbers = set(wanted), Counter[str]()
    found: dict[str, None] = {}
    for base in wanted:
        name = base
        while name in found or (name != base and name in taken):
            numbers[base] += 1
            name = f"{base}_{numbers[base]}"
        found[name] = None
    return list(found)
