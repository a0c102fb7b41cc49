"""Keras' default names of layers and operations."""

import itertools
from collections.abc import Iterator

_counters: dict[str, Iterator[int]] = {}


def unique_name(base: str) -> str:
    """Keras' default names: ``dense``, ``dense_1``, ... in the order of construction."""
    number = next(_counters.setdefault(base, itertools.count()))  # one step each: no two threads get the same
    return f"{base}_{number}" if number else base
