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
