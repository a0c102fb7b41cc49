"""The cells in ONNX: the operator of each, the order of its gates, and what its activations, biases and states are.

To exchange another cell, add its operator to `OPERATORS`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers import GRU, LSTM, GRUCell, LSTMCell, SimpleRNN, SimpleRNNCell
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell


@dataclass(frozen=True)
class CellOperator:
    """A cell, and the operator of ONNX that runs it over sequences.

    ONNX multiplies from the left: where Keras has columns (features, gates * units), ONNX has rows (gates * units,
    features), perhaps with the gates in another order.
    """

    name: str
    layer: type
    cell: type[RecurrentCell]
    gates: tuple[int, ...]  # which of Keras' gates come one after the other in the rows
    functions: tuple[str, ...]  # which argument of the cell each of the operator's activations is
    usual: tuple[str, ...]  # what the operator calls these where a file does not name them

    @property
    def states(self) -> int:
        """How many states there are: h, and perhaps c."""
        return self.cell.state_count

    # ------------------------------------------------------------ weights

    def rows(self, columns: Array) -> Array:
        """A kernel (features, columns), or a bias (columns,), as ONNX has it."""
        blocks = np.split(columns.T, len(self.gates))
        return np.concatenate([blocks[gate] for gate in self.gates])

    def columns(self, rows: Array) -> Array:
        """What Keras has for such rows."""
        blocks = np.split(rows, len(self.gates))
        return np.concatenate([blocks[self.gates.index(gate)] for gate in range(len(self.gates))]).T

    def biases(self, cell: Any, dtype: np.dtype[Any]) -> Array:
        """Those of the inputs, then those of h: two for each row; zeros where the cell has none."""
        both = np.zeros((2, self.cell.gates * cell.units), dtype)
        if cell.bias is not None:
            both[: np.atleast_2d(cell.bias).shape[0]] = cell.bias
        return np.concatenate([self.rows(bias) for bias in both])

    def bias(self, biases: Array, options: dict[str, Any]) -> Array:
        """The bias of a cell with these options. Those that are only ever added are added in float64."""
        of_x, of_h = (self.columns(half) for half in np.split(biases, 2))
        if options.get("reset_after"):
            return np.stack([of_x, of_h])
        return (of_x.astype(np.float64) + of_h).astype(biases.dtype)

    # ------------------------------------------------------------ options

    def attributes(self, cell: Any) -> dict[str, Any]:
        """What the operator is given beside its activations and its size."""
        return {"linear_before_reset": int(cell.reset_after)} if isinstance(cell, GRUCell) else {}


OPERATORS = {
    operator.name: operator
    for operator in (
        CellOperator("RNN", SimpleRNN, SimpleRNNCell, (0,), ("activation",), ("tanh",)),
        CellOperator(
            "LSTM",
            LSTM,
            LSTMCell,
            (0, 3, 1, 2),
            ("recurrent_activation", "activation", "activation"),
            ("sigmoid", "tanh", "tanh"),
        ),
        CellOperator("GRU", GRU, GRUCell, (0, 1, 2), ("recurrent_activation", "activation"), ("sigmoid", "tanh")),
    )
}


def operator_of(cell: RecurrentCell) -> CellOperator | None:
    """The operator of a cell, None if there is none."""
    return next((operator for operator in OPERATORS.values() if isinstance(cell, operator.cell)), None)
