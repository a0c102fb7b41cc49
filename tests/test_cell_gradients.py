"""The engine's gradients of LSTM and GRU, also with dropout factors for each gate, beside those of their equations."""

import functools

import numpy as np
import pytest
from helpers import ISAS, pairs
from reference_cell_gradients import cell_gradients
from reference_cells import STATES, STEPS, cell_recurrence, cell_weights

import cyrnn
from cyrnn import layers
from cyrnn.engine.plan import ACTIVATIONS

ENGINES = [*(("simd", isa) for isa in ISAS), ("blas", "")]
DROPOUT = {
    "none": {},
    "inputs": {"dropout": 0.4},
    "inputs of gates": {"dropout": 0.4, "implementation": 1},
    "states": {"recurrent_dropout": 0.3},
    "both": {"dropout": 0.4, "recurrent_dropout": 0.3},
}
SHAPES = [(1, 7, 3, 5), (3, 60, 4, 8), (40, 9, 16, 33), (17, 4, 1, 20)]  # batch, timesteps, features, units


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(autouse=True)
def no_python(monkeypatch):
    """All of this is the engine's."""

    def walked(*_):
        raise AssertionError("Python walks")

    monkeypatch.setattr(layers.LSTMCell, "stepped", walked)
    monkeypatch.setattr(layers.GRUCell, "stepped", walked)


def layer_of(cell, units, weights, **options):
    made = layers.LSTM if cell == "lstm" else layers.GRU
    own = {"reset_after": cell == "gru"} if cell != "lstm" else {}
    layer = made(units, **{"return_sequences": True, "return_state": True, "seed": 3, **own, **options})
    layer.build((None, None, len(weights[0])))
    layer.set_weights(weights)
    return layer


def factors_of(cell, units, weights, options, batch):
    """What a layer with this seed draws first, as the oracle takes it."""
    twin = layer_of(cell, units, weights, **options)
    drawn = twin.cell.draw_dropout_masks(batch, len(weights[0]))
    return dict(
        zip(
            ("input_dropout", "recurrent_dropout"),
            (1 if part is None else np.asarray(part) for part in drawn),
            strict=True,
        )
    )


@functools.cache  # all engines run the same cases
def case_of(cell, shape, functions, dropout, masked, scale):
    """The options and weights of a layer, x, mask and gradients of its outputs; and the outputs and gradients of it."""
    rng, (batch, timesteps, features, units) = np.random.default_rng(5), shape
    named = dict(zip(("activation", "recurrent_activation"), functions, strict=True))
    options = {"dtype": "float64", **named, **DROPOUT[dropout]}
    weights = [scale * weight for weight in cell_weights(rng, cell, features, units)]
    x = rng.standard_normal((batch, timesteps, features))
    mask = rng.random((batch, timesteps)) < 0.6 if masked else None
    drops = factors_of(cell, units, weights, options, batch)
    outputs, after = cell_recurrence(cell, x, *weights, mask=mask, **named, **drops)
    dy = [rng.standard_normal(part.shape) for part in (outputs, *after)]
    expected = cell_gradients(cell, x, weights, dy[0], dy[1:], functions=functions, mask=mask, **drops)
    return options, weights, x, mask, tuple(dy), [outputs, *after, *expected]


def check(cell, shape, functions=("tanh", "sigmoid"), dropout="none", masked=False, tolerance=1e-12, scale=1.0):
    options, weights, x, mask, dy, expected = case_of(cell, shape, functions, dropout, masked, scale)
    y, pullback = layer_of(cell, shape[-1], weights, **options).vjp(x, mask=mask, training=True)
    found = pullback(dy)
    got = [*y, found.inputs, *found.weights, *found.initial_state]
    for actual, wanted in zip(got, expected, strict=True):
        size = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(actual / size, wanted / size, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("cell", "backend", "dropout", "masked"), pairs([*STEPS], ENGINES, [*DROPOUT], [False, True]))
def test_gradients_are_those_of_the_equations(cell, backend, dropout, masked, monkeypatch):
    engine, isa = backend
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    monkeypatch.setenv("CYRNN_ISA", isa)
    for shape in SHAPES:
        check(cell, shape, dropout=dropout, masked=masked)


@pytest.mark.parametrize(("engine", "isa"), ENGINES)
@pytest.mark.parametrize("cell", STEPS)
def test_each_activation_has_its_way_back(cell, engine, isa, monkeypatch):
    """Also those whose derivatives read the sums, and those of whole rows, as the candidate's and as the gates'."""
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    monkeypatch.setenv("CYRNN_ISA", isa)
    for name in sorted(ACTIVATIONS.keys() - {"exponential"}):  # which explodes
        for functions in (name, "sigmoid"), ("tanh", name):
            check(cell, (5, 3, 4, 19), functions, tolerance=1e-11, scale=0.3)
    for functions in ("silu", "gelu"), ("sparsemax", "hard_silu"):
        check(cell, (5, 4, 3, 7), functions, "both", masked=True, tolerance=1e-11, scale=0.3)


