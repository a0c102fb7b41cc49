"""Pooling over timesteps. Reference: Keras 3."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array, Shape, checked_axes, checked_data_format, checked_mask, checked_sizes
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value

_AXES = {"channels_last": "batch, timesteps, features", "channels_first": "batch, features, timesteps"}


class _OverTime(ProgramLayer):
    """Base: inputs (batch, timesteps, features), or with "channels_first" (batch, features, timesteps)."""

    def __init__(self, data_format: str | None, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.data_format = checked_data_format(data_format)
        self.built = True

    @property
    def steps_axis(self) -> int:
        """The axis of the timesteps."""
        return 1 if self.data_format == "channels_last" else 2

    def checked_shape(self, shape: Sequence[int | None]) -> Shape:
        """A shape of three axes. Raises ValueError."""
        return checked_axes(self.name, tuple(shape), _AXES[self.data_format])

    def lowered_input(self, lowering: Lowering, inputs: Symbolic) -> Value:
        """The input as an op takes it, (batch, timesteps, features). Raises NotLoweredError."""
        lowering.shape_after(self, inputs)
        x = lowering.numbers(inputs)
        return x if self.data_format == "channels_last" else lowering.transposed(x, (0, 2, 1))


class _Global(_OverTime):
    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(data_format, **kwargs)
        self.keepdims = bool(keepdims)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = list(self.checked_shape(input_shape))
        shape[self.steps_axis : self.steps_axis + 1] = [1] if self.keepdims else []
        return tuple(shape)

    def lowered(self, lowering: Lowering, name: str, x: Value, mask: Value | None = None) -> Value:
        """Add the op of this name."""
        out = lowering.buffer((x.shape[0], x.shape[2]))
        lowering.program.global_pool(name, x.view, out.view, None if mask is None else mask.view)
        if not self.keepdims:
            return out
        if self.data_format == "channels_last":
            return lowering.reshaped(out, (x.shape[0], 1, x.shape[2]), lowering.timeline(constant=1))
        return lowering.reshaped(out, (x.shape[0], x.shape[2], 1), lowering.timeline(constant=out.width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


@objects.register("keras.layers")
class GlobalAveragePooling1D(_Global):
    """The mean over the timesteps, (batch, timesteps, features) -> (batch, features); NaN where there is no timestep.

    A call takes `mask` (batch, timesteps): timesteps where it is False do not count.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        Whether the timesteps are the second axis or the last one.
    keepdims : bool
        Whether the axis of the timesteps stays, with length 1.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Examples
    --------
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> cyrnn.layers.GlobalAveragePooling1D()(x, mask=np.array([[True, True, False]]))
    array([[2.]], dtype=float32)
    """

    supports_masking = True

    @property
    def rounds_as_numpy(self) -> bool:
        return self.data_format != "channels_last" or self.rounds_results

    @quietly
    def call(self, inputs: Array, mask: ArrayLike | None = None) -> Array:
        self.checked_shape(inputs.shape)
        axis, count = self.steps_axis, np.asarray(inputs.shape[self.steps_axis], inputs.dtype)
        if mask is not None:
            keep = checked_mask(mask, len(inputs), inputs.shape[axis])
            keep = np.expand_dims(keep, 3 - axis)
            inputs = np.where(keep, inputs, inputs.dtype.type(0))
            count = keep.sum(axis, dtype=inputs.dtype, keepdims=self.keepdims)
        return self.returned(inputs.sum(axis, keepdims=self.keepdims) / count)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        if mask is not None and self.data_format != "channels_last":
            raise NotLoweredError("it has a mask, and its timesteps are the last axis")
        x = self.lowered_input(lowering, inputs)
        return self.lowered(lowering, "average", x, lowering.mask(mask, x))

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


@objects.register("keras.layers")
class GlobalMaxPooling1D(_Global):
    """The largest value over the timesteps. It ignores masks, and passes none on.

    Parameters
    ----------
    data_format, keepdims, **kwargs
        As in `GlobalAveragePooling1D`. A call raises ValueError for inputs without timesteps.
    """

    def call(self, inputs: Array) -> Array:
        self.checked_shape(inputs.shape)
        if not inputs.shape[self.steps_axis]:
            raise ValueError(f"inputs of {self.name!r} must have at least one timestep, got shape {inputs.shape}")
        return self.returned(inputs.max(self.steps_axis, keepdims=self.keepdims))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        return self.lowered(lowering, "max", self.lowered_input(lowering, inputs))


class _Windows(_OverTime):
    """Base of layers that compute one value of each window."""

    def __init__(
        self,
        pool_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.pool_size = checked_sizes("pool_size", pool_size, 1)
        self.strides = checked_sizes("strides", pool_size if strides is None else strides, 1)
        if padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid' or 'same', got {padding!r}")
        self.padding = padding

    def windows(self, inputs: Array, fill: float) -> Array:
        """The inputs by window: a last axis of `pool_size`, with `fill` where a window reaches over an end."""
        axis, (size,), (stride,) = self.steps_axis, self.pool_size, self.strides
        count, timesteps = self.compute_output_shape(inputs.shape)[axis] or 0, inputs.shape[axis]
        size = min(size, 3 * timesteps + 2)  # from there on, all windows hold all timesteps: what is filled up is small
        missing = max(0, (count - 1) * stride + size - timesteps) if count else size
        ends = [(0, 0)] * 3
        ends[axis] = (missing // 2, missing - missing // 2)
        padded = np.pad(inputs, ends, constant_values=fill) if missing else inputs
        found = sliding_window_view(padded, size, axis=axis)
        return found[:, ::stride][:, :count] if axis == 1 else found[:, :, ::stride][:, :, :count]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = list(self.checked_shape(input_shape))
        timesteps, (size,), (stride,) = shape[self.steps_axis], self.pool_size, self.strides
        if timesteps is not None:
            same = self.padding == "same"
            if timesteps < size and not same:
                raise ValueError(
                    f"inputs of {self.name!r} must have at least pool_size {size} timesteps, "
                    f"got shape {tuple(input_shape)}"
                )
            shape[self.steps_axis] = -(-timesteps // stride) if same else (timesteps - size) // stride + 1
        return tuple(shape)

    def lowered(self, lowering: Lowering, name: str, inputs: Symbolic) -> Value:
        """Add the op of this name."""
        (size,), (stride,), padded = self.pool_size, self.strides, self.padding == "same"
        lowering.check_timesteps(size, stride)
        x = self.lowered_input(lowering, inputs)
        windows = {"add": stride - 1, "size": stride} if padded else {"size": size}
        timeline = lowering.timeline(x.timeline, **windows, stride=stride)
        timesteps = lowering.shape_after(self, inputs)[self.steps_axis]
        out = lowering.buffer((x.shape[0], timesteps, x.shape[2]), timeline)
        lowering.program.pool(name, x.view, out.view, size, stride, padded=padded)
        return out if self.data_format == "channels_last" else lowering.transposed(out, (0, 2, 1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "padding": self.padding,
            "strides": list(self.strides),
            "data_format": self.data_format,
        }


@objects.register("keras.layers")
class MaxPooling1D(_Windows):
    """The largest value in each window.

    Parameters
    ----------
    pool_size, strides, padding, data_format, **kwargs
        As in `AveragePooling1D`.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)

    def call(self, inputs: Array) -> Array:
        return self.returned(self.windows(inputs, -np.inf).max(-1))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        return self.lowered(lowering, "max", inputs)


@objects.register("keras.layers")
class AveragePooling1D(_Windows):
    """The mean of each window of timesteps. It ignores masks, and passes none on.

    Parameters
    ----------
    pool_size : int
        The timesteps of a window.
    strides : int, optional
        The timesteps from window to window, default `pool_size`.
    padding : {"valid", "same"}
        With "valid" all windows are within the inputs. With "same" the output has ceil(timesteps / strides) windows;
        padding is left out of the mean.
    data_format : {"channels_last", "channels_first"}, optional
        Whether the timesteps are the second axis or the last one.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it for fewer timesteps than a window of padding "valid" has.
    """

    @quietly
    def call(self, inputs: Array) -> Array:
        totals = self.windows(inputs, 0).sum(-1)
        return self.returned(totals / self.windows(np.ones_like(inputs), 0).sum(-1))

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op."""
        return self.lowered(lowering, "average", inputs)


# Keras' other names
AvgPool1D, MaxPool1D = AveragePooling1D, MaxPooling1D
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D
