"""Windows of a long sequence as batches for `fit`, as Keras' `timeseries_dataset_from_array` has them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cyrnn.arrays import array_of_numbers
from cyrnn.configurable import integer, positive_integer


class BatchArray(np.ndarray[Any, Any]):
    """An array with the method `numpy`, which scripts that were written for tensors call."""

    def numpy(self) -> Any:
        """The array as NumPy's own."""
        return np.array(self)


class WindowDataset:
    """Batches of windows. It can be iterated over any number of times; see `timeseries_dataset_from_array`."""

    def __init__(
        self,
        data: Any,
        targets: Any,
        starts: Any,
        offsets: Any,
        batch_size: int | None,
        generator: np.random.Generator | None,
    ) -> None:
        self._data, self._targets, self._starts, self._offsets = data, targets, starts, offsets
        self._batch_size, self._generator = batch_size, generator

    def __len__(self) -> int:
        return len(self._starts) if self._batch_size is None else math.ceil(len(self._starts) / self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        starts = self._starts if self._generator is None else self._generator.permutation(self._starts)
        size = self._batch_size
        for first in range(0, len(starts), size or 1):
            rows = starts[first : first + (size or 1)]
            windows = self._data[rows[:, None] + self._offsets]
            parts = (windows,) if self._targets is None else (windows, self._targets[rows])
            found = tuple([(part if size else part[0]).view(BatchArray) for part in parts])
            yield found[0] if self._targets is None else found

    def take(self, count: int) -> "list[Any]":
        """The first batches, at most so many; all for -1."""
        found, most = list[Any](), integer("count", count)
        for batch in self:
            if 0 <= most <= len(found):
                break
            found.append(batch)
        return found


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> WindowDataset:
    """Windows of a sequence, with the target of each: data for `fit`, `evaluate` and `predict`.

    Window number n begins at ``start_index + n * sequence_stride``, i, and holds ``data[i]``,
    ``data[i + sampling_rate]`` and so on; its target is ``targets[i]``.

    Parameters
    ----------
    data : array (steps, ...)
    targets : array (steps, ...), or None
        There may be fewer: windows end with them.
    sequence_length : int
        The timesteps of a window.
    sequence_stride : int
        The steps from one window to the next.
    sampling_rate : int
        The steps from one timestep of a window to the next.
    batch_size : int or None
        The windows of a batch; None for windows alone, without an axis of rows.
    shuffle : bool
        Whether each pass has the windows in another order.
    seed : int, optional
        Of that.
    start_index, end_index : int, optional
        The part of `data` to use: from the first up to, and without, the second.

    Returns
    -------
    WindowDataset
        It has ``len()``, the number of batches, and ``take(count)``. Batches are tuples ``(windows, targets)``, or the
        windows alone where targets is None: arrays (batch_size, sequence_length, ...) and (batch_size, ...).

    Raises
    ------
    ValueError, TypeError
        For numbers that are out of range.
    """
    array = array_of_numbers("data", data)
    lengths = {"sequence_length": sequence_length, "sequence_stride": sequence_stride, "sampling_rate": sampling_rate}
    length, stride, rate = (positive_integer(name, value) for name, value in lengths.items())
    for name, value in (("sequence_stride", stride), ("sampling_rate", rate)):
        if value >= len(array):
            raise ValueError(f"{name} must be less than the {len(array)} steps of data, got {value}")
    first = 0 if start_index is None else integer("start_index", start_index)
    last = len(array) if end_index is None else integer("end_index", end_index)
    if not 0 <= first < last <= len(array):
        raise ValueError(
            f"start_index and end_index must be in order, from 0 to {len(array)}, got {start_index} and {end_index}"
        )
    goals = None if targets is None else array_of_numbers("targets", targets)[first:last]
    count = last - first - (length - 1) * rate
    count = count if goals is None else min(count, len(goals))
    generator = np.random.default_rng(seed) if shuffle else None
    size = None if batch_size is None else positive_integer("batch_size", batch_size)
    starts, offsets = np.arange(0, max(0, count), stride), np.arange(length) * rate
    return WindowDataset(array[first:last], goals, starts, offsets, size, generator)
