"""GatedCell: what LSTMCell and GRUCell have beyond SimpleRNNCell."""

from collections.abc import Mapping
from typing import Any, ClassVar

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

    def __init__(self, units: int, *, recurrent_activation: Any, implementation: Any = 2, **options: Any) -> None:
        super().__init__(units, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.implementation = 1 if self.recurrent_dropout > 0 else implementation

    @property
    def functions(self) -> tuple[Any, ...]:
        return self.activation, self.recurrent_activation

    @property
    def input_masks(self) -> int:
        return self.gates if self.implementation == 1 else 1

    @property
    def recurrent_masks(self) -> int:
        return self.gates

    def _draw(self, rate: float, shape: tuple[int, ...], count: int) -> Any:
        return None if rate == 1.0 else super()._draw(rate, shape, count)  # as Keras has it for these cells

    def planned(self, weights: Mapping[str, Array]) -> Plan:
        activation, gates = [activations.engine_name(function) or "linear" for function in self.functions]
        bias = weights.get("bias")
        return Plan(
            weights["kernel"],
            weights["recurrent_kernel"],
            None if bias is None else bias.reshape(-1),
            activation,
            cell=self.engine_cell,
            recurrent_activation=gates,
        )

    def own_config(self) -> dict[str, Any]:
        own = super().own_config()
        gates = {"recurrent_activation": activations.serialize(self.recurrent_activation)}
        return {"units": own.pop("units"), "activation": own.pop("activation"), **gates, **own}
