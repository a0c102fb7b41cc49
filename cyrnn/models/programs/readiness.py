"""Which calls of a graph can be made, as those before them are: found in time in proportion to the graph's size."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from cyrnn.layers.base.layer import Layer
from cyrnn.models.executor import Call, Place


class Readiness:
    """A call waits for the places that it needs, and for the call before it that moves the states of the same layer.

    Parameters
    ----------
    calls : sequence of Call
        In an order in which they can be made; here each is known by its number in it.
    given : iterable of Place
        The places that have arrays before any call.
    """

    def __init__(self, calls: Sequence[Call], given: Iterable[Place]) -> None:
        self.calls = calls
        self._needs = [set(call.needs) for call in calls]
        self._unread = Counter(place for needs in self._needs for place in needs)
        self._readers: dict[Place, list[int]] = defaultdict(list)
        self._followers: dict[int, list[int]] = defaultdict(list)
        known, last = set(given), dict[int, int]()
        self._missing: list[int] = []
        for number, needs in enumerate(self._needs):
            for place in needs:
                self._readers[place].append(number)
            moved = _states_moved(calls[number])
            before = {last[layer] for layer in moved if layer in last}
            for earlier in before:
                self._followers[earlier].append(number)
            last |= dict.fromkeys(moved, number)
            self._missing.append(len(needs - known) + len(before))
        self.at_first = [number for number, missing in enumerate(self._missing) if not missing]

    def readers(self, place: Place) -> list[Call]:
        """The calls that need the place."""
        return [self.calls[number] for number in self._readers[place]]

    def is_needed(self, place: Place) -> bool:
        """Whether a call that is not made yet needs the place."""
        return self._unread[place] > 0

    def made(self, number: int) -> list[int]:
        """Note that the call is made. Returns the numbers of the calls that waited for nothing else."""
        for place in self._needs[number]:
            self._unread[place] -= 1
        waiting = [later for place in self.calls[number].fills for later in self._readers[place]]
        ready = []
        for later in [*waiting, *self._followers[number]]:
            self._missing[later] -= 1
            if not self._missing[later]:
                ready.append(later)
        return ready


def _states_moved(call: Call) -> set[int]:
    """The layers whose states the call moves: their calls keep their order."""
    parts = call.layer.layers_within() if isinstance(call.layer, Layer) else ()
    return {id(part) for part in parts if part.carries_states}
