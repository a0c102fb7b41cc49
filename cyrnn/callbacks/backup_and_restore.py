"""Training that continues after its process was killed.

A backup is a file of weights with a number, and the metadata, which have this number and the epoch. The metadata are
replaced at once, and only after the weights are on the disk; older weights are removed after that. So at any moment
the metadata name weights that are whole, and of their epoch.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from cyrnn.arrays import shown
from cyrnn.callbacks.callback import Callback, overridden
from cyrnn.callbacks.protocols import Logs
from cyrnn.callbacks.saving_frequency import batch_counter
from cyrnn.saving.atomic import UNFINISHED, written_at_once

_WEIGHTS = re.compile(r"backup-(\d+)\.weights\.h5")


class BackupAndRestore(Callback):
    """Back up the state of training, and restore it when training begins again after an interruption.

    Weights, the state of the optimizer and the number of the epoch are restored. An epoch that was interrupted begins
    again. The states of other callbacks and of random numbers are not kept.

    Parameters
    ----------
    backup_dir : str or os.PathLike
        A folder for the backups of this training alone. It is made.
    save_freq : "epoch" or int
        After each epoch, or after each so many batches, counted over epochs.
    double_checkpoint : bool
        Whether to keep the backup before the last one too, and to use it if the last one cannot be read.
    delete_checkpoint : bool
        Whether to remove the backups when training has ended without an error.

    Raises
    ------
    ValueError
        If an argument is out of range. In training: if the model is not built, or a backup does not fit it.
    OSError
        In training, if a backup cannot be written or read.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not backup_dir:
            raise ValueError("backup_dir must be the path of a folder, got an empty one")
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._counter = batch_counter(save_freq)
        self._folder = Path(self.backup_dir)
        self._last, self._before = (
            self._folder / name for name in ("training_metadata.json", "training_metadata.json.bkp")
        )
        self._epoch = 0

    def wants(self, hook: str) -> bool:
        if hook == "on_train_batch_end" and self._counter is None:
            return overridden(self, hook, BackupAndRestore)
        return super().wants(hook)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.restored_epoch = None
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, your model must be built before you call `fit()`: "
                "call it on a batch of data, or build() it"
            )
        if not self._last.exists():
            return
        try:
            self.restored_epoch = self._restore(self._last)
        except (OSError, ValueError):
            if not self._before.exists():
                raise
            self.restored_epoch = self._restore(self._before)
            _replace(self._last, self._before.read_bytes())

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._counter is not None and self._counter.is_due(batch):
            self._save(self._epoch, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._counter is None:
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint and self._folder.is_dir():
            self._before.unlink(missing_ok=True)
            self._last.unlink(missing_ok=True)
            self._remove_unnamed()
            with contextlib.suppress(OSError):  # it has files that are not ours
                self._folder.rmdir()

    def _save(self, epoch: int, batch: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(found[1]) for found in map(_WEIGHTS.fullmatch, self._names()) if found]
        backup = _Backup(epoch, batch, max(numbers, default=0) + 1)
        self.model.save_weights(str(self._folder / backup.weights))
        if self.double_checkpoint and self._last.exists():
            _replace(self._before, self._last.read_bytes())
        _replace(self._last, json.dumps(backup._asdict()).encode())
        self._remove_unnamed()

    def _restore(self, metadata: Path) -> int:
        backup = _read(metadata)
        self.model.load_weights(str(self._folder / backup.weights))
        return backup.epoch

    def _remove_unnamed(self) -> None:
        """Remove weights that no metadata name, and what a killed process has not finished."""
        named = set()
        for metadata in (self._last, self._before):
            with contextlib.suppress(OSError, ValueError):
                named.add(_read(metadata).weights)
        for name in self._names():
            if name not in named and (_WEIGHTS.fullmatch(name) or name.startswith(UNFINISHED)):
                (self._folder / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()]


class _Backup(NamedTuple):
    epoch: int  # with which training continues
    batch: int  # after which it was made, within the epoch; 0 at its beginning
    backup: int  # its number

    @property
    def weights(self) -> str:
        return f"backup-{self.backup}.weights.h5"


def _read(metadata: Path) -> _Backup:
    """Raises OSError or ValueError."""
    written = metadata.read_bytes()
    try:
        content = json.loads(written)
    except ValueError:
        content = written
    values = [content.get(name) for name in _Backup._fields] if isinstance(content, dict) else [None]
    if not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(
            f"{metadata} must have the numbers {', '.join(_Backup._fields)}, got {shown(content)}: "
            f"remove the folder {metadata.parent} to begin anew"
        )
    return _Backup(*values)


def _replace(path: Path, content: bytes) -> None:
    with written_at_once(path) as file:
        file.write(content)
