"""Attention, AdditiveAttention and MultiHeadAttention: masks, scores, gradients, models, training and files."""

import itertools

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest
from cyrnn.saving import load_model

RNG = np.random.default_rng(0)
QUERY, VALUE, KEY = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 5, 6)), RNG.standard_normal((2, 5, 4))
KEEP_QUERY = np.array([[1, 1, 0], [1, 0, 1]], bool)
KEEP_VALUE = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 1, 1]], bool)
DTYPE = {"dtype": "float64"}
LISTS = {
    "dot": lambda: layers.Attention(**DTYPE),
    "scaled": lambda: layers.Attention(use_scale=True, **DTYPE),
    "concat": lambda: layers.Attention(score_mode="concat", **DTYPE),
    "scaled concat": lambda: layers.Attention(use_scale=True, score_mode="concat", **DTYPE),
    "additive": lambda: layers.AdditiveAttention(**DTYPE),
    "additive without scale": lambda: layers.AdditiveAttention(use_scale=False, **DTYPE),
}
HEADS = {
    "two heads": {},
    "other values": {"value_dim": 2, "output_shape": (2, 3), "use_bias": False},
    "gated": {"use_gate": True},
    "a window": {"sliding_window": 2},
}


def with_weights(layer):
    layer.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in layer.get_weights()])
    return layer


def softmax(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# ------------------------------------------------------------ numbers


def test_dot_products_by_definition():
    scores = QUERY @ KEY.transpose(0, 2, 1)
    scores[~np.broadcast_to(KEEP_VALUE[:, None], scores.shape)] = -np.inf
    expected = softmax(scores) @ VALUE * KEEP_QUERY[..., None]
    got = layers.Attention(**DTYPE)([QUERY, VALUE, KEY], mask=[KEEP_QUERY, KEEP_VALUE])
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_additive_scores_by_definition_also_in_blocks(monkeypatch):
    layer = layers.AdditiveAttention(**DTYPE)
    layer.build([QUERY.shape, VALUE.shape, KEY.shape])
    sums = np.tanh(QUERY[:, :, None] + KEY[:, None]) @ layer.scale
    expected = softmax(sums)
    y, weights = layer([QUERY, VALUE, KEY], return_attention_scores=True)
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    np.testing.assert_allclose(y, expected @ VALUE, atol=1e-12)
    gradients = layer.vjp([QUERY, VALUE, KEY])[1](np.ones_like(y))
    monkeypatch.setattr("cyrnn.layers.products.attention._BLOCK", 1)
    np.testing.assert_allclose(layer([QUERY, VALUE, KEY]), y, atol=1e-14)
    again = layer.vjp([QUERY, VALUE, KEY])[1](np.ones_like(y))
    for a, b in zip([*gradients.inputs, *gradients.weights], [*again.inputs, *again.weights], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_no_timestep_sees_later_ones():
    x = RNG.standard_normal((2, 5, 4))
    changed = x.copy()
    changed[:, 3:] += 1
    for layer in (layers.Attention(), layers.MultiHeadAttention(2, 3)):
        calls = [
            layer(*([[a, a]] if isinstance(layer, layers.Attention) else [a, a]), use_causal_mask=True)
            for a in (x, changed)
        ]
        np.testing.assert_array_equal(calls[0][:, :3], calls[1][:, :3])
        assert not np.allclose(calls[0][:, 3:], calls[1][:, 3:])


def test_heads_by_definition():
    layer = layers.MultiHeadAttention(2, 3, **DTYPE)
    y, weights = layer(QUERY, VALUE, KEY, return_attention_scores=True, attention_mask=KEEP_VALUE[:, None])
    kernels = {name: getattr(layer, f"{name}_dense").kernel for name in ("query", "key", "value", "output")}
    q, k, v = (
        np.einsum("btf,fnd->bntd", part, kernels[name])
        for part, name in ((QUERY, "query"), (KEY, "key"), (VALUE, "value"))
    )
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(3)
    scores[~np.broadcast_to(KEEP_VALUE[:, None, None], scores.shape)] = -np.inf
    np.testing.assert_allclose(weights, softmax(scores), atol=1e-12)
    np.testing.assert_allclose(y, np.einsum("bntd,ndf->btf", softmax(scores) @ v, kernels["output"]), atol=1e-12)
    assert [w.shape for w in layer.weights] == [
        (4, 2, 3),
        (2, 3),
        (4, 2, 3),
        (2, 3),
        (6, 2, 3),
        (2, 3),
        (2, 3, 4),
        (4,),
    ]


# ------------------------------------------------------------ gradients


def check_derivatives(call, inputs, layer, found, dy):
    weights = layer.get_weights()

    def along(function, at, gradient):
        direction = RNG.standard_normal(at.shape)
        ends = [nest.leaves(function(at + sign * 1e-6 * direction)) for sign in (1, -1)]
        sums = [sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), end, strict=True)) for end in ends]
        assert abs((sums[0] - sums[1]) / 2e-6 - np.sum(direction * gradient)) < 1e-6

    for n, gradient in enumerate(found.inputs):
        along(lambda moved, n=n: call([*inputs[:n], moved, *inputs[n + 1 :]]), inputs[n], gradient)
    for n, gradient in enumerate(found.weights):

        def with_weight(moved, n=n):
            layer.set_weights([*weights[:n], moved, *weights[n + 1 :]])
            return call(inputs)

        along(with_weight, weights[n], gradient)
        layer.set_weights(weights)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("masked", "causal", "scores"), list(itertools.product([False, True], repeat=3)))
