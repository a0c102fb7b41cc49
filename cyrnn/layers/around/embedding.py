"""Embedding: rows of a table by index. Reference: ``keras.layers.Embedding``, Keras 3."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import constraints, initializers, notices, objects, regularizers
from cyrnn.arrays import converted
from cyrnn.engine.plan import Packed, Table
from cyrnn.layers.around.core import checked_size, refuse_lora, refuse_quantization
from cyrnn.layers.base import operations
from cyrnn.layers.base.arguments import Array, Shape, as_array
from cyrnn.layers.base.config import EmbeddingOptions
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.values import Deferred, Symbolic, Value
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.base.weights import Weight, WeightSpec

if TYPE_CHECKING:  # imported where a model is trained
    from cyrnn.engine.training import Refill


@objects.register("keras.layers")
class Embedding(ProgramLayer):
    """Rows of a table by index: integers of any shape -> floats of that shape plus (output_dim,).

    Its weight, once built, is `embeddings` (input_dim, output_dim). A call raises ValueError for an index outside
    0 ... input_dim-1, and for NaN; fractions of indices are cut off.

    Parameters
    ----------
    input_dim : int
        The number of rows.
    output_dim : int
        The length of a row.
    embeddings_initializer, embeddings_regularizer, embeddings_constraint
        Those of the table: a name, config, or callable.
    mask_zero : bool
        Whether index 0 is masked for the layers after this one.
    weights : array or list of one array, optional
        The table (input_dim, output_dim).
    lora_rank, lora_alpha : optional
        Only None is supported.
    **kwargs
        `input_length`, which has no effect, as in Keras 3; and arguments of `Layer`: `name`, `dtype`, `trainable`,
        `activity_regularizer`.

    Raises
    ------
    ValueError
        Unless both sizes are positive integers, and `weights` have their shape.

    Examples
    --------
    >>> embedding = cyrnn.layers.Embedding(10, 4, mask_zero=True)
    >>> embedding(np.array([[3, 7, 0]])).shape
    (1, 3, 4)
    >>> embedding.compute_mask(np.array([[3, 7, 0]]))
    array([[ True,  True, False]])
    """

    embeddings = Weight()

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **kwargs: Unpack[EmbeddingOptions],
    ) -> None:
        refuse_lora(lora_rank, lora_alpha)
        refuse_quantization(kwargs)
        if kwargs.pop("input_length", None) is not None:
            notices.warn("Embedding: input_length is deprecated and has no effect: leave it out")
        super().__init__(**kwargs)
        self.input_dim = checked_size("input_dim", input_dim)
        self.output_dim = checked_size("output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = self.supports_masking = bool(mask_zero)
        if weights is not None:
            self.build((None,))
            self.set_weights(weights if isinstance(weights, (list, tuple)) else [weights])

    def build(self, input_shape: Sequence[int | None] | None = None, *others: Any) -> None:
        """Create the table, of which no axis depends on the shape of the input."""
        super().build((None,) if input_shape is None else input_shape)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        return [
            WeightSpec(
                "embeddings",
                (self.input_dim, self.output_dim),
                self.embeddings_initializer,
                self.embeddings_regularizer,
                self.embeddings_constraint,
            )
        ]

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        indices = as_array("inputs", inputs)
        if indices.dtype.kind in "iu":
            return indices
        self.check_range(indices)  # of NaN each kind of processor makes another integer
        return converted(indices, np.int64)

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        self.check_range(inputs)
        return self.returned(self.embeddings[inputs])

    def check_range(self, indices: Array) -> None:
        """Raises ValueError for an index outside of the table, without its fraction if it has one; and for NaN."""
        if indices.size and not (indices.min() > -1 and indices.max() < self.input_dim):
            raise ValueError(
                f"inputs of {self.name!r} must be indices from 0 to {self.input_dim - 1}, "
                f"got {indices.min()} to {indices.max()}"
            )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where the index is not 0, with `mask_zero`; else None."""
        if isinstance(inputs, KerasTensor) and self.mask_zero:
            return operations.applied("NotEqual", inputs, 0)
        return np.asarray(inputs) != 0 if self.mask_zero else None

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op; the tokens must be an input of the program."""
        lowering.shape_of(inputs, 2 if self.mask_zero else None, "batch, timesteps")
        tokens = lowering.tokens(inputs, self)
        out = lowering.buffer((*tokens.shape, self.output_dim), tokens.timeline)
        lowering.program.embedding(lowering.slot(self), tokens.view, out.view)
        return out

    def make_ready(self) -> None:
        """Make the table in the slot ready for programs, if it is not."""
        values = self._slot.values
        if self._slot.packed is None:
            self._slot.pack(values, self.own_packed())

    def own_packed(self) -> Table:
        """The table made ready for one owner, who may change it."""
        table = self._slot.values["embeddings"]
        narrow = table.dtype.itemsize < 4  # which the engine has no tables of
        return Table(converted(table, self.dtype_policy.engine_dtype) if narrow else table)

    def refill(self, packed: Packed, places: Mapping[str, Array]) -> "Refill":
        """How such a table follows flat weights: see `EngineLayer.refill`."""
        from cyrnn.engine.training import Refill

        return Refill(packed, places["embeddings"])

    def lower_mask(self, lowering: Lowering, inputs: Symbolic, mask: Any) -> Deferred | None:
        """Where the token is not 0; the op is added if something reads it."""
        return lowering.nonzero(inputs, self) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        base = super().get_config()
        return {
            **{key: base[key] for key in ("name", "trainable", "dtype")},
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        }
