"""What a pullback promises: what it holds and how long, which `dy` it takes, and that it does not change."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest

RNG = np.random.default_rng(0)


def same(a, b):
    for one, other in zip(nest.leaves(list(a)), nest.leaves(list(b)), strict=True):
        np.testing.assert_array_equal(one, other)


def outputs_by_name():
    x = cyrnn.Input((5, 3))
    h, state = layers.SimpleRNN(4, return_sequences=True, return_state=True)(x)
    return cyrnn.Model({"x": x}, {"last": state, "both": [layers.Dense(2)(h), layers.GRU(3)(h)]})


# ------------------------------------------------------------ memory


@pytest.mark.parametrize(
    ("make", "floats"),
    [
        (lambda: layers.SimpleRNN(64, return_sequences=True), 32 + 64),  # what comes in, and h
        (lambda: layers.SimpleRNN(64, "gelu", return_sequences=True), 32 + 64 + 64),  # and the sums
        (lambda: layers.SimpleRNN(64), 32 + 64),
        (lambda: cyrnn.Sequential([layers.SimpleRNN(64, return_sequences=True), layers.Dense(8)]), 32 + 64 + 8),
    ],
)
@pytest.mark.parametrize("call", [1, 2])  # the first one, and one like the last one
def test_a_pullback_holds_what_the_docs_say(make, floats, call):
    layer, shape = make(), (16, 50, 32)
    x = RNG.standard_normal(shape).astype("f4")
    layer(x)
    make().vjp(x)  # another one: what is imported for it is no part of a pullback
    for _ in range(call - 1):
        layer.vjp(x)
    gc.collect()
    tracemalloc.start()
    try:
        y, pullback = layer.vjp(x)
        del y
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * floats * 16 * 50 * 1.05 + 40_000  # and some Python objects
    assert all(gradient.any() for gradient in pullback(np.ones(layer(x).shape, "f4"), inputs=False).weights)


def arrays_of(pullback):
    """The arrays that a pullback refers to, found by the collector of garbage."""
    found, seen, pending = [], set(), [pullback]
    while pending:
        part = pending.pop()
        if id(part) in seen or isinstance(part, (type, cyrnn.layers.Layer)) or type(part).__name__ == "module":
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray):
            found.append(part)
        elif type(part).__module__.startswith("cyrnn") or isinstance(part, (dict, tuple, list)):
            pending += gc.get_referents(part)
        elif hasattr(part, "__closure__"):
            pending += [cell.cell_contents for cell in part.__closure__ or ()]
    return found


MODELS = {
    "a layer": lambda: layers.SimpleRNN(6, return_sequences=True),
    "with dropout": lambda: layers.SimpleRNN(6, dropout=0.2),
    "a cell in Python": lambda: layers.SimpleRNN(6, activation="silu", recurrent_dropout=0.1),
    "LSTM": lambda: layers.LSTM(6),
    "a model": lambda: cyrnn.Sequential([layers.SimpleRNN(6), layers.Dense(2)]),
    "a cut": lambda: cyrnn.Sequential([layers.SimpleRNN(6, activity_regularizer="l2"), layers.Dense(2)]),
    "16 bits": lambda: layers.SimpleRNN(6, dtype="mixed_float16"),
    "each timestep": lambda: layers.TimeDistributed(layers.Softmax(axis=0)),
}


@pytest.fixture(scope="module")
def new_objects():
    """The collector of garbage looks at objects that these tests make, and not at those of the whole process."""
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_memory_is_freed_with_the_pullback(name, training, new_objects):
    layer, x = MODELS[name](), RNG.standard_normal((4, 5, 3)).astype("f4")
    layer(x)
    for _ in range(3):
        y, pullback = layer.vjp(x, training=training)
        weights = {id(part._values[key]) for part, key in layer._weight_slots()}
        tape = [array for array in arrays_of(pullback) if id(array) not in weights and array.size > 1]
        kept = [weakref.ref(array) for array in tape if array is not x]
        assert kept or name == "each timestep"
        pullback(np.ones_like(y))
        del y, pullback, tape
        gc.collect()
        assert [ref() for ref in kept] == [None] * len(kept)


# ------------------------------------------------------------ dy


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y: [y["last"], y["both"]], r"dy must be a dict with the keys \['both', 'last'\], got list"),
        (lambda y: {"last": y["last"]}, r"dy must be a dict with the keys \['both', 'last'\], got \['last'\]"),
        (lambda y: {**y, "other": None}, r"got \['both', 'last', 'other'\]"),
        (
            lambda y: {**y, "both": y["both"][:1]},
            r"dy\['both'\] must be a list of 2, as the outputs are, got 1 of them",
        ),
        (lambda y: {**y, "both": y["both"][0]}, r"dy\['both'\] must be a list of 2, as the outputs are, got ndarray"),
        (
            lambda y: {**y, "both": [y["both"][0][:1], None]},
            r"dy\['both'\]\[0\] must have shape \(3, 5, 2\), as the output has, got \(1, 5, 2\)",
        ),
        (lambda y: {**y, "last": y["last"] > 0}, r"dy\['last'\] must hold real numbers, as float32, got bool"),
        (
            lambda y: {**y, "last": y["last"] * 1j},
            r"dy\['last'\] must be an array of real numbers, got dtype complex64",
        ),
        (lambda y: {**y, "last": "a"}, r"dy\['last'\] must be an array of shape \(3, 4\)|dy\['last'\] must have shape"),
        (lambda y: {**y, "last": {"a": y["last"]}}, r"dy\['last'\] must be an array of shape \(3, 4\)"),
    ],
)
def test_a_wrong_dy_is_named(wrong, words):
    model = outputs_by_name()
    y, pullback = model.vjp({"x": RNG.standard_normal((3, 5, 3)).astype("f4")})
    with pytest.raises(ValueError, match=words):
        pullback(wrong(y))
    found = pullback({"last": None, "both": [None, y["both"][1]]})
    assert list(found.inputs) == ["x"] and found.inputs["x"].any()


# ------------------------------------------------------------ what changes meanwhile


@pytest.mark.parametrize("name", ["a layer", "LSTM", "a model", "a cut", "16 bits"])
def test_a_pullback_does_not_follow_training(name):
    """It keeps the weights of its call, from which `fit` may take memory only when nobody has it."""
    layer, x = MODELS[name](), RNG.standard_normal((4, 5, 3)).astype("f4")
    y, pullback = layer.vjp(x)
    dy = RNG.standard_normal(y.shape).astype("f4")
    before = pullback(dy)
    optimizer = cyrnn.optimizers.Adam(0.1)
    for _ in range(3):
        _, way = layer.vjp(x)
        optimizer.apply(way(dy, inputs=False).weights, layer)
        same(pullback(dy), before)
    if isinstance(layer, cyrnn.Model):
        layer.compile("adam", "mse")
        for _ in range(3):
            layer.fit(x, y, epochs=2, verbose=0)
            same(pullback(dy), before)


def test_threads_call_it_while_another_trains():
    model, x = MODELS["a model"](), RNG.standard_normal((64, 20, 3)).astype("f4")
    y, pullback = model.vjp(x)
    dy = RNG.standard_normal(y.shape).astype("f4")
    before, wrong = pullback(dy), []

    def call():
        for _ in range(20):
            try:
                same(pullback(dy), before)
            except AssertionError as error:
                wrong.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    model.compile("adam", "mse")
    model.fit(x, y, epochs=5, batch_size=16, verbose=0)
    for thread in threads:
        thread.join()
    assert wrong == []


# ------------------------------------------------------------ threads, and NaN where a mask is


def whole_model():
    inputs = cyrnn.Input((None,), dtype="int32")
    x = layers.Embedding(50, 32, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(48, return_sequences=True))(x)
    x = layers.LayerNormalization()(layers.SimpleRNN(96, return_sequences=True, activation="gelu")(x))
    x = layers.GRU(64, return_sequences=True)(layers.BatchNormalization()(x))
    return cyrnn.Model(inputs, layers.Dense(7, "softmax")(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("shape", [(70, 30), (2, 300)])
def test_gradients_of_a_model_have_the_same_bits_for_any_number_of_threads(shape):
    model = whole_model()
    tokens = RNG.integers(1, 50, shape) * (np.arange(shape[1]) < RNG.integers(0, shape[1] + 1, (shape[0], 1)))
    averages = [weight.copy() for weight in model.get_weights()]
    dy, found = RNG.standard_normal((shape[0], 7)).astype("f4"), []
    for threads in (1, 2, 3, 8):
        cyrnn.set_num_threads(threads)
        model.set_weights(averages)
        try:
            y, pullback = model.vjp(tokens, training=True)
            found.append([y, *pullback(dy).weights])
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.parametrize("kind", ["leading", "inner", "trailing", "empty rows"])
@pytest.mark.parametrize("cell", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dropped", [0, 0.3])
def test_nan_where_a_mask_is_reaches_no_gradient(kind, cell, dropped):
    n, t = np.arange(6)[:, None], np.arange(8)
    mask = {
        "leading": t >= n,
        "inner": (t < 2) | (t > n),
        "trailing": t < 8 - n,
        "empty rows": (n % 2 == 0) & (t < 5 + n * 0),
    }[kind]
    found = []
    for value in (0, np.nan):
        options = {"return_sequences": True, "dropout": dropped, "recurrent_dropout": dropped, "seed": 1}
        model = cyrnn.Sequential(
            [getattr(layers, cell)(5, **options), layers.LayerNormalization(), layers.GRU(3), layers.Dense(2)]
        )
        model.build((None, 8, 3))
        rng = np.random.default_rng(3)
        model.set_weights([rng.standard_normal(weight.shape) / 2 for weight in model.get_weights()])
        x = np.where(mask[..., None], rng.standard_normal((6, 8, 3)), value).astype("f4")
        y, pullback = model.vjp(x, mask=mask, training=True)
        gradients = pullback(np.ones_like(y))
        assert all(np.isfinite(part).all() for part in [gradients.inputs, *gradients.weights])
        found.append([y, gradients.inputs, *gradients.weights])
    same(*found)
