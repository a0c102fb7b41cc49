"""Nested lists: the form in which states come and go. A leaf is whatever is neither a list nor a tuple."""

from collections.abc import Iterator, Sequence
from typing import Any


def is_nested(value: Any) -> bool:
    """Whether `value` is a list or tuple, not a leaf."""
    return isinstance(value, (list, tuple))


def flatten(nest: Any) -> list[Any]:
    """The leaves, in order; a leaf alone is a nest of one."""
    return [leaf for part in nest for leaf in flatten(part)] if is_nested(nest) else [nest]


def pack(structure: Any, leaves: Sequence[Any]) -> Any:
    """`leaves` in the lists that `structure` has. ValueError unless there is one for each of its leaves."""
    wanted = len(flatten(structure))
    if len(leaves) != wanted:
        raise ValueError(f"expected {wanted} arrays, got {len(leaves)}")
    return _pack(structure, iter(leaves))


def _pack(structure: Any, leaves: Iterator[Any]) -> Any:
    return [_pack(part, leaves) for part in structure] if is_nested(structure) else next(leaves)
