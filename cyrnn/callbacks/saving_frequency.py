"""When callbacks write files."""

from typing import Any

from cyrnn.arrays import shown


class BatchCounter:
    """Says after which batches to save: each `save_freq` of them, counted over epochs."""

    def __init__(self, save_freq: int) -> None:
        self._save_freq, self._since, self._last = save_freq, 0, -1

    def is_due(self, batch: int) -> bool:
        """Whether to save after this batch; several may have run since the last call, as `steps_per_execution` says."""
        self._since += batch - self._last if batch > self._last else batch + 1
        self._last = batch
        if self._since < self._save_freq:
            return False
        self._since = 0
        return True


def batch_counter(save_freq: Any) -> BatchCounter | None:
    """None if files are written after epochs. Raises ValueError for what says neither."""
    if isinstance(save_freq, str) and save_freq == "epoch":
        return None
    if isinstance(save_freq, bool) or not hasattr(save_freq, "__index__") or save_freq < 1:
        raise ValueError(f"save_freq must be 'epoch' or an integer of at least 1, got {shown(save_freq)}")
    return BatchCounter(int(save_freq))
