"""Programs that can be copied and pickled: they keep the calls that have made them."""

from collections.abc import Callable
from typing import Any, Self

from cyrnn.engine.program import Ops, Program, Structure


class RecordedProgram(Program):
    """A `Program` that is made again, where it is unpickled, by the calls that made it."""

    def __init__(self, dtype: str) -> None:
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._depth = 0  # of calls within each other: the outermost makes the others

    @property
    def calls(self) -> tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...]:
        """The calls that made it: name, arguments, keyword arguments."""
        return tuple(self._calls)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.dtype.name, self.calls)

    def __copy__(self) -> Self:
        return self  # it never changes once it is finished

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _kept(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # which the caller may change


def _recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: RecordedProgram, *args: Any, **kwargs: Any) -> Any:
        self._depth += 1
        try:
            result = method(self, *args, **kwargs)
        finally:
            self._depth -= 1
        if not self._depth:
            self._calls.append((name, tuple(map(_kept, args)), {key: _kept(value) for key, value in kwargs.items()}))
        return result

    call.__name__, call.__doc__ = name, method.__doc__
    return call


_BUILDING = {
    name: method
    for part in (Structure, Ops, Program)
    for name, method in vars(part).items()
    if callable(method) and not name.startswith("_") and name not in ("run", "place_of", "form_of", "length_of")
}
for _name, _method in _BUILDING.items():
    setattr(RecordedProgram, _name, _recorded(_name, _method))


def _made_again(kind: type[RecordedProgram], dtype: str, calls: tuple[Any, ...]) -> RecordedProgram:
    program = kind(dtype)
    for name, args, kwargs in calls:
        getattr(program, name)(*args, **kwargs)
    return program
