"""The loops of `fit` and `evaluate`: epochs of steps, with what callbacks are told between them."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn import configurable, notices
from cyrnn.arrays import shown
from cyrnn.callbacks import Callback, CallbackList, History
from cyrnn.engine import precision
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import checked_int
from cyrnn.layers.base.samples.sequences import padded
from cyrnn.training.checks import check_shapes
from cyrnn.training.class_weights import checked_class_weight, weights_by_class
from cyrnn.training.compiled import Compiled
from cyrnn.training.data import (
    BATCH_SIZE,
    ArrayData,
    Batch,
    Data,
    checked_batch,
    data_of_batches,
    has_batches,
    parts_of_x,
    unpacking,
)
from cyrnn.training.epochs import Epochs
from cyrnn.training.protocol import Trainable

_NO_DATA = (
    "the data has ended after fewer batches than were asked for: make sure that it has at least "
    "steps_per_epoch * epochs batches"
)


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `fit` but for the data; see `fit`."""

    batch_size: int | None = None
    epochs: int = 1
    verbose: Any = "auto"
    callbacks: Any = None
    validation_split: float = 0.0
    validation_data: Any = None
    shuffle: Any = True
    class_weight: Any = None
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: Any = 1


def fit(
    model: Trainable, compiled: Compiled, x: Any, y: Any, sample_weight: Any, options: FitOptions, lengths: Any = None
) -> History:
    """Train the model; see `fit` of models."""
    options = _checked(options)
    training, held_out = _data(model, x, y, sample_weight, options, lengths)
    for data in (training, held_out):
        if isinstance(data, ArrayData):
            _check_stateful(model, data)
            check_shapes(model, compiled, data.first())
    epochs = Epochs(training, options.steps_per_epoch)
    validation = None if held_out is None else Epochs(held_out, options.validation_steps)
    callbacks = _callback_list(
        options.callbacks,
        model,
        add_history=True,
        verbose=options.verbose,
        epochs=options.epochs,
        steps=epochs.steps,
    )
    model.stop_training = False
    logs: dict[str, Any] = {}
    callbacks.on_train_begin()
    first = options.initial_epoch if callbacks.initial_epoch is None else callbacks.initial_epoch
    for epoch in range(first, options.epochs):
        compiled.reset()
        callbacks.on_epoch_begin(epoch)
        _train(model, compiled, epochs, callbacks)
        if epochs.exhausted:
            notices.warn(_NO_DATA)
            break
        if epochs.ended_early:
            notices.warn(_NO_DATA)
        logs = compiled.logs()
        if validation is not None and _is_validated(epoch, options.validation_freq):
            logs |= {f"val_{name}": value for name, value in _validated(model, compiled, validation, callbacks).items()}
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    if compiled.optimizer is not None and options.epochs > first:
        compiled.optimizer.finalize_variable_values(model)  # type: ignore[arg-type]  # it is a layer
    callbacks.on_train_end(logs)
    history: History = model.history
    return history


def _train(model: Trainable, compiled: Compiled, epochs: Epochs, callbacks: CallbackList) -> None:
    """The steps of one epoch."""
    begins, ends = callbacks.wants("on_train_batch_begin"), callbacks.wants("on_train_batch_end")
    for number, batch in enumerate(epochs.epoch()):
        if begins:
            callbacks.on_train_batch_begin(number)
        with precision.using("float32"):
            compiled.train(model, batch)
        if ends:
            callbacks.on_train_batch_end(number, compiled.logs())
        if model.stop_training:
            return


def _validated(model: Trainable, compiled: Compiled, validation: Epochs, callbacks: CallbackList) -> dict[str, Any]:
    compiled.reset()
    validation.restart()  # each time with the same batches
    _test(model, compiled, validation, callbacks)
    return compiled.logs()


