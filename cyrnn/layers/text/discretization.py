"""Discretization: numbers as the bins that they lie in. Reference: ``keras.layers.Discretization``, Keras 3."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.arrays import array_of_numbers, quietly, to_numpy
from cyrnn.layers.around.core import checked_size
from cyrnn.layers.base.arguments import Array, Shape, as_array, checked_number
from cyrnn.layers.text.categorical import Categorical
from cyrnn.layers.text.encoding import checked_mode, encoded, encoded_shape, refuse_sparse


@objects.register("keras.layers")
class Discretization(Categorical):
    """The bins that numbers lie in: bin k has those from ``bin_boundaries[k - 1]`` up to, not including, that of k.

    The boundaries are the constructor's, or those that `adapt` finds.

    Parameters
    ----------
    bin_boundaries : sequence of float, optional
        In order; the first bin lies below the first, and the last above the last.
    num_bins : int, optional
        Instead, how many bins `adapt` makes.
    epsilon : float
        How exact these are, as a part of the numbers.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        As in `Hashing`.
    sparse : bool
        Only False is supported.
    dtype, name : optional
        As in `Layer`.

    Raises
    ------
    ValueError
        For other arguments.

    Examples
    --------
    >>> cyrnn.layers.Discretization([0.0, 1.0, 2.0])([-1.5, 0.0, 1.5, 7.0])
    array([0, 1, 2, 3], dtype=int32)
    """

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        refuse_sparse(sparse)
        super().__init__(name=name, dtype=dtype)
        self.output_mode = checked_mode(output_mode, ("int", "one_hot", "multi_hot", "count"))
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(f"give bin_boundaries or num_bins, one of them; got {bin_boundaries!r:.100}, {num_bins!r}")
        self.num_bins = None if num_bins is None else checked_size("num_bins", num_bins)
        self.bin_boundaries = None if bin_boundaries is None else _checked_boundaries(bin_boundaries)
        self.epsilon = checked_number("epsilon", epsilon)
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon!r}")

    @property
    def result_dtype(self) -> str:
        return "int32" if self.output_mode == "int" else super().result_dtype

    def checked_inputs(self, inputs: Any) -> Array:
        found: Array = super().checked_inputs(inputs).astype(np.float32)
        return found

    @property
    def _depth(self) -> int:
        return len(self.bin_boundaries) + 1 if self.bin_boundaries is not None else self.num_bins or 1

    def call(self, inputs: Array) -> Array:
        if self.bin_boundaries is None:
            raise ValueError(f"layer {self.name!r} has no boundaries yet: call `adapt`, or give it bin_boundaries")
        indices = np.digitize(inputs, np.asarray(self.bin_boundaries, np.float32))
        return encoded(self.name, indices, self.output_mode, self._depth).astype(self.result_dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return encoded_shape(self.name, input_shape, self.output_mode, self._depth)

    @quietly
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries between which there are as many numbers of the data each.

        Parameters
        ----------
        data : array, or iterable of arrays
            The numbers.
        steps : int, optional
            The most arrays that are taken of an iterable.

        Raises
        ------
        ValueError
            If the layer was made with boundaries, or there are no numbers.
        """
        if self.num_bins is None:
            raise ValueError(f"layer {self.name!r} was made with bin_boundaries: it cannot adapt")
        summary = np.zeros((2, 0), np.float32)
        for number, part in enumerate([data] if hasattr(data, "dtype") else data):
            if steps is not None and number >= steps:
                break
            numbers = np.sort(as_array("data", to_numpy("data", part)).astype(np.float32).ravel())
            summary = _merged(_summary(numbers, self.epsilon), summary, self.epsilon)
        if not summary.shape[1]:
            raise ValueError(f"data for {self.name!r} must hold at least one number")
        self.bin_boundaries = [float(n) for n in _compressed(summary, 1 / self.num_bins)[0, :-1]]

    def get_config(self) -> dict[str, Any]:
        return {
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": False,
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        found = config.get("bin_boundaries")
        if found is None or config.get("num_bins") is None:
            return super().from_config(config, custom_objects)
        layer = super().from_config({**config, "bin_boundaries": None}, custom_objects)  # it has been adapted
        layer.bin_boundaries = _checked_boundaries(found)
        return layer


def _checked_boundaries(boundaries: ArrayLike) -> list[float]:
    array = array_of_numbers("bin_boundaries", boundaries)
    if array.ndim != 1 or np.any(array[1:] < array[:-1]) or np.any(np.isnan(array)):
        raise ValueError(f"bin_boundaries must be numbers in order, got {boundaries!r:.100}")
    return list(array.tolist())


def _summary(numbers: Array, epsilon: float) -> Array:
    """Some of the numbers, which are in order, about 1 / epsilon of them; and for each how many it stands for."""
    step = max(len(numbers) / (1 / epsilon), 1)
    chosen = numbers[int(step - 1) :: int(step)]
    return np.stack([chosen, np.full_like(chosen, step)])


def _merged(one: Array, other: Array, epsilon: float) -> Array:
    both = np.concatenate((one, other), axis=1)
    return _compressed(both[:, np.argsort(both[0])], epsilon)


def _compressed(summary: Array, epsilon: float) -> Array:
    """About 1 / epsilon numbers that stand for as many others each, by interpolation."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    totals = summary[1].cumsum()
    numbers = np.interp(shares, totals / totals[-1], summary[0])
    counts = np.diff(np.interp(shares, totals / totals[-1], totals), prepend=0)
    return np.stack((numbers, counts)).astype(np.float32)
