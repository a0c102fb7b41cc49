"""Files of the model, written during training."""

import os
from pathlib import Path

import numpy as np

from cyrnn import notices
from cyrnn.callbacks.callback import overridden
from cyrnn.callbacks.monitor import MonitorCallback
from cyrnn.callbacks.protocols import Logs
from cyrnn.callbacks.saving_frequency import batch_counter
from cyrnn.utils.console import write


class ModelCheckpoint(MonitorCallback):
    """Save the model, or its weights, after each epoch or after some batches.

    Parameters
    ----------
    filepath : str or os.PathLike
        It may have fields for the numbers of epoch and batch, which count from 1, and for results:
        ``"{epoch:02d}-{val_loss:.2f}.keras"``. Folders are made. It ends in ``.keras`` or ``.h5``, for weights in
        ``.weights.h5``.
    monitor : str
        The name of the result that says which model is the best.
    verbose : int
        1: print what is saved.
    save_best_only : bool
        Whether to save only if the result is better than at any time before.
    save_weights_only : bool
        Whether to save the weights, with the state of the optimizer, instead of the model.
    mode : "auto", "min" or "max"
        Whether the result is to become smaller or larger; "auto": as the model knows.
    save_freq : "epoch" or int
        After each epoch, or after each so many batches, counted over epochs.
    initial_value_threshold : float, optional
        The best value before the first one.

    Raises
    ------
    ValueError
        If the path ends otherwise, or `save_freq` is neither.
    KeyError
        In training, if there is no result for a field of the path.
    OSError
        In training, if the file cannot be written.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self._counter = batch_counter(save_freq)
        self._epoch = 0
        if save_weights_only and not self.filepath.endswith(".weights.h5"):
            raise ValueError(f"filepath must end in .weights.h5 with save_weights_only=True, got {self.filepath!r}")
        if not self.filepath.endswith((".keras", ".h5")):
            raise ValueError(f"filepath must end in .keras or .h5, got {self.filepath!r}")

    def wants(self, hook: str) -> bool:
        if hook == "on_train_batch_end" and self._counter is None:
            return overridden(self, hook, ModelCheckpoint)
        return super().wants(hook)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._counter is not None and self._counter.is_due(batch):
            self._save(self._epoch, logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._counter is None:
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: Logs, batch: int | None = None) -> None:
        path = self._path(epoch, logs, batch)
        if not self._is_wanted(epoch, logs, path):
            return
        if Path(path).is_dir():
            raise IsADirectoryError(
                "Please specify a non-directory filepath for ModelCheckpoint. "
                f"Filepath used is an existing directory: {path}"
            )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path)
        if self.save_best_only and np.ndim(logs.get(self.monitor, [])) == 0:
            self.best = logs[self.monitor]
        if self.verbose > 0:
            write(f"\nEpoch {epoch + 1}: finished saving model to {path}\n")

    def _path(self, epoch: int, logs: Logs, batch: int | None) -> str:
        fields = logs if batch is None else {"batch": batch + 1, **logs}
        try:
            return self.filepath.format(**{**fields, "epoch": epoch + 1})
        except KeyError as error:
            raise KeyError(
                f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}, there are '
                f"{', '.join(('epoch', *fields))}"
            ) from error

    def _is_wanted(self, epoch: int, logs: Logs, path: str) -> bool:
        """Whether this is the best model so far, or each one is saved."""
        about, current = f"\nEpoch {epoch + 1}:", logs.get(self.monitor)
        if not self.save_best_only:
            if self.verbose > 0:
                write(f"{about} saving model to {path}\n")
            return True
        if current is None:
            notices.warn(f"Can save best model only with {self.monitor} available.")
            return True
        if np.ndim(current):
            notices.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {current}. "
                "Falling back to `save_best_only=False`."
            )
            return True
        improved, best = self._is_improvement(current, self.best), "None" if self.best is None else f"{self.best:.5f}"
        if self.verbose > 0 and improved:
            write(f"{about} {self.monitor} improved from {best} to {current:.5f}, saving model to {path}\n")
        elif self.verbose > 0:
            write(f"{about} {self.monitor} did not improve from {best}\n")
        return improved
