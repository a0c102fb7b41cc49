"""LSTM: an RNN over an LSTMCell, with the arguments of both.

Reference: ``keras.layers.LSTM``, Keras 3.
"""

from typing import Any, Unpack

from cyrnn import objects
from cyrnn.layers.base.config import GatedOptions
from cyrnn.layers.recurrent.cell_layer import GatedLayer
from cyrnn.layers.recurrent.lstm_cell import LSTMCell


@objects.register("keras.layers", "CuDNNLSTM")
class LSTM(GatedLayer):
    """A long short-term memory: `LSTMCell`'s arguments, then `RNN`'s, in Keras' order.

    Called as an `RNN`: ``layer(sequences, initial_state=None, mask=None, training=False)`` with sequences (batch,
    timesteps, features); its states are h and c. The cell's arguments and weights are attributes of the layer too:
    `layer.units`, `layer.kernel`, ... `use_cudnn` and `implementation` are accepted as in Keras; no GPU is used.

    Parameters
    ----------
    units : int
        The width of the output and of the states.
    activation : str, callable or None, default "tanh"
        The activation of the output; None is linear.
    recurrent_activation : str, callable or None, default "sigmoid"
        The activation of the gates.
    use_bias : bool, default True
        Whether a bias is added.
    kernel_initializer : str, dict or Initializer, default "glorot_uniform"
        What the weights for the inputs begin as.
    recurrent_initializer : str, dict or Initializer, default "orthogonal"
        What the weights for the states begin as.
    bias_initializer : str, dict or Initializer, default "zeros"
        What the bias begins as.
    unit_forget_bias : bool, default True
        Whether 1 is added to the initial bias of the forget gate.
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
    seed : int, optional
        Of what is drawn.
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
    use_cudnn : str or bool, default "auto"
        Accepted as in Keras; changes nothing.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Examples
    --------
    >>> layer = cyrnn.layers.LSTM(4, return_state=True)
    >>> output, h, c = layer(np.zeros((2, 5, 3)))
    >>> output.shape, h.shape, c.shape
    ((2, 4), (2, 4), (2, 4))
    """

    cell_class = LSTMCell

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
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
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
