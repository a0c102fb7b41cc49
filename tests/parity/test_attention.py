"""Attention against Keras: outputs, scores, masks that hang on arrays, configs, and files both ways."""

import itertools
import json

import numpy as np
import pytest
from parity.twins import assert_same, from_keras_json, keras, keras_json

import cyrnn
from cyrnn.saving import load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras, about masks and __array__
RNG = np.random.default_rng(0)
QUERY, VALUE, KEY = (RNG.standard_normal(shape).astype("f") for shape in ((3, 4, 6), (3, 5, 2), (3, 5, 6)))
KEEP_QUERY = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]], bool)
KEEP_VALUE = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
LISTS = [
    *(("Attention", {"use_scale": scale, "score_mode": mode}) for scale in (False, True) for mode in ("dot", "concat")),
    ("Attention", {"dropout": 0.5, "seed": 3}),
    ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False, "dropout": 0.25, "name": "additive"}),
]
HEADS = [
    {},
    {"value_dim": 5, "output_shape": 3},
    {"output_shape": (2, 3), "use_bias": False},
    {"use_gate": True, "kernel_initializer": "he_normal", "kernel_regularizer": "l2"},
    {"sliding_window": 2, "attention_axes": 1},
    {"attention_axes": (1,), "dropout": 0.5, "seed": 3, "bias_constraint": "non_neg"},
    {"activity_regularizer": "l2"},
]


