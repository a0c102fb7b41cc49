"""GRU: an RNN over a GRUCell, with the arguments of both.

Reference: ``keras.layers.GRU``, Keras 3.
"""

from typing import Any, Unpack

from cyrnn import objects
from cyrnn.layers.base.config import GatedOptions
from cyrnn.layers.recurrent.cell_layer import GatedLayer
from cyrnn.layers.recurrent.gru_cell import GRUCell


@objects.register("keras.layers", "CuDNNGRU")
class GRU(GatedLayer):
    """A gated recurrent unit: `GRUCell`'s arguments, then `RNN`'s, in Keras' order.

    Called as an `RNN`: ``layer(sequences, initial_state=None, mask=None, training=False)`` with sequences (batch,
    timesteps, features). The cell's arguments and weights are attributes of the layer too: `layer.units`,
    `layer.kernel`, ... `use_cudnn` and `implementation` are accepted as in Keras; no GPU is used.
    """

    cell_class = GRUCell

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        **kwargs: Unpack[GatedOptions],
    ) -> None:
        cell = self._new_cell(
            units,
            kwargs,
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
            reset_after=reset_after,
            seed=seed,
            implementation=kwargs.pop("implementation", 2),
        )
        super().__init__(
            cell,
            use_cudnn=use_cudnn,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
