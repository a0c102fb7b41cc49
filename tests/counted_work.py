"""Counts the work and the memory of a call, and checks that they grow like the size of what it is given.

Work is counted, not timed: the lines of Python that are run, and the calls of functions that Python does not run. With
each doubling of a size they may double.
"""

import contextlib
import gc
import itertools
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyrnn.saving import ModelFileError

SIZES = (16, 32, 64, 128)
CALLS = 3
MOST_GROWTH = 2.7  # of what a doubling adds to work or memory, to what the doubling before has added


def work_of(act: Callable[[], Any]) -> int:
    """How many lines are run, and calls made, in this thread."""
    count = 0

    def line(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "c_call"

    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        act()
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)
    return count


def memory_of(act: Callable[[], Any]) -> int:
    """The most bytes that are held at once, those in cycles too: when these are let go depends on the whole process.

    So does when a table of the whole process grows, that of interned strings for one: the least of some calls is taken.
    """
    return min(_peak(act) for _ in range(CALLS))


def _peak(act: Callable[[], Any]) -> int:
    collects = gc.isenabled()
    gc.disable()
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        if collects:
            gc.enable()


def check(acts: Sequence[Callable[[], Any]], measure: Callable[[Callable[[], Any]], int], least: int) -> None:
    """AssertionError unless what is measured grows like the sizes, which double. `least` may come and go."""
    acts[0]()  # what is made once, is made
    measured = [measure(act) for act in acts]
    added = np.diff(measured)
    for before, after in itertools.pairwise(added):
        assert after <= MOST_GROWTH * max(before, least), measured


def quietly(act: Callable[[], Any]) -> Callable[[], None]:
    """The same, and errors of files are welcome."""

    def acted() -> None:
        with contextlib.suppress(ModelFileError, ValueError):
            act()

    return acted
