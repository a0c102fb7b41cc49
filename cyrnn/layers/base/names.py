"""Names that must be distinct."""

from collections import Counter
from collections.abc import Iterable


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