@pytest.mark.parametrize(("cell", "dropout", "engine"), pairs([*STEPS], [*DROPOUT], ["simd", "blas"]))
def test_any_number_of_threads_gives_the_same_bits(cell, dropout, engine, rng, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    weights = [weight.astype("f") for weight in cell_weights(rng, cell, 20, 40)]
    x, mask = rng.standard_normal((150, 8, 20)).astype("f"), rng.random((150, 8)) < 0.8
    dy = tuple(rng.standard_normal((150, *axes)).astype("f") for axes in ((8, 40), *[(40,)] * STATES[cell]))
    before, results = cyrnn.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            cyrnn.set_num_threads(threads)
            y, pullback = layer_of(cell, 40, weights, **DROPOUT[dropout]).vjp(x, mask=mask, training=True)
            found = pullback(dy)
            results.append([*y, found.inputs, *found.weights, *found.initial_state])
    finally:
        cyrnn.set_num_threads(before)
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dropout", DROPOUT)
@pytest.mark.parametrize("cell", STEPS)
def test_what_is_masked_may_be_anything(cell, dropout, rng):
    weights, mask = cell_weights(rng, cell, 3, 5), rng.random((6, 5)) < 0.5
    x = rng.standard_normal((6, 5, 3))
    found = []
    for inside in (0, np.nan):
        layer = layer_of(cell, 5, weights, dtype="float64", **DROPOUT[dropout])
        y, pullback = layer.vjp(np.where(mask[:, :, None], x, inside), mask=mask, training=True)
        gradients = pullback(tuple(map(np.ones_like, y)))
        found.append([*y, gradients.inputs, *gradients.weights])
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert np.isfinite(actual).all()


@pytest.mark.parametrize("dropout", DROPOUT)
@pytest.mark.parametrize("cell", STEPS)
def test_a_call_and_a_step_of_a_cell_drop_what_a_layer_drops(cell, dropout, rng):
    weights, options = cell_weights(rng, cell, 3, 5), {"dtype": "float64", **DROPOUT[dropout]}
    x = rng.standard_normal((4, 6, 3))
    drops = factors_of(cell, 5, weights, options, 4)
    outputs, after = cell_recurrence(cell, x, *weights, **drops)
    y, *states = layer_of(cell, 5, weights, **options)(x, training=True)
    for actual, wanted in zip([y, *states], [outputs, *after], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)
    own = layer_of(cell, 5, weights, **options).cell
    carried = [np.zeros((4, 5))] * STATES[cell]
    for t in range(6):
        h, carried = own(x[:, t], carried, training=True)
        np.testing.assert_allclose(h, outputs[:, t], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [*DROPOUT.values(), {"activation": "gelu", "recurrent_activation": "hard_silu"}])
@pytest.mark.parametrize("cell", STEPS)
def test_fit_takes_the_compiled_step(cell, options, rng):
    weights = [weight.astype("f") for weight in cell_weights(rng, cell, 3, 20)]
    x, y = rng.standard_normal((16, 5, 3)).astype("f"), rng.standard_normal((16, 2)).astype("f")
    models = []
    for compiled in (True, False):
        one = layer_of(cell, 20, weights, return_sequences=False, return_state=False, **options)
        model = cyrnn.Sequential([cyrnn.Input((5, 3)), one, layers.Dense(2, kernel_initializer="ones")])
        model.compile("adam", "mse")
        assert model.compiled_step(model._compiled) is not None
        if not compiled:
            model._compiled._step_of = lambda _: None
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        models.append(model)
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("cell", STEPS)
def test_a_rate_that_is_set_later_counts(cell, rng):
    """What is made ready for inference has no products of single gates, which such a rate asks for."""
    weights = cell_weights(rng, cell, 3, 5)
    x = rng.standard_normal((4, 6, 3))
    layer, other = (layer_of(cell, 5, weights, dtype="float64", recurrent_dropout=rate) for rate in (0.0, 0.3))
    layer(x)
    layer.cell.recurrent_dropout = 0.3
    layer.cell.implementation = 1
    for actual, expected in zip(layer(x, training=True), other(x, training=True), strict=True):
        np.testing.assert_array_equal(actual, expected)
    for actual, expected in zip(layer(x), other(x), strict=True):
        np.testing.assert_array_equal(actual, expected)
