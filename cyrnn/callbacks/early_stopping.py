"""Training that ends when it has become useless."""

import math
from typing import Any

import numpy as np

from cyrnn import notices
from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.monitor import MonitorCallback
from cyrnn.callbacks.protocols import Logs
from cyrnn.configurable import at_least_0, number
from cyrnn.layers.base.arguments import Array
from cyrnn.utils.console import write


class EarlyStopping(MonitorCallback):
    """Stop training when a result has not become better for some epochs.

    Parameters
    ----------
    monitor : str
        The name of the result.
    min_delta : float
        By how much a better value must be better.
    patience : int
        After so many epochs without a better value training stops; 0 and 1 are the same.
    verbose : int
        1: print when training has stopped, and whose weights are restored.
    mode : "auto", "min" or "max"
        Whether the result is to become smaller or larger; "auto": as the model knows.
    baseline : float, optional
        Only epochs that are better than this, too, make training wait again.
    restore_best_weights : bool
        Whether the model has the weights of the best epoch in the end, also if training was not stopped.
    start_from_epoch : int
        Earlier epochs are left out, as if they had not been there.

    Attributes
    ----------
    stopped_epoch, best_epoch, wait : int
    best : float
    best_weights : list of arrays

    Examples
    --------
    >>> stop = cyrnn.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    >>> history = model.fit(x, y, validation_split=0.1, callbacks=[stop])  # doctest: +SKIP
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose = at_least_0("patience", patience), verbose
        self.baseline = None if baseline is None else number("baseline", baseline)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = number("start_from_epoch", start_from_epoch)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        _ = self.direction  # raises where it is not known

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = [np.array(weight) for weight in self.model.get_weights()]
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            write(f"Epoch {self.stopped_epoch + 1}: early stopping\n")
        if self.best_weights is not None:
            if self.verbose > 0:
                write(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.\n")
            self.model.set_weights(self.best_weights)

    def get_monitor_value(self, logs: Logs | None) -> Any:
        """The result that is looked at; None, with a warning, if it is not there."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            notices.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs or {})}"
            )
        return value


class TerminateOnNaN(Callback):
    """Stop training when the loss is NaN or infinite.

    Parameters
    ----------
    raise_error : bool
        Whether to raise RuntimeError then, so that no other callback sees an end of training.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately."
            )
        write(f"Batch {batch}: Invalid loss, terminating training\n")
        self.model.stop_training = True
