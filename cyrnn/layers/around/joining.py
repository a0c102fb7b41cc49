"""Layers that join several inputs end to end, or multiply them as matrices. Reference: Keras 3."""

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from cyrnn import objects
from cyrnn.layers.around.merging import Masks, Merge, input_shapes, over_elements
from cyrnn.layers.base.arguments import Array, Shape, as_array, checked_axis, in_native_order
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs import merges
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Deferred, Value, width_of

_LARGEST_PRODUCT = 2**16  # multiply-adds of a row, of which the engine's op takes less time than a call by Python
_LARGEST_FACTOR = 1e7  # of a vector that is made a unit vector


@objects.register("keras.layers")
class Concatenate(Merge):
    """The inputs end to end along `axis`; on all other axes their lengths are equal. Integers stay integers.

    Parameters
    ----------
    axis : int
        Counted with the batch axis.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    TypeError
        If `axis` is not an integer. A call raises ValueError for shapes that do not fit together.
    """

    def __init__(self, axis: int = -1, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise TypeError(f"axis must be an integer, got {axis!r}")
        self.axis = axis.__index__()

    def checked_inputs(self, inputs: Any) -> Any:
        self.check_count("inputs", inputs)
        arrays = [as_array(f"inputs[{n}]", part) for n, part in enumerate(inputs)]
        whole = all(array.dtype.kind in "iub" for array in arrays)
        return [in_native_order(array) if whole else self.cast(array) for array in arrays]

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def returned(self, array: Array) -> Array:
        return array if array.dtype.kind in "iub" else super().returned(array)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = input_shapes(self, input_shape)
        axis = checked_axis(self.name, shapes[0], self.axis)
        if any(len(shape) != len(shapes[0]) for shape in shapes):
            raise ValueError(f"inputs of {self.name!r} must have the same number of axes, got {shapes}")
        lengths: list[int | None] = []
        for number, on_axis in enumerate(zip(*shapes, strict=True)):
            known = {n for n in on_axis if n is not None}
            if number == axis:
                lengths.append(None if None in on_axis else sum(n for n in on_axis if n is not None))
            elif len(known) > 1:
                raise ValueError(f"inputs of {self.name!r} must have equal lengths but on axis {axis}, got {shapes}")
            else:
                lengths.append(known.pop() if known else None)
        return tuple(lengths)

    def lower(self, lowering: Lowering, inputs: Any, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape = lowering.shape_after(self, inputs)
        whole = [getattr(getattr(part, "place", None), "dtype", None) or "" for part in inputs]
        if all(dtype.startswith(("int", "uint", "bool")) for dtype in whole):
            raise NotLoweredError(f"its output stays {whole[0]}, and the program computes in {lowering.dtype}")
        axis, values = self.axis % len(shape), [lowering.numbers(value) for value in inputs]
        masks = merges.readable_masks(lowering, values, mask, shape)
        if masks and (len(shape), axis) != (3, 2):
            raise NotLoweredError(f"it has masks, and joins along axis {axis} of {len(shape)} axes")
        return merges.joined(lowering, values, shape, axis)

    def lower_mask(self, lowering: Lowering, inputs: Any, mask: Any) -> Deferred | None:
        """As `compute_mask`, along the last axis."""
        shape, values = lowering.shape_after(self, inputs), [lowering.numbers(value) for value in inputs]
        masks = merges.readable_masks(lowering, values, mask, shape)
        known = [part for part in masks if part is not None]
        if not known:
            return None
        if len(known) < len(masks) and not self.masks_as_in_keras2:  # an input without a mask is True everywhere
            return merges.merged_masks(lowering, values, [], shape, every=True)
        return merges.merged_masks(lowering, values, known, shape, every=self.masks_as_in_keras2)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Any:
        """The masks end to end along `axis`, all True for an input without a mask; None if no input has one."""
        if mask is None or all(part is None for part in mask):
            return None
        masks = self.checked_masks(mask)
        if len(masks) != len(inputs):
            raise ValueError(f"mask of {self.name!r} must hold {len(inputs)} masks, got {len(masks)}")
        shapes = [np.shape(part) for part in inputs]
        keeps = [
            np.ones(shape, bool) if keep is None else over_elements(self.name, keep, shape)
            for keep, shape in zip(masks, shapes, strict=True)
        ]
        together = np.concatenate(keeps, axis=self.axis)
        return (np.all if self.masks_as_in_keras2 else np.any)(together, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


@objects.register("keras.layers")
class Dot(Merge):
    """Sums of products of two inputs along an axis of each: (batch, ..., ...). It passes no mask on.

    Parameters
    ----------
    axes : int, or list of two int
        The axis of both inputs, or of each; not the batch axis.
    normalize : bool
        Whether to divide by the Euclidean norm along these axes first.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        For other axes. A call raises ValueError for shapes that do not fit together.
    """

    inputs_wanted = 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, (int, list, tuple)):
            raise TypeError(f"axes must be an integer or a list of two, got {axes!r}")
        pair = axes if isinstance(axes, (list, tuple)) else [axes, axes]
        if len(pair) != 2 or not all(isinstance(axis, int) for axis in pair):
            raise ValueError(f"axes must be an integer or a list of two, got {axes!r}")
        self.axes = list(pair) if isinstance(axes, (list, tuple)) else axes
        self.normalize = bool(normalize)

    def _axes(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        pair = self.axes if isinstance(self.axes, list) else [self.axes, self.axes]
        a, b = (checked_axis(self.name, shape, axis) for shape, axis in zip(shapes, pair, strict=True))
        if 0 in (a, b):
            raise ValueError(f"axes of {self.name!r} must not be that of the batch, got {self.axes!r}")
        return a, b

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        a, b = self._axes([part.shape for part in inputs])
        if self.normalize:
            inputs = [_normalized(part, axis) for part, axis in zip(inputs, (a, b), strict=True)]
        x, y = np.moveaxis(inputs[0], a, -1), np.moveaxis(inputs[1], b, 1)
        batch, *rows, length = x.shape
        product = x.reshape(batch, int(np.prod(rows)), length) @ y.reshape(batch, length, int(np.prod(y.shape[2:])))
        return product.reshape(batch, *(rows + list(y.shape[2:]) or [1]))

    @property
    def rounds_as_numpy(self) -> bool:
        return True

    def lower(self, lowering: Lowering, inputs: Any, mask: Any = None, training: bool = False) -> Value:
        """Add the op, which takes the axes of both inputs in rows."""
        shape, values = lowering.shape_after(self, inputs), [lowering.numbers(value) for value in inputs]
        axes = self._axes([value.shape for value in values])
        forms = [lowering.in_row(value, axis) for value, axis in zip(values, axes, strict=True)]
        width_of(shape, timed=False)  # it may refuse
        length = forms[0][0]
        if math.prod(n or 0 for n in shape[1:]) * length > _LARGEST_PRODUCT and not lowering.complete:
            raise NotLoweredError("a product of so many numbers is left to BLAS")
        rows = [self._lowered_rows(lowering, *each) for each in zip(values, axes, strict=True)]
        out = lowering.buffer(shape)
        lowering.program.dot(rows[0].view, rows[1].view, out.view, length, *(inner for _, inner in forms))
        return out if len(shape) < 3 else lowering.in_time(out, lowering.timeline(constant=shape[1] or 0))

    def _lowered_rows(self, lowering: Lowering, value: Value, axis: int) -> Value:
        def op(x: int, out: int, length: int) -> None:
            lowering.program.unit_norm(x, out, length, _LARGEST_FACTOR)

        return lowering.in_rows(lowering.over_vectors(value, [axis], op) if self.normalize else value)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = input_shapes(self, input_shape)
        a, b = self._axes(shapes)
        batches = {shape[0] for shape in shapes} - {None}
        if len(batches) > 1 or len({shapes[0][a], shapes[1][b]} - {None}) > 1:
            raise ValueError(f"inputs of {self.name!r} must fit on axes {self.axes!r} and in the batch, got {shapes}")
        rest = [n for shape, axis in zip(shapes, (a, b), strict=True) for n in (*shape[1:axis], *shape[axis + 1 :])]
        return (batches.pop() if batches else None, *(rest or [1]))

    def compute_mask(self, inputs: Any, mask: Masks = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """``Concatenate(axis, **kwargs)(inputs)``.

    Parameters
    ----------
    inputs : list of arrays or symbolic tensors
        What is merged.
    axis : int, default -1
        The axis along which the inputs are joined.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Returns
    -------
    array or symbolic tensor
    """
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Any, axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """``Dot(axes, **kwargs)(inputs)``.

    Parameters
    ----------
    inputs : list of arrays or symbolic tensors
        What is merged.
    axes : int or two ints, default -1
        The axis, or that of each input, over which products are summed.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Returns
    -------
    array or symbolic tensor
    """
    return Dot(axes, **kwargs)(inputs)


def _normalized(x: Array, axis: int) -> Array:
    factor = 1 / np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True))
    return x * np.minimum(factor, x.dtype.type(_LARGEST_FACTOR))