def test_gradients_of_attention_are_derivatives(name, masked, causal, scores):
    layer = LISTS[name]()
    inputs = [QUERY, KEY] if causal else [QUERY, VALUE, KEY]
    options = {"mask": [KEEP_QUERY, KEEP_VALUE] if masked else None}
    options |= {"use_causal_mask": causal, "return_attention_scores": scores}
    layer.build([part.shape for part in inputs])
    with_weights(layer)
    y, pullback = layer.vjp(inputs, **options)
    for a, b in zip(nest.leaves(y), nest.leaves(layer(inputs, **options)), strict=True):
        np.testing.assert_array_equal(a, b)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    check_derivatives(lambda parts: layer(parts, **options), inputs, layer, pullback(dy), dy)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("masked", "causal", "scores"), list(itertools.product([False, True], repeat=3)))
def test_gradients_of_heads_are_derivatives(name, masked, causal, scores):
    layer = layers.MultiHeadAttention(2, 3, **HEADS[name], **DTYPE)
    inputs = [QUERY, KEY] if causal else [QUERY, VALUE, KEY]
    masks = [KEEP_QUERY, KEEP_VALUE] if masked else None
    options = {"use_causal_mask": causal, "return_attention_scores": scores}
    layer.build([part.shape for part in inputs])
    with_weights(layer)

    def call(parts):
        named = dict(zip(("query_mask", "value_mask"), masks or (), strict=False))
        return layer(*parts, **named, **options)

    y, pullback = layer.vjp(inputs, mask=masks, **options)
    for a, b in zip(nest.leaves(y), nest.leaves(call(inputs)), strict=True):
        np.testing.assert_array_equal(a, b)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    check_derivatives(call, inputs, layer, pullback(dy), dy)


def test_dropout_goes_back_as_it_came():
    for layer, args in (
        (layers.Attention(dropout=0.5, seed=3, **DTYPE), [QUERY, KEY]),
        (layers.MultiHeadAttention(2, 3, dropout=0.5, seed=3, **DTYPE), [QUERY, KEY]),
    ):
        y, pullback = layer.vjp(args, training=True)
        assert not np.allclose(y, layer.vjp(args, training=True)[0])
        assert np.abs(pullback(np.ones_like(y)).inputs[1]).sum() > 0
        np.testing.assert_array_equal(layer.vjp(args)[0], layer.vjp(args)[0])


def test_penalties_inside_have_gradients():
    plain, penalized = (
        layers.MultiHeadAttention(2, 3, activity_regularizer=penalty, **DTYPE) for penalty in (None, "l2")
    )
    for layer in (plain, penalized):
        layer.build([QUERY.shape, KEY.shape])
    penalized.set_weights(plain.get_weights())
    y, pullback = penalized.vjp([QUERY, KEY])
    assert len(penalized.losses) == 4
    dy = np.zeros_like(y)
    found = pullback(dy, losses=True).inputs[0]
    direction = RNG.standard_normal(QUERY.shape)
    ends = []
    for sign in (1, -1):
        penalized(QUERY + sign * 1e-6 * direction, KEY)
        ends.append(sum(penalized.losses))
    assert abs((ends[0] - ends[1]) / 2e-6 - np.sum(found * direction)) < 1e-6
    assert not pullback(dy).inputs[0].any()


# ------------------------------------------------------------ models


def translator(heads):
    """An encoder and a decoder with attention between them, of tokens with masks."""
    source, target = cyrnn.Input((None,), name="source"), cyrnn.Input((None,), name="target")
    encoded = layers.LSTM(6, return_sequences=True)(layers.Embedding(9, 5, mask_zero=True)(source))
    decoded = layers.GRU(6, return_sequences=True)(layers.Embedding(9, 5, mask_zero=True)(target))
    if heads:
        seen = layers.MultiHeadAttention(2, 4)(decoded, encoded, key=encoded)
    else:
        seen = layers.AdditiveAttention()([decoded, encoded])
    return cyrnn.Model([source, target], layers.Dense(9, activation="softmax")(layers.Concatenate()([decoded, seen])))


