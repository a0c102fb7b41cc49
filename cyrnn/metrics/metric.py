"""A metric: sums over batches, and a result of them, as in Keras."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from cyrnn import dtypes, initializers
from cyrnn.arrays import array_of_numbers
from cyrnn.configurable import Configurable, floating
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.shapes import checked_mask
from cyrnn.objects import register, snake_case, unique_name
from cyrnn.random import checked_shape
from cyrnn.utils.variables import Variable

MODULE = "keras.metrics"


@register(MODULE)
class Metric(Configurable):
    """Base class: a subclass makes variables in its constructor, and defines `update_state` and `result`.

    Parameters
    ----------
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None: that of `floatx`. Sums over batches are in float64.
    name : str, optional
        None: the snake case of the class, with a number from the second metric of that name on.

    Attributes
    ----------
    direction : "up", "down" or None
        Whether a larger or a smaller result is better; a subclass says it in `_direction`.

    Examples
    --------
    >>> metric = cyrnn.metrics.BinaryAccuracy()
    >>> metric.update_state([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.8])
    >>> float(metric.result())
    0.75
    """

    _direction: str | None = None

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name = unique_name(snake_case(type(self).__name__)) if name is None else name
        self._dtype = floating(dtype) or dtypes.floatx()
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """The dtype in which batches are computed."""
        return self._dtype

    @property
    def direction(self) -> str | None:
        return self._direction

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch, usually as ``update_state(y_true, y_pred, sample_weight=None)``.

        Parameters
        ----------
        *args, **kwargs
            What the subclass defines.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update_state(y_true, y_pred, sample_weight=None)")

    def result(self) -> Any:
        """The metric of all batches since the last reset.

        Returns
        -------
        number or array, or a dict of these
        """
        raise NotImplementedError(f"{type(self).__name__} must define result()")

    def reset_state(self) -> None:
        """Forget all batches: the variables become 0."""
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and return the result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any,
        dtype: DTypeLike | None = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A new variable, for a constructor.

        Parameters
        ----------
        shape : sequence of int
        initializer : str, callable or None
            As for a layer; None: zeros.
        dtype : str, optional
            None: float64, in which a count does not stop at 16,777,216 as in float32.
        aggregation : str
            Without effect.
        name : str, optional

        Returns
        -------
        Variable
        """
        if "_variables" not in vars(self):
            raise RuntimeError(f"{type(self).__name__} must call super().__init__() before it makes variables")
        make = initializers.get("zeros" if initializer is None else initializer)
        dtype = np.dtype("float64" if dtype is None else dtype)
        value = np.asarray(make(checked_shape(shape), dtype="float64"), dtype)
        variable = Variable(value, f"variable_{len(self._variables)}" if name is None else name)
        self._variables.append(variable)
        return variable

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        dtype: DTypeLike | None = None,
        name: str | None = None,
    ) -> Variable:
        """The same as `add_variable`.

        Parameters
        ----------
        shape, initializer, dtype, name
            See there.

        Returns
        -------
        Variable
        """
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The variables of this metric, and of metrics in its attributes."""
        return [*self._variables, *(v for metric in _metrics_in(list(vars(self).values())) for v in metric.variables)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as Keras writes them.

        Returns
        -------
        dict
        """
        return {"name": self.name, "dtype": self.dtype}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"

    # What a training loop calls.

    def update(
        self, y_true: Any, y_pred: Any, sample_weight: ArrayLike | None = None, mask: ArrayLike | None = None
    ) -> None:
        """Add a batch to a metric of any kind: `update_state` gets the arguments that are not None.

        An `update_state` without the argument `mask`, as it is written for Keras, gets weights that are 0 where the
        mask is False.
        """
        if mask is not None:
            accepted = _arguments_of(type(self).update_state)
            if "mask" not in accepted:
                if "sample_weight" in accepted:
                    sample_weight = _masked(sample_weight, mask)
                mask = None
        given = {"sample_weight": sample_weight, "mask": mask}
        self.update_state(y_true, y_pred, **{name: value for name, value in given.items() if value is not None})

    def result_for_logs(self) -> Any:
        """The result, with Python floats in the place of arrays of one element."""
        return _in_floats(self.result())


def _metrics_in(value: Any) -> Iterator[Metric]:
    """The metrics in a value, in lists and in dicts."""
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _metrics_in(part)


@functools.cache
def _arguments_of(update_state: Callable[..., None]) -> frozenset[str]:
    """The names of the arguments that it takes; any others count as `sample_weight`."""
    parameters = inspect.signature(update_state).parameters.values()
    return frozenset("sample_weight" if p.kind is p.VAR_KEYWORD else p.name for p in parameters)


def _masked(sample_weight: ArrayLike | None, mask: ArrayLike) -> Array:
    """The weights, 0 where the mask is False."""
    keep = checked_mask(mask)
    if sample_weight is None:
        return keep.astype(np.float32)
    weights = array_of_numbers("sample_weight", sample_weight)
    rank = max(weights.ndim, keep.ndim)
    factors, kept = (array.reshape(array.shape + (1,) * (rank - array.ndim)) for array in (weights, keep))
    try:
        return np.where(kept, factors, 0)
    except ValueError:
        shapes = f"{keep.shape}, got the shape {weights.shape}"
        raise ValueError(f"sample_weight must fit the mask's shape {shapes}") from None


def _in_floats(result: Any) -> Any:
    if isinstance(result, Mapping):
        return {name: _in_floats(value) for name, value in result.items()}
    array = np.asarray(result)
    return float(array.item()) if array.size == 1 else array
