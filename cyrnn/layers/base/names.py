"""Names of layers: those that must be distinct, and those that errors have."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

_AFTER = "; it follows "


class Named(Protocol):
    """A layer, as far as it has a name, and is built or not."""

    name: str

    @property
    def built(self) -> Any: ...


def before_unbuilt(layers: Sequence[Named]) -> Iterator[str]:
    """The name of the layer before the first one that is not built, of those that have one before them."""
    pairs = itertools.pairwise(layers)
    yield from itertools.islice((before.name for before, layer in pairs if not layer.built), 1)


@contextlib.contextmanager
def errors_name(before: Iterable[str]) -> Iterator[None]:
    """Context manager: a ValueError of its block, of a layer that is put after others, names these too."""
    try:
        yield
    except ValueError as error:
        names = ", ".join(map(repr, before))
        if names and len(error.args) == 1 and _AFTER not in str(error):
            error.args = (f"{error}{_AFTER}{names}",)
        raise


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
