"""GRUCell: one step of Keras' gated recurrent unit.

    z, r = recurrent_activation(sums),   h' = z h + (1 - z) n,   and with `reset_after`
    n = activation(x . kernel_n + bias_n + r (h . recurrent_kernel_n + recurrent_bias_n)),   or without it
    n = activation(x . kernel_n + bias_n + (r h) . recurrent_kernel_n)

Reference: ``keras.layers.GRUCell``, Keras 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.recurrent.equations import Applied, Product, WayBack
from cyrnn.layers.recurrent.gated_cell import GatedCell


@objects.register("keras.layers")
class GRUCell(GatedCell):
    """One step: ``cell(inputs, states, training=False) -> (output, new_states)``.

    A call takes inputs (batch, features), one step of the input, and states (batch, units), or a list or tuple that
    holds it. It returns the output (batch, units) and the new state in the form it came: the array, or a list with it.

    Parameters
    ----------
    units : int
        The width of output and state, positive.
    activation, recurrent_activation : str, callable or None, default "tanh" and "sigmoid"
        Names, or functions on arrays (batch, units): of the candidate, and of the gates; None is linear.
    use_bias : bool, default True
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict, Initializer, callable, array or None
        What the weights begin as; a callable takes (shape, dtype).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, dict, Regularizer or callable, optional
        Their penalties are in `losses`.
    kernel_constraint, recurrent_constraint, bias_constraint : str, dict, Constraint or callable, optional
        What `apply_constraints()`, and each step of training, projects the weights by.
    dropout, recurrent_dropout : float, default 0.0
        The share of the inputs, and of h, that is dropped in training; 1 drops nothing, as in Keras. Where h is dropped
        each gate has factors of its own.
    reset_after : bool, default True
        Whether the reset gate is applied after the product with the recurrent kernel, or before.
    seed : int, optional
        Of the dropout masks.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`; and `implementation`, of which 1 gives each gate dropout
        factors of its own.

    Attributes
    ----------
    kernel : array (features, 3 units)
        The columns of the update gate, the reset gate and the candidate.
    recurrent_kernel : array (units, 3 units)
    bias : array (2, 3 units) or None
        Of the inputs and of h; without `reset_after` (3 units,).

    Raises
    ------
    ValueError
        An argument is out of range. A call raises it for wrong shapes.
    TypeError
        A call gets arrays that are not of numbers.

    Examples
    --------
    >>> cell = cyrnn.layers.GRUCell(4)
    >>> output, [state] = cell(np.zeros((2, 3)), cell.get_initial_state(batch_size=2))
    >>> output.shape, state.shape
    ((2, 4), (2, 4))
    """

    gates = 3
    keras_1_gates = (0, 1, 2)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
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
        self.reset_after = bool(reset_after)

    @property
    def engine_cell(self) -> str:  # type: ignore[override]
        return "gru" if self.reset_after else "gru_reset_before"

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    @property
    def cudnn_bias_shape(self) -> tuple[int, ...] | None:
        return super().cudnn_bias_shape if self.reset_after else None

    def bias_of_both(self, biases: Array) -> Array:
        return biases

    @quietly
    def stepped(
        self, weights: Mapping[str, Array], x: Array, states: list[Array], factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        return (
            self._reset_after(weights, x, states[0], factors)
            if self.reset_after
            else self._reset_before(weights, x, states[0], factors)
        )

    def _reset_after(
        self, weights: Mapping[str, Array], x: Array, h: Array, factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        of_x = Product(x, weights["kernel"], factors[0])
        of_h = Product(h, weights["recurrent_kernel"], factors[1])
        biases = weights.get("bias", (0, 0))
        x_z, x_r, x_n = np.split(of_x.sums() + biases[0], 3, axis=1)
        h_z, h_r, h_n = np.split(of_h.sums() + biases[1], 3, axis=1)
        z, r = (Applied(self, self.recurrent_activation, sums) for sums in (x_z + h_z, x_r + h_r))
        n = Applied(self, self.activation, x_n + r.of * h_n)

        def back(d_states: Sequence[Array]) -> tuple[Array, list[Array], dict[str, Array]]:
            d_h = d_states[0]
            d_n, d_z = n.back(d_h * (1 - z.of)), z.back(d_h * (h - n.of))
            d_r = r.back(d_n * h_n)
            d_of_x, d_of_h = (np.concatenate([d_z, d_r, d], axis=1) for d in (d_n, d_n * r.of))
            d_x, d_kernel = of_x.back(d_of_x)
            d_before, d_recurrent_kernel = of_h.back(d_of_h)
            d_bias = np.stack([d_of_x.sum(axis=0), d_of_h.sum(axis=0)])
            of_weights = {"kernel": d_kernel, "recurrent_kernel": d_recurrent_kernel, "bias": d_bias}
            return d_x, [d_h * z.of + d_before], of_weights

        return [z.of * h + (1 - z.of) * n.of], back

    def _reset_before(
        self, weights: Mapping[str, Array], x: Array, h: Array, factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        of_x, gates = Product(x, weights["kernel"], factors[0]), 2 * self.units
        kernels = weights["recurrent_kernel"][:, :gates], weights["recurrent_kernel"][:, gates:]
        *of_gates, of_candidate = factors[1] or (None, None, None)
        of_h = Product(h, kernels[0], of_gates if factors[1] else None)
        x_z, x_r, x_n = np.split(of_x.sums() + weights.get("bias", 0), 3, axis=1)
        h_z, h_r = np.split(of_h.sums(), 2, axis=1)
        z, r = (Applied(self, self.recurrent_activation, sums) for sums in (x_z + h_z, x_r + h_r))
        dropped = h if of_candidate is None else h * of_candidate
        of_reset = Product(r.of * dropped, kernels[1])
        n = Applied(self, self.activation, x_n + of_reset.sums())

        def back(d_states: Sequence[Array]) -> tuple[Array, list[Array], dict[str, Array]]:
            d_h = d_states[0]
            d_n, d_z = n.back(d_h * (1 - z.of)), z.back(d_h * (h - n.of))
            d_reset, d_candidate_kernel = of_reset.back(d_n)
            d_r = r.back(d_reset * dropped)
            d_x, d_kernel = of_x.back(np.concatenate([d_z, d_r, d_n], axis=1))
            d_before, d_gates_kernel = of_h.back(np.concatenate([d_z, d_r], axis=1))
            d_dropped = d_reset * r.of
            d_before = d_before + d_h * z.of + (d_dropped if of_candidate is None else d_dropped * of_candidate)
            of_weights = {
                "kernel": d_kernel,
                "recurrent_kernel": np.concatenate([d_gates_kernel, d_candidate_kernel], axis=1),
                "bias": np.concatenate([d_z, d_r, d_n], axis=1).sum(axis=0),
            }
            return d_x, [d_before], of_weights

        return [z.of * h + (1 - z.of) * n.of], back

    def own_config(self) -> dict[str, Any]:
        return {**super().own_config(), "reset_after": self.reset_after}
