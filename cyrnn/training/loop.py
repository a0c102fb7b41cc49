"""The loops of `fit` and `evaluate`: epochs of steps, with what callbacks learn between them."""

from typing import Any

import numpy as np

from cyrnn import notices
from cyrnn.callbacks import Callback, CallbackList, History
from cyrnn.engine import precision
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import checked_int
from cyrnn.training import sources
from cyrnn.training.checks import check_data, check_rows, check_shapes
from cyrnn.training.class_weights import checked_class_weight
from cyrnn.training.compiled import Compiled
from cyrnn.training.data import Batch, checked_batch
from cyrnn.training.epochs import Epochs
from cyrnn.training.fit_options import FitOptions, check_verbose, checked_options
from cyrnn.training.protocol import Trainable

_NO_DATA = (
    "the data has ended after fewer batches than were asked for: make sure that it has at least "
    "steps_per_epoch * epochs batches"
)
_LESS_VALIDATION = "the data of the validation has ended after fewer batches than validation_steps"
_NO_VALIDATION = (
    "the data of the validation has no batches left: there are no results of it. A generator can be passed once: give "
    "arrays, or an object with __getitem__ and __len__"
)


class Fit:
    """A training whose arguments fit: `run` makes the steps. See `fit` of models.

    Raises
    ------
    ValueError, TypeError
        For what does not fit. Nothing has changed then.
    """

    def __init__(
        self,
        model: Trainable,
        compiled: Compiled,
        x: Any,
        y: Any,
        sample_weight: Any,
        options: FitOptions,
        lengths: Any = None,
    ) -> None:
        options = checked_options(options)
        training, held_out = sources.of_fit(model, x, y, sample_weight, options, lengths)
        check_data(model, compiled, training)
        if held_out is not None:
            with sources.errors_of_validation(given=options.validation_data is not None):
                check_data(model, compiled, held_out)
        self._model, self._compiled, self._options = model, compiled, options
        self._epochs = Epochs(training, options.steps_per_epoch)
        self._validation = None if held_out is None else Epochs(held_out, options.validation_steps)
        self._callbacks = _callback_list(
            options.callbacks,
            model,
            add_history=True,
            verbose=options.verbose,
            epochs=options.epochs,
            steps=self._epochs.steps,
        )

    def run(self) -> History:
        """Train the model."""
        model, compiled, epochs, callbacks = self._model, self._compiled, self._epochs, self._callbacks
        model.stop_training = False
        logs: dict[str, Any] = {}
        callbacks.on_train_begin()
        first, end = self._options.initial_epoch, self._options.epochs
        for epoch in range(first if callbacks.initial_epoch is None else callbacks.initial_epoch, end):
            compiled.reset()
            callbacks.on_epoch_begin(epoch)
            _train(model, compiled, epochs, callbacks)
            if epochs.exhausted:
                notices.warn(_NO_DATA)
                break
            if epochs.ended_early:
                notices.warn(_NO_DATA)
            logs = compiled.logs()
            if self._validation is not None and self._options.validates_after(epoch):
                logs |= _validated(model, compiled, self._validation, callbacks)
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        if compiled.optimizer is not None and compiled.optimizer.use_ema and end > 0:
            compiled.optimizer.finalize_variable_values(model)  # type: ignore[arg-type]  # it is a layer
        callbacks.on_train_end(logs)
        history: History = model.history
        return history


def _train(model: Trainable, compiled: Compiled, epochs: Epochs, callbacks: CallbackList) -> None:
    """The steps of one epoch."""
    begins, ends = callbacks.wants("on_train_batch_begin"), callbacks.wants("on_train_batch_end")
    in_float32 = precision.using("float32")
    for number, batch in enumerate(epochs.epoch()):
        if begins:
            callbacks.on_train_batch_begin(number)
        with in_float32:
            compiled.train(model, batch)
        if ends:
            callbacks.on_train_batch_end(number, compiled.logs())
        if model.stop_training:
            return


def _validated(model: Trainable, compiled: Compiled, validation: Epochs, callbacks: CallbackList) -> dict[str, Any]:
    """The logs of the validation; none, with a warning, where its data had ended before."""
    compiled.reset()
    validation.restart()  # each time with the same batches
    _test(model, compiled, validation, callbacks)
    if validation.exhausted or validation.ended_early:
        notices.warn(_NO_VALIDATION if validation.exhausted else _LESS_VALIDATION)
    return {} if validation.exhausted else {f"val_{name}": value for name, value in compiled.logs().items()}


