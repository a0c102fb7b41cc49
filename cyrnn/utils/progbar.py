"""A progress bar in the form of Keras."""

import math
import re
import shutil
from collections.abc import Iterable
from time import monotonic
from typing import Any

import numpy as np

from cyrnn.utils.console import can_rewrite, write

_LINES_APART = 10.0  # seconds, at least, where each line stays
_BOLD, _GREEN, _WHITE, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """A line that says how far work has come, how long it takes, and with which results.

    In a terminal or a notebook the line is written again and again, in colours. Elsewhere each line stays, and is
    plain text: there is one every ten seconds, and one at the end.

    Parameters
    ----------
    target : int or None
        The number of steps; None if it is not known.
    width : int
        Cells of the bar.
    verbose : 0, 1 or 2
        Silent, a bar, or one line at the end.
    interval : float
        Seconds between two changes of the line, at least.
    stateful_metrics, stateless_metrics : iterable of str, optional
        The names of values to show as they are, all others as their means over steps; or those to show as means, all
        others as they are. Only one of the two can be given. Without both, means are shown.
    unit_name : str
        What a step is called.

    Raises
    ------
    ValueError
        If both kinds of names are given.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("only one of stateful_metrics and stateless_metrics can be given, got both")
        self.target, self.width, self.verbose, self.unit_name = target, width, verbose, unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._rewrites = can_rewrite()
        self.interval = interval if self._rewrites else max(interval, _LINES_APART)
        self._values: dict[str, tuple[Any, int]] = {}  # sums, and of how many steps
        self._seen = 0
        self._start = monotonic()
        self._first_step: float | None = None  # when it was done
        self._last_update = float("-inf") if self._rewrites else self._start
        self._shown_width = 0

    def update(
        self, current: int, values: Iterable[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Show that `current` steps are done.

        Parameters
        ----------
        current : int
            The number of steps since the beginning.
        values : list of (name, value), optional
            Results of the last step.
        finalize : bool, optional
            Whether this ends the line; default: whether `current` has reached the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            self._note(name, value, max(current - self._seen, 1), finalize)
        self._seen = current
        now = monotonic()
        time_per_unit = self._time_per_unit(current, now)
        if self.verbose == 1 and (finalize or now - self._last_update >= self.interval):
            write(self._bar(current, now, time_per_unit, finalize))
            self._last_update = now
        elif self.verbose == 2 and finalize and self.target:
            shown = self._results(least=-math.inf)
            elapsed = f"{now - self._start:.0f}s - {_duration(time_per_unit)}/{self.unit_name}"
            write(f"{_counted(current, self.target)} - {elapsed}{shown}\n")

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Show that `n` more steps are done.

        Parameters
        ----------
        n : int
        values : list of (name, value), optional
            Results of the last step.
        """
        self.update(self._seen + n, values)

    def _note(self, name: str, value: Any, steps: int, finalize: bool) -> None:
        names = self.stateless_metrics
        is_mean = name not in self.stateful_metrics if names is None else name in names
        if is_mean and not finalize:
            total, before = self._values.get(name, (0.0, 0))
            self._values[name] = (total + float(np.mean(value)) * steps, before + steps)
        else:
            self._values[name] = (value, 1)

    def _results(self, least: float) -> str:
        """All values, those from `least` to 0.001 with an exponent."""
        found = ""
        for name, (total, steps) in self._values.items():
            try:
                mean = float(np.mean(total)) / steps
            except (TypeError, ValueError):  # a text, which a callback has put there
                found += f" - {name}: {total}"
            else:
                found += f" - {name}: {mean:.4f}" if mean > 1e-3 or mean < least else f" - {name}: {mean:.4e}"
        return found

    def _time_per_unit(self, current: int, now: float) -> float:
        """Seconds; after the first step, which may prepare the others, without it."""
        if not current:
            return 0.0
        if self._first_step is not None and current > 1:
            found = (now - self._first_step) / (current - 1)
        else:
            found = (now - self._start) / current
        if current == 1:
            self._first_step = now
        return found

    def _bar(self, current: int, now: float, time_per_unit: float, finalize: bool) -> str:
        """The line, and what places it after the one before."""
        if self.target:
            done = min(int(self.width * current / self.target), self.width)
            cells = f"{_GREEN}{'━' * done}{_PLAIN}" if done > 0 else ""
            rest = f"{_WHITE}{'━' * (self.width - done)}{_PLAIN}"
            head = f"{_BOLD}{_counted(current, self.target)}{_PLAIN} {cells}{rest}"
        else:
            head = f"{current:7d}/Unknown"
        ahead = bool(self.target) and not finalize
        time = _clock(time_per_unit * ((self.target or 0) - current)) if ahead else f"{now - self._start:.0f}s"
        head += f" {_BOLD}{time}{_PLAIN}"
        tail = f" {_duration(time_per_unit)}/{self.unit_name}"
        tail += self._results(least=-1e-3)
        plain = re.sub(r"\x1b\[\d+m", "", head)
        if not self._rewrites:
            return f"{plain}{tail}\n"
        if not finalize:  # a line that the terminal wraps cannot be written again
            tail = tail[: max(0, shutil.get_terminal_size((10_000, 0)).columns - 1 - len(plain))]
        width, before = len(plain) + len(tail), self._shown_width
        self._shown_width = width
        return f"\r{head}{tail}{' ' * (before - width)}" + ("\n" if finalize else "")


def _counted(current: int, target: int) -> str:
    return f"{current:{len(str(target))}d}/{target}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    if seconds > 3600:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if seconds > 60 else f"{int(seconds)}s"


def _duration(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"