def twins(name, options, shapes):
    layers = [getattr(module.layers, name)(**{"name": "layer", **options}) for module in (cyrnn, keras)]
    for layer in layers:
        layer.build(shapes) if name != "MultiHeadAttention" else layer.build(*shapes)
    weights = [RNG.standard_normal(tuple(w.shape)) / 2 for w in layers[1].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def masked(array, mask):
    """The array as Keras has one with a mask."""
    array = array.copy()
    if mask is not None:
        keras.src.backend.set_keras_mask(array, mask)
    return array


@pytest.mark.parametrize(("name", "options"), LISTS, ids=str)
@pytest.mark.parametrize("masks", [(None, None), (KEEP_QUERY, KEEP_VALUE), (None, KEEP_VALUE), (KEEP_QUERY, None)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(name, options, masks, causal):
    inputs = [QUERY, VALUE, KEY]
    ours, theirs = twins(name, options, [part.shape for part in inputs])
    assert ours.count_params() == theirs.count_params()
    told = None if all(mask is None for mask in masks) else list(masks)
    for flags in ({}, {"return_attention_scores": True}):
        expected = theirs(inputs, mask=told, use_causal_mask=causal, **flags)
        assert_same(ours(inputs, mask=told, use_causal_mask=causal, **flags), _numpy(expected))
    assert_same(ours([QUERY, KEY], mask=told), _numpy(theirs([QUERY, KEY], mask=told)))
    assert (ours.compute_mask(inputs, told) is None) == (theirs.compute_mask(inputs, told) is None)


@pytest.mark.parametrize("options", HEADS, ids=str)
@pytest.mark.parametrize("masks", [(None, None), (KEEP_QUERY, KEEP_VALUE), (None, KEEP_VALUE), (KEEP_QUERY, None)])
@pytest.mark.parametrize("causal", [False, True])
def test_heads(options, masks, causal):
    shapes = [part.shape for part in (QUERY, VALUE, KEY)]
    ours, theirs = twins("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, **options}, shapes)
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    named = dict(zip(("query_mask", "value_mask"), masks, strict=True))
    own = RNG.random((3, 4, 5)) < 0.7
    for flags in ({}, {"return_attention_scores": True}, {"attention_mask": own}):
        hung = [masked(part, mask) for part, mask in zip((QUERY, VALUE), masks, strict=True)]
        expected = theirs(*hung, key=KEY, use_causal_mask=causal, **flags)
        assert_same(ours(QUERY, VALUE, KEY, use_causal_mask=causal, **named, **flags), _numpy(expected), 2e-5)
    assert_same(list(ours.losses), [np.asarray(loss) for loss in theirs.losses], tolerance=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16", "mixed_float16"])
def test_dtypes(dtype):
    inputs = [QUERY, KEY]
    tolerance = 1e-6 if dtype == "float64" else 8e-3  # on NumPy Keras has heads of float32
    for name, options in (*LISTS[:1], *LISTS[5:6], ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3})):
        ours, theirs = twins(name, {**options, "dtype": dtype}, [part.shape for part in inputs])
        args = inputs if name == "MultiHeadAttention" else [inputs]
        assert_same(ours(*args), _numpy(theirs(*args)), tolerance)


@pytest.mark.parametrize(
    ("name", "options"),
    [*LISTS, *(("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, **options}) for options in HEADS)],
    ids=str,
)
def test_configs_are_the_same_and_go_both_ways(name, options):
    ours, theirs = twins(name, options, [QUERY.shape, KEY.shape])
    text = keras_json(theirs)
    assert _plain(json.loads(ours.to_json())) == _plain(json.loads(text))
    assert cyrnn.from_json(text).to_json() == ours.to_json()
    assert keras_json(from_keras_json(ours.to_json())) == text


def model_of(module, seed):
    layers = module.layers
    tokens, states = module.Input((None,), name="tokens"), module.Input((5, 6), name="states")
    x = layers.Embedding(9, 6, mask_zero=True, name="embedding")(tokens)
    own, other = (layers.Dense(6, name=name)(x) for name in ("first", "second"))  # Keras deletes the masks of heads
    a = layers.MultiHeadAttention(2, 3, dropout=0.5, name="heads")(own, states, key=states)
    b = layers.Attention(use_scale=True, name="dot")([x, states])
    c = layers.AdditiveAttention(name="additive")([x, x])
    d = layers.MultiHeadAttention(3, 2, use_gate=True, name="own")(query=other, value=other, use_causal_mask=True)
    e = layers.Conv1D(6, 3, padding="causal", name="conv")(x)
    y = layers.LSTM(5, name="lstm")(layers.Concatenate(name="all")([a, b, c, d, e]))
    model = module.Model([tokens, states], y)
    draw = np.random.default_rng(seed)
    model.set_weights([draw.standard_normal(tuple(w.shape)) / 3 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("ends", [".keras", ".h5", ".weights.h5"])
def test_files_go_both_ways(ends, tmp_path):
    ours, theirs = model_of(cyrnn, 1), model_of(keras, 2)
    x = [np.array([[1, 2, 3, 0], [4, 0, 5, 6], [7, 8, 1, 2]]), KEY]
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    path = tmp_path / f"model{ends}"
    for model, other in ((ours, theirs), (theirs, ours)):
        if ends == ".weights.h5":
            model.save_weights(path)
            fresh = model_of(cyrnn if other is ours else keras, 3)
            fresh.load_weights(path)
        else:
            model.save(path)
            fresh = load_model(path) if other is ours else keras.models.load_model(path)
        assert_same(np.asarray(fresh(x)), np.asarray(model(x)), 2e-5)
        path.unlink()


@pytest.mark.parametrize("scores", [False, True])
def test_symbolic_shapes(scores):
    for module, name in itertools.product((cyrnn, keras), ("Attention", "MultiHeadAttention")):
        x, y = module.Input((None, 4)), module.Input((7, 4))
        if name == "Attention":
            found = module.layers.Attention()([x, y], return_attention_scores=scores)
        else:
            found = module.layers.MultiHeadAttention(2, 3)(x, y, return_attention_scores=scores)
        assert tuple((found[0] if scores else found).shape) == (None, None, 4)


def _numpy(outputs):
    return tuple(map(np.asarray, outputs)) if isinstance(outputs, (list, tuple)) else np.asarray(outputs)


def _plain(envelope):
    """Tuples of Keras' configs as lists, and without what cyrnn leaves out for older readers."""
    if isinstance(envelope, dict):
        return {key: _plain(value) for key, value in envelope.items() if key not in ("input_axes", "output_axes")}
    return [_plain(value) for value in envelope] if isinstance(envelope, (list, tuple)) else envelope
