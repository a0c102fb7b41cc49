"""The base class of callbacks: what is called in training, evaluation and prediction."""

from collections.abc import Mapping
from typing import Any

from cyrnn.callbacks.protocols import Logs, TrainedModel


class Callback:
    """Base class: a subclass defines those of the methods ``on_...`` that it needs.

    Attributes
    ----------
    model : Model
        The model that is trained, evaluated or used.
    params : dict
        "verbose", "epochs" and "steps", the batches of an epoch, or None if their number is not known.

    Notes
    -----
    `logs` has the results so far, in the order of their names. All callbacks get the same dict of an event, and what
    one adds to it the next ones see, and at the end of an epoch `History`.
    """

    params: Mapping[str, Any] | None = None
    restored_epoch: int | None = None  # with which training is to start, if the callback has restored it
    _model: Any = None

    @property
    def model(self) -> TrainedModel:
        return self._model

    def set_model(self, model: TrainedModel) -> None:
        """Note the model, before anything is called.

        Parameters
        ----------
        model : Model
        """
        self._model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Note "verbose", "epochs" and "steps", before anything is called.

        Parameters
        ----------
        params : dict
        """
        self.params = params

    def wants(self, hook: str) -> bool:
        """Whether a method such as "on_train_batch_end" does anything: if none does, nothing is prepared for it."""
        if overridden(self, hook, Callback):
            return True
        return hook in _DEFAULTS and self.wants(_DEFAULTS[hook])

    # Batches and epochs count from 0.

    def put_back(self) -> None:
        """Undo what the callback has changed in the model for an evaluation or a prediction that fails."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before training.

        Parameters
        ----------
        logs : dict, optional
            Empty.
        """

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After training; not after an error.

        Parameters
        ----------
        logs : dict of str to float, optional
            The results of the last epoch.
        """

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch.

        Parameters
        ----------
        epoch : int
            Its number, from 0.
        logs : dict, optional
            Empty.
        """

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation.

        Parameters
        ----------
        epoch : int
            Its number, from 0.
        logs : dict of str to float, optional
            The results of the epoch; those of validation have names with ``val_``.
        """

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step of training.

        Parameters
        ----------
        batch : int
            Its number in the epoch, from 0.
        logs : dict, optional
            Empty.
        """
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step of training.

        Parameters
        ----------
        batch : int
            Its number in the epoch, from 0.
        logs : dict of str to float, optional
            The means over the epoch so far.
        """
        self.on_batch_end(batch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of `on_train_batch_begin`.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict, optional
            As there.
        """

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of `on_train_batch_end`.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict, optional
            As there.
        """

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before evaluation, also that of an epoch.

        Parameters
        ----------
        logs : dict, optional
            Empty.
        """

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After evaluation.

        Parameters
        ----------
        logs : dict of str to float, optional
            Its results.
        """

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of evaluation.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict, optional
            Empty.
        """

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of evaluation.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict of str to float, optional
            The means so far.
        """

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before prediction.

        Parameters
        ----------
        logs : dict, optional
            Empty.
        """

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After prediction.

        Parameters
        ----------
        logs : dict, optional
            Empty.
        """

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of prediction.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict, optional
            Empty.
        """

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of prediction.

        Parameters
        ----------
        batch : int
            Its number, from 0.
        logs : dict, optional
            The batch's "outputs".
        """


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
_DEFAULTS = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


def overridden(callback: Callback, hook: str, base: type[Callback]) -> bool:
    """Whether a callback has another method of this name than `base`."""
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(base, hook)
