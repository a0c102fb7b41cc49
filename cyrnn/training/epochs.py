"""Epochs: the batches that one after the other has of data."""

from collections.abc import Iterator

from cyrnn.training.data import Batch, Data


class Epochs:
    """The batches of one epoch after the other.

    Parameters
    ----------
    data : Data
    steps : int or None
        The batches of an epoch; None for a whole pass. A pass that is longer is continued in the next epoch.
    """

    def __init__(self, data: Data, steps: int | None) -> None:
        self._data, self.wanted = data, steps
        self._pass: Iterator[Batch] | None = None
        self.ended_early = False  # whether the data had less than the last epoch wanted
        self.exhausted = False  # whether it had nothing

    @property
    def steps(self) -> int | None:
        """How many batches an epoch has, where that is known."""
        return self.wanted if self.wanted is not None else self._data.num_batches

    def restart(self) -> None:
        """Let the next epoch begin a pass, also where the last one has left batches of one."""
        self._pass = None

    def epoch(self) -> Iterator[Batch]:
        """The batches of the next epoch."""
        self._data.begin_epoch()
        count, begun = 0, False  # whether a pass has begun in this epoch
        while self.wanted is None or count < self.wanted:
            if self._pass is None:
                self._pass, begun = self._data.batches(), True
            batch = next(self._pass, None)
            if batch is not None:
                count += 1
                yield batch
                continue
            self._pass = None
            if count or begun:  # else the pass had ended with the last epoch
                break
        short = self.wanted is not None and count < self.wanted
        self.ended_early, self.exhausted = short and (begun or self._data.num_batches is None), count == 0
        self._data.end_epoch()
