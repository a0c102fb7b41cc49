"""What calls carry from one to the next: states, and moving averages, which a call that fails leaves as they were."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from cyrnn.layers.base.weights import replace_weights


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


@contextlib.contextmanager
def as_before_on_error(layer: Carries, unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Context manager: as `states_as_before_on_error`, also for weights that are moving averages.

    Nothing is put back where `unless` says that the block has done its work before the error.
    """
    states, weights = carried_states(layer), [(part, part._values) for part in layer.layers_within()]
    try:
        yield
    except BaseException:
        if unless():
            raise
        put_back(states)
        changed = {part: values for part, values in weights if part._values is not values}
        averages = {
            part: {name: value for name, value in values.items() if not part._specs[name].trainable}
            for part, values in changed.items()
        }
        replace_weights(averages)
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
