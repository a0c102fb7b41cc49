"""Several callbacks as one."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cyrnn.arrays import shown
from cyrnn.callbacks.callback import Callback, overridden
from cyrnn.callbacks.history import History
from cyrnn.callbacks.progbar_logger import ProgbarLogger
from cyrnn.callbacks.protocols import Logs, TrainedModel


class CallbackList(Callback):
    """Callbacks that are called one after the other, for training loops.

    Parameters
    ----------
    callbacks : Callback, or list of them, optional
        Lists may hold lists.
    add_history, add_progbar : bool
        Whether a `History` and a `ProgbarLogger` follow those of `callbacks`, if there is none among them.
    model : Model, optional
        The model of all of them.
    **params
        The `params` of all of them: "verbose", "epochs", "steps".

    Raises
    ------
    TypeError
        If there is anything else than callbacks.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: TrainedModel | None = None,
        **params: Any,
    ) -> None:
        self.callbacks = _flat(callbacks)
        for add, kind in ((add_history, History), (add_progbar, ProgbarLogger)):
            if add and not any(isinstance(callback, kind) for callback in self.callbacks):
                self.callbacks.append(kind())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    @property
    def initial_epoch(self) -> int | None:
        """After `on_train_begin`: the epoch with which training is to start, if a callback has restored one."""
        return next((found.restored_epoch for found in self.callbacks if found.restored_epoch is not None), None)

    def set_model(self, model: TrainedModel) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        super().set_params(params)
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def wants(self, hook: str) -> bool:
        """Whether a callback needs to be called with this method."""
        return overridden(self, hook, CallbackList) or any(callback.wants(hook) for callback in self.callbacks)

    @contextlib.contextmanager
    def put_back_on_error(self) -> Iterator[None]:
        """Context manager: if its block fails, callbacks undo what they have changed in the model for it."""
        try:
            yield
        except BaseException:
            self.put_back()
            raise

    def put_back(self) -> None:
        for callback in self.callbacks:
            callback.put_back()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._call("on_epoch_begin", logs, epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._call("on_epoch_end", logs, epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_train_batch_end", batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_batch_begin", batch, logs)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._call("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._call("on_test_end", logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_test_batch_end", batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._call("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._call("on_predict_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_of_batch("on_predict_batch_end", batch, logs)

    def _call(self, hook: str, logs: Logs | None, *epoch: int) -> None:
        logs = _plain(logs)
        for callback in self.callbacks:
            getattr(callback, hook)(*epoch, logs)

    def _call_of_batch(self, hook: str, batch: int, logs: Logs | None) -> None:
        """Functions in a `LambdaCallback` have a keyword `logs` for batches, as in Keras."""
        logs = _plain(logs)
        for callback in self.callbacks:
            getattr(callback, hook)(batch, logs=logs)


def _flat(callbacks: Any) -> list[Callback]:
    if callbacks is None:
        return []
    if isinstance(callbacks, list | tuple):
        return [found for part in callbacks for found in _flat_part(part)]
    return _flat_part(callbacks)


def _flat_part(part: Any) -> list[Callback]:
    if isinstance(part, list | tuple):
        return _flat(part)
    if type(part) is CallbackList:
        return part.callbacks
    if isinstance(part, Callback):
        return [part]
    what = f"the class {part.__name__}" if isinstance(part, type) else f"{shown(part)} of {type(part)}"
    raise TypeError(f"callbacks must be objects of subclasses of cyrnn.callbacks.Callback, got {what}")


def _plain(logs: Mapping[str, Any] | None) -> Logs:
    """The results as Python's floats, in the order of their names."""
    found: Logs = {}
    for name, value in sorted((logs or {}).items()):
        if isinstance(value, Mapping):
            found.update(_plain(value))
        else:
            try:
                found[name] = float(value)
            except (TypeError, ValueError):  # outputs, or what another callback has put there
                found[name] = value
    return found