def _test(model: Trainable, compiled: Compiled, epochs: Epochs, callbacks: CallbackList) -> None:
    callbacks.on_test_begin()
    begins, ends = callbacks.wants("on_test_batch_begin"), callbacks.wants("on_test_batch_end")
    for number, batch in enumerate(epochs.epoch()):
        if begins:
            callbacks.on_test_batch_begin(number)
        compiled.test(model, batch)
        if ends:
            callbacks.on_test_batch_end(number, compiled.logs())
    callbacks.on_test_end(compiled.logs())


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
    data = _data_of(model, x, y, sample_weight, _rows(model, batch_size, x, steps), False, lengths=lengths)
    epochs = Epochs(data, steps)
    told = _callback_list(callbacks, model, add_history=False, verbose=verbose, epochs=1, steps=epochs.steps)
    compiled.reset()
    _test(model, compiled, epochs, told)
    if epochs.ended_early or epochs.exhausted:
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
    size = _rows(model, batch_size, x, steps)

    def unpack(item: Any) -> Batch:
        if not isinstance(item, tuple | list | dict) and not hasattr(item, "shape"):
            raise ValueError(f"batches must be arrays, or tuples (x,) of them, got {type(item).__name__}")
        return checked_batch(model, item[0] if isinstance(item, tuple) else item, None, None)

    data: Data = data_of_batches(x, unpack) if has_batches(x) else ArrayData(model, x, None, None, size, False, lengths)
    epochs = Epochs(data, steps)
    told = _callback_list(callbacks, model, add_history=False, verbose=verbose, epochs=1, steps=epochs.steps)
    found: list[list[Any]] = []
    outputs: Any = None
    told.on_predict_begin()
    for number, batch in enumerate(epochs.epoch()):
        told.on_predict_batch_begin(number)
        outputs = model.called(batch.x, batch.mask).outputs
        found.append(nest.leaves(outputs))
        told.on_predict_batch_end(number, {"outputs": outputs})
    told.on_predict_end()
    if not found:
        raise ValueError("x must have a batch to predict, got none")
    if epochs.ended_early:
        notices.warn(_NO_DATA)
    return nest.filled(outputs, [np.concatenate(parts) for parts in zip(*found, strict=True)])


# ---------------------------------------------------------------- arguments


def _checked(options: FitOptions) -> FitOptions:
    """The options, checked. Raises ValueError or TypeError."""
    if isinstance(options.validation_freq, int):
        checked_int("validation_freq", options.validation_freq)
    elif isinstance(options.validation_freq, str) or not isinstance(options.validation_freq, Iterable):
        raise ValueError(
            f"validation_freq must be an integer, or a list of epochs, got {shown(options.validation_freq)}"
        )
    for name in ("epochs", "initial_epoch"):
        if configurable.integer(name, getattr(options, name)) < 0:
            raise ValueError(f"{name} must be at least 0, got {getattr(options, name)}")
    for name in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
        if getattr(options, name) is not None:
            checked_int(name, getattr(options, name))
    if not 0 <= configurable.number("validation_split", options.validation_split) < 1:
        raise ValueError(f"validation_split must be at least 0 and below 1, got {options.validation_split}")
    if options.shuffle not in (True, False, None, "batch"):
        raise ValueError(f"shuffle must be True, False or 'batch', got {shown(options.shuffle)}")
    if options.class_weight is None:
        return options
    return dataclasses.replace(options, class_weight=checked_class_weight(options.class_weight))


def _rows(model: Trainable, batch_size: int | None, x: Any, steps: int | None) -> int:
    """The rows of a batch. Raises ValueError where the model carries states of others."""
    carried = model.stateful_rows()
    if batch_size is not None:
        size = checked_int("batch_size", batch_size)
        if carried not in (None, size):
            raise ValueError(f"batch_size must be {carried}, the rows that the model carries states for, got {size}")
        return size
    if carried is not None:
        return carried
    if steps is not None and not has_batches(x):
        arrays = parts_of_x(model, x)
        return max(1, math.ceil(len(arrays[0]) / steps)) if arrays else BATCH_SIZE
    return BATCH_SIZE


def _data(
    model: Trainable, x: Any, y: Any, sample_weight: Any, options: FitOptions, lengths: Any
) -> tuple[Data, Data | None]:
    """What the model is trained with, and what it is validated with."""
    size = _rows(model, options.batch_size, x, options.steps_per_epoch)
    training = _data_of(model, x, y, sample_weight, size, options.shuffle, options.class_weight, lengths)
    given = options.validation_data
    validation: Data | None = None
    if given is None and options.validation_split:
        if not isinstance(training, ArrayData):
            raise ValueError("validation_split needs arrays: give validation_data")
        training, validation = training.split(options.validation_split)
    elif given is not None:
        validation = _data_of_validation(model, given, options)
    if options.class_weight is not None and isinstance(training, ArrayData):
        training.sample_weight = _weighted(model, training.y, training.sample_weight, options.class_weight)
    return training, validation


