"""The base class of data that has batches itself."""

from typing import Any


class PyDataset:
    """Base class of data for `fit`, `evaluate` and `predict` whose batches are made when they are needed.

    A subclass has ``__len__()``, the number of batches, and ``__getitem__(index)``, which returns the batch of this
    number: a tuple ``(x, y)`` or ``(x, y, sample_weight)``. It may have ``on_epoch_begin()`` and ``on_epoch_end()``.
    Batches are made in the thread of the training, one after the other.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size
        Accepted as in Keras; they change nothing.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must have a method __len__(), the number of batches")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must have a method __getitem__(index), which returns a batch")

    def on_epoch_begin(self) -> None:
        """What is done before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


Sequence = PyDataset  # its name in Keras 2
