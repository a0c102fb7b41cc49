"""Attention and AdditiveAttention. Reference: Keras 3."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn import initializers, objects, random
from cyrnn.arrays import quietly, shown, to_numpy
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, Shape, as_array, checked_axes, checked_rate, is_true
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.base.weights import Weight, WeightSpec
from cyrnn.layers.products.numpy_layer import Forward, Held, NumpyLayer, OfWeights
from cyrnn.layers.products.softmax import softmax, softmax_back

_AXES = "batch, timesteps, features"
_MASKED = 1e9  # what is subtracted from the score of a timestep that is masked
_BLOCK = 1 << 20  # elements of sums of queries and keys that are in memory at a time

# Scores (batch, queries, keys); and a function from their gradients to those of queries, keys, and of weights by name.
Scored = tuple[Array, Callable[[Array], tuple[Array, Array, dict[str, Array]]]]


@objects.register("keras.layers")
class Attention(NumpyLayer):
    """Sums of values, weighted by how well their keys fit a query: Luong-style attention.

    A call takes a list [query, value] or [query, value, key] of arrays (batch, timesteps, features), whose features are
    the same for query and key; without a key it is the value. ``softmax(scores) . value`` is returned, (batch, query's
    timesteps, value's features), where scores are ``query . key^T``. Masked timesteps of the value get no weight, and
    the output is 0 where the query is masked, whose mask is passed on.

    A call also takes `mask`, a list with the masks of query and value; `return_attention_scores`, with which it returns
    a tuple of the output and the weights (batch, query's timesteps, value's timesteps); and `use_causal_mask`, with
    which no timestep of the query gets values of later ones.

    Parameters
    ----------
    use_scale : bool
        Whether the scores are multiplied by a weight, `scale`.
    score_mode : {"dot", "concat"}
        "concat" makes scores of ``concat_score_weight * sum(tanh(scale * (query + key)))``.
    dropout : float
        The share of weights that are 0 in training.
    seed : int, optional
        That of the dropout.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it for inputs and masks that do not fit each other.

    Examples
    --------
    >>> query, value = np.ones((2, 3, 4)), np.ones((2, 5, 4))
    >>> cyrnn.layers.Attention()([query, value]).shape
    (2, 3, 4)
    """

    supports_masking = True
    takes_one_input = False
    options_with_gradients: ClassVar[frozenset[str]] = frozenset({"return_attention_scores", "use_causal_mask"})
    scale = Weight()
    concat_score_weight = Weight()

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"score_mode must be 'dot' or 'concat', got {shown(score_mode)}")
        self.use_scale, self.score_mode = bool(use_scale), score_mode
        self.dropout = checked_rate("dropout", dropout)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)

    def weight_specs(self, input_shape: Any) -> list[WeightSpec]:
        self._checked_shapes(input_shape)
        ones = initializers.get("ones")
        scale = [WeightSpec("scale", (), ones)] if self.use_scale else []
        return scale + ([WeightSpec("concat_score_weight", (), ones)] if self.score_mode == "concat" else [])

    # ------------------------------------------------------------ arguments

    def checked_inputs(self, inputs: Any) -> Any:
        self._check_count("inputs", inputs)
        return [self.cast(as_array(f"inputs[{n}]", part)) for n, part in enumerate(inputs)]

    def _check_count(self, name: str, parts: Any) -> None:
        if not isinstance(parts, (list, tuple)) or not 2 <= len(parts) <= 3:
            got = f"{len(parts)} of them" if isinstance(parts, (list, tuple)) else type(parts).__name__
            raise ValueError(f"{name} of {self.name!r} must be a list [query, value] or [query, value, key], got {got}")

    def check_input_count(self, shapes: Any) -> None:
        self._check_count("inputs", shapes)

    def _checked_shapes(self, shapes: Any) -> list[Shape]:
        """The shapes of query, value and key. Raises ValueError where they do not fit each other."""
        self._check_count("inputs", shapes)
        if nest.is_shape(shapes):
            raise ValueError(f"layer {self.name!r} takes a query and a value, got the one shape {tuple(shapes)}")
        query, value, *rest = (checked_axes(self.name, tuple(shape), _AXES) for shape in shapes)
        key = rest[0] if rest else value
        same = [(query[2], key[2]), (value[1], key[1]), (query[0], value[0]), (query[0], key[0])]
        if any(None not in pair and pair[0] != pair[1] for pair in same):
            raise ValueError(
                f"inputs of {self.name!r} must have the same batch, the same features of query and key, and the same "
                f"timesteps of value and key; got {list(shapes)}"
            )
        return [query, value, key]

    def _masks(self, mask: Any, shapes: Sequence[Shape]) -> list[Array | None]:
        """The masks of query and value as bool arrays. Raises ValueError."""
        if mask is None:
            return [None, None]
        self._check_count("mask", mask)
        found: list[Array | None] = []
        for name, part, shape in zip(("query", "value"), mask, shapes, strict=False):
            keep = None if part is None else to_numpy("mask", part)
            if keep is not None and keep.shape != shape[:2]:
                raise ValueError(
                    f"the mask of the {name} of {self.name!r} must have shape {shape[:2]}, got {keep.shape}"
                )
            found.append(None if keep is None else keep.astype(bool, copy=False))
        return found

    # ------------------------------------------------------------ calls

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        options = {"return_attention_scores": return_attention_scores, "use_causal_mask": use_causal_mask}
        return self.outputs(inputs, mask, training, **options)

    @quietly
    def forward(self, inputs: Any, held: Held, mask: Any, training: bool, **options: Any) -> Forward:
        self._checked_shapes([part.shape for part in inputs])
        query, value, key = (*inputs, inputs[1])[:3]
        keep_query, keep_value = self._masks(mask, [query.shape, value.shape])
        scores, scores_back = self.scored(query, key, held[self])
        keep = None if keep_value is None else keep_value[:, None]
        if is_true("use_causal_mask", options.get("use_causal_mask")):
            causal = np.tri(*scores.shape[1:])[None] > 0
            keep = causal if keep is None else keep & causal
        masked = scores if keep is None else np.where(keep, scores, scores - scores.dtype.type(_MASKED))
        shares = softmax(masked)
        factors = None
        if training and self.dropout:
            factors = random.dropout_mask(shares.shape, self.dropout, self.seed_generator, shares.dtype)
        weights = shares if factors is None else shares * factors
        sums = weights @ value
        outputs = sums if keep_query is None else np.where(keep_query[:, :, None], sums, sums.dtype.type(0))
        returns_scores = is_true("return_attention_scores", options.get("return_attention_scores"))

        @quietly
        def back(gradients: list[Array], losses: bool) -> tuple[list[Array], OfWeights]:
            d = gradients[0] if keep_query is None else np.where(keep_query[:, :, None], gradients[0], 0)
            d_weights = d @ value.transpose(0, 2, 1) + (gradients[1] if returns_scores else 0)
            d_scores = softmax_back(shares, d_weights if factors is None else d_weights * factors)
            d_query, d_key, of_weights = scores_back(d_scores)
            d_value = weights.transpose(0, 2, 1) @ d
            of_inputs = [d_query, d_value, d_key] if len(inputs) == 3 else [d_query, d_value + d_key]
            return of_inputs, {(self, name): gradient for name, gradient in of_weights.items()}

        return Forward((outputs, weights) if returns_scores else outputs, back)

    def scored(self, query: Array, key: Array, weights: Any) -> Scored:
        """The scores of keys for queries, and the way back from them."""
        scale = weights["scale"] if self.use_scale else query.dtype.type(1)
        if self.score_mode == "concat":
            names = ("concat_score_weight", "scale" if self.use_scale else "")
            return _added(query, key, weights["concat_score_weight"], scale, names)
        products = query @ key.transpose(0, 2, 1)

        def back(d: Array) -> tuple[Array, Array, dict[str, Array]]:
            scaled = d * scale
            of_scale = {"scale": np.asarray(np.sum(d * products))} if self.use_scale else {}
            return scaled @ key, scaled.transpose(0, 2, 1) @ query, of_scale

        return products * scale, back

    # ------------------------------------------------------------ shapes, masks, config

    def compute_output_shape(self, input_shape: Any) -> Shape:
        query, value, _ = self._checked_shapes(input_shape)
        return (*query[:-1], value[-1])

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shapes = symbolic.shapes_of(inputs)
        query, _, key = self._checked_shapes(shapes)
        self._build_symbolically(shapes)
        dtype = self.output_dtype.name
        outputs = KerasTensor(self.compute_output_shape(shapes), dtype)
        if not kwargs.get("return_attention_scores"):
            return outputs
        return outputs, KerasTensor((*query[:-1], key[-2]), dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the query."""
        if mask is None:
            return None
        self._check_count("mask", mask)
        return mask[0]

    def described(self) -> dict[str, Any]:
        return {"parameters": self.count_params()} if self.built else {"built": False}

    def get_config(self) -> dict[str, Any]:
        own = {"use_scale": self.use_scale, "score_mode": self.score_mode, "dropout": self.dropout, "seed": self.seed}
        return {**super().get_config(), **own}


@objects.register("keras.layers")
class AdditiveAttention(Attention):
    """Attention whose scores are ``sum(scale * tanh(query + key))``: Bahdanau-style attention.

    Called as `Attention`.

    Parameters
    ----------
    use_scale : bool
        Whether there is a weight `scale` (features,); else it is 1.
    dropout : float
        The share of weights that are 0 in training.
    **kwargs
        `seed`, and arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def weight_specs(self, input_shape: Any) -> list[WeightSpec]:
        features = self._checked_shapes(input_shape)[0][2]
        if features is None:
            raise ValueError(f"layer {self.name!r} needs to know the features of its inputs, got {list(input_shape)}")
        return [WeightSpec("scale", (features,), initializers.get("glorot_uniform"))] if self.use_scale else []

    def scored(self, query: Array, key: Array, weights: Any) -> Scored:
        one = query.dtype.type(1)
        return _added(
            query, key, weights["scale"] if self.use_scale else one, one, ("scale" if self.use_scale else "", "")
        )

    def get_config(self) -> dict[str, Any]:
        return {key: value for key, value in super().get_config().items() if key != "score_mode"}


def _added(query: Array, key: Array, vector: Any, scale: Any, names: tuple[str, str]) -> Scored:
    """``sum(vector * tanh(scale * (query + key)))`` over the features, for each pair of a query and a key.

    `names` are those of the weights that `vector` and `scale` are, "" for what is none.
    """
    batch, queries, features = query.shape
    keys = key.shape[1]
    scores = np.empty((batch, queries, keys), query.dtype)
    step = max(1, _BLOCK // max(1, keys * features))
    blocks = [(row, slice(n, n + step)) for row in range(batch) for n in range(0, queries, step)]

    def angles(row: int, rows: slice) -> Array:
        return query[row, rows, None] + key[row, None]

    for row, rows in blocks:
        scores[row, rows] = np.sum(np.tanh(angles(row, rows) * scale) * vector, axis=-1)

    def back(d: Array) -> tuple[Array, Array, dict[str, Array]]:
        d_query, d_key = np.zeros_like(query), np.zeros_like(key)
        d_vector, d_scale = np.zeros_like(np.asarray(vector)), np.zeros_like(np.asarray(scale))
        for row, rows in blocks:
            sums = angles(row, rows)
            tanh, of_scores = np.tanh(sums * scale), d[row, rows, :, None]
            of_angles = of_scores * vector * (1 - tanh * tanh)
            d_scale = d_scale + np.sum(of_angles * sums)
            of_vector = of_scores * tanh
            d_vector = d_vector + (of_vector.sum() if d_vector.ndim == 0 else of_vector.sum(axis=(0, 1)))
            d_query[row, rows] = np.sum(of_angles, axis=1) * scale
            d_key[row] += np.sum(of_angles, axis=0) * scale
        found = {names[0]: d_vector, names[1]: d_scale}
        return d_query, d_key, {name: np.asarray(gradient) for name, gradient in found.items() if name}

    return scores, back
