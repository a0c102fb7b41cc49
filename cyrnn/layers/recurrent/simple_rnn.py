"""SimpleRNN: an RNN over a SimpleRNNCell, with the arguments of both.

Reference: ``keras.layers.SimpleRNN``, Keras 3.
"""

import inspect
from typing import Any

from cyrnn import objects, regularizers
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent.rnn import RNN
from cyrnn.layers.recurrent.simple_rnn_cell import SimpleRNNCell


@objects.register("keras.layers")
class SimpleRNN(RNN):
    """A simple recurrent layer: `SimpleRNNCell`'s arguments, then `RNN`'s, in Keras' order.

    Called as an `RNN`: ``layer(sequences, initial_state=None, mask=None, training=False)`` with sequences (batch,
    timesteps, features). The cell's arguments and weights are attributes of the layer too: `layer.units`,
    `layer.kernel`, ... Unlike Keras 3, the layer keeps `activity_regularizer`, and `seed` is in its config.
    """

    units: int
    activation: Any
    use_bias: bool
    dropout: float
    recurrent_dropout: float
    seed: int | None
    kernel: Any
    recurrent_kernel: Any
    bias: Any

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
        **kwargs: Any,
    ) -> None:
        cell = SimpleRNNCell(
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
            name="simple_rnn_cell",
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
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

    def get_config(self) -> dict[str, Any]:
        own = self.cell.own_config()
        constraints = {key: own.pop(key) for key in list(own) if key.endswith("_constraint")}
        dropouts = {key: own.pop(key) for key in list(own) if key.endswith("dropout")}
        activity = {"activity_regularizer": regularizers.serialize(self.activity_regularizer)}
        base = {k: v for k, v in Layer.get_config(self).items() if k not in activity}
        return {**base, **self.own_config(), **own, **activity, **constraints, **dropouts, "seed": self.cell.seed}


def _of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's `{name}`.")


def _weight_of_cell(name: str) -> property:
    return property(
        lambda self: getattr(self.cell, name),
        lambda self, value: setattr(self.cell, name, value),
        doc=f"The cell's `{name}`: a read-only array, or None before the layer is built; assignable.",
    )


for _name in set(inspect.signature(SimpleRNNCell).parameters) - {"kwargs"}:
    setattr(SimpleRNN, _name, _of_cell(_name))
for _name in ("kernel", "recurrent_kernel", "bias"):
    setattr(SimpleRNN, _name, _weight_of_cell(_name))
