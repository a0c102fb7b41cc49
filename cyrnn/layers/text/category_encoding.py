"""CategoryEncoding. Reference: ``keras.layers.CategoryEncoding``, Keras 3."""

from collections.abc import Sequence
from typing import Any, Unpack

from cyrnn import objects
from cyrnn.arrays import to_numpy
from cyrnn.layers.around.core import checked_size
from cyrnn.layers.base.arguments import Array, Shape, as_array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.text.categorical import Categorical
from cyrnn.layers.text.encoding import checked_mode, encoded, encoded_shape, refuse_sparse
from cyrnn.layers.text.hashing import integers


@objects.register("keras.layers")
class CategoryEncoding(Categorical):
    """Integers from 0 to `num_tokens` - 1 as which of them occur, or how often.

    A call also takes `count_weights`, of the shape of the inputs: how much each of them counts, with "count".

    Parameters
    ----------
    num_tokens : int
        How many categories there are.
    output_mode : {"multi_hot", "one_hot", "count"}
        "one_hot" adds an axis of `num_tokens`, or takes a last axis of length 1 for it. "multi_hot" and "count" have in
        the place of the last axis which integers occur along it, or how often.
    sparse : bool
        Only False is supported.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it for other integers.

    Examples
    --------
    >>> cyrnn.layers.CategoryEncoding(4, output_mode="count")([[0, 1, 1], [3, 2, 0]])
    array([[1., 2., 0., 0.],
           [1., 0., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        refuse_sparse(sparse)
        super().__init__(**kwargs)
        self.output_mode = checked_mode(output_mode, ("count", "one_hot", "multi_hot"))
        if num_tokens is None:
            raise ValueError("num_tokens must be given; an IntegerLookup needs no such number")
        self.num_tokens = checked_size("num_tokens", num_tokens)

    def checked_inputs(self, inputs: Any) -> Array:
        return integers("inputs", inputs)

    def call(self, inputs: Array, count_weights: Any = None) -> Array:
        if inputs.size and not (inputs.min() >= 0 and inputs.max() < self.num_tokens):
            raise ValueError(
                f"inputs of {self.name!r} must be integers from 0 to num_tokens - 1, {self.num_tokens - 1}, "
                f"got {inputs.min()} to {inputs.max()}"
            )
        weights = None
        if count_weights is not None:
            if self.output_mode != "count":
                raise ValueError(f"count_weights must not be given with output_mode {self.output_mode!r}, but 'count'")
            weights = as_array("count_weights", to_numpy("count_weights", count_weights))
            if weights.shape != inputs.shape:
                raise ValueError(f"count_weights must have the shape {inputs.shape} of inputs, got {weights.shape}")
        return self.returned(encoded(self.name, inputs, self.output_mode, self.num_tokens, weights))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return encoded_shape(self.name, input_shape, self.output_mode, self.num_tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}
