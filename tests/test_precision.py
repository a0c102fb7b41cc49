"""bfloat16 where it is asked for: operands of products are rounded, and nothing else is."""

import threading

import numpy as np
import pytest
from helpers import DOTS, ISAS, TILES

import cyrnn
from cyrnn import layers

ENGINES = [*(("simd", isa) for isa in ISAS), *(("simd", isa) for isa in [*DOTS, *TILES]), ("blas", "")]
KINDS = {
    "simple": ("SimpleRNN", {}),
    "softmax": ("SimpleRNN", {"activation": "softmax"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
}


@pytest.fixture(params=ENGINES, ids=lambda pair: pair[1] or pair[0])
def engine(request, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", request.param[0])
    monkeypatch.setenv("CYRNN_ISA", request.param[1])
    return request.param


@pytest.fixture(autouse=True)
def as_before():
    yield
    cyrnn.set_precision("float32")
    cyrnn.set_num_threads(None)


def rounded(array):
    """The nearest bfloat16, of two the even one, as float64."""
    bits = np.asarray(array, "f4").view("u4").astype("u8")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype("u4").view("f4").astype("f8")


def made(kind, features, units, seed=0, **options):
    name, own = KINDS[kind]
    rng = np.random.default_rng(seed)
    layer = getattr(layers, name)(
        units, **{"return_sequences": True, "recurrent_initializer": "zeros", **own, **options}
    )
    layer.build((None, None, features))
    layer.set_weights([rng.standard_normal(w.shape) / (len(w) ** 0.5 if w.ndim == 2 else 3) for w in layer.weights])
    return layer


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 40, 70), (20, 33, 64), (1, 300, 256), (1, 200, 1320)])
def test_operands_are_rounded_and_sums_are_not(shape, engine):
    """Against float64 with the same operands: the h that a step makes is float32, and rounded when it is multiplied."""
    batch, features, units = shape
    layer, x, h = (
        made("simple", features, units, return_state=True),
        draw(batch, 1, features),
        draw(batch, units, seed=2),
    )
    kernel, recurrent_kernel, bias = layer.get_weights()
    expected = np.tanh(rounded(x[:, 0]) @ rounded(kernel) + rounded(h) @ rounded(recurrent_kernel) + bias)
    exact = layer(x, initial_state=h)[0][:, 0]
    cyrnn.set_precision("bfloat16")
    found, state = layer(x, initial_state=h)
    np.testing.assert_allclose(found[:, 0], expected, atol=2e-6)
    assert 1e-4 < np.abs(found[:, 0] - exact).max() < 0.05
    assert (rounded(state) != state).any()  # it is carried as float32
    cyrnn.set_precision("float32")
    np.testing.assert_array_equal(layer(x, initial_state=h)[0][:, 0], exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 5, 37])
def test_all_ways_to_ask_and_to_cut_have_the_same_bits(kind, batch, engine):
    layer, x = made(kind, 30, 50), draw(batch, 6, 30)
    model = cyrnn.Sequential([layer, layers.Dense(33)])
    exact = model(x)
    found = model.predict(x, precision="bfloat16")
    assert 1e-4 < np.abs(found - exact).max() < 0.1
    np.testing.assert_array_equal(model.predict(x), exact)
    assert cyrnn.get_precision() == "float32"
    cyrnn.set_precision("bfloat16")
    np.testing.assert_array_equal(model.predict(x, precision="float32"), exact)
    assert cyrnn.get_precision() == "bfloat16"
    np.testing.assert_array_equal(model(x), found)
    stepper = layer.stepper(batch)
    whole = layer(x)
    cyrnn.set_precision("float32")  # it keeps the precision in which it was made
    same = (
        np.testing.assert_array_equal
        if engine[0] == "simd"
        else lambda a, b: np.testing.assert_allclose(a, b, atol=2e-2)
    )
    for t in range(6):
        same(stepper.step(x[:, t].copy()), whole[:, t])
    if engine[0] == "simd":
        mask = np.arange(6) < np.random.default_rng(0).integers(1, 7, (batch, 1))
        masked = layer.predict(np.where(mask[..., None], x, np.nan).astype("f4"), precision="bfloat16")
        assert np.isnan(masked[~mask]).all()
        cyrnn.set_precision("bfloat16")
        np.testing.assert_array_equal(layer(np.where(mask[..., None], x, 0), mask=mask)[mask], whole[mask])


