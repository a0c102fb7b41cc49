"""Learning rates that change after epochs."""

import inspect
from collections.abc import Callable, Mapping

import numpy as np

from cyrnn import notices
from cyrnn.arrays import shown
from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.monitor import MonitorCallback
from cyrnn.callbacks.protocols import Logs, TrainedOptimizer
from cyrnn.configurable import at_least_0, number
from cyrnn.utils.console import write


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by a factor when a result has not become better for some epochs.

    The learning rate of each epoch is in its results, as "learning_rate".

    Parameters
    ----------
    monitor : str
        The name of the result.
    factor : float
        From 0 to below 1.
    patience : int
        After so many epochs without a better value.
    verbose : int
        1: print the new learning rate.
    mode : "auto", "min" or "max"
        Whether the result is to become smaller or larger; "auto": as the model knows.
    min_delta : float
        By how much a better value must be better.
    cooldown : int
        After so many epochs since the last change epochs count again.
    min_lr : float
        The smallest learning rate.

    Raises
    ------
    TypeError
        In training, if the optimizer has a schedule: two things cannot decide one learning rate.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = at_least_0("factor", factor)
        if not self.factor < 1:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        self.patience, self.verbose = at_least_0("patience", patience), verbose
        self.cooldown, self.min_lr = at_least_0("cooldown", cooldown), number("min_lr", min_lr)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.wait = 0
        self.cooldown_counter: float = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        check_settable(self, self.model.optimizer)
        _ = self.direction  # raises where it is not known

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = logs.get(self.monitor)
        if current is None:
            notices.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}."
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        rate = float(self.model.optimizer.learning_rate)
        if not rate > np.float32(self.min_lr):
            return
        rate = max(rate * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = rate
        if self.verbose > 0:
            write(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.\n")
        self.cooldown_counter, self.wait = self.cooldown, 0

    def in_cooldown(self) -> bool:
        """Whether an epoch does not count, because the rate was reduced a short time before.

        Returns
        -------
        bool
        """
        return self.cooldown_counter > 0


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of each epoch.

    It is in the results of the epoch, as "learning_rate".

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)``, or ``schedule(epoch)``, returns the new one, a float. Epochs count from 0.
    verbose : int
        1: print the learning rate.

    Raises
    ------
    ValueError
        In training, if `schedule` returns anything else than a float.
    TypeError
        If `schedule` is not callable; in training, if the optimizer has a schedule too.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be callable, got {shown(schedule)}")
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        check_settable(self, optimizer)
        arguments = (epoch, float(optimizer.learning_rate))
        rate = self.schedule(*arguments[: _number_of_arguments(self.schedule)])
        if not isinstance(rate, float | np.float32):
            raise ValueError(f"The output of the `schedule` function should be a float. Got: {shown(rate)}")
        optimizer.learning_rate = rate
        if self.verbose > 0:
            write(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.\n")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _number_of_arguments(schedule: Callable[..., float]) -> int:
    """2, or 1 for a schedule that does not take the learning rate."""
    try:
        signature = inspect.signature(schedule)
    except (TypeError, ValueError):  # functions of C may have none
        return 2
    try:
        signature.bind(0, 0.0)
    except TypeError:
        return 1
    return 2


def check_settable(callback: Callback, optimizer: TrainedOptimizer) -> None:
    """Raises TypeError for an optimizer whose learning rate follows a schedule or a function."""
    if isinstance(optimizer.get_config().get("learning_rate"), Mapping):
        raise TypeError(
            f"{type(callback).__name__} sets the learning rate, but the optimizer was made with a schedule as its "
            "learning_rate: make it with a float"
        )
