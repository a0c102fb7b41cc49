"""Data in batches: arrays, generators, and objects with `__getitem__` and `__len__`, as `fit` takes them."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import array_of_numbers, shown
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.samples.lengths import checked_lengths, mask_of_lengths
from cyrnn.layers.base.samples.sequences import padded
from cyrnn.layers.base.samples.sliced import is_sliced, stand_in
from cyrnn.training.outputs import for_each_output
from cyrnn.training.protocol import Trainable
from cyrnn.training.rows import inputs_on_demand, on_demand

BATCH_SIZE = 32  # Keras' default


class Batch:
    """Some rows of arrays.

    Parameters
    ----------
    model : Trainable
    like : any
        In whose structure the inputs are.
    parts : list of array
        The inputs, all rows of them.
    targets, weights : list of array or None
        For each output the truth and the weights, all rows.
    index : array of int64
        The rows of the batch.
    known : dict, optional
        What was found of these arrays, for all batches of them.
    lengths : sequence of array or None
        For each input the lengths of all rows; empty where there are none.
    """

    def __init__(
        self,
        model: Trainable,
        like: Any,
        parts: list[Array],
        targets: list[Array | None],
        weights: list[Array | None],
        index: Array,
        known: dict[Any, Any] | None = None,
        lengths: Sequence[Array | None] = (),
    ) -> None:
        self._model, self.like = model, like
        self.parts, self.targets, self.weights, self.index = parts, targets, weights, index
        self.known: dict[Any, Any] = {} if known is None else known
        self.lengths = lengths

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.index)

    @property
    def x(self) -> Any:
        """The argument of a call."""
        return self._model.in_structure([part[self.index] for part in self.parts], self.like)

    @property
    def masked(self) -> tuple[bool, ...]:
        """For each input whether it has a mask; empty where none has."""
        return tuple([part is not None for part in self.lengths]) if self.lengths else ()

    @property
    def mask(self) -> Any:
        """The mask of a call: for several inputs a list."""
        if not self.lengths:
            return None
        masks = [
            None if lengths is None else mask_of_lengths(lengths[self.index], (self.rows, *part.shape[1:]))
            for lengths, part in zip(self.lengths, self.parts, strict=True)
        ]
        return masks[0] if len(masks) == 1 else masks

    @property
    def y(self) -> list[Array | None]:
        """The truth for each output."""
        return [None if part is None else part[self.index] for part in self.targets]

    @property
    def sample_weight(self) -> list[Array | None]:
        """The weights for each output."""
        return [None if part is None else part[self.index] for part in self.weights]

    def weighed(self, weights: list[Array | None]) -> "Batch":
        """The same with other weights of all rows."""
        return Batch(self._model, self.like, self.parts, self.targets, weights, self.index, None, self.lengths)


class Data(Protocol):
    """Batches, any number of times."""

    @property
    def num_batches(self) -> int | None:
        """How many a pass has; None where that is not known."""
        ...

    def batches(self) -> Iterator[Batch]:
        """The batches of one pass; of a generator, which has one pass, those that are left."""
        ...

    def begin_epoch(self) -> None:
        """What the data does before an epoch."""
        ...

    def end_epoch(self) -> None:
        """What the data does after an epoch."""
        ...


# ---------------------------------------------------------------- the parts of a batch


def parts_of_x(model: Trainable, x: Any) -> list[Array]:
    """The arrays for the inputs, in their order, or what is read by slices when a batch needs it."""
    arrays = inputs_on_demand(model, x)
    for array in arrays:
        if array.ndim == 0:
            raise ValueError("x must have a batch axis, got an array of shape ()")
    return arrays


def lengths_for_inputs(model: Trainable, lengths: Any, arrays: Sequence[Array]) -> list[Array | None]:
    """The lengths for each input; empty where there are none."""
    if lengths is None:
        return []
    pairs = zip(model.lengths_of_inputs(lengths, len(arrays)), arrays, strict=True)
    return [None if given is None else checked_lengths(given, array.shape) for given, array in pairs]


def without_lists(x: Any) -> Any:
    """Numbers in lists as an array; all else as it is."""
    listed = isinstance(x, list | tuple) and len(x) > 0 and isinstance(x[0], int | float | list | tuple)
    return array_of_numbers("x", x) if listed else x


def parts_for_outputs(what: str, given: Any, names: Sequence[str], rows: int) -> list[Array | None]:
    """An array, or None, for each output; a list of as many arrays as there are rows is one of rows."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, dict) or len(names) > 1 or _is_list_of_arrays(given, rows):
        parts = for_each_output(what, given, names)
    else:
        parts = [given]
    return [None if part is None else _array(what, part) for part in parts]


