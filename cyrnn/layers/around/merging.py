"""Layers that merge several inputs element by element. Reference: Keras 3.

They are called with a list of arrays, and built with a list of shapes; a mask is a list of masks, with None for an
input that has none.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.arrays import quietly, to_numpy
from cyrnn.layers.base.arguments import Array, Shape, as_array
from cyrnn.layers.base.programs import merges
from cyrnn.layers.base.programs.differentiable import Differentiable
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.values import Deferred, Value
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.base.weights import WeightSpec

Masks = Sequence[ArrayLike | None] | None


class Merge(Differentiable):
    """Base: a subclass has `merged`. Inputs of fewer axes than others get axes of length 1 after the batch axis."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # it takes a list
        def __call__(self, inputs: Sequence[KerasTensor], *args: Any, **kwargs: Any) -> KerasTensor: ...
        @overload
        def __call__(self, inputs: Sequence[ArrayLike], *args: Any, **kwargs: Any) -> Array: ...
        def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any: ...

    supports_masking = True
    masks_as_in_keras2 = False  # keep where all masks keep (no mask keeps all); masks do not change values
    inputs_wanted: int | None = None  # None: any number but 0
    takes_one_input = False
    op = ""  # the engine's name
    masks_leave_out = False  # whether masks change values

    def checked_inputs(self, inputs: Any) -> Any:
        self.check_count("inputs", inputs)
        return [self.cast(as_array(f"inputs[{n}]", part)) for n, part in enumerate(inputs)]

    def check_count(self, name: str, parts: Any) -> None:
        """Raises ValueError unless `parts` is a list of as many as the layer takes."""
        wanted = self.inputs_wanted
        if not isinstance(parts, (list, tuple)) or (len(parts) != wanted if wanted else not parts):
            got = f"{len(parts)} of them" if isinstance(parts, (list, tuple)) else type(parts).__name__
            raise ValueError(f"{name} of {self.name!r} must be a list of {wanted or 'one or more'}, got {got}")

    def weight_specs(self, input_shape: Any) -> list[WeightSpec]:
        self.compute_output_shape(input_shape)  # raises where shapes do not fit
        return []

    @quietly
    def call(self, inputs: Any, mask: Masks = None) -> Array:
        self.compute_output_shape([part.shape for part in inputs])
        unmasked = mask is None or self.masks_as_in_keras2
        return self.returned(self.merged(inputs, [None] * len(inputs) if unmasked else self.checked_masks(mask)))

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        """The output, for inputs whose shapes fit together."""
        raise NotImplementedError(f"{type(self).__name__} has no `merged`")

    def checked_masks(self, masks: Any) -> list[Array | None]:
        """A list of bool arrays and None. Raises ValueError."""
        self.check_count("mask", masks)
        return [None if mask is None else to_numpy("mask", mask).astype(bool, copy=False) for mask in masks]

    def begun_with(self, x: Any, initial_state: Any, mask: Any) -> tuple[Any, Any]:
        states, masks = super().begun_with(x, initial_state, mask)
        masks = [None] * len(x) if masks is None else self.checked_masks(masks)
        if len(masks) != len(x):
            raise ValueError(f"mask of {self.name!r} must hold {len(x)} masks, got {len(masks)}")
        return states, masks

    def lower(self, lowering: Lowering, inputs: Any, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        shape, values = lowering.shape_after(self, inputs), [lowering.numbers(value) for value in inputs]
        masks = merges.readable_masks(lowering, values, mask, shape)
        used = masks if self.masks_leave_out and not self.masks_as_in_keras2 else ()
        return merges.merged(lowering, self.op, values, shape, used)

    def lower_mask(self, lowering: Lowering, inputs: Any, mask: Any) -> Deferred | None:
        """As `compute_mask`."""
        shape, values = lowering.shape_after(self, inputs), [lowering.numbers(value) for value in inputs]
        masks = merges.readable_masks(lowering, values, mask, shape)
        known = [part for part in masks if part is not None]
        if not known or (len(known) < len(values) and not self.masks_as_in_keras2):
            return None
        return merges.merged_masks(lowering, values, known, shape, every=self.masks_as_in_keras2)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = input_shapes(self, input_shape)
        batches = {shape[0] for shape in shapes} - {None}
        most = max(map(len, shapes)) - 1
        rest = [(1,) * (most + 1 - len(shape)) + shape[1:] for shape in shapes]
        lengths = [_common(on_axis) for on_axis in zip(*rest, strict=True)]
        if len(batches) > 1 or -1 in lengths:
            raise ValueError(f"inputs of {self.name!r} must have shapes that fit together, got {shapes}")
        return (batches.pop() if batches else None, *lengths)

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Any:
        """Where one of the masks is True; None if one is missing."""
        if mask is None:
            return None
        masks = self.checked_masks(mask)
        if len(masks) != len(inputs):
            raise ValueError(f"mask of {self.name!r} must hold {len(inputs)} masks, got {len(masks)}")
        known = [part for part in masks if part is not None]
        if self.masks_as_in_keras2:
            return functools.reduce(np.logical_and, known) if known else None
        return functools.reduce(np.logical_or, known) if len(known) == len(masks) else None

    def described(self) -> dict[str, Any]:
        return {"built": self.built}


class Elementwise(Merge):
    """Base of layers that fold `operation` over their inputs and ignore masks."""

    operation: Callable[[Array, Array], Array]

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        return functools.reduce(type(self).operation, _same_rank(inputs))


@objects.register("keras.layers")
class Add(Elementwise):
    """The sum of the inputs, a list of arrays whose shapes broadcast.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "add"
    operation = np.add


@objects.register("keras.layers")
class Subtract(Elementwise):
    """The first input minus the second, of a list of two arrays whose shapes broadcast.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "subtract"
    operation = np.subtract
    inputs_wanted = 2


@objects.register("keras.layers")
class Average(Elementwise):
    """The mean of the inputs, a list of arrays whose shapes broadcast.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "average"
    operation = np.add

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        return super().merged(inputs, masks) / inputs[0].dtype.type(len(inputs))


@objects.register("keras.layers")
class Multiply(Merge):
    """The product of the inputs. Masked elements count as 1; where all inputs are masked, the output is 0.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "multiply"
    masks_leave_out = True

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        parts = _same_rank(inputs)
        keeps = _masks_over_elements(self.name, parts, inputs, masks)
        one, zero = parts[0].dtype.type(1), parts[0].dtype.type(0)
        chosen = [x if keep is None else np.where(keep, x, one) for x, keep in zip(parts, keeps, strict=True)]
        product = functools.reduce(np.multiply, chosen)
        known = [keep for keep in keeps if keep is not None]
        return product if len(known) < len(keeps) else np.where(functools.reduce(np.logical_or, known), product, zero)


class Extreme(Merge):
    """Base of Maximum and Minimum: masked elements do not take part, unless all inputs are masked there."""

    operation: Callable[[Array, Array], Array]
    masks_leave_out = True

    def merged(self, inputs: list[Array], masks: list[Array | None]) -> Array:
        parts = _same_rank(inputs)
        (output, keep), *rest = zip(parts, _masks_over_elements(self.name, parts, inputs, masks), strict=True)
        for x, keep_x in rest:
            if keep_x is not None:
                x = np.where(keep_x, x, output)
            if keep is not None:
                output = np.where(keep, output, x)
            keep = None if keep is None or keep_x is None else np.logical_or(keep, keep_x)
            output = type(self).operation(output, x)
        return output


@objects.register("keras.layers")
class Maximum(Extreme):
    """The largest of the inputs, at each element.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "maximum"
    operation = np.maximum


@objects.register("keras.layers")
class Minimum(Extreme):
    """The smallest of the inputs, at each element.

    Parameters
    ----------
    name, dtype, trainable, autocast, activity_regularizer, **kwargs : optional
        As in `Layer`.
    """

    op = "minimum"
    operation = np.minimum


def _function_of(layer: type[Merge]) -> Callable[..., Any]:
    """Keras' function of the layer's name in lower case."""

    def merge(inputs: Any, **kwargs: Any) -> Any:
        return layer(**kwargs)(inputs)

    merge.__name__ = merge.__qualname__ = layer.__name__.lower()
    merge.__doc__ = f"""``{layer.__name__}(**kwargs)(inputs)``.

Parameters
----------
inputs : list of arrays or symbolic tensors
    What is merged.
**kwargs
    Arguments of `{layer.__name__}`.

Returns
-------
array or symbolic tensor
"""
    return merge


add, subtract, average = map(_function_of, (Add, Subtract, Average))
multiply, maximum, minimum = map(_function_of, (Multiply, Maximum, Minimum))


def input_shapes(layer: Merge, shapes: Any) -> list[Shape]:
    """A list of as many shapes as the layer takes. Raises ValueError."""
    layer.check_count("inputs", shapes)
    if not all(isinstance(shape, (list, tuple)) and shape for shape in shapes):
        raise ValueError(f"inputs of {layer.name!r} must be a list of arrays with a batch axis, got shapes {shapes!r}")
    return [tuple(shape) for shape in shapes]


def _common(lengths: Sequence[int | None]) -> int | None:
    """The length to which all broadcast; None where it is not known, -1 where there is none."""
    known = {n for n in lengths if n is not None} - {1}
    if len(known) > 1:
        return -1
    return None if None in lengths else known.pop() if known else 1


def _same_rank(inputs: list[Array]) -> list[Array]:
    most = max(x.ndim for x in inputs)
    return [x.reshape(x.shape[:1] + (1,) * (most - x.ndim) + x.shape[1:]) for x in inputs]


def _masks_over_elements(
    layer: str, parts: list[Array], inputs: list[Array], masks: list[Array | None]
) -> list[Array | None]:
    """Each mask, broadcast to its input's elements; as in Keras, the mask of an input that got more axes is ignored."""
    return [
        None if mask is None or part.ndim != x.ndim else over_elements(layer, mask, x.shape)
        for part, x, mask in zip(parts, inputs, masks, strict=True)
    ]


def over_elements(layer: str, mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask (batch, timesteps), broadcast to (batch, timesteps, ...). Raises ValueError."""
    try:
        return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)
    except ValueError:
        raise ValueError(f"mask of {layer!r} must fit inputs of shape {shape}, got {mask.shape}") from None