def _check_stateful(model: Trainable, data: ArrayData) -> None:
    if model.stateful and data.rows % data.batch_size:
        raise ValueError(
            f"a stateful model must be given a multiple of {data.batch_size} rows, which it carries states for, got "
            f"{data.rows}"
        )


def _data_of_validation(model: Trainable, given: Any, options: FitOptions) -> Data:
    size = options.validation_batch_size or options.batch_size
    if has_batches(given):
        return _data_of(model, given, None, None, BATCH_SIZE, False)
    if not isinstance(given, list | tuple) or len(given) not in (2, 3):
        got = f"{len(given)} parts" if isinstance(given, list | tuple) else shown(given)
        raise ValueError(f"validation_data must be a tuple (x, y) or (x, y, sample_weight), got {got}")
    x, y, weights = (*given, None)[:3]
    x, lengths = padded(model, x)
    return _data_of(model, x, y, weights, _rows(model, size, x, options.validation_steps), False, lengths=lengths)


def _data_of(
    model: Trainable,
    x: Any,
    y: Any,
    sample_weight: Any,
    size: int,
    shuffle: Any,
    class_weight: Any = None,
    lengths: Any = None,
) -> Data:
    if not has_batches(x):
        return ArrayData(model, x, y, sample_weight, size, shuffle, lengths)
    for name, value in (("y", y), ("sample_weight", sample_weight), ("lengths", lengths)):
        if value is not None:
            raise ValueError(f"{name} must not be given beside data that has batches: these are tuples (x, y)")
    if class_weight is not None and inspect.isgenerator(x):
        raise ValueError("class_weight needs arrays, or an object with __getitem__: a generator yields weights itself")
    transformed: Callable[[Batch], Batch] | None = None
    if class_weight is not None:

        def transformed(batch: Batch) -> Batch:
            return batch.weighed(_weighted(model, batch.targets, batch.weights, class_weight))

    return data_of_batches(x, unpacking(model, transformed), shuffle)


def _weighted(model: Trainable, targets: list[Any], weights: list[Any], class_weight: dict[int, float]) -> list[Any]:
    """Sample weights by class. Raises ValueError where it is not clear which classes are meant."""
    if len(targets) != 1:
        raise ValueError(f"class_weight needs a model of one output, got {len(targets)}")
    if weights[0] is not None:
        raise ValueError("class_weight and sample_weight cannot both be given")
    if targets[0] is None:
        raise ValueError("class_weight needs y")
    return [weights_by_class(class_weight, np.asarray(targets[0]), model.output_rank)]


def _is_validated(epoch: int, frequency: Any) -> bool:
    return (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency


def _callback_list(callbacks: Any, model: Trainable, add_history: bool, verbose: Any, **params: Any) -> CallbackList:
    if isinstance(callbacks, CallbackList):
        return callbacks
    if isinstance(callbacks, Callback):
        callbacks = [callbacks]
    return CallbackList(
        callbacks, add_history=add_history, add_progbar=verbose != 0, model=model, verbose=verbose, **params
    )


# ---------------------------------------------------------------- one batch


def train_on_batch(
    model: Trainable, compiled: Compiled, x: Any, y: Any, sample_weight: Any, class_weight: Any
) -> dict[str, Any]:
    """One step, with all rows; its loss and metrics in order."""
    batch = checked_batch(model, x, y, sample_weight)
    if class_weight is not None:
        checked = checked_class_weight(class_weight)
        batch = batch.weighed(_weighted(model, batch.targets, batch.weights, checked))
    check_shapes(model, compiled, batch)
    compiled.reset()
    with precision.using("float32"):
        compiled.train(model, batch)
    return compiled.ordered_logs()


def test_on_batch(model: Trainable, compiled: Compiled, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Loss and metrics of one batch, in order."""
    compiled.reset()
    compiled.test(model, checked_batch(model, x, y, sample_weight))
    return compiled.ordered_logs()
