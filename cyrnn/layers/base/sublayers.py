"""Which layers are inside a layer. They are noted when they are assigned, as Keras and torch do."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, ClassVar, Self

from cyrnn import locks, objects
from cyrnn.engine.program import structure_changed
from cyrnn.layers.base.names import distinct

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})  # what is known to hold no layers
_NO_HOLDERS = (
    "_noted",
    "_within",
    "_own_arguments",
    "_extra_arguments",
    "_slot",
    "_specs",
    "_taped",
    "_recent",
    "_quick_vjps",
    "_partitions",
)  # attributes whose layers are not inside
_noting = locks.ForkSafeLock()

# What a custom subclass may have of its own, and its calls are still those of the class that it is derived from.
_OF_THE_CONFIG = frozenset(
    {"get_config", "from_config", "arguments_of", "own_config", "described", "get_build_config", "_registered_name"}
)
_OF_CALLS = frozenset({"__call__", "__getattribute__", "__getattr__", "__setattr__"})  # of names with underscores


_looked_at: ContextVar[bool] = ContextVar("looked_at", default=False)  # whether this was done just before


@contextlib.contextmanager
def looked_at(layer: "HasSublayers") -> "Iterator[None]":
    """Context manager: the attributes of a layer and of those in it are looked at once, and not again within it."""
    for part in layer.layers_within():
        part.note_again()
    token = _looked_at.set(True)
    try:
        yield
    finally:
        _looked_at.reset(token)


class SetByInit:
    """An attribute that constructors set: before, its error says what a constructor of a user has left out."""

    def __get__(self, layer: "HasSublayers | None", owner: type | None = None) -> Any:
        if layer is None:
            return self
        raise AttributeError(
            f"{type(layer).__name__}.__init__() must call super().__init__() before all else: it has not become a layer"
        )


class HasSublayers:
    """A layer as the holder of other layers.

    Attributes are looked at when they are assigned. Lists, tuples and dicts may be filled after that, so they are
    looked at once more when the layer is built, and when its weights are asked for or saved. No call searches.
    """

    _revision: ClassVar[int] = 0  # of all layers together: it moves whenever a layer inside another one changes

    # What a layer's calls do follows from its public attributes, but for `_of_no_structure`. Whenever one is assigned,
    # and when layers inside change, the layer has a new token, and `structure_now` moves: what was derived from them is
    # out of date then. It does not move for a layer that is not built: no program has one. A custom layer with code of
    # its own has a token only while it is watched: see `models/programs/blocks.py`.
    _own_structure: object = None
    _watched: bool = False
    _of_no_structure: ClassVar[frozenset[str]] = frozenset({"states"})

    _override: ClassVar[str | None] = (
        None  # a name of this package's classes that a custom subclass has another thing for
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._override = next(_overrides(cls), None)

    _settled: bool = False  # whether the layer is built, and `_noted` is all there is
    _noted: "Mapping[str, tuple[Self, ...]]" = MappingProxyType({})  # the layers in each attribute that holds some
    _within: "tuple[int, tuple[Self, ...]] | None" = None  # the rest of `layers_within`, and the revision it is of

    # Attributes that take what the argument of their name does, and what makes that of it; it raises for others.
    _made_from: ClassVar[Mapping[str, Callable[[Any], Any]]] = MappingProxyType({})

    def __setattr__(self, name: str, value: Any) -> None:
        make = self._made_from.get(name)
        if make is not None:
            value = make(value)
        super().__setattr__(name, value)
        if type(value) not in _PLAIN or name in self._noted:
            self._note(name, value)
        if self._watched or (name[0] != "_" and name not in self._of_no_structure and type(self)._override is None):
            self._restructured()

    def watch(self, watched: bool) -> None:
        """Note whether what code of the user does was derived from the layer's attributes: all count then."""
        vars(self)["_watched"] = watched

    def _restructured(self) -> None:
        vars(self)["_own_structure"] = object()
        if self._settled:
            structure_changed()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._note(name, None)
        if self._watched:
            self._restructured()

    def _note(self, name: str, value: Any) -> None:
        found = () if name in _NO_HOLDERS else tuple(_held(value))
        if found == self._noted.get(name, ()):  # layers are equal if they are the same
            return
        with _noting:
            rest = {key: layers for key, layers in self._noted.items() if key != name or found}
            vars(self)["_noted"] = {**rest, name: found} if found else rest
            _structure_changed()
        self._restructured()

    def _settle(self, settled: bool) -> None:
        """Look at all attributes a last time, since the layer is built and its lists and dicts are filled; or again."""
        with _noting:
            before = self._settled
            vars(self).update(_noted=self._found(), _settled=settled)
            _structure_changed()
        self._restructured()
        if before and not settled:
            structure_changed()

    def note_again(self) -> None:
        """Look at a built layer's attributes once more: its lists and dicts may have changed since."""
        if self._settled and not _looked_at.get() and self._found() != self._noted:
            self._settle(True)

    def _found(self) -> "dict[str, tuple[Self, ...]]":
        """The layers in each attribute that holds some, looked for now."""
        attributes = vars(self).copy().items()  # a snapshot: other threads may add some
        found = {name: tuple(_held(value)) for name, value in attributes if name not in _NO_HOLDERS}
        return {name: layers for name, layers in found.items() if layers}

    @property
    def sublayers(self) -> "list[tuple[str, Any]]":
        """Layers inside this one, each once, by the attribute that holds it: alone, or in lists, tuples and dicts."""
        found: dict[int, tuple[str, Any]] = {}
        for name, layers in (self._noted if self._settled else self._found()).items():
            for layer in layers:
                found.setdefault(id(layer), (name, layer))
        return list(found.values())

    def sublayer_paths(self) -> list[str]:
        """Where files have the weights of each of `sublayers`: under its attribute; in a list of layers by its class.

        Names that come again are numbered.
        """
        sublayers = self.sublayers
        names = {name for name, _ in sublayers}
        several = {name for name in names if isinstance(getattr(self, name), (list, tuple, dict))}
        return distinct(
            f"{name}/{objects.snake_case(type(layer).__name__)}" if name in several else name
            for name, layer in sublayers
        )

    def layers_within(self) -> "tuple[Any, ...]":
        """This layer and all that are in it, each once, a layer before those that are in it."""
        known, revision = self._within, HasSublayers._revision
        if known is not None and known[0] == revision:
            return self, *known[1]
        found: dict[int, Any] = {}
        pending: list[Any] = [self]
        while pending:
            layer = pending.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                pending += [sublayer for _, sublayer in reversed(layer.sublayers)]
        _, *within = found.values()
        if all(layer._settled for layer in found.values()):
            vars(self)["_within"] = (revision, tuple(within))  # without itself: nothing keeps itself alive
        return self, *within

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in vars(self).items() if key != "_own_structure"}
        return {**kept, "_within": None}


