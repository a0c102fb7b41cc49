"""MultiHeadAttention. Reference: Keras 3."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn import constraints, initializers, objects, random, regularizers
from cyrnn.arrays import quietly, shown, to_numpy
from cyrnn.layers.around.core import checked_size
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import (
    Array,
    Shape,
    as_array,
    checked_axes,
    checked_rate,
    checked_sizes,
    is_true,
    known_axis,
)
from cyrnn.layers.base.config import CommonOptions
from cyrnn.layers.base.memory import owned
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.products.numpy_layer import Forward, Held, NumpyLayer, OfWeights
from cyrnn.layers.products.projection import Projection
from cyrnn.layers.products.softmax import softmax, softmax_back

_AXES = "batch, timesteps, features"
_NAMES = ("query", "value", "key")
_MASKED = -2.37e38  # the score of a timestep that is masked, as Keras has it on TensorFlow
_OPTIONS = ("attention_mask", "return_attention_scores", "use_causal_mask")


@objects.register("keras.layers")
class MultiHeadAttention(NumpyLayer):
    """Attention of several heads, each of which compares projections of queries and keys.

    Called as ``layer(query, value, key=None, attention_mask=None, return_attention_scores=False, training=False,
    use_causal_mask=False)`` with arrays (batch, timesteps, features). Key and value have the same timesteps; without a
    key it is the value. It returns (batch, query's timesteps, features of the query or `output_shape`); with
    `return_attention_scores` also the weights (batch, num_heads, query's timesteps, value's timesteps). Where the
    arrays have masks, no query gets values of masked timesteps, and the mask of the query is passed on. These are
    `query_mask`, `value_mask` and `key_mask` of a call with arrays. A query that gets no values at all gets their mean;
    or zeros, as in Keras, if the layer has a dropout or returns the weights.

    Parameters
    ----------
    num_heads : int
    key_dim : int
        The length of each head's query and key.
    value_dim : int, optional
        That of its value, default `key_dim`.
    dropout : float
        The share of weights that are 0 in training.
    use_bias : bool
        Whether the projections have biases.
    output_shape : int or tuple of int, optional
        The last axes of the output; default: the features of the query.
    attention_axes : int or tuple of int, optional
        Only the axis of the timesteps, 1, is supported.
    sliding_window : int, optional
        A query gets values of timesteps nearer than this only.
    flash_attention : bool, optional
        Only None and False are supported.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        Those of the projections' weights: a name, config, or callable.
    activity_regularizer : str, dict or callable, optional
        The penalty on what each projection returns, in `losses`.
    use_gate : bool
        Whether what the heads return is multiplied by the sigmoid of a projection of the query.
    seed : int, optional
        That of the dropout.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it for inputs and masks that do not fit each other.

    Examples
    --------
    >>> x = np.ones((2, 3, 4))
    >>> cyrnn.layers.MultiHeadAttention(num_heads=2, key_dim=5)(x, x, use_causal_mask=True).shape
    (2, 3, 4)
    """

    supports_masking = True
    masks_by_argument: ClassVar[tuple[str, ...]] = _NAMES
    options_with_gradients: ClassVar[frozenset[str]] = frozenset(_OPTIONS)
    _gate_dense: Projection | None = None

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.key_dim = checked_size("num_heads", num_heads), checked_size("key_dim", key_dim)
        self.value_dim = self.key_dim if value_dim is None else checked_size("value_dim", value_dim)
        self.dropout = checked_rate("dropout", dropout)
        self.use_bias, self.use_gate = bool(use_bias), bool(use_gate)
        self.units = _checked_units(output_shape)
        self.attention_axes = attention_axes
        if attention_axes is not None and checked_sizes("attention_axes", attention_axes, 1) != (1,):
            raise ValueError(f"attention_axes must be None or 1, the axis of timesteps, got {shown(attention_axes)}")
        self.sliding_window = None if sliding_window is None else checked_size("sliding_window", sliding_window)
        if flash_attention:
            raise ValueError("flash_attention is not supported on a CPU: it must be None or False")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.penalty = regularizers.get(activity_regularizer)  # of the projections
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)
        heads = self.num_heads
        self.query_dense = self._projection("query", (heads, self.key_dim))
        self.key_dense = self._projection("key", (heads, self.key_dim))
        if self.use_gate:
            self._gate_dense = self._projection("gate", (heads, self.value_dim), activation="sigmoid")
        self.value_dense = self._projection("value", (heads, self.value_dim))
        self.output_dense = self._projection("attention_output", self.units, summed=2)

    def _projection(
        self, name: str, units: Sequence[int] | None, summed: int = 1, activation: Any = None
    ) -> Projection:
        return Projection(
            summed,
            units,
            activation,
            self.use_bias,
            _anew(self.kernel_initializer),
            _anew(self.bias_initializer),
            self.kernel_regularizer,
            self.bias_regularizer,
            self.kernel_constraint,
            self.bias_constraint,
            activity_regularizer=self.penalty,
            name=name,
            dtype=self.dtype_policy,
            trainable=self.trainable,
        )

    # ------------------------------------------------------------ arguments

    def inputs_of_call(self, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        named = {**dict(zip(_NAMES, args, strict=False)), **{key: options[key] for key in _NAMES if key in options}}
        return [named[name] for name in _NAMES if named.get(name) is not None]

    def checked_inputs(self, inputs: Any) -> Any:
        """Arrays for query, value and perhaps key. Raises ValueError and TypeError."""
        if not isinstance(inputs, (list, tuple)) or not 2 <= len(inputs) <= 3:
            got = f"{len(inputs)} of them" if isinstance(inputs, (list, tuple)) else type(inputs).__name__
            raise ValueError(f"inputs of {self.name!r} must be query, value and perhaps key, got {got}")
        return [self.cast(as_array(name, part)) for name, part in zip(_NAMES, inputs, strict=False)]

    def _checked_shapes(self, shapes: Any) -> list[Shape]:
        """The shapes of query, value and key. Raises ValueError where they do not fit each other."""
        if nest.is_shape(shapes) or not isinstance(shapes, (list, tuple)) or not 2 <= len(shapes) <= 3:
            raise ValueError(f"layer {self.name!r} takes a query and a value, got the shapes {shown(shapes)}")
        query, value, *rest = (checked_axes(self.name, tuple(shape), _AXES) for shape in shapes)
        key = rest[0] if rest else value
        same = [(value[1], key[1]), (query[0], value[0]), (query[0], key[0])]
        if any(None not in pair and pair[0] != pair[1] for pair in same):
            raise ValueError(
                f"query, value and key of {self.name!r} must have the same batch, and value and key the same "
                f"timesteps; got {list(shapes)}"
            )
        return [query, value, key]

    def sublayer_shapes(self, input_shape: Any) -> list[Shape]:
        query, value, key = self._checked_shapes(input_shape)
        if self.output_dense.units is None:
            self.output_dense.units = (known_axis(self.name, query, -1),)
        between = (*query[:2], self.num_heads, self.value_dim)
        return [query, key, *([query] if self.use_gate else []), value, between]

    def get_build_config(self) -> dict[str, Any] | None:
        if self._build_shape is None:
            return None
        shapes: Any = self._build_shape
        return {"shapes_dict": {f"{name}_shape": list(s) for name, s in zip(_NAMES, shapes, strict=False)}}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        shapes = config.get("shapes_dict")
        if isinstance(shapes, Mapping) and {"query_shape", "value_shape"} <= shapes.keys():
            found = [shapes[f"{name}_shape"] for name in _NAMES if shapes.get(f"{name}_shape") is not None]
            self.build(found)

    # ------------------------------------------------------------ calls

    def __call__(self, query: Any, value: Any, key: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Call the layer; see its class for the arguments."""
        if symbolic.among(query, value, key, options):
            return symbolic.call(self, (query, value), {"key": key, **options})
        parts = [part for part in (query, value, key) if part is not None]
        return owned(self.inner_call(query, value, key, **options), parts, self.runs_custom_code)

    def inner_call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        options = {name: kwargs.pop(name) for name in _NAMES if name in kwargs}
        x = self.checked_inputs(self.inputs_of_call((inputs, *args), options))
        if not self.built:
            self.build(symbolic.shapes_of(x))
        return self.call(*x, **kwargs)

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        inputs = [query, value] if key is None else [query, value, key]
        masks = [query_mask, value_mask, key_mask]
        options = (attention_mask, return_attention_scores, use_causal_mask)
        return self.outputs(inputs, masks, training, **dict(zip(_OPTIONS, options, strict=True)))

    @quietly
    def forward(self, inputs: Any, held: Held, mask: Any, training: bool, **options: Any) -> Forward:
        self._checked_shapes([part.shape for part in inputs])
        query, value, key = (*inputs, inputs[1])[:3]
        keep = self._keep(query.shape, value.shape, mask, options)
        dense = {"query": self.query_dense, "key": self.key_dense, "value": self.value_dense}
        parts = {"query": query, "key": key, "value": value}
        if self._gate_dense is not None:
            dense["gate"], parts["gate"] = self._gate_dense, query
        found = {name: layer.forward(parts[name], held, None, training) for name, layer in dense.items()}
        q, k, v = (found[name].outputs.transpose(0, 2, 1, 3) for name in ("query", "key", "value"))
        scale = q.dtype.type(1 / math.sqrt(self.key_dim))
        scores = (q * scale) @ k.transpose(0, 1, 3, 2)  # (batch, heads, query's timesteps, value's timesteps)
        shares = softmax(scores if keep is None else np.where(keep, scores, scores.dtype.type(_MASKED)))
        returns_scores = is_true("return_attention_scores", options.get("return_attention_scores"))
        if keep is not None and (returns_scores or self.dropout):  # as Keras: the shares of no timesteps are 0 then
            shares = np.where(keep, shares, shares.dtype.type(0))
        factors = None
        if training and self.dropout:
            factors = random.dropout_mask(shares.shape, self.dropout, self.seed_generator, shares.dtype)
        weights = shares if factors is None else shares * factors
        heads = (weights @ v).transpose(0, 2, 1, 3)
        gate = found["gate"].outputs if self._gate_dense is not None else None
        last = self.output_dense.forward(heads if gate is None else heads * gate, held, None, training)

        @quietly
        def back(gradients: list[Array], losses: bool) -> tuple[list[Array], OfWeights]:
            (d_gated,), of_weights = last.back(gradients[:1], losses)
            d_heads = (d_gated if gate is None else d_gated * gate).transpose(0, 2, 1, 3)
            d_weights = d_heads @ v.transpose(0, 1, 3, 2)
            d_shares = (d_weights if factors is None else d_weights * factors) + (gradients[1] if returns_scores else 0)
            d_scores = softmax_back(shares, d_shares)
            if keep is not None:
                d_scores = np.where(keep, d_scores, d_scores.dtype.type(0))
            d_scores = d_scores * scale
            d = {"query": d_scores @ k, "key": d_scores.transpose(0, 1, 3, 2) @ q}
            d["value"] = weights.transpose(0, 1, 3, 2) @ d_heads
            d = {name: gradient.transpose(0, 2, 1, 3) for name, gradient in d.items()}
            if gate is not None:
                d["gate"] = d_gated * heads
            of_parts = {}
            for name, gradient in d.items():
                (of_parts[name],), more = found[name].back([gradient], losses)
                of_weights.update(more)
            d_query = of_parts["query"] + of_parts["gate"] if gate is not None else of_parts["query"]
            if len(inputs) == 3:
                return [d_query, of_parts["value"], of_parts["key"]], of_weights
            return [d_query, of_parts["value"] + of_parts["key"]], of_weights

        return Forward((last.outputs, shares) if returns_scores else last.outputs, back)

    def _keep(self, query: Shape, value: Shape, masks: Any, options: Mapping[str, Any]) -> Array | None:
        """Which timesteps of the value each of the query gets, as bools that broadcast to the scores; None for all."""
        batch, queries, values = query[0], query[1] or 0, value[1] or 0
        found: list[Array] = []
        for name, mask, shape in zip(_NAMES, masks or (), (query, value, value), strict=False):
            if mask is None:
                continue
            keep = to_numpy(f"{name}_mask", mask)
            if keep.shape != shape[:2]:
                raise ValueError(f"{name}_mask of {self.name!r} must have shape {shape[:2]}, got {keep.shape}")
            found.append(keep.astype(bool)[:, None, :, None] if name == "query" else keep.astype(bool)[:, None, None])
        if is_true("use_causal_mask", options.get("use_causal_mask")):
            found.append(np.tri(queries, values)[None, None] > 0)
        if self.sliding_window is not None:
            apart = np.abs(np.arange(queries)[:, None] - np.arange(values))
            found.append((apart < self.sliding_window)[None, None])
        if options.get("attention_mask") is not None:
            own = to_numpy("attention_mask", options["attention_mask"])
            while 1 < own.ndim < 4:
                own = np.expand_dims(own, -3)
            wanted = (batch, self.num_heads, queries, values)
            fits = own.ndim == 4 and all(n in (1, m) for n, m in zip(own.shape, wanted, strict=True))
            if not fits or own.dtype.kind not in "biuf":
                raise ValueError(
                    f"attention_mask of {self.name!r} must be an array that fits {wanted}, such as "
                    f"{(batch, queries, values)}, got shape {np.shape(options['attention_mask'])}"
                )
            found.append(own.astype(bool))
        if not found:
            return None
        keep = found[0]
        for more in found[1:]:
            keep = keep & more
        return keep

    # ------------------------------------------------------------ shapes, masks, config

    def compute_output_shape(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Shape:
        """The shape of the output for those of query, value and key, or for a list of them."""
        shapes = query_shape if value_shape is None else [query_shape, value_shape]
        query = self._checked_shapes(shapes if key_shape is None else [*shapes, key_shape])[0]
        return (*query[:2], *(query[2:] if self.units is None else self.units))

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shapes = symbolic.shapes_of(self.inputs_of_call((inputs, *args), kwargs))
        query, value, _ = self._checked_shapes(shapes)
        self._build_symbolically(shapes)
        dtype = self.output_dtype.name
        outputs = KerasTensor(self.compute_output_shape(shapes), dtype)
        if not kwargs.get("return_attention_scores"):
            return outputs
        return outputs, KerasTensor((query[0], self.num_heads, query[1], value[1]), dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the query."""
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def described(self) -> dict[str, Any]:
        return {"parameters": self.count_params()} if self.built else {"built": False}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "output_shape": None if self.units is None else list(self.units),
            "attention_axes": [1] if self.built or self.attention_axes is not None else None,
            "sliding_window": self.sliding_window,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.penalty),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "seed": self.seed,
        }


def _checked_units(output_shape: Any) -> tuple[int, ...] | None:
    if output_shape is None or output_shape in ((), []):
        return None
    sizes = tuple(output_shape) if isinstance(output_shape, (list, tuple)) else (output_shape,)
    return checked_sizes("output_shape", sizes, len(sizes))


def _anew(initializer: Any) -> Any:
    """An initializer of the same config, which draws numbers of its own; a function as it is."""
    return objects.begun_anew(initializer) if hasattr(initializer, "get_config") else initializer