@pytest.mark.parametrize("heads", [False, True])
def test_models_pass_masks_learn_and_are_saved(heads, tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model = translator(heads)
    source = RNG.integers(1, 9, (64, 6))
    target = np.pad(source, ((0, 0), (1, 0)), constant_values=1)[:, :-1]
    longer = np.pad(source, ((0, 0), (0, 3)))  # masked timesteps change nothing
    np.testing.assert_allclose(model([longer, target]), model([source, target]), atol=1e-6)
    model.compile(cyrnn.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit([source, target], source, epochs=12, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        again = load_model(tmp_path / name)
        np.testing.assert_array_equal(again.predict([source, target]), model.predict([source, target]))
    assert cyrnn.from_json(model.to_json()).to_json() == model.to_json()


def test_scores_are_outputs_of_models():
    x = cyrnn.Input((None, 4))
    for made in (
        layers.Attention()([x, x], return_attention_scores=True),
        layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True),
    ):
        model = cyrnn.Model(x, list(made))
        shapes = [tensor.shape for tensor in made]
        outputs = model(QUERY)
        assert [None if m is None else n for n, m in zip(np.shape(outputs[1]), shapes[1], strict=True)] == list(
            shapes[1]
        )
        y, pullback = model.vjp(QUERY)
        assert pullback([None, np.ones_like(y[1])]).inputs.shape == QUERY.shape


def test_self_attention_adds_its_three_gradients():
    x = cyrnn.Input((3, 4), dtype="float64")
    layer = layers.MultiHeadAttention(2, 3, **DTYPE)
    model = cyrnn.Model(x, layer(x, x))
    dy = RNG.standard_normal(QUERY.shape)
    alone = layer.vjp([QUERY, QUERY])[1](dy).inputs
    np.testing.assert_allclose(model.vjp(QUERY)[1](dy).inputs, alone[0] + alone[1], atol=1e-12)


# ------------------------------------------------------------ refusals


def test_nothing_to_attend_to_is_zeros():
    layer, none = layers.Attention(), np.zeros((2, 0, 4), "f")
    y, pullback = layer.vjp([QUERY[..., :4], none])
    np.testing.assert_array_equal(y, np.zeros_like(y))
    np.testing.assert_array_equal(pullback(np.ones_like(y)).inputs[0], np.zeros(QUERY[..., :4].shape))


def test_heads_are_built_again_from_a_config():
    layer = layers.MultiHeadAttention(2, 3, name="heads")
    assert layer.get_build_config() is None and "built=False" in repr(layer)
    layer.build([QUERY.shape, KEY.shape])
    again = layers.MultiHeadAttention.from_config(layer.get_config())
    again.build_from_config(layer.get_build_config())
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in layer.weights]
    assert f"parameters={layer.count_params()}" in repr(again)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Attention()(QUERY), r"must be a list \[query, value\] or"),
        (lambda: layers.Attention()([QUERY]), "1 of them"),
        (lambda: layers.Attention()([QUERY, VALUE]), "the same features of query and key"),
        (lambda: layers.Attention()([QUERY, KEY[:1]]), "the same batch"),
        (lambda: layers.Attention()([QUERY, KEY], mask=KEEP_QUERY), "mask of .* must be a list"),
        (lambda: layers.Attention()([QUERY, KEY], mask=[None, KEEP_QUERY]), r"mask of the value .* shape \(2, 5\)"),
        (lambda: layers.Attention()([QUERY[0], KEY[0]]), "the axes"),
        (lambda: layers.Attention(score_mode="cosine"), "score_mode must be 'dot' or 'concat', got 'cosine'"),
        (lambda: layers.MultiHeadAttention(0, 3), "num_heads must be a positive integer"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), "attention_axes"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=2), "attention_axes must be None or 1"),
        (lambda: layers.MultiHeadAttention(2, 3, flash_attention=True), "flash_attention is not supported on a CPU"),
        (lambda: layers.MultiHeadAttention(2, 3).vjp(QUERY), "must be query, value and perhaps key, got ndarray"),
        (lambda: layers.MultiHeadAttention(2, 3).vjp([QUERY]), "must be query, value and perhaps key, got 1 of them"),
        (lambda: layers.MultiHeadAttention(2, 3).build((2, 3, 4)), "takes a query and a value, got the shapes"),
        (lambda: layers.Attention().build((2, 3, 4)), r"takes a query and a value, got the one shape \(2, 3, 4\)"),
        (lambda: layers.Attention().vjp([QUERY, KEY], initial_state=[]), "has no states, got initial_state"),
        (lambda: layers.MultiHeadAttention(2, 3)(QUERY, VALUE, KEY[:, :4]), "value and key the same timesteps"),
        (lambda: layers.MultiHeadAttention(2, 3)(QUERY, KEY, value_mask=KEEP_QUERY), r"value_mask .* shape \(2, 5\)"),
        (lambda: layers.MultiHeadAttention(2, 3)(QUERY, KEY, attention_mask=KEEP_QUERY), "attention_mask of"),
        (lambda: cyrnn.Sequential([cyrnn.Input((3, 4)), layers.MultiHeadAttention(2, 3)]), "needs value too"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
