"""Programs that can be gone back through: beside its outputs such a program returns what its gradients are made of."""

from cyrnn.engine.gradients.along_vectors import AlongVectors
from cyrnn.engine.gradients.merged import Merged
from cyrnn.engine.gradients.over_time import OverTime
from cyrnn.engine.gradients.pointwise import Pointwise
from cyrnn.engine.gradients.tables import Tables
from cyrnn.engine.gradients.way_back import WayBack
from cyrnn.engine.gradients.weighted import Weighted
from cyrnn.engine.program import Program


class Taped(Weighted, Pointwise, AlongVectors, Tables, Merged, OverTime):
    """A program that also returns what its gradients are made of.

    After `finish` the outputs that were asked for come first, and then those on the tape.

    Parameters
    ----------
    dtype : "float32" or "float64", which it computes in
    """

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.tape: dict[int, int] = {}  # of a buffer the number of the output
        self.lengths: dict[int, int] = {}  # of a timeline the number of an output that has it, without elements

    def finish(self) -> None:
        whole = WayBack(self, frozenset(range(len(self.inputs))), (True,) * len(self.returned))
        for storage, view in whole.kept.items():
            self.tape[storage] = len(self.returned) + len(self.tape)
            Program.output(self, self.whole(view))  # none of those that are returned
        for timeline in whole.lengths:
            self.lengths[timeline] = len(self.returned) + len(self.tape) + len(self.lengths)
            Program.output(self, self.buffer(timeline, 0))
        super().finish()

    def way_back(self, wanted: frozenset[int], given: tuple[bool, ...]) -> "WayBack":
        """The program of the gradients.

        Parameters
        ----------
        wanted : frozenset of int
            The numbers of the inputs whose gradients are asked for.
        given : tuple of bool
            For each output whether it has a gradient.
        """
        return WayBack(self, wanted, given)