def weights_for_outputs(given: Any, names: Sequence[str], rows: int) -> list[Array | None]:
    """Weights for each output: one array is for all of them."""
    if given is not None and len(names) > 1 and not isinstance(given, list | tuple | dict):
        return [_array("sample_weight", given)] * len(names)
    return parts_for_outputs("sample_weight", given, names, rows)


def _is_list_of_arrays(given: Any, rows: int) -> bool:
    if not isinstance(given, list | tuple) or not given or len(given) == rows != 1:
        return False
    return all((hasattr(part, "__array__") and np.ndim(part)) or is_sliced(part) for part in given)


def _array(what: str, given: Any) -> Array:
    array = array_of_numbers(what, stand_in(given))
    if array.ndim == 0:
        raise ValueError(f"{what} must have a batch axis, got {shown(given)}")
    return on_demand(given, array) if is_sliced(given) else array


def checked_batch(model: Trainable, x: Any, y: Any, sample_weight: Any) -> Batch:
    """One batch of what a caller has. Raises ValueError where rows do not fit."""
    x, lengths = padded(model, x)
    x = without_lists(x)
    arrays, names = parts_of_x(model, x), model.names_of_targets
    given = len(arrays[0]) if arrays else 0
    targets, weights = parts_for_outputs("y", y, names, given), weights_for_outputs(sample_weight, names, given)
    rows = _checked_rows(arrays, targets, weights)
    return Batch(model, x, arrays, targets, weights, np.arange(rows), None, lengths_for_inputs(model, lengths, arrays))


def _checked_rows(arrays: Sequence[Array], targets: Sequence[Any], weights: Sequence[Any]) -> int:
    counts = {"x": [len(array) for array in arrays]}
    counts["y"] = [len(array) for array in targets if array is not None]
    counts["sample_weight"] = [len(array) for array in weights if array is not None]
    if len({count for each in counts.values() for count in each}) > 1:
        said = ", ".join(f"{name} {', '.join(map(str, each))}" for name, each in counts.items() if each)
        raise ValueError(f"x, y and sample_weight must have as many rows as each other, got: {said}")
    return counts["x"][0] if counts["x"] else 0


# ---------------------------------------------------------------- arrays


class ArrayData:
    """Arrays, of which each pass takes the rows in another order, or in theirs.

    Rows of memory maps are gathered batch by batch; no array is converted as a whole. So are those of what is read by
    slices, as datasets of h5py.

    Parameters
    ----------
    model : Trainable
    x, y, sample_weight
        Arguments of `fit`.
    shuffle : bool or "batch"
        "batch" keeps the batches, and moves the rows within each.
    lengths : optional
        An argument of `fit`.

    Attributes
    ----------
    batch_size : int
    """

    batch_size = BATCH_SIZE

    def __init__(
        self,
        model: Trainable,
        x: Any,
        y: Any,
        sample_weight: Any,
        shuffle: Any,
        lengths: Any = None,
    ) -> None:
        x = without_lists(x)
        self.model, self.like, self.shuffle = model, x, shuffle
        names = model.names_of_targets
        self.x = parts_of_x(model, x)
        given = len(self.x[0]) if self.x else 0
        self.y = parts_for_outputs("y", y, names, given)
        self.sample_weight = weights_for_outputs(sample_weight, names, given)
        self.rows = _checked_rows(self.x, self.y, self.sample_weight)
        self.lengths = lengths_for_inputs(model, lengths, self.x)

    @property
    def num_batches(self) -> int:
        """How many a pass has."""
        return math.ceil(self.rows / self.batch_size)

    def first(self) -> Batch:
        """The first rows, at most those of a batch."""
        return self._batch(np.arange(min(self.rows, self.batch_size)))

    def _batch(self, index: Array, known: dict[Any, Any] | None = None) -> Batch:
        return Batch(self.model, self.like, self.x, self.y, self.sample_weight, index, known, self.lengths)

    def orders(self) -> Iterator[Array]:
        """Which rows the batches of a pass have. A pass in random order draws from NumPy's legacy generator."""
        order = np.random.permutation(self.rows) if self.shuffle and self.shuffle != "batch" else None  # noqa: NPY002
        for first in range(0, self.rows, self.batch_size):
            last = min(first + self.batch_size, self.rows)
            if self.shuffle == "batch":
                yield first + np.random.permutation(last - first)  # noqa: NPY002
            else:
                yield np.arange(first, last) if order is None else order[first:last]

    def batches(self) -> Iterator[Batch]:
        known: dict[Any, Any] = {}
        for index in self.orders():
            yield self._batch(index, known)

    def split(self, fraction: float) -> "tuple[ArrayData, ArrayData]":
        """The first rows, and the last ones, which are this fraction of all; the last are not shuffled."""
        first = math.floor(self.rows * (1 - fraction))
        if not 0 < first < self.rows:
            raise ValueError(
                f"validation_split={fraction} of {self.rows} rows leaves {first} to train and {self.rows - first} to "
                "validate; both must have some"
            )
        return self._part(slice(0, first), self.shuffle), self._part(slice(first, self.rows), False)

    def _part(self, rows: slice, shuffle: Any) -> "ArrayData":
        part = object.__new__(ArrayData)
        vars(part).update(vars(self))
        part.shuffle, part.x = shuffle, [array[rows] for array in self.x]
        part.y = [None if array is None else array[rows] for array in self.y]
        part.sample_weight = [None if array is None else array[rows] for array in self.sample_weight]
        part.lengths = [None if array is None else array[rows] for array in self.lengths]
        part.rows = rows.stop - rows.start
        return part

    def begin_epoch(self) -> None:
        pass

    def end_epoch(self) -> None:
        pass