def _held(value: Any) -> "Iterator[Any]":
    """The layers that a value is, or holds in lists, tuples and dicts, which may hold themselves."""
    if isinstance(value, HasSublayers):
        yield value
    seen: set[int] = set()
    pending: list[Any] = [value] if isinstance(value, (list, tuple, dict)) else []
    while pending:
        part = pending.pop()
        if isinstance(part, HasSublayers):
            yield part
        elif isinstance(part, (list, tuple, dict)) and id(part) not in seen:
            seen.add(id(part))
            inner = list(dict(part).values()) if isinstance(part, dict) else list(part)  # a snapshot, as above
            pending += [one for one in reversed(inner) if type(one) not in _PLAIN]


def _overrides(cls: type) -> "Iterator[str]":
    """The names that custom classes have, and classes of this package that they are derived from have too."""
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "cyrnn"]
    for base in cls.__mro__[:-1]:
        if base not in ours:
            counting = (name for name in vars(base) if name not in _OF_THE_CONFIG)
            yield from (name for name in counting if name in _OF_CALLS or name[:2] != "__" if _has(ours, name))


def _has(classes: "list[type]", name: str) -> bool:
    return any(name in vars(cls) for cls in classes)


def _structure_changed() -> None:
    """What was remembered of structure is out of date. Callers hold the lock."""
    HasSublayers._revision += 1
