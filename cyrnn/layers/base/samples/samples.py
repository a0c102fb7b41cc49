"""What `predict` cuts into batches."""

from collections.abc import Sequence
from typing import Any, Protocol

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.samples.lengths import checked_lengths, mask_of_lengths
from cyrnn.layers.base.samples.sequences import TakesSequences, in_one_array
from cyrnn.layers.base.samples.sliced import is_sliced, read_by_slices, stand_in


class Predictable(TakesSequences, Protocol):
    """A layer or model, as far as it says which arrays it takes."""

    def predict_inputs(self, x: Any) -> list[Array]: ...

    def in_structure(self, parts: list[Any], like: Any = None) -> Any: ...

    def lengths_of_inputs(self, lengths: Any, count: int) -> Sequence[Any]: ...


class Samples:
    """All samples of a call of `predict`. What is read by slices is read when a batch is asked for.

    Parameters
    ----------
    layer : Predictable
    x, lengths
        Arguments of `predict`.

    Raises
    ------
    ValueError, TypeError
        For inputs and lengths that do not fit each other, or the layer.
    """

    def __init__(self, layer: Predictable, x: Any, lengths: Any = None) -> None:
        x, lengths = in_one_array(layer, x, lengths)
        self._layer = layer
        self._sliced = any(map(is_sliced, nest.leaves(x)))
        self.x = nest.mapped(read_by_slices, x) if self._sliced else x
        # The arrays; for what is read by slices such of the same shapes, without values.
        self.inputs = layer.predict_inputs(nest.mapped(stand_in, x) if self._sliced else x)
        if any(array.ndim == 0 for array in self.inputs):
            raise ValueError("x must have a batch axis, got an array of shape ()")
        counts = [len(array) for array in self.inputs]
        if len(set(counts)) > 1:
            raise ValueError(f"all arrays in x must have as many samples, got {counts}")
        self.count = counts[0]
        self._lengths: list[Array | None] = []
        if lengths is not None:
            of_inputs = layer.lengths_of_inputs(lengths, len(self.inputs))
            self._lengths = [
                None if given is None else checked_lengths(given, array.shape)
                for given, array in zip(of_inputs, self.inputs, strict=True)
            ]

    def batch(self, first: int, last: int) -> tuple[Any, Any]:
        """The samples of a batch as arguments of a call: the inputs in their structure, and their masks or None."""
        if self._sliced:
            part = nest.mapped(lambda leaf: leaf[first:last], self.x)
            arrays = self._layer.predict_inputs(part)
        else:
            arrays, part = [array[first:last] for array in self.inputs], self.x
        return self._layer.in_structure(arrays, part), self._masks(first, last)

    def _masks(self, first: int, last: int) -> Any:
        if not self._lengths:
            return None
        masks = [
            None if lengths is None else mask_of_lengths(lengths[first:last], (last - first, *array.shape[1:]))
            for lengths, array in zip(self._lengths, self.inputs, strict=True)
        ]
        return masks[0] if len(masks) == 1 else masks
