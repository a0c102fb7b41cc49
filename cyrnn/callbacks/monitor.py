"""What callbacks that look at one result have in common."""

import numpy as np

from cyrnn import notices
from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.protocols import Direction
from cyrnn.configurable import number


class MonitorCallback(Callback):
    """Base of the callbacks that ask whether a result has become better.

    Parameters
    ----------
    monitor : str
        The name of the result.
    mode : "auto", "min" or "max"
        Whether it is to become smaller or larger. With "auto" the model knows: losses become smaller, and metrics as
        they say.
    baseline : float, optional
        The best value before the first one.
    min_delta : float
        By how much a better value must be better.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        if mode not in ("auto", "min", "max"):
            notices.warn(f"{type(self).__name__} mode {mode!r} is unknown, fallback to auto mode.")
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best = None if baseline is None else number("baseline", baseline)
        self.min_delta = abs(number("min_delta", min_delta))

    @property
    def direction(self) -> Direction:
        """Whether smaller or larger values are better. Raises ValueError where that is not known."""
        if self.mode != "auto":
            return "min" if self.mode == "min" else "max"
        name, known = self.monitor.removeprefix("val_"), self.model.metric_directions
        if name in known:
            return known[name]
        if name == "loss" or name.endswith("_loss"):
            return "min"
        raise ValueError(
            f"{type(self).__name__} callback received monitor={self.monitor!r}, and it is not known whether that "
            "should be maximized or minimized: pass mode='max' or mode='min'. It is known for "
            f"{', '.join(sorted({'loss', *known}))}"
        )

    def _is_improvement(self, value: float, reference: float | None) -> bool:
        direction = self.direction
        if np.ndim(value):
            raise ValueError(
                f"{type(self).__name__} callback received monitor={self.monitor!r}, which must be a number, got an "
                f"array of the shape {np.shape(value)}: some metrics have an option average, which makes it one"
            )
        if reference is None:
            return True
        return value + self.min_delta < reference if direction == "min" else value - self.min_delta > reference