def test_threads_and_batches_do_not_change_a_bit(engine):
    layer, x = made("simple", 40, 64), draw(300, 20, 40)
    cyrnn.set_precision("bfloat16")
    results = []
    for count in (1, 2, 3, 8):
        cyrnn.set_num_threads(count)
        results.append(layer(x))
        if engine[0] == "simd":
            results.append(layer.predict(x, batch_size=70))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_policies_round_what_they_multiply(policy, engine):
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    plain = made("simple", 30, 50)
    plain.set_weights([rounded(weight) for weight in plain.get_weights()])  # as the policy keeps them
    narrow = made("simple", 30, 50, dtype=policy)
    narrow.set_weights(plain.get_weights())
    x = rounded(draw(20, 4, 30)).astype("f4")
    expected = plain.predict(x, precision="bfloat16")
    found = narrow(x)
    assert found.dtype == narrow.compute_dtype
    np.testing.assert_array_equal(found.astype("f4"), rounded(expected))


def test_infinities_and_nan_stay_what_they_are(engine):
    layer, x = made("simple", 40, 64), draw(20, 1, 40)
    x[0, 0, 0], x[1, 0, 0], x[2, 0, 0] = np.inf, -np.inf, np.nan
    x.view("u4")[3, 0, 0] = 0x7F800001  # a NaN whose upper half is infinity
    exact, found = layer(x), layer.predict(x, precision="bfloat16")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    np.testing.assert_array_equal(found[:2], exact[:2])
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_float64_does_not_round():
    layer, x = made("simple", 20, 30, dtype="float64"), draw(20, 3, 20)
    np.testing.assert_array_equal(layer.predict(x, precision="bfloat16"), layer(x))


@pytest.mark.parametrize("kind", ["simple", "lstm"])
def test_gradients_and_training_ignore_it(kind):
    x, y = draw(40, 5, 20), draw(40, 30, seed=2)

    def trained():
        cyrnn.utils.set_random_seed(0)
        model = cyrnn.Sequential([made(kind, 20, 30, return_sequences=False)])
        model.compile("sgd", "mse")
        model.fit(x, y, batch_size=20, epochs=2, verbose=0)
        model.train_on_batch(x, y)
        return model.get_weights()

    exact = trained()
    layer = made(kind, 20, 30)
    outputs, pullback = layer.vjp(x)
    gradients = pullback(np.ones_like(outputs))
    cyrnn.set_precision("bfloat16")
    for a, b in zip(exact, trained(), strict=True):
        np.testing.assert_array_equal(a, b)
    found, pullback = layer.vjp(x)
    np.testing.assert_array_equal(found, layer(x))  # what a call gives
    for a, b in zip(gradients.weights, pullback(np.ones_like(found)).weights, strict=True):
        assert 0 < np.abs(a - b).max() < 0.1 * np.abs(a).max()


def test_it_is_of_the_process_and_of_a_call():
    cyrnn.set_precision("bfloat16")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(cyrnn.get_precision()))
    thread.start()
    thread.join()
    assert seen == ["bfloat16"]
    assert cyrnn.show_config("dicts")["precision"] == "bfloat16"

    class Look(cyrnn.layers.Layer):
        def call(self, inputs):
            seen.append(cyrnn.get_precision())
            return inputs

    cyrnn.Sequential([Look()]).predict(draw(3, 2), precision="float32")
    assert set(seen[1:]) == {"float32"} and cyrnn.get_precision() == "bfloat16"


@pytest.mark.parametrize("wrong", ["bf16", "float16", "", 16, None, True, np.float32])
def test_what_is_accepted(wrong):
    layer = made("simple", 3, 4)
    with pytest.raises(ValueError, match=r"^precision must be 'float32' or 'bfloat16', got "):
        cyrnn.set_precision(wrong)
    if wrong is not None:
        with pytest.raises(ValueError, match=r"^precision must be 'float32' or 'bfloat16', got "):
            layer.predict(draw(2, 3, 3), precision=wrong)
    assert cyrnn.get_precision() == "float32"


def test_weights_that_are_replaced_are_rounded_anew(engine):
    layer, x = made("simple", 20, 48), draw(20, 3, 20)
    cyrnn.set_precision("bfloat16")
    first = layer(x)
    other = made("simple", 20, 48, seed=5)
    layer.set_weights(other.get_weights())
    assert (layer(x) != first).any()
    np.testing.assert_array_equal(layer(x), other(x))
