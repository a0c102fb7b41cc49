"""Locks that a forked child can use: the one place that renews them after a fork."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any


class ForkSafeLock:
    """A lock for ``with``, which the thread that holds it may take again.

    A fork copies locks as they are, but of the threads only the one that forks. So a lock that another thread held
    would stay held in the child for ever: there it is replaced by a free one. What the forking thread holds, it still
    holds in the child.

    What a lost thread had half done stays half done, where it is more than one assignment. A holder can set `undo` for
    that, and must reset it to None: the child calls it, when all locks are free and before it has other threads.

    A pickled or copied object that has a lock gets a new, free one. A lock costs little, and nothing keeps it alive:
    there may be one for each object.
    """

    __slots__ = ("__weakref__", "_lock", "undo")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.undo: Callable[[], None] | None = None
        _alive.add(self)

    # Properties, so that ``with`` calls the methods of the RLock itself: a KeyboardInterrupt between taking the lock
    # and entering the block, as a method in Python would let in, would leave it held for ever.

    @property
    def __enter__(self) -> Callable[[], bool]:
        return self._lock.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:
        return self._lock.__exit__

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkSafeLock, ()

    def _renew(self) -> Callable[[], None] | None:
        """Replace the lock if its thread is lost. Returns what undoes the work of that thread, if anything does."""
        if self._lock.acquire(blocking=False):  # it is free, or of this thread
            self._lock.release()
            return None
        self._lock = threading.RLock()
        undo, self.undo = self.undo, None
        return undo


_alive: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for undo in [lock._renew() for lock in _alive]:  # all are free before the first one is taken
        if undo is not None:
            undo()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
