"""The operations of Keras that can be ops: those that compute masks, as models of Keras 3 hold them.

There the mask of an Embedding is ``not_equal(tokens, 0)``, that of a Masking ``any(not_equal(x, value), axis=-1)``.
"""

from typing import Any

from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Compared, Outside, Symbolic, Value
from cyrnn.layers.base.symbolic import Operation

KNOWN = ("NotEqual", "Any")


def lower_operation(lowering: Lowering, operation: Operation, args: Any) -> Symbolic:
    """The mask that an operation computes. Raises NotLoweredError for other operations, and other arguments."""
    if operation.class_name == "NotEqual" and len(args) == 2 and not operation.options:
        x, number = args
        if isinstance(x, (Value, Outside)) and type(number) in (int, float):
            rank = len(lowering.shape_of(x))
            if rank == 2 and number == 0 and isinstance(x, Outside) and not x.is_mask:
                return lowering.nonzero(x)
            if rank == 3:
                return Compared(x, float(number))
    if operation.class_name == "Any" and len(args) == 1 and isinstance(args[0], Compared):
        along_features = operation.options.get("axis") in (-1, 2, (-1,), (2,))
        if along_features and not operation.options.get("keepdims"):
            return lowering.masking(args[0].value, args[0].number)[1]
    raise NotLoweredError(f"the engine has no op for the operation {operation.class_name} of these arguments")
