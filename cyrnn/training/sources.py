"""The data of a call, made of its arguments: whole arrays, cut into batches, or what has batches itself."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import checked_int
from cyrnn.layers.base.samples.sequences import padded
from cyrnn.training.class_weights import weights_by_class
from cyrnn.training.data import (
    BATCH_SIZE,
    ArrayData,
    Batch,
    Data,
    checked_batch,
    data_of_batches,
    has_batches,
    unpacking,
)
from cyrnn.training.fit_options import FitOptions
from cyrnn.training.protocol import Trainable


def of_fit(
    model: Trainable, x: Any, y: Any, sample_weight: Any, options: FitOptions, lengths: Any
) -> tuple[Data, Data | None]:
    """What the model is trained with, and what it is validated with. Raises ValueError or TypeError."""
    training = _whole(model, x, y, sample_weight, options.shuffle, options.class_weight, lengths)
    validation: Data | None = None
    if options.validation_data is not None:
        with errors_of_validation():
            validation = _of_validation(model, options.validation_data)
    elif options.validation_split:
        if not isinstance(training, ArrayData):
            raise ValueError("validation_split needs arrays: give validation_data")
        training, validation = training.split(options.validation_split)
    _cut(model, training, "batch_size", options.batch_size, options.steps_per_epoch)
    if validation is not None:
        size = options.validation_batch_size or options.batch_size
        _cut(model, validation, "validation_batch_size", size, options.validation_steps)
    if options.class_weight is not None and isinstance(training, ArrayData):
        training.sample_weight = _weights(model, training.y, training.sample_weight, options.class_weight)
    return training, validation


def of_evaluate(
    model: Trainable, x: Any, y: Any, sample_weight: Any, batch_size: int | None, steps: int | None, lengths: Any
) -> Data:
    """What the model is evaluated with."""
    return _cut(model, _whole(model, x, y, sample_weight, False, None, lengths), "batch_size", batch_size, steps)


def of_predict(model: Trainable, x: Any, batch_size: int | None, steps: int | None, lengths: Any) -> Data:
    """The inputs that outputs are predicted for."""

    def unpack(item: Any) -> Batch:
        if not isinstance(item, tuple | list | dict) and not hasattr(item, "shape"):
            raise ValueError(f"batches must be arrays, or tuples (x,) of them, got {type(item).__name__}")
        return checked_batch(model, item[0] if isinstance(item, tuple) else item, None, None)

    data = data_of_batches(x, unpack) if has_batches(x) else ArrayData(model, x, None, None, False, lengths)
    return _cut(model, data, "batch_size", batch_size, steps)


def weighed(model: Trainable, batch: Batch, class_weight: dict[int, float]) -> Batch:
    """A batch with the weights of its classes."""
    return batch.weighed(_weights(model, batch.targets, batch.weights, class_weight))


@contextlib.contextmanager
def errors_of_validation(given: bool = True) -> Iterator[None]:
    """Context manager: errors name `validation_data`, where that is given."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if not given or str(error).startswith("validation"):
            raise
        raise type(error)(f"validation_data: {error}") from error


def _cut(model: Trainable, data: Data, name: str, batch_size: int | None, steps: int | None) -> Data:
    """Data with batches of the size that is asked for. Raises ValueError where the model carries states of others."""
    carried = model.stateful_rows()
    if batch_size is not None:
        size = checked_int(name, batch_size)
        if carried not in (None, size):
            raise ValueError(f"{name} must be {carried}, the rows that the model carries states for, got {size}")
    elif carried is not None:
        size = carried
    elif steps is not None and isinstance(data, ArrayData):
        size = max(1, math.ceil(data.rows / steps))
    else:
        size = BATCH_SIZE
    if isinstance(data, ArrayData):
        data.batch_size = size
    return data


def _of_validation(model: Trainable, given: Any) -> Data:
    if has_batches(given):
        return _whole(model, given, None, None, False)
    if not isinstance(given, list | tuple) or len(given) not in (2, 3):
        got = f"{len(given)} parts" if isinstance(given, list | tuple) else shown(given)
        raise ValueError(f"validation_data must be a tuple (x, y) or (x, y, sample_weight), got {got}")
    x, y, weights = (*given, None)[:3]
    x, lengths = padded(model, x)
    return _whole(model, x, y, weights, False, lengths=lengths)


def _whole(
    model: Trainable,
    x: Any,
    y: Any,
    sample_weight: Any,
    shuffle: Any,
    class_weight: dict[int, float] | None = None,
    lengths: Any = None,
) -> Data:
    """All data of some arguments; arrays without the weights of their classes."""
    if not has_batches(x):
        return ArrayData(model, x, y, sample_weight, shuffle, lengths)
    for name, value in (("y", y), ("sample_weight", sample_weight), ("lengths", lengths)):
        if value is not None:
            raise ValueError(f"{name} must not be given beside data that has batches: these are tuples (x, y)")
    if class_weight is None:
        return data_of_batches(x, unpacking(model, None), shuffle)
    if inspect.isgenerator(x):
        raise ValueError("class_weight needs arrays, or an object with __getitem__: a generator yields weights itself")
    of_classes: dict[int, float] = class_weight
    transformed: Callable[[Batch], Batch] = lambda batch: weighed(model, batch, of_classes)  # noqa: E731
    return data_of_batches(x, unpacking(model, transformed), shuffle)


def _weights(model: Trainable, targets: list[Any], weights: list[Any], class_weight: dict[int, float]) -> list[Any]:
    """Sample weights by class. Raises ValueError where it is not clear which classes are meant."""
    if len(targets) != 1:
        raise ValueError(f"class_weight needs a model of one output, got {len(targets)}")
    if weights[0] is not None:
        raise ValueError("class_weight and sample_weight cannot both be given")
    if targets[0] is None:
        raise ValueError("class_weight needs y")
    return [weights_by_class(class_weight, np.asarray(targets[0]), model.output_rank)]
