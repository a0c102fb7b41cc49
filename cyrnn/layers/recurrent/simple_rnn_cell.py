"""SimpleRNNCell: one step of Keras' simple recurrent network.

    h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias)

Reference: ``keras.layers.SimpleRNNCell``, Keras 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.recurrent.equations import Applied, Product, WayBack
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell


@objects.register("keras.layers")
class SimpleRNNCell(RecurrentCell):
    """One step: ``cell(sequence, states, training=False) -> (output, new_states)``.

    A call takes sequence (batch, features), one step of the input, and states (batch, units), or a list or tuple that
    holds it. It returns the output (batch, units) and the new state in the form it came: the array, or a list with it.

    Parameters
    ----------
    units : int
        The width of output and state, positive.
    activation : str, callable or None, default "tanh"
        A name, or a function on arrays (batch, units); None is linear.
    use_bias : bool, default True
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict, Initializer, callable, array or None
        What the weights begin as; a callable takes (shape, dtype).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, dict, Regularizer or callable, optional
        Their penalties are in `losses`.
    kernel_constraint, recurrent_constraint, bias_constraint : str, dict, Constraint or callable, optional
        What `apply_constraints()`, and each step of training, projects the weights by.
    dropout, recurrent_dropout : float, default 0.0
        The share of the inputs, and of the state, that is dropped in training.
    seed : int, optional
        Of the dropout masks.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`.

    Attributes
    ----------
    kernel : array (features, units)
    recurrent_kernel : array (units, units)
    bias : array (units,) or None

    Raises
    ------
    ValueError
        An argument is out of range. A call raises it for wrong shapes.
    TypeError
        A call gets arrays that are not of numbers.

    Examples
    --------
    >>> cell = cyrnn.layers.SimpleRNNCell(4)
    >>> output, [state] = cell(np.zeros((2, 3)), cell.get_initial_state(batch_size=2))
    >>> output.shape, state.shape
    ((2, 4), (2, 4))
    """

    gates = 1
    _seeded_first = True

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
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
        seed: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            units,
            activation=activation,
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

    def step_in_python(self, x: Array, states: list[Array], factors: Sequence[Any]) -> Any:
        return self.activated(self.run_program(self._program, x, *states, *factors))

    @quietly
    def stepped(
        self, weights: Mapping[str, Array], x: Array, states: list[Array], factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        of_x = Product(x, weights["kernel"], factors[0])
        of_h = Product(states[0], weights["recurrent_kernel"], factors[1])
        output = Applied(self, self.activation, of_x.sums() + of_h.sums() + weights.get("bias", 0))

        h = output.of
        del output.of  # the way back does not read it

        def back(d_states: Sequence[Array]) -> tuple[Array, list[Array], dict[str, Array]]:
            d_sums = output.back(d_states[0])
            d_x, d_kernel = of_x.back(d_sums)
            d_h, d_recurrent_kernel = of_h.back(d_sums)
            of_weights = {"kernel": d_kernel, "recurrent_kernel": d_recurrent_kernel, "bias": d_sums.sum(axis=0)}
            return d_x, [d_h], of_weights

        return [h], back
