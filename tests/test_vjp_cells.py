"""`vjp` of LSTM, GRU and their cells: against central differences of their equations, and of one way by the other."""

import numpy as np
import pytest
from helpers import pairs
from reference_cells import cell_recurrence, cell_weights
from reference_gradients import differences

import cyrnn
from cyrnn import layers

KINDS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "gru_reset_before": ("GRU", {"reset_after": False})}
FUNCTIONS = [("tanh", "sigmoid"), ("elu", "hard_sigmoid"), ("softmax", "softmax"), ("silu", "sigmoid")]
MASK = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]], bool)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def layer_of(kind, units, weights, **options):
    name, own = KINDS[kind]
    layer = getattr(layers, name)(units, **own, **options)
    layer.build((None, None, len(weights[0])))
    layer.set_weights([weight for weight in weights if weight is not None])
    return layer


@pytest.mark.parametrize(
    ("kind", "functions", "options", "mask"),
    pairs([*KINDS], FUNCTIONS, [{}, {"go_backwards": True, "zero_output_for_mask": True}], [None, MASK]),
)
def test_gradients_are_central_differences(kind, functions, options, mask, rng):
    named = dict(zip(("activation", "recurrent_activation"), functions, strict=True))
    features, units, states = 3, 4, 2 if kind == "lstm" else 1
    weights = cell_weights(rng, kind, features, units)
    layer = layer_of(
        kind, units, weights, return_sequences=True, return_state=True, dtype="float64", **named, **options
    )
    x = rng.standard_normal((4, 4, features))
    begin = list(rng.standard_normal((states, 4, units)))
    dy = [rng.standard_normal((4, 4, units)), *rng.standard_normal((states, 4, units))]

    def flat(*arrays):
        x, *rest = arrays
        outputs, after = cell_recurrence(kind, x, *rest[:3], states=rest[3:], mask=mask, **named, **options)
        return np.concatenate([array.ravel() for array in (outputs, *after)])

    y, pullback = layer.vjp(x, begin, mask)
    for actual, expected in zip(y, layer(x, begin, mask=mask), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    found = pullback(tuple(dy))
    arrays, sums = [x, *weights, *begin], np.concatenate([array.ravel() for array in dy])
    for number, got in enumerate([found.inputs, *found.weights, *found.initial_state]):
        np.testing.assert_allclose(got, differences(flat, arrays, number, sums), rtol=0, atol=2e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_sums_of_what_comes_back_through_each_unit_alone(kind, rng):
    """Where the gradients of the first units are zeros, those of others still count."""
    layer = layer_of(kind, 4, cell_weights(rng, kind, 3, 4), return_sequences=True, return_state=True, dtype="float64")
    y, pullback = layer.vjp(rng.standard_normal((5, 6, 3)))
    dy = [rng.standard_normal(part.shape) for part in y]
    wanted, sums = pullback(tuple(dy)), None
    for number, part in enumerate(dy):
        for unit in range(4):
            alone = [np.zeros_like(other) for other in dy]
            alone[number][..., unit] = part[..., unit]
            found = pullback(tuple(alone))
            gradients = [found.inputs, *found.weights]
            sums = gradients if sums is None else [a + b for a, b in zip(sums, gradients, strict=True)]
    for actual, expected in zip(sums, [wanted.inputs, *wanted.weights], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def walked(layer):
    """The same layer with activations that Python computes."""
    own = type(layer).from_config(layer.get_config())
    own.build((None, None, layer.kernel.shape[0]))
    own.set_weights(layer.get_weights())
    for name in ("activation", "recurrent_activation"):
        known = getattr(layer.cell, name)

        def function(z, known=known):
            return known(z)

        names = {"tanh": lambda z: 1 - np.tanh(z) ** 2, "sigmoid": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2}
        function.derivative = names[known.__name__]
        setattr(own.cell, name, function)
    return own


SHAPES = [(1, 7, 3, 5), (3, 60, 4, 8), (40, 9, 16, 33), (130, 3, 2, 8)]  # batch, timesteps, features, units


@pytest.mark.parametrize(
    ("kind", "shape", "masked", "engine"), pairs(["lstm", "gru"], SHAPES, [False, True], ["simd", "blas"])
)
def test_the_engine_has_the_gradients_of_numpy(kind, shape, masked, engine, rng, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    batch, timesteps, features, units = shape
    for dtype, tolerance in (("float32", 2e-5), ("float64", 1e-11)):
        weights = [weight / 2 for weight in cell_weights(rng, kind, features, units)]
        layer = layer_of(kind, units, weights, return_sequences=True, return_state=True, dtype=dtype)
        x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
        mask = rng.random((batch, timesteps)) < 0.6 if masked else None
        (y, pullback), (other, by_numpy) = layer.vjp(x, mask=mask), walked(layer).vjp(x, mask=mask)
        dy = tuple(rng.standard_normal(part.shape).astype(dtype) for part in y)
        got, expected = pullback(dy), by_numpy(dy)
        both = zip([*y, got.inputs, *got.weights], [*other, expected.inputs, *expected.weights], strict=True)
        for actual, wanted in both:
            scale = max(1, np.abs(wanted).max())
            np.testing.assert_allclose(actual / scale, wanted / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits(kind, rng):
    layer = layer_of(kind, 40, cell_weights(rng, kind, 20, 40), return_sequences=True)
    x = rng.standard_normal((200, 10, 20)).astype("f")
    dy = rng.standard_normal((200, 10, 40)).astype("f")
    before = cyrnn.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            cyrnn.set_num_threads(threads)
            y, pullback = layer.vjp(x)
            found = pullback(dy)
            results.append([y, found.inputs, *found.weights])
    finally:
        cyrnn.set_num_threads(before)
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"dropout": 0.5, "recurrent_dropout": 0.25}])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_training_are_those_of_what_was_dropped(kind, options, rng):
    weights = cell_weights(rng, kind, 2, 3)
    x, dy = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 3))

    def value(x, *arrays):
        layer = layer_of(kind, 3, arrays, dtype="float64", seed=1, **options)
        return layer(x, training=True)

    layer = layer_of(kind, 3, weights, dtype="float64", seed=1, **options)
    y, pullback = layer.vjp(x, training=True)
    np.testing.assert_allclose(y, value(x, *weights), rtol=1e-12, atol=1e-12)
    found, arrays = pullback(dy), [x, *weights]
    for number, got in enumerate([found.inputs, *found.weights]):
        np.testing.assert_allclose(got, differences(value, arrays, number, dy), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_may_be_anything(kind, rng):
    layer = layer_of(kind, 4, cell_weights(rng, kind, 3, 4), return_sequences=True)
    x = rng.standard_normal((4, 4, 3)).astype("f")
    found = []
    for inside in (0, np.nan):
        given = np.where(MASK[:, :, None], x, np.float32(inside))
        y, pullback = layer.vjp(given, mask=MASK)
        gradients = pullback(np.ones_like(y))
        found.append([y, gradients.inputs, *gradients.weights])
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert np.isfinite(actual).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_a_cell(kind, rng):
    name, own = KINDS[kind]
    cell = getattr(layers, f"{name}Cell")(4, dtype="float64", **own)
    cell.build((None, 3))
    weights, count = cell_weights(rng, kind, 3, 4), 2 if kind == "lstm" else 1
    cell.set_weights(weights)
    x, states = rng.standard_normal((5, 3)), list(rng.standard_normal((count, 5, 4)))
    dy = rng.standard_normal((1 + count, 5, 4))

    def value(x, *arrays):
        outputs, after = cell_recurrence(kind, x[:, None], *arrays[:3], states=arrays[3:])
        return np.stack([outputs[:, 0], *after])

    (output, after), pullback = cell.vjp(x, states)
    np.testing.assert_allclose([output, *after], value(x, *weights, *states), rtol=1e-12, atol=1e-12)
    found, arrays = pullback((dy[0], list(dy[1:]))), [x, *weights, *states]
    for number, got in enumerate([found.inputs, *found.weights, *found.initial_state]):
        np.testing.assert_allclose(got, differences(value, arrays, number, dy), rtol=0, atol=1e-8)


def test_models_of_all_cells(rng):
    """A model's gradients are those of its layers one after the other, whether the engine or Python has them."""
    parts = [
        layers.LSTM(4, return_sequences=True, dtype="float64"),
        layers.GRU(3, return_sequences=True, reset_after=False, dtype="float64"),
        layers.Bidirectional(layers.GRU(2, dtype="float64"), dtype="float64"),
        layers.Dense(2, dtype="float64"),
    ]
    model = cyrnn.Sequential(parts)
    x, dy = rng.standard_normal((5, 6, 3)), rng.standard_normal((5, 2))
    y, pullback = model.vjp(x)
    found = pullback(dy)
    value, ways = x, []
    for part in parts:
        value, way = part.vjp(value)
        ways.append(way)
    np.testing.assert_allclose(y, value, rtol=1e-12, atol=1e-12)
    of_weights, d = [], dy
    for way in reversed(ways):
        gradients = way(d)
        d, of_weights = gradients.inputs, [*gradients.weights, *of_weights]
    for actual, expected in zip([found.inputs, *found.weights], [d, *of_weights], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize(("own", "inner"), [("float32", "float64"), ("float64", "float32")])
def test_both_directions_of_another_dtype(mode, own, inner, rng):
    """As in Keras, a Bidirectional takes and returns its own dtype, and its layers compute in theirs."""
    x, made = rng.standard_normal((2, 5, 3)).astype("f"), []
    for dtypes in ((own, inner), ("float64", "float64")):
        layer = layers.Bidirectional(layers.GRU(4, return_sequences=True, dtype=dtypes[1]), mode, dtype=dtypes[0])
        layer.build(x.shape)
        made.append(layer)
    made[1].set_weights(made[0].get_weights())
    y, pullback = made[0].vjp(x)
    assert y.dtype == own
    np.testing.assert_array_equal(y, made[0](x))
    dy = rng.standard_normal(y.shape).astype("f")
    found, expected = pullback(dy.astype(own)), made[1].vjp(x.astype("d"))[1](dy.astype("d"))
    for actual, wanted in zip([found.inputs, *found.weights], [expected.inputs, *expected.weights], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_fit_is_one_of_the_optimizer(kind, rng):
    weights = cell_weights(rng, kind, 3, 40)
    x, y = rng.standard_normal((16, 5, 3)).astype("f"), rng.standard_normal((16, 2)).astype("f")
    models = []
    for _ in range(2):
        model = cyrnn.Sequential([layer_of(kind, 40, weights), layers.Dense(2)])
        model.build((None, None, 3))
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    models[0].compile("sgd", "mse")
    optimizer, loss = cyrnn.optimizers.SGD(), cyrnn.losses.MeanSquaredError()
    for _ in range(3):
        found = models[0].train_on_batch(x, y)
        prediction, pullback = models[1].vjp(x, training=True)
        value, gradient = loss.value_and_gradient(y, prediction)
        optimizer.apply(pullback(gradient).weights, models[1])
        np.testing.assert_allclose(found, value, rtol=1e-5)
    for actual, expected in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
