"""GatedCell: what LSTMCell and GRUCell have beyond SimpleRNNCell."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations
from cyrnn.engine.plan import Plan
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell


class GatedCell(RecurrentCell):
    """A cell with a recurrent activation for its gates.

    Parameters
    ----------
    recurrent_activation : name or callable on arrays (batch, units); None is linear
    implementation : int
        Where it is 1, or h is dropped, each gate has dropout factors of its own, as in Keras; it changes nothing else.
    """

    _made_from: ClassVar = {**RecurrentCell._made_from, "recurrent_activation": activations.get}

    _inputs_name: ClassVar[str] = "inputs"  # in Keras SimpleRNNCell alone has another name

    def __init__(self, units: int, *, recurrent_activation: Any, implementation: Any = 2, **options: Any) -> None:
        super().__init__(units, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.implementation = 1 if self.recurrent_dropout > 0 else implementation

    def __call__(self, inputs: ArrayLike, states: Any, training: bool = False) -> tuple[Array, Any]:
        return RecurrentCell.__call__(self, inputs, states, training)  # super() takes a twentieth of a step

    @property
    def functions(self) -> tuple[Any, ...]:
        return self.activation, self.recurrent_activation

    @property
    def planned_with(self) -> tuple[Any, ...]:
        return *self.functions, self.drops_each_gate

    @property
    def input_masks(self) -> int:
        return self.gates if self.implementation == 1 else 1

    @property
    def recurrent_masks(self) -> int:
        return self.gates

    def _draw(self, rate: float, shape: tuple[int, ...], count: int) -> Any:
        return None if rate == 1.0 else super()._draw(rate, shape, count)  # as Keras has it for these cells

    def planned(self, weights: Mapping[str, Array], precision: str) -> Plan:
        activation, gates = [activations.engine_name(function) or "linear" for function in self.functions]
        bias = weights.get("bias")
        return Plan(
            weights["kernel"],
            weights["recurrent_kernel"],
            None if bias is None else bias.reshape(-1),
            activation,
            cell=self.engine_cell,
            recurrent_activation=gates,
            parts=(1,) * self.gates if self.drops_each_gate else (),
            precision=precision,
        )

    # ------------------------------------------------------------ weights of older files

    @property
    def cudnn_bias_shape(self) -> tuple[int, ...] | None:
        """The shape of the bias of a CuDNNLSTM or CuDNNGRU, by which a file tells that it is one; None if a cell of
        these options cannot be."""
        return (2 * self.gates * self.units,) if self.use_bias else None

    def weights_of_cudnn(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights that those of a CuDNN layer are here: of each gate it has the transposed matrix."""
        kernels = {}
        for name in ("kernel", "recurrent_kernel"):
            gates = np.split(weights[name], self.gates, axis=1)
            kernels[name] = np.concatenate([gate.reshape(gate.shape[::-1]).T for gate in gates], axis=1)
        return {**kernels, "bias": self.bias_of_both(weights["bias"].reshape(2, -1))}

    def bias_of_both(self, biases: Array) -> Array:
        """The bias, of those of the inputs and of h, (2, gates units)."""
        return biases.sum(axis=0)

    keras_1_gates: ClassVar[tuple[int, ...]]  # the places of its gates among the gates of Keras 1

    def weights_of_keras_1(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """The weights that the arrays of Keras 1 are: for each gate a kernel, a recurrent kernel and a bias."""
        names = ("kernel", "recurrent_kernel", "bias")
        return {
            name: np.concatenate([arrays[3 * gate + place] for gate in self.keras_1_gates], axis=-1)
            for place, name in enumerate(names)
        }

    # ------------------------------------------------------------ config

    def own_config(self) -> dict[str, Any]:
        own = super().own_config()
        gates = {"recurrent_activation": activations.serialize(self.recurrent_activation)}
        return {"units": own.pop("units"), "activation": own.pop("activation"), **gates, **own}
