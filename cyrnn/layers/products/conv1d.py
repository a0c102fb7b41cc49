"""Conv1D: a convolution over timesteps. Reference: Keras 3."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cyrnn import activations, constraints, initializers, objects, regularizers
from cyrnn.arrays import quietly, shown
from cyrnn.layers.around.core import checked_size, refuse_lora
from cyrnn.layers.base.arguments import Array, Shape, checked_axes, checked_data_format, checked_sizes, known_axis
from cyrnn.layers.base.config import CommonOptions
from cyrnn.layers.base.engine_layer import applied
from cyrnn.layers.base.programs.derivatives import Slope
from cyrnn.layers.base.weights import Weight, WeightSpec
from cyrnn.layers.products.numpy_layer import Forward, Held, NumpyLayer, OfWeights

_AXES = "batch, timesteps, features"
_PADDINGS = ("valid", "same", "causal")


@objects.register("keras.layers", "Convolution1D")
class Conv1D(NumpyLayer):
    """A convolution over timesteps: (batch, timesteps, features) -> (batch, new timesteps, filters).

    ``y[t] = activation(sum over k of x[t * strides + k * dilation_rate] . kernel[k] + bias)``. Its weights, once built,
    are `kernel` (kernel_size, features / groups, filters) and `bias` (filters,), which is None without a bias. It
    ignores masks, and passes none on.

    Parameters
    ----------
    filters : int
        The length of the last axis of the output.
    kernel_size : int
        The timesteps of a window.
    strides : int
        The timesteps from window to window.
    padding : {"valid", "same", "causal"}
        With "valid" all windows are within the inputs. With "same" and "causal" the output has
        ceil(timesteps / strides) timesteps; zeros are added at both ends, or, for "causal", before the first timestep,
        so that no output depends on later inputs.
    data_format : {"channels_last"}, optional
        The order of the axes; "channels_first" is refused.
    dilation_rate : int
        The timesteps between those of a window.
    groups : int
        The features and the filters are divided into so many parts, which know nothing of each other.
    activation : str or callable, optional
        Default None: linear.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        Those of the weights: a name, config, or callable.
    activity_regularizer : str, dict or callable, optional
        The penalty on the output, in `losses`.
    lora_rank, lora_alpha
        Only None is supported.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        For other arguments, and for strides and a dilation above 1 together. A call raises it for fewer timesteps than
        a window of padding "valid" has.

    Examples
    --------
    >>> cyrnn.layers.Conv1D(4, 3, padding="causal")(np.zeros((2, 9, 5), "float32")).shape
    (2, 9, 4)
    """

    kernel = Weight()
    bias = Weight()

    _made_from: ClassVar = {**NumpyLayer._made_from, "activation": activations.get}

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **kwargs: Unpack[CommonOptions],
    ) -> None:
        refuse_lora(lora_rank, lora_alpha)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = checked_size("filters", filters)
        self.kernel_size = checked_sizes("kernel_size", kernel_size, 1)
        self.strides = checked_sizes("strides", strides, 1)
        self.dilation_rate = checked_sizes("dilation_rate", dilation_rate, 1)
        if self.strides[0] > 1 and self.dilation_rate[0] > 1:
            raise ValueError(
                f"strides and dilation_rate must not both be above 1, got {self.strides[0]} and {self.dilation_rate[0]}"
            )
        self.padding = padding.lower() if isinstance(padding, str) else padding
        if self.padding not in _PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(map(repr, _PADDINGS))}, got {shown(padding)}")
        self.data_format = checked_data_format(data_format)
        if self.data_format != "channels_last":
            raise ValueError(
                "data_format 'channels_first' is not supported by Conv1D: put the features last, with "
                "Permute((2, 1)) before and after it"
            )
        self.groups = checked_size("groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"filters must be a multiple of groups, got {self.filters} and {self.groups}")
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    @property
    def reach(self) -> int:
        """The timesteps from the first of a window to its last, both counted."""
        return (self.kernel_size[0] - 1) * self.dilation_rate[0] + 1

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        self.compute_output_shape(input_shape)  # raises where the shape does not fit
        features = known_axis(self.name, input_shape, -1)
        if features % self.groups:
            raise ValueError(
                f"inputs of {self.name!r} must have a number of features that is a multiple of groups {self.groups}, "
                f"got shape {input_shape}"
            )
        shape = (*self.kernel_size, features // self.groups, self.filters)
        regularized = (self.kernel_regularizer, self.kernel_constraint)
        kernel = WeightSpec("kernel", shape, self.kernel_initializer, *regularized)
        bias = WeightSpec("bias", (self.filters,), self.bias_initializer, self.bias_regularizer, self.bias_constraint)
        return [kernel, bias] if self.use_bias else [kernel]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, timesteps, _ = checked_axes(self.name, tuple(input_shape), _AXES)
        if timesteps is None:
            return (batch, None, self.filters)
        if self.padding == "valid" and timesteps < self.reach:
            raise ValueError(
                f"inputs of {self.name!r} must have at least the {self.reach} timesteps of a window, "
                f"got shape {tuple(input_shape)}"
            )
        begins = timesteps - self.reach + 1 if self.padding == "valid" else timesteps
        return (batch, -(-begins // self.strides[0]), self.filters)

    def call(self, inputs: Array) -> Any:
        return self.outputs(inputs, None, False)

    def forward(self, inputs: Array, held: Held, mask: Any, training: bool, **options: Any) -> Forward:
        kernel, bias = held[self]["kernel"], held[self].get("bias")
        _, inner, filters = kernel.shape
        if inputs.ndim != 3 or inputs.shape[2] != inner * self.groups:
            raise ValueError(
                f"inputs of {self.name!r} must have shape (batch, timesteps, {inner * self.groups}), got {inputs.shape}"
            )
        rows, sums = self._sums(inputs, kernel, bias)
        outputs = applied(self.activation, sums)

        def back(gradients: list[Array], losses: bool) -> tuple[list[Array], OfWeights]:
            slope = Slope(self.name, self.activation)
            of = (sums if slope.of_sums else outputs).reshape(-1, filters)
            d_sums = slope.back(of, gradients[0].reshape(of.shape))
            d_inputs, d_kernel = self._gradients(d_sums, rows, kernel, inputs.shape)
            found: OfWeights = {(self, "kernel"): d_kernel}
            return [d_inputs], found if bias is None else {**found, (self, "bias"): d_sums.sum(axis=0)}

        return Forward(outputs, back)

    @quietly
    def _sums(self, inputs: Array, kernel: Array, bias: Array | None) -> tuple[Array, Array]:
        """The windows as rows, see `_windows`; and what the activation is applied to."""
        batch, windows = inputs.shape[0], self.compute_output_shape(inputs.shape)[1] or 0
        before, after = self._added(inputs.shape[1], windows)
        padded = np.pad(inputs, ((0, 0), (before, after), (0, 0))) if before or after else inputs
        rows = self._windows(padded, windows)
        products = (rows @ _by_group(kernel, self.groups)).transpose(1, 0, 2).reshape(batch, windows, self.filters)
        return rows, products if bias is None else products + bias

    @quietly
    def _gradients(self, d_sums: Array, rows: Array, kernel: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Those of the inputs, of this shape, and of the kernel; `d_sums` is (batch * windows, filters)."""
        (size, inner, filters), groups, (batch, timesteps, _) = kernel.shape, self.groups, shape
        windows = self.compute_output_shape(shape)[1] or 0
        by_group = d_sums.reshape(len(d_sums), groups, filters // groups).transpose(1, 0, 2)
        d_kernel = (rows.transpose(0, 2, 1) @ by_group).reshape(groups, size, inner, filters // groups)
        d_rows = by_group @ _by_group(kernel, groups).transpose(0, 2, 1)
        before, after = self._added(timesteps, windows)
        padded = (batch, timesteps + before + after, inner * groups)
        d_padded = self._spread(d_rows.reshape(groups, batch, windows, size, inner), padded)
        return d_padded[:, before : before + timesteps], d_kernel.transpose(1, 2, 0, 3).reshape(kernel.shape)

    def _added(self, timesteps: int, windows: int) -> tuple[int, int]:
        """How many timesteps of zeros are added before and after the inputs."""
        if self.padding == "valid" or not windows:
            return 0, 0
        if self.padding == "causal":
            return self.reach - 1, 0
        missing = max(0, (windows - 1) * self.strides[0] + self.reach - timesteps)
        return missing // 2, missing - missing // 2

    def _windows(self, padded: Array, windows: int) -> Array:
        """Each window as a row of each group: (groups, batch * windows, size * inner)."""
        (size,), (stride,), (dilation,) = self.kernel_size, self.strides, self.dilation_rate
        batch, features = len(padded), padded.shape[2]
        inner = features // self.groups
        if not windows:
            return np.zeros((self.groups, 0, size * inner), padded.dtype)
        found = sliding_window_view(padded, self.reach, axis=1)[:, ::stride, :, ::dilation][:, :windows]
        parts = found.reshape(batch, windows, self.groups, inner, size).transpose(2, 0, 1, 4, 3)
        return parts.reshape(self.groups, batch * windows, size * inner)

    def _spread(self, d_rows: Array, shape: tuple[int, ...]) -> Array:
        """The gradient of the padded inputs: the sum of those of the windows that each timestep is in."""
        (stride,), (dilation,) = self.strides, self.dilation_rate
        groups, batch, windows, size, inner = d_rows.shape
        found = np.zeros(shape, d_rows.dtype)
        by_place = found.reshape(batch, shape[1], groups, inner)
        for k in range(size if windows else 0):
            begin = k * dilation
            by_place[:, begin : begin + (windows - 1) * stride + 1 : stride] += d_rows[:, :, :, k].transpose(1, 2, 0, 3)
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


def _by_group(kernel: Array, groups: int) -> Array:
    """A kernel (size, inner, filters) as a matrix for each group: (groups, size * inner, filters / groups)."""
    size, inner, filters = kernel.shape
    parts = kernel.reshape(size, inner, groups, filters // groups).transpose(2, 0, 1, 3)
    return parts.reshape(groups, size * inner, filters // groups)


Convolution1D = Conv1D  # Keras' other name
