"""Nested lists: the form in which states, and the inputs and outputs of models, come and go."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any


def is_nested(value: Any) -> bool:
    """Whether `value` is a list or tuple, not a leaf."""
    return isinstance(value, (list, tuple))


def flatten(nest: Any) -> list[Any]:
    """The leaves, in order; a leaf alone is a nest of one."""
    if not is_nested(nest):
        return [nest]
    found: list[Any] = []
    _collect(nest, is_nested, found)
    return found


def pack(structure: Any, leaves: Sequence[Any]) -> Any:
    """`leaves` in the lists that `structure` has. ValueError unless there is one for each of its leaves."""
    wanted = len(flatten(structure))
    if len(leaves) != wanted:
        raise ValueError(f"expected {wanted} arrays, got {len(leaves)}")
    return _pack(structure, iter(leaves))


def _pack(structure: Any, leaves: Iterator[Any]) -> Any:
    return [_pack(part, leaves) for part in structure] if is_nested(structure) else next(leaves)


# Structures: what the inputs, outputs and arguments of a model come in. Dicts count too, in the order of their keys.


def leaves(structure: Any) -> list[Any]:
    """What is in lists, tuples and dicts, in order; dicts by sorted key, as Keras has it."""
    if not is_structure(structure):
        return [structure]
    found: list[Any] = []
    _collect(structure, is_structure, found)
    return found


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with ``function(leaf)`` for each of its leaves, called in the order of `leaves`."""
    if isinstance(structure, dict):
        made = {key: mapped(function, structure[key]) for key in sorted(structure)}
        return {key: made[key] for key in structure}
    if isinstance(structure, (list, tuple)):
        parts = [mapped(function, part) for part in structure]
        return tuple(parts) if isinstance(structure, tuple) else parts
    return function(structure)


def filled(structure: Any, values: Iterable[Any]) -> Any:
    """The structure with `values` for its leaves, in the order of `leaves`."""
    rest = iter(values)
    return mapped(lambda _: next(rest), structure)


def is_structure(value: Any) -> bool:
    """Whether `value` is a list, tuple or dict."""
    return isinstance(value, (list, tuple, dict))


def is_shape(value: Any) -> bool:
    """Whether `value` is a shape, not a structure of shapes: a list or tuple of ints and None."""
    return isinstance(value, (list, tuple)) and all(n is None or isinstance(n, int) for n in value)


def mapped_shapes(function: Callable[[Any], Any], shapes: Any) -> Any:
    """The structure with ``function(shape)``, the shape a tuple, for each shape in it."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: mapped_shapes(function, shapes[key]) for key in sorted(shapes)}
    parts = [mapped_shapes(function, part) for part in shapes]
    return tuple(parts) if isinstance(shapes, tuple) else parts


def leaves_of_shapes(shapes: Any) -> list[Any]:
    """The shapes in a structure, in the order of `leaves`."""
    found: list[Any] = []
    mapped_shapes(found.append, shapes)
    return found


def _collect(structure: Any, has_parts: Callable[[Any], bool], found: list[Any]) -> None:
    """Add the leaves to `found`: each is moved once, however deep it is."""
    if not has_parts(structure):
        found.append(structure)
        return
    for part in _parts(structure):
        _collect(part, has_parts, found)


def _parts(structure: Any) -> Iterable[Any]:
    return [structure[key] for key in sorted(structure)] if isinstance(structure, dict) else structure
