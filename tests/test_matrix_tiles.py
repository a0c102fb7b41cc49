"""float32 on matrix tiles: as exact as multiply-adds, and the same bits however a call is cut.

On every machine the tiles are those in plain C++; on one that has them, also its own.
"""

import os

import numpy as np
import pytest
from helpers import DOTS, ISAS, TILES
from hypothesis import given, settings
from hypothesis import strategies as st

import cyrnn
from cyrnn import layers
from cyrnn.engine import plan

VECTORS = {"amx": "avx512", "amx-emulated": "avx2" if "avx2" in ISAS else "generic"}  # what is around the tiles
STEPS = int(os.environ.get("CYRNN_TILE_STEPS", "1000"))  # of the test of long sequences; 10,000 take ten seconds
KINDS = {
    "simple": ("SimpleRNN", {}),
    "softmax": ("SimpleRNN", {"activation": "softmax"}),  # which needs whole rows
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
}


@pytest.fixture(params=TILES)
def isa(request, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", "simd")
    monkeypatch.setenv("CYRNN_ISA", request.param)
    yield request.param
    cyrnn.set_num_threads(None)


def made(kind, features, units, seed=0, scale=1.0, **options):
    """A layer with weights of a spectral radius of about `scale`."""
    name, own = KINDS[kind]
    rng = np.random.default_rng(seed)
    layer = getattr(layers, name)(units, **{"return_sequences": True, "return_state": True, **own, **options})
    layer.build((None, None, features))
    weights = [rng.standard_normal(w.shape) * scale / (len(w) ** 0.5 if w.ndim == 2 else 3) for w in layer.weights]
    layer.set_weights(weights)
    return layer


def with_multiply_adds(layer, isa, monkeypatch):
    """A layer of the same weights, computed without tiles."""
    monkeypatch.setenv("CYRNN_ISA", VECTORS[isa])
    twin = type(layer).from_config(layer.get_config())
    twin.build((None, None, layer.weights[0].shape[0]))
    twin.set_weights(layer.get_weights())
    twin(np.zeros((1, 1, layer.weights[0].shape[0]), "f4"))  # its plan is made now
    monkeypatch.setenv("CYRNN_ISA", isa)
    return twin


def in_double(layer, x):
    """The same in float64."""
    twin = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    twin.build((None, None, x.shape[2]))
    twin.set_weights(layer.get_weights())
    return twin(x.astype("f8"))[0]


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_instruction_set_of_tiles_is_never_chosen_by_itself_where_it_is_emulated(monkeypatch):
    monkeypatch.delenv("CYRNN_ISA", raising=False)
    if "amx" in TILES:
        assert plan.isa() == "amx"
    else:
        assert plan.isa() in [ISAS[-1], *DOTS]
    assert "amx-emulated" in TILES


# ---------------------------------------------------------------- errors

ERRORS = {  # batch, timesteps, features, units; the scale of the weights; that of x
    "ordinary": ((32, 12, 70, 96), 1.0, 1.0),
    "chaotic": ((16, 40, 33, 64), 1.5, 1.0),
    "small": ((17, 6, 64, 48), 1.0, 1e-3),
    "tiny": ((16, 4, 32, 48), 1.0, 1e-36),
    "seven decades": ((50, 6, 96, 65), 0.5, np.logspace(-4, 3, 96)),
}


@pytest.mark.parametrize(
    "kind", ["simple", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lstm", "gru", "gru_reset_before"))]
)
@pytest.mark.parametrize("name", ERRORS)
def test_the_errors_are_those_of_float32(name, kind, isa, monkeypatch):
    (batch, timesteps, features, units), scale, of_x = ERRORS[name]
    layer = made(kind, features, units, scale=scale)
    if name == "seven decades":
        kernel, *others = layer.get_weights()
        layer.set_weights([kernel / of_x[:, None], *others])
    elif of_x != 1:
        layer.set_weights([0 * weight if weight.ndim == 1 or (kind[:3] == "gru" and len(weight) == 2) else weight
                           for weight in layer.get_weights()])  # fmt: skip
    x = (draw(batch, timesteps, features) * of_x).astype("f4")
    expected, plain = in_double(layer, x), with_multiply_adds(layer, isa, monkeypatch)
    found, other = layer(x)[0], plain(x)[0]
    assert (found != other).any()  # a guard of this test
    flushed = 2.0**-126 * (features + units) if name == "tiny" else 0  # parts and products that are denormal
    assert np.abs(found - expected).max() <= 1.2 * np.abs(other - expected).max() + flushed


def test_errors_do_not_gather_over_many_timesteps(isa, monkeypatch):
    layer, x = made("simple", 16, 48), draw(16, STEPS, 16)
    expected, plain = in_double(layer, x), with_multiply_adds(layer, isa, monkeypatch)
    assert np.abs(layer(x)[0] - expected).max() <= 1.2 * np.abs(plain(x)[0] - expected).max()


def linear(kernel):
    """What multiplies rows by a kernel, and does no more."""
    layer = layers.Dense(kernel.shape[1], use_bias=False)
    layer.build((None, len(kernel)))
    layer.set_weights([kernel])
    return layer


def number(exponent, bits):
    """A float32 of this exponent, with this sign and mantissa."""
    return ((np.uint32(exponent + 127) << np.uint32(23)) | np.uint32(bits)).view("f4")


SMALLEST = -103  # the exponent from which on no part of a number is denormal
NUMBERS = st.builds(
    number, st.integers(SMALLEST, 126), st.integers(0, 2**24 - 1).map(lambda b: (b >> 23 << 31) | b & 0x7FFFFF)
)


@pytest.mark.parametrize("isa", TILES)
@settings(max_examples=20, deadline=None)
@given(numbers=st.lists(NUMBERS, min_size=48, max_size=48))
def test_the_parts_of_a_number_are_all_of_it(isa, numbers):
    """Times one it is the same again: as a number of x, and as a weight."""
    before = {name: os.environ.get(name) for name in ("CYRNN_ISA", "CYRNN_ENGINE")}
    os.environ.update(CYRNN_ISA=isa, CYRNN_ENGINE="simd")
    try:
        x = np.array([np.roll(numbers, i) for i in range(16)])
        np.testing.assert_array_equal(linear(np.eye(48, dtype="f4"))(x), x)
        kernel = np.array([np.roll(numbers, i) for i in range(48)])
        np.testing.assert_array_equal(linear(kernel)(np.eye(48, dtype="f4")), kernel)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def test_every_exponent_has_its_parts(isa):
    """Powers of two, and numbers that round up and down in each part; the smallest lose what is denormal."""
    mantissas = [0, 1, 0x7FFF, 0x8000, 0x8001, 0x7F8000, 0x7FFF80, 0x7FFFFF, 0x555555, 0x2AAAAA]
    numbers = np.array([number(exponent, bits) for exponent in range(-126, 127) for bits in mantissas])
    x = np.resize(np.concatenate([numbers, -numbers]), (106, 48))
    found = linear(np.eye(48, dtype="f4"))(x)
    large = np.abs(x) >= 2.0**SMALLEST
    np.testing.assert_array_equal(found[large], x[large])
    assert np.abs(found[~large] - x[~large]).max() <= 2.0**-125


# ---------------------------------------------------------------- bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(16, 5, 20, 48), (33, 4, 64, 100), (55, 3, 1, 65)])
def test_masks_steps_and_other_calls_have_the_same_bits(shape, kind, isa):
    batch, timesteps, features, units = shape
    layer, x = made(kind, features, units), draw(batch, timesteps, features)
    whole, *states = layer(x)
    # one timestep at a time
    carried, stepper = None, layer.stepper(batch)
    for t in range(timesteps):
        output, *carried = layer(x[:, t : t + 1], initial_state=carried)
        np.testing.assert_array_equal(output[:, 0], whole[:, t])
        np.testing.assert_array_equal(stepper.step(x[:, t].copy()), whole[:, t])
    same(carried, states)
    # the last output alone
    layer.return_sequences = False
    same(layer(x), [whole[:, -1], *states])
    layer.return_sequences = True
    # masked rows among others
    mask = np.arange(timesteps) < np.random.default_rng(2).integers(1, timesteps + 1, (batch, 1))
    found = layer(np.where(mask[..., None], x, np.nan).astype("f4"), mask=mask)[0]
    np.testing.assert_array_equal(found[mask], whole[mask])
    # other rows, in another order
    order = np.random.default_rng(3).permutation(batch)
    same(layer(np.concatenate([x[order], x]))[:1], [np.concatenate([whole[order], whole])])


@pytest.mark.parametrize("kind", ["simple", "lstm"])
def test_threads_and_batches_do_not_change_a_bit(kind, isa):
    layer, x = made(kind, 30, 64), draw(230, 7, 30)
    layer.return_state = False
    model = cyrnn.Sequential([layer, made("simple", 64, 48, return_state=False), layers.Dense(64)])
    model.build((None, None, 30))
    results = []
    for count in (1, 2, 3, 8):
        cyrnn.set_num_threads(count)
        results.append(model(x))
        results.append(model.predict(x, batch_size=32, verbose=0))  # of which the last batch has 6 rows
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    few = model(x[:15])
    assert (few != results[0][:15]).any()
    np.testing.assert_allclose(few, results[0][:15], atol=2e-6)


def test_outputs_of_all_layouts_have_the_same_bits(isa):
    layer, x = made("simple", 33, 80, return_state=False, go_backwards=True), draw(40, 6, 33)
    expected = layer(x)
    for other in (np.asfortranarray(x), np.repeat(x, 2, 0)[::2], x[:, ::-1].copy()[:, ::-1], x.astype("f8")):
        np.testing.assert_array_equal(layer(other), expected)


def test_dropout_and_gradients_are_those_of_multiply_adds(isa, monkeypatch):
    x = draw(18, 4, 20)
    for kind in ("simple", "lstm", "gru"):
        results = []
        for name in (isa, VECTORS[isa]):
            monkeypatch.setenv("CYRNN_ISA", name)
            cyrnn.utils.set_random_seed(5)
            layer = made(kind, 20, 48, recurrent_dropout=0.3, dropout=0.2, return_state=False)
            y, pullback = layer.vjp(x, training=True)
            results.append([y, *pullback(np.ones_like(y)).weights])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


# ---------------------------------------------------------------- numbers without parts

SPECIAL = [np.inf, -np.inf, np.nan, np.finfo("f4").max, -(2.0**127)]


@pytest.mark.parametrize("kind", ["simple", "softmax", "lstm", "gru"])
def test_rows_with_infinities_have_the_bits_of_multiply_adds(kind, isa, monkeypatch):
    layer, x = made(kind, 40, 64), draw(37, 4, 40)
    plain = with_multiply_adds(layer, isa, monkeypatch)
    expected = layer(x)[0]
    for row, value in enumerate(SPECIAL):
        x[5 * row, 1, 3 * row] = value
    found, other = layer(x)[0], plain(x)[0]
    rows = np.isin(np.arange(37), 5 * np.arange(len(SPECIAL)))
    np.testing.assert_array_equal(found[~rows], expected[~rows])
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    assert (np.isnan(found) == np.isnan(other)).all()
    np.testing.assert_allclose(found[rows], other[rows], atol=2e-6)
    # from the same states on the bits are those of multiply-adds, while a number has no parts
    state = layer(x[:, :1])[1:]
    np.testing.assert_array_equal(
        layer(x[:, 1:2], initial_state=state)[0][rows], plain(x[:, 1:2], initial_state=state)[0][rows]
    )


def test_states_that_grow_beyond_all_bounds_and_come_back(isa, monkeypatch):
    layer = made("simple", 16, 48, activation="relu", scale=30.0)
    x = draw(20, 40, 16)
    x[:10] = 0  # whose states stay small
    layer.set_weights([*layer.get_weights()[:2], np.zeros(48)])
    found, other = layer(x)[0], with_multiply_adds(layer, isa, monkeypatch)(x)[0]
    assert (found[:10] == 0).all() and np.isnan(found[10:, -1]).any()
    assert np.isinf(other).any() and not np.isfinite(found[10:, -1]).all()


@pytest.mark.parametrize("value", SPECIAL)
def test_such_weights_are_multiplied_as_before(value, isa, monkeypatch):
    layer, x = made("simple", 20, 50), draw(20, 3, 20)
    kernel, *others = layer.get_weights()
    kernel[3, 7] = value
    layer.set_weights([kernel, *others])
    same(layer(x), with_multiply_adds(layer, isa, monkeypatch)(x))


def test_numbers_that_are_too_small_for_parts_are_zeros(isa):
    assert (linear(np.full((32, 48), 1e-30, "f4"))(np.full((16, 32), 1e-12, "f4")) == 0).all()


# ---------------------------------------------------------------- weights that change, and memory


def test_training_packs_the_tiles_again(isa, monkeypatch):
    x, y = draw(48, 5, 20), draw(48, 64, seed=2)
    results = []
    for name in (isa, VECTORS[isa]):
        monkeypatch.setenv("CYRNN_ISA", name)
        cyrnn.utils.set_random_seed(0)
        model = cyrnn.Sequential([cyrnn.Input((None, 20)), layers.SimpleRNN(64), layers.Dense(64)])
        model.compile(cyrnn.optimizers.SGD(0.3), "mse")
        model.fit(x, y, batch_size=24, epochs=4, shuffle=False, verbose=0)
        results.append([*model.get_weights(), model.predict(x, verbose=0)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="this system has no mprotect")
@pytest.mark.parametrize("place", ["upper", "lower"])
def test_nothing_is_touched_beyond_an_array(place, isa, monkeypatch):
    from guard_pages import Fenced

    rng = np.random.default_rng(0)
    for number, kind in enumerate(["simple", "lstm", "gru", "simple", "softmax", "gru_reset_before"]):
        batch, timesteps, features, units = (
            int(rng.integers(*bounds)) for bounds in ((16, 50), (1, 4), (1, 70), (48, 99))
        )
        layer, x = made(kind, features, units, seed=number, return_state=False), draw(batch, timesteps, features)
        expected = layer(x)
        monkeypatch.setenv("CYRNN_GUARD_PAGES", place)
        twin = type(layer).from_config(layer.get_config())
        twin.build(x.shape)
        twin.set_weights(layer.get_weights())
        fenced, out = Fenced(x.shape, "f4", place, values=x), Fenced(expected.shape, "f4", place)
        twin.predict(fenced.array, batch_size=batch, out=out.array)
        monkeypatch.delenv("CYRNN_GUARD_PAGES")
        np.testing.assert_array_equal(out.filled(), expected)


@pytest.mark.skipif("amx" not in TILES, reason="this CPU has no matrix tiles")
def test_the_emulated_tiles_have_the_bits_of_the_cpu(monkeypatch):
    results = []
    for name in ("amx", "amx-emulated"):
        monkeypatch.setenv("CYRNN_ISA", name)
        for shape, seed in (((40, 6, 70, 90), 0), ((16, 3, 33, 64), 1), ((70, 2, 1, 48), 2)):
            layer = made("simple", *shape[2:], seed=seed, activation="relu", return_state=False)
            results.append(layer(draw(*shape[:3]) * np.logspace(-20, 3, shape[2]).astype("f4")))
    same(results[:3], results[3:])
