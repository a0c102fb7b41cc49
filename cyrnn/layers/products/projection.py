"""Projection: the products inside of MultiHeadAttention, each a layer with weights of its own, as in Keras."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyrnn import activations, constraints, initializers, objects, regularizers
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array, Shape, checked_sizes, known_axis
from cyrnn.layers.base.engine_layer import applied
from cyrnn.layers.base.programs.derivatives import Slope
from cyrnn.layers.base.programs.penalties import activity_of
from cyrnn.layers.base.weights import Weight, WeightSpec
from cyrnn.layers.products.numpy_layer import Forward, Held, NumpyLayer, OfWeights


@objects.register("cyrnn.layers.products")  # in no config: the layer around it makes it
class Projection(NumpyLayer):
    """``activation(x . kernel + bias)``, summed over the last axes of x: (batch, timesteps, ...) -> (..., *units).

    Parameters
    ----------
    summed : int
        How many axes are summed over.
    units : tuple of int, optional
        The last axes of the output; None for one that is as long as the layer around says when it is built.
    activation : str or callable, optional
        Default None: linear.
    **options
        Those of the weights, as of a `Dense`; and arguments of `Layer`.
    """

    kernel = Weight()
    bias = Weight()

    def __init__(
        self,
        summed: int,
        units: Sequence[int] | None,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.summed = summed
        self.units = None if units is None else checked_sizes("units", tuple(units), len(tuple(units)))
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        begins = len(input_shape) - self.summed
        given = [known_axis(self.name, input_shape, axis) for axis in range(begins, len(input_shape))]
        units = self.units or ()
        make: Callable[..., Any] = self.kernel_initializer
        if isinstance(make, initializers.VarianceScaling) and make.input_axes is None:
            make = _over_axes(make, range(self.summed), range(self.summed, self.summed + len(units)))
        regularized = (self.kernel_regularizer, self.kernel_constraint)
        kernel = WeightSpec("kernel", (*given, *units), make, *regularized)
        bias = WeightSpec("bias", units, self.bias_initializer, self.bias_regularizer, self.bias_constraint)
        return [kernel, bias] if self.use_bias else [kernel]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return (*tuple(input_shape)[: len(input_shape) - self.summed], *(self.units or ()))

    def call(self, inputs: Array) -> Any:
        return self.outputs(inputs, None, False)

    @quietly
    def forward(self, inputs: Array, held: Held, mask: Any, training: bool, **options: Any) -> Forward:
        kernel, bias = held[self]["kernel"], held[self].get("bias")
        units, outer = kernel.shape[self.summed :], inputs.shape[: inputs.ndim - self.summed]
        if inputs.shape[len(outer) :] != kernel.shape[: self.summed]:
            raise ValueError(
                f"inputs of {self.name!r} must have the shape (batch, timesteps, "
                f"{', '.join(map(str, kernel.shape[: self.summed]))}), got {inputs.shape}"
            )
        matrix = kernel.reshape(int(np.prod(kernel.shape[: self.summed])), int(np.prod(units)))
        rows = inputs.reshape(int(np.prod(outer)), len(matrix))
        products = rows @ matrix
        sums = products if bias is None else products + bias.reshape(-1)
        outputs = applied(self.activation, sums)
        activity = activity_of(self, outputs.reshape(*outer, *units))

        @quietly
        def back(gradients: list[Array], losses: bool) -> tuple[list[Array], OfWeights]:
            (gradient,) = activity.added_to(gradients) if losses and activity is not None else gradients
            slope = Slope(self.name, self.activation)
            of = sums if slope.of_sums else outputs
            d_sums = slope.back(of, np.asarray(gradient).reshape(of.shape))
            found: OfWeights = {(self, "kernel"): (rows.T @ d_sums).reshape(kernel.shape)}
            if bias is not None:
                found[self, "bias"] = d_sums.sum(axis=0).reshape(bias.shape)
            return [(d_sums @ matrix.T).reshape(inputs.shape)], found

        return Forward(outputs.reshape(*outer, *units), back)


def _over_axes(initializer: Any, inputs: range, outputs: range) -> Any:
    """The initializer for a kernel of which these axes are the features and the units."""
    config = {**initializer.get_config(), "input_axes": list(inputs), "output_axes": list(outputs)}
    return type(initializer).from_config(config)