# ---------------------------------------------------------------- what has batches itself

Unpack = Callable[[Any], Batch]


class GeneratorData:
    """A generator of batches, which there is one pass of."""

    num_batches: int | None = None

    def __init__(self, generator: Iterator[Any], unpack: Unpack) -> None:
        self._generator, self._unpack = generator, unpack

    def batches(self) -> Iterator[Batch]:
        for item in self._generator:
            yield self._unpack(item)

    def begin_epoch(self) -> None:
        pass

    def end_epoch(self) -> None:
        pass


class SequenceData:
    """An object with `__len__` and `__getitem__` that has batches, as Keras' PyDataset; or that iterates over them.

    Parameters
    ----------
    dataset : object
    unpack : callable
    shuffle : bool
        Whether a pass has the batches in random order; not where the object only iterates.
    """

    def __init__(self, dataset: Any, unpack: Unpack, shuffle: bool) -> None:
        self._dataset, self._unpack = dataset, unpack
        self._indexed = hasattr(dataset, "__getitem__") and _length(dataset) is not None
        self._shuffle = shuffle and self._indexed
        self.num_batches = _length(dataset)

    def batches(self) -> Iterator[Batch]:
        if not self._indexed:
            for item in self._dataset:  # torch's loaders have lists
                yield self._unpack(tuple(item) if isinstance(item, list) else item)
            return
        count = self.num_batches or 0
        order = np.random.permutation(count) if self._shuffle else range(count)  # noqa: NPY002
        for index in order:
            yield self._unpack(self._dataset[int(index)])

    def begin_epoch(self) -> None:
        self._tell("on_epoch_begin")
        self.num_batches = _length(self._dataset)

    def end_epoch(self) -> None:
        self._tell("on_epoch_end")
        self.num_batches = _length(self._dataset)

    def _tell(self, hook: str) -> None:
        function = getattr(self._dataset, hook, None)
        if function is not None:
            function()


def _length(dataset: Any) -> int | None:
    """How many batches there are; None where that is not known."""
    count = getattr(dataset, "num_batches", None)
    if count is None and hasattr(dataset, "__len__"):
        try:
            count = len(dataset)
        except TypeError:  # of a dataset of TensorFlow that has no end
            return None
    return int(count) if isinstance(count, int | np.integer) else None


def has_batches(x: Any) -> bool:
    """Whether x is no array, nor several, but something that has batches itself."""
    if inspect.isgenerator(x):
        return True
    if isinstance(x, list | tuple | dict | str | bytes | memoryview) or hasattr(x, "__array__") or is_sliced(x):
        return False
    if hasattr(x, "keys"):  # a file or group of h5py or zarr, a .npz file
        raise TypeError(f"x must be an array, got {type(x).__name__}, which has arrays by name: choose one, x[name]")
    return hasattr(x, "__getitem__") or hasattr(x, "__iter__")


def data_of_batches(x: Any, unpack: Unpack, shuffle: Any = False) -> Data:
    """The batches that x has."""
    return GeneratorData(x, unpack) if inspect.isgenerator(x) else SequenceData(x, unpack, bool(shuffle))


def unpacking(model: Trainable, transformed: Callable[[Batch], Batch] | None) -> Unpack:
    """A function that makes a batch of a tuple (x,), (x, y) or (x, y, sample_weight)."""

    def unpack(item: Any) -> Batch:
        if not isinstance(item, tuple) or not 1 <= len(item) <= 3:
            got = f"a tuple of {len(item)}" if isinstance(item, tuple) else type(item).__name__
            raise ValueError(f"batches must be tuples (x, y) or (x, y, sample_weight), got {got}")
        batch = checked_batch(model, *item, *[None] * (3 - len(item)))
        return batch if transformed is None else transformed(batch)

    return unpack
