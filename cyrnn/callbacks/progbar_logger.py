"""Results on the standard output."""

from collections.abc import Mapping
from typing import Any

from cyrnn.callbacks.callback import Callback, overridden
from cyrnn.callbacks.protocols import Logs
from cyrnn.utils.console import can_rewrite, write
from cyrnn.utils.progbar import Progbar


class ProgbarLogger(Callback):
    """Show a progress bar with the results so far, as ``params["verbose"]`` says.

    0 is silent, 1 is a bar for each epoch, and 2 a line for each epoch. "auto" is 1 in a terminal or a notebook, and 0
    elsewhere.
    """

    def __init__(self) -> None:
        self.verbose: int = 1
        self.epochs: int = 1
        self.target: int | None = None  # steps of an epoch
        self.seen: int = 0
        self._progbar: Progbar | None = None
        self._in_fit = False  # whose evaluations show nothing

    def set_params(self, params: Mapping[str, Any]) -> None:
        super().set_params(params)
        self.verbose = int(can_rewrite()) if params["verbose"] == "auto" else params["verbose"]
        self.epochs, self.target = params["epochs"], params["steps"]

    def wants(self, hook: str) -> bool:
        shows_batches = self.verbose == 1 or (self.verbose == 2 and self.target is None)  # then they are counted
        if not self.verbose or ("batch" in hook and not shows_batches):
            return overridden(self, hook, ProgbarLogger)
        return super().wants(hook)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begin()
        if self.verbose and self.epochs > 1:
            write(f"Epoch {epoch + 1}/{self.epochs}\n")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._update(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._end(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._begin()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._update(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._end(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._update(batch, None)  # outputs are no results

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._end(None)

    def _begin(self) -> None:
        self.seen = 0
        self._progbar = Progbar(self.target, verbose=self.verbose, stateless_metrics=())

    def _update(self, batch: int, logs: Logs | None) -> None:
        self.seen = batch + 1
        if self._progbar is not None and self.verbose == 1:
            self._progbar.update(self.seen, (logs or {}).items(), finalize=False)

    def _end(self, logs: Logs | None) -> None:
        if self._progbar is None:
            return
        if self.target is None:  # the first epoch has counted them
            self.target = self._progbar.target = self.seen
        self._progbar.update(self.target, (logs or {}).items(), finalize=True)
