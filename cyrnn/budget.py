"""How much a config may ask for while it is read: layers, calls and weights.

A config of some kilobytes can describe work without end: a model that calls a model twice, which calls a model twice,
and so on. So what reading it makes is counted, within `limited`. Elsewhere nothing is counted.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar

# A layer, and a call of one, counts five steps, and takes some kilobytes. A call within a nested model counts one: it
# is made again for each shape that the nested model is called with.
MOST_STEPS = 100_000
LAYER = CALL = 5


class TooLargeError(ValueError):
    """A config asks for more than any real model needs, or than this machine has."""


class _Budget:
    def __init__(self) -> None:
        self.steps = MOST_STEPS
        self.bytes_of_weights: int | None = None  # once there are any, what is left of this machine's memory


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Within the block, the functions below raise TooLargeError where a config asks for too much.

    A block within a block shares the budget of the outer one.
    """
    token = _budget.set(_budget.get() or _Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def spend(steps: int) -> None:
    """Count steps of work. Raises TooLargeError when they are more than the config of a real model takes."""
    budget = _budget.get()
    if budget is None:
        return
    budget.steps -= steps
    if budget.steps < 0:
        raise TooLargeError(
            f"the config asks for too much: more than {MOST_STEPS // LAYER} layers and calls, or "
            f"{MOST_STEPS} calls within nested models"
        )


def spend_weights(what: str, count: int) -> None:
    """Count the bytes of an initial weight. Raises TooLargeError when all need more memory than this machine has."""
    budget = _budget.get()
    if budget is None:
        return
    if budget.bytes_of_weights is None:
        budget.bytes_of_weights = memory_of_this_machine()
    budget.bytes_of_weights -= count
    _check_memory(what, count, budget.bytes_of_weights < 0)


def check_array(what: str, count: int) -> None:
    """Raises TooLargeError for an array, soon gone, of so many bytes that this machine does not have them."""
    if _budget.get() is not None:
        _check_memory(what, count, count > memory_of_this_machine())


def _check_memory(what: str, count: int, too_much: bool) -> None:
    if too_much:
        raise TooLargeError(
            f"{what} would take {count} bytes, and with the weights before it more memory than this machine has: "
            f"{memory_of_this_machine()} bytes"
        )


def memory_of_this_machine() -> int:
    """The bytes of memory that this process can have at most; `sys.maxsize` where the system does not say."""
    from pathlib import Path

    found = [sys.maxsize]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # that of a container
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(n for n in found if n > 0)