def _test(model: Trainable, compiled: Compiled, epochs: Epochs, callbacks: CallbackList) -> None:
    with callbacks.put_back_on_error():
        callbacks.on_test_begin()
        begins, ends = callbacks.wants("on_test_batch_begin"), callbacks.wants("on_test_batch_end")
        for number, batch in enumerate(epochs.epoch()):
            if begins:
                callbacks.on_test_batch_begin(number)
            compiled.test(model, batch)
            if ends:
                callbacks.on_test_batch_end(number, compiled.logs())
        callbacks.on_test_end({} if epochs.exhausted else compiled.logs())


def evaluate(
    model: Trainable,
    compiled: Compiled,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int | None,
    verbose: Any,
    steps: int | None,
    callbacks: Any,
    lengths: Any = None,
) -> dict[str, Any]:
    """Loss and metrics of the model, in order; see `evaluate` of models."""
    steps = None if steps is None else checked_int("steps", steps)
    data = sources.of_evaluate(model, x, y, sample_weight, batch_size, steps, lengths)
    check_data(model, compiled, data, steps)
    epochs = Epochs(data, steps)
    listeners = _callback_list(callbacks, model, add_history=False, verbose=verbose, epochs=1, steps=epochs.steps)
    compiled.reset()
    _test(model, compiled, epochs, listeners)
    if epochs.exhausted:
        raise ValueError("x must have a batch to evaluate, got none")
    if epochs.ended_early:
        notices.warn(_NO_DATA)
    return compiled.ordered_logs()


def predict(
    model: Trainable,
    x: Any,
    batch_size: int | None,
    verbose: Any,
    steps: int | None,
    callbacks: Any,
    lengths: Any = None,
) -> Any:
    """The outputs for all batches, joined; see `predict` of models."""
    steps = None if steps is None else checked_int("steps", steps)
    data = sources.of_predict(model, x, batch_size, steps, lengths)
    check_rows(model, data, steps)
    epochs = Epochs(data, steps)
    shown = 0 if verbose is None else verbose
    listeners = _callback_list(callbacks, model, add_history=False, verbose=shown, epochs=1, steps=epochs.steps)
    found: list[list[Any]] = []
    outputs: Any = None
    with listeners.put_back_on_error():
        listeners.on_predict_begin()
        for number, batch in enumerate(epochs.epoch()):
            listeners.on_predict_batch_begin(number)
            outputs = model.called(batch.x, batch.mask).outputs
            found.append(nest.leaves(outputs))
            listeners.on_predict_batch_end(number, {"outputs": outputs})
        listeners.on_predict_end()
    if not found:
        raise ValueError("x must have a batch to predict, got none")
    if epochs.ended_early:
        notices.warn(_NO_DATA)
    return nest.filled(outputs, [np.concatenate(parts) for parts in zip(*found, strict=True)])


# ---------------------------------------------------------------- callbacks


def _callback_list(callbacks: Any, model: Trainable, add_history: bool, verbose: Any, **params: Any) -> CallbackList:
    if isinstance(callbacks, CallbackList):
        return callbacks
    check_verbose(verbose)
    if isinstance(callbacks, Callback):
        callbacks = [callbacks]
    return CallbackList(
        callbacks, add_history=add_history, add_progbar=verbose != 0, model=model, verbose=verbose, **params
    )


# ---------------------------------------------------------------- one batch


def batch_to_train_on(
    model: Trainable, compiled: Compiled, x: Any, y: Any, sample_weight: Any, class_weight: Any
) -> Batch:
    """The rows of one step, checked."""
    batch = checked_batch(model, x, y, sample_weight)
    if class_weight is not None:
        batch = sources.weighed(model, batch, checked_class_weight(class_weight))
    check_shapes(model, compiled, batch)
    return batch


def train_on_batch(model: Trainable, compiled: Compiled, batch: Batch) -> dict[str, Any]:
    """One step; its loss and metrics in order."""
    compiled.reset()
    with precision.using("float32"):
        compiled.train(model, batch)
    return compiled.ordered_logs()


def test_on_batch(model: Trainable, compiled: Compiled, batch: Batch) -> dict[str, Any]:
    """Loss and metrics of one batch, in order."""
    compiled.reset()
    compiled.test(model, batch)
    return compiled.ordered_logs()
