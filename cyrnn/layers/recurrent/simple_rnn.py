"""SimpleRNN: an RNN over a SimpleRNNCell, with the arguments of both.

Reference: ``keras.layers.SimpleRNN``, Keras 3.
"""

from typing import Any, Unpack

from cyrnn import objects
from cyrnn.layers.base.config import RecurrentOptions
from cyrnn.layers.recurrent.cell_layer import CellLayer
from cyrnn.layers.recurrent.simple_rnn_cell import SimpleRNNCell


@objects.register("keras.layers")
class SimpleRNN(CellLayer):
    """A simple recurrent layer: `SimpleRNNCell`'s arguments, then `RNN`'s, in Keras' order.

    Called as an `RNN`: ``layer(sequences, initial_state=None, mask=None, training=False)`` with sequences (batch,
    timesteps, features). The cell's arguments and weights are attributes of the layer too: `layer.units`,
    `layer.kernel`, ... Unlike Keras 3, the layer keeps `activity_regularizer`, and `seed` is in its config.

    Parameters
    ----------
    units : int
        The width of the output and of the states.
    activation : str, callable or None, default "tanh"
        The activation of the output; None is linear.
    use_bias : bool, default True
        Whether a bias is added.
    kernel_initializer : str, dict or Initializer, default "glorot_uniform"
        What the weights for the inputs begin as.
    recurrent_initializer : str, dict or Initializer, default "orthogonal"
        What the weights for the states begin as.
    bias_initializer : str, dict or Initializer, default "zeros"
        What the bias begins as.
    kernel_regularizer : str, dict or Regularizer, optional
        A penalty on the weights for the inputs.
    recurrent_regularizer : str, dict or Regularizer, optional
        A penalty on the weights for the states.
    bias_regularizer : str, dict or Regularizer, optional
        A penalty on the bias.
    activity_regularizer : str, dict or Regularizer, optional
        A penalty on the output.
    kernel_constraint : str, dict or Constraint, optional
        What the weights for the inputs are projected by, after each step of training.
    recurrent_constraint : str, dict or Constraint, optional
        What the weights for the states are projected by.
    bias_constraint : str, dict or Constraint, optional
        What the bias is projected by.
    dropout : float, default 0.0
        The share of inputs that is dropped in training, the same ones at all timesteps.
    recurrent_dropout : float, default 0.0
        The share of the state that is dropped in training, the same elements at all timesteps.
    return_sequences : bool, default False
        Whether the outputs of all timesteps are returned, (batch, timesteps, units), or the last one, (batch,
        units).
    return_state : bool, default False
        Whether the final states are returned after the output.
    go_backwards : bool, default False
        Whether the timesteps are taken from the last one to the first.
    stateful : bool, default False
        Whether a call begins with the states that the last call has ended with.
    unroll : bool, default False
        Accepted as in Keras; changes nothing.
    seed : int, optional
        Of what is drawn.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Examples
    --------
    >>> layer = cyrnn.layers.SimpleRNN(4, return_sequences=True, return_state=True)
    >>> outputs, state = layer(np.zeros((2, 5, 3)))
    >>> outputs.shape, state.shape
    ((2, 5, 4), (2, 4))
    """

    cell_class = SimpleRNNCell

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Unpack[RecurrentOptions],
    ) -> None:
        cell = self._new_cell(
            units,
            kwargs,
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
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
