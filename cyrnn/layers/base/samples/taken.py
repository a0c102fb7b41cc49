"""Lengths as arguments of calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.samples.lengths import mask_of_lengths


class TakesLengths:
    """Base of layers, whose calls take `lengths` instead of a mask."""

    _build_shape: Any

    @property
    def time_major(self) -> bool:
        """Whether the batch is on the second axis, as configs of Keras 2 may say of recurrent layers."""
        return False

    def mask_for(self, inputs: Any, mask: Any, lengths: Any) -> Any:
        """The mask of a call: that which it has, or the one that its `lengths` stand for.

        Raises ValueError and TypeError for lengths that do not fit, or come beside a mask.
        """
        if lengths is None:
            return mask
        if mask is None and type(inputs) is np.ndarray and type(lengths) is np.ndarray and not self.time_major:
            return mask_of_lengths(lengths, inputs.shape)
        if mask is not None:
            raise ValueError("lengths must not be given beside a mask, which says it all")
        if symbolic.among(inputs):
            raise ValueError("lengths are for calls with arrays, got symbolic tensors: these have masks")
        arrays = self.arrays_for_lengths(inputs)
        pairs = zip(self.lengths_of_inputs(lengths, len(arrays)), arrays, strict=True)
        masks = [None if given is None else self._mask_of(given, np.shape(array)) for given, array in pairs]
        return masks[0] if len(masks) == 1 else masks

    def _mask_of(self, lengths: Any, shape: tuple[int, ...]) -> Array:
        return (
            mask_of_lengths(lengths, shape[1::-1] + shape[2:]).T if self.time_major else mask_of_lengths(lengths, shape)
        )

    def arrays_for_lengths(self, inputs: Any) -> list[Any]:
        """The arrays of a call whose sequences have lengths."""
        return nest.leaves(inputs)

    def lengths_of_inputs(self, lengths: Any, count: int) -> Sequence[Any]:
        """For each of `count` inputs its lengths, or None. Raises ValueError where they are others."""
        if count == 1:
            parts = nest.leaves(lengths) if nest.is_structure(lengths) else []
            return parts if len(parts) == 1 and np.ndim(parts[0]) > 0 else [lengths]
        found = nest.leaves(lengths) if nest.is_structure(lengths) else []
        if len(found) != count:
            raise ValueError(
                f"lengths must be a list with an array, or None, for each of {count} inputs, got {shown(lengths)}"
            )
        return found

    @property
    def known_input_shape(self) -> Any:
        """The shape of the input, batch axis first, as far as all calls have it; for several a list. None if it is not
        known."""
        shape = self._build_shape
        return (None, None, *shape[2:]) if shape is not None and nest.is_shape(shape) and len(shape) > 1 else shape
