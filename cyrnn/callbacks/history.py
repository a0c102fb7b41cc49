"""The results of all epochs, in memory and in a file."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from cyrnn.arrays import shown
from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.protocols import Logs, TrainedModel


class History(Callback):
    """What `fit` returns.

    Attributes
    ----------
    history : dict of str to list of float
        The results of all epochs, by name.
    epoch : list of int
        The numbers of the epochs.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def set_model(self, model: TrainedModel) -> None:
        super().set_model(model)
        model.history = self

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class CSVLogger(Callback):
    """Write the results of each epoch as a row of a file.

    The first epoch says which columns there are. There is one for each result of validation, also if the first epoch
    has no validation: what is missing is ``NA``.

    Parameters
    ----------
    filename : str or os.PathLike
    separator : str
        One character between columns.
    append : bool
        Whether to write after what is in the file, instead of replacing it.

    Raises
    ------
    ValueError
        If the separator is not one character.
    OSError
        In training, if the file cannot be written.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator must be one character, got {shown(separator)}")
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self._begins = True  # the file has no row yet
        self._file: IO[str] | None = None
        self._keys: list[str] | None = None  # the columns after that of the epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        self._keys = None
        path = Path(self.filename)
        self._begins = not self.append or not path.exists() or path.stat().st_size == 0
        self._file = path.open("a" if self.append else "w", encoding="utf-8", newline="")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._file is None:
            raise ValueError("CSVLogger has no open file: on_train_begin comes before on_epoch_end")
        logs = logs or {}
        rows = csv.writer(self._file, delimiter=self.sep)
        if self._keys is None:
            keys = sorted(logs)
            validated = any(key.startswith("val_") for key in keys)
            self._keys = keys if validated else keys + [f"val_{key}" for key in keys]
            if self._begins:
                rows.writerow(["epoch", *self._keys])
        rows.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self._keys)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def _cell(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "shape", None) != ():
        return f'"[{", ".join(map(str, value))}]"'
    return value
