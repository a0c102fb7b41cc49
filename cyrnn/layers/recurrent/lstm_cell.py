"""LSTMCell: one step of Keras' long short-term memory.

    i, f, o = recurrent_activation(sums),  g = activation(sums),  of  sums = x . kernel + h . recurrent_kernel + bias
    c' = f c + i g,   h' = o activation(c')

Reference: ``keras.layers.LSTMCell``, Keras 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from cyrnn import initializers, objects
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.recurrent.equations import Applied, Product, WayBack
from cyrnn.layers.recurrent.gated_cell import GatedCell


@objects.register("keras.layers")
class LSTMCell(GatedCell):
    """One step: ``cell(inputs, states, training=False) -> (h, [h, c])``.

    A call takes inputs (batch, features), one step of the input, and states, a list or tuple of h and c (batch,
    units) each, or both in one array (2, batch, units). It returns the output and a list of the new h and c.

    Parameters
    ----------
    units : int
        The width of output and states, positive.
    activation, recurrent_activation : str, callable or None, default "tanh" and "sigmoid"
        Names, or functions on arrays (batch, units): of the candidate and of c on its way out, and of the gates; None
        is linear.
    use_bias : bool, default True
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict, Initializer, callable, array or None
        What the weights begin as; a callable takes (shape, dtype).
    unit_forget_bias : bool, default True
        Whether the bias of the forget gate begins with ones; the others as `bias_initializer` says.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, dict, Regularizer or callable, optional
        Their penalties are in `losses`.
    kernel_constraint, recurrent_constraint, bias_constraint : str, dict, Constraint or callable, optional
        What `apply_constraints()`, and each step of training, projects the weights by.
    dropout, recurrent_dropout : float, default 0.0
        The share of the inputs, and of h, that is dropped in training; 1 drops nothing, as in Keras. Where h is dropped
        each gate has factors of its own.
    seed : int, optional
        Of the dropout masks.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`; and `implementation`, of which 1 gives each gate dropout
        factors of its own.

    Attributes
    ----------
    kernel : array (features, 4 units)
        The columns of the input gate, the forget gate, the candidate and the output gate.
    recurrent_kernel : array (units, 4 units)
    bias : array (4 units,) or None

    Raises
    ------
    ValueError
        An argument is out of range. A call raises it for wrong shapes.
    TypeError
        A call gets arrays that are not of numbers.

    Examples
    --------
    >>> cell = cyrnn.layers.LSTMCell(4)
    >>> output, [h, c] = cell(np.zeros((2, 3)), cell.get_initial_state(batch_size=2))
    >>> output.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4
    state_count = 2
    engine_cell = "lstm"
    keras_1_gates = (0, 2, 1, 3)  # it has the candidate second

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            **kwargs,
        )
        self.unit_forget_bias = bool(unit_forget_bias)

    def _initial_value(self, spec: Any) -> Any:
        if spec.name != "bias" or not self.unit_forget_bias:
            return super()._initial_value(spec)
        own, forget, others = (spec._replace(shape=(count * self.units,)) for count in (1, 1, 2))
        begin, ones = super()._initial_value(own), initializers.Ones()(forget.shape, self.dtype_policy.variable_dtype)
        return np.concatenate([begin, ones, super()._initial_value(others)])

    @quietly
    def stepped(
        self, weights: Mapping[str, Array], x: Array, states: list[Array], factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        h, c = states
        of_x = Product(x, weights["kernel"], factors[0])
        of_h = Product(h, weights["recurrent_kernel"], factors[1])
        sums = np.split(of_x.sums() + of_h.sums() + weights.get("bias", 0), 4, axis=1)
        i, f, o = (Applied(self, self.recurrent_activation, sums[gate]) for gate in (0, 1, 3))
        g = Applied(self, self.activation, sums[2])
        new_c = f.of * c + i.of * g.of
        shown = Applied(self, self.activation, new_c)

        def back(d_states: Sequence[Array]) -> tuple[Array, list[Array], dict[str, Array]]:
            d_h, d_c = d_states
            d_c = d_c + shown.back(d_h * o.of)
            d_sums = np.concatenate(
                [i.back(d_c * g.of), f.back(d_c * c), g.back(d_c * i.of), o.back(d_h * shown.of)], axis=1
            )
            d_x, d_kernel = of_x.back(d_sums)
            d_before, d_recurrent_kernel = of_h.back(d_sums)
            of_weights = {"kernel": d_kernel, "recurrent_kernel": d_recurrent_kernel, "bias": d_sums.sum(axis=0)}
            return d_x, [d_before, d_c * f.of], of_weights

        return [o.of * shown.of, new_c], back

    def own_config(self) -> dict[str, Any]:
        own = super().own_config()
        keys = list(own)
        after = keys.index("bias_initializer") + 1
        keys[after:after] = ["unit_forget_bias"]
        return {key: own.get(key, self.unit_forget_bias) for key in keys}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        keys = [key for key in config if key != "unit_forget_bias"]
        after = keys.index("use_bias") + 1
        return {key: config[key] for key in [*keys[:after], "unit_forget_bias", *keys[after:]]}
