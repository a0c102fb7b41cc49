"""What calls carry from one to the next: states, which a call that fails leaves as they were."""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol


class Carries(Protocol):
    """A layer, as far as it, or one inside it, carries states."""

    def layers_within(self) -> tuple[Any, ...]: ...


@contextlib.contextmanager
def states_as_before_on_error(layer: Carries) -> Iterator[None]:
    """Context manager: if its block fails, the states that the layer and those in it carry are as they were."""
    before = carried_states(layer)
    try:
        yield
    except BaseException:
        put_back(before)
        raise


def carried_states(layer: Carries) -> list[tuple[Any, bool, Any]]:
    """The layers that carry states, each with whether it is built, and its states; see `put_back`."""
    return [(part, part.built, part.states) for part in layer.layers_within() if part.carries_states]


def put_back(before: list[tuple[Any, bool, Any]]) -> None:
    """Give the layers the states that they had. A layer that was built since then begins with its initial states."""
    for part, built, states in before:
        if built:
            part.states = states
        else:
            part.reset_state()
