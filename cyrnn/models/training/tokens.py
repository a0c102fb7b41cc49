"""Which inputs of a model are tokens, and of which tables."""

from typing import Any, Protocol

from cyrnn.layers.around.embedding import Embedding
from cyrnn.models import executor


class Model(Protocol):
    """A model, as far as its calls are known."""

    @property
    def has_its_own_call(self) -> bool: ...

    def known_inputs(self) -> tuple[Any, Any]: ...

    def inner_calls(self, inputs: Any, training: bool | None) -> Any: ...


def tables_of_inputs(model: Model) -> list[tuple[int, Embedding]]:
    """The layers that look up an input as it is, each with the number of that."""
    places, _ = model.known_inputs()
    if places is None or model.has_its_own_call:
        return []
    numbers = {place: number for number, place in enumerate(executor.places_of(places))}
    return [(numbers[place], layer) for place, layer in _looked_up(model, places) if place in numbers]


def _looked_up(model: Model, places: Any) -> list[tuple[executor.Place, Embedding]]:
    """The calls of tables within a model, each with the place of its argument."""
    found: list[tuple[executor.Place, Embedding]] = []
    calls, _ = model.inner_calls(places, True) or ((), None)
    for call in calls:
        if isinstance(call.layer, Embedding) and not call.layer.is_custom:
            found.append((call.args[0], call.layer))
        elif hasattr(call.layer, "inner_calls") and not call.layer.has_its_own_call:
            found += _looked_up(call.layer, call.args[0])
    return found
