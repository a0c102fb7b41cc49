"""LSTM, GRU and their cells: options, weights, states, masks, dropout, steps and configs, against their equations."""

import copy
import pickle
import random

import numpy as np
import pytest
from helpers import assert_close, pairs
from reference_cells import cell_recurrence

import cyrnn
from cyrnn import layers

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
DTYPES = ["float32", "float64"]
KINDS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "gru_reset_before": ("GRU", {"reset_after": False})}
MASK = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def layer_of(kind, **options):
    name, own = KINDS[kind]
    return getattr(layers, name)(UNITS, **own, **options)


def cell_of(kind, units=UNITS, **options):
    name, own = KINDS[kind]
    return getattr(layers, f"{name}Cell")(units, **own, **options)


def filled(layer, rng, features=FEATURES):
    """The layer, built, with random weights."""
    layer.build((None, features) if hasattr(layer, "state_count") else (None, None, features))
    layer.set_weights([rng.uniform(-0.7, 0.7, weight.shape) for weight in layer.weights])
    return layer


def states_of(kind, rng, dtype, batch=BATCH):
    count = 2 if kind == "lstm" else 1
    return [rng.standard_normal((batch, UNITS)).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize(
    ("kind", "functions", "zero_output_for_mask", "go_backwards", "mask", "dtype"),
    pairs(
        [*KINDS],
        [("tanh", "sigmoid"), ("relu", "hard_sigmoid"), (None, "softmax")],
        [False, True],
        [False, True],
        [None, MASK],
        DTYPES,
    ),
)
def test_a_layer_is_its_equations(kind, functions, zero_output_for_mask, go_backwards, mask, dtype, rng):
    activation, recurrent_activation = functions
    options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    layer = filled(
        layer_of(
            kind,
            activation=activation,
            recurrent_activation=recurrent_activation,
            return_sequences=True,
            return_state=True,
            dtype=dtype,
            **options,
        ),
        rng,
    )
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype(dtype)
    states = states_of(kind, rng, dtype)
    for given in (None, states):
        outputs, *after = layer(x, mask=mask, initial_state=given)
        expected, ends = cell_recurrence(
            kind,
            x,
            *layer.get_weights(),
            activation=activation or "linear",
            recurrent_activation=recurrent_activation,
            states=given,
            mask=mask,
            **options,
        )
        for actual, wanted in zip([outputs, *after], [expected, *ends], strict=True):
            assert actual.dtype == dtype
            assert_close(actual, wanted, dtype)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_a_step_of_its_layer(kind, use_bias, rng):
    cell = filled(cell_of(kind, use_bias=use_bias), rng)
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    outputs, *after = layers.RNN(cell, return_sequences=True, return_state=True)(x)
    states = cell.get_initial_state(BATCH)
    for t in range(TIMESTEPS):
        output, states = cell(x[:, t], states)
        np.testing.assert_array_equal(output, outputs[:, t])
    assert isinstance(states, list)
    for state, expected in zip(states, after, strict=True):
        np.testing.assert_array_equal(state, expected)
    output[:] = 7  # who writes to the output leaves the state as it is
    np.testing.assert_array_equal(states[0], after[0])


def test_forms_of_the_states_of_an_lstm_cell(rng):
    cell = filled(layers.LSTMCell(UNITS), rng)
    x, states = rng.standard_normal((BATCH, FEATURES)).astype("f"), states_of("lstm", rng, "f")
    expected, (h, c) = cell(x, states)
    for form in (tuple(states), np.stack(states), [*states, "more"]):
        output, after = cell(x, form)
        np.testing.assert_array_equal(output, expected)
        assert type(after) is list
        np.testing.assert_array_equal(after[1], c)
    np.testing.assert_array_equal(h, expected)
    for wrong in ([], states[:1], states[0], [states[0], states[1][:, :2]]):
        with pytest.raises(ValueError, match="states must"):
            cell(x, wrong)


def test_a_gru_cell_returns_states_as_they_came(rng):
    cell = filled(layers.GRUCell(UNITS), rng)
    x, (state,) = rng.standard_normal((BATCH, FEATURES)).astype("f"), states_of("gru", rng, "f")
    output, after = cell(x, state)
    assert isinstance(after, np.ndarray)
    np.testing.assert_array_equal(after, output)
    _, (listed,) = cell(x, [state])
    np.testing.assert_array_equal(listed, output)


def test_weights_as_keras_has_them():
    for kind, columns, bias in (("lstm", 20, (20,)), ("gru", 15, (2, 15)), ("gru_reset_before", 15, (15,))):
        layer = layer_of(kind)
        layer.build((None, None, FEATURES))
        assert [w.shape for w in layer.weights] == [(FEATURES, columns), (UNITS, columns), bias]
        assert [spec.name for spec in layer.cell.own_specs] == ["kernel", "recurrent_kernel", "bias"]
        kernel, recurrent_kernel, _ = layer.weights
        assert np.abs(kernel).max() <= (6 / (FEATURES + columns)) ** 0.5  # the fans are those of the whole matrix
        np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(UNITS), atol=1e-6)


def test_the_forget_gate_begins_open():
    """As in Keras: the other gates begin as the initializer says, which is called twice."""
    for bias, expected in (("zeros", [0, 1, 0, 0]), (cyrnn.initializers.Constant(0.3), [0.3, 1, 0.3, 0.3])):
        cell = layers.LSTMCell(2, bias_initializer=bias)
        cell.build((None, 3))
        np.testing.assert_allclose(cell.bias, np.repeat(expected, 2), rtol=1e-6)
    cell = layers.LSTMCell(2, unit_forget_bias=False, bias_initializer=cyrnn.initializers.Constant(0.3))
    cell.build((None, 3))
    np.testing.assert_allclose(cell.bias, np.full(8, 0.3), rtol=1e-6)
    cell = layers.LSTMCell(3, bias_initializer=cyrnn.initializers.RandomNormal(seed=1))
    cell.build((None, 3))
    np.testing.assert_array_equal(cell.bias[:3], cell.bias[6:9])  # with one seed they begin alike
    cell = layers.LSTMCell(2, bias_initializer=None)
    cell.build((None, 3))
    assert cell.bias.shape == (8,)


def test_seeds_are_drawn_in_the_order_of_keras():
    """For LSTM and GRU those of the initializers come before that of dropout; for SimpleRNN after it."""
    for name, before in (("LSTM", 2), ("GRU", 2), ("SimpleRNN", 0)):
        random.seed(5)
        drawn = [random.randint(1, int(1e9)) for _ in range(3)]
        random.seed(5)
        layer = getattr(layers, name)(2, dropout=0.5)
        expected = cyrnn.random.dropout_mask((2, 3), 0.5, drawn[before])
        np.testing.assert_array_equal(layer.cell.get_dropout_mask(np.ones((2, 3), "f")), expected)


def test_sizes_and_shapes():
    lstm, gru = layers.LSTMCell(4), layers.GRUCell(4)
    assert (lstm.state_size, lstm.output_size) == ([4, 4], 4)
    assert (gru.state_size, gru.output_size) == (4, 4)
    layer = layers.LSTM(4, return_sequences=True, return_state=True)
    assert layer.compute_output_shape((2, 7, 3)) == ((2, 7, 4), (2, 4), (2, 4))
    assert layer.compute_mask(None, "mask") == ["mask", None, None]
    assert (layer.single_state, layers.GRU(4).single_state) == (False, True)
    assert [state.shape for state in layer.get_initial_state(2)] == [(2, 4), (2, 4)]
    stack = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)], return_state=True)
    assert stack.state_size == [[4, 4], 3, 2]
    y, first, second, third = stack(np.zeros((2, 5, 3), "f"))
    assert [[state.shape for state in part] for part in (first, second, third)] == [
        [(2, 4), (2, 4)],
        [(2, 3)],
        [(2, 2)],
    ]
    assert y.shape == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_its_cells_one_after_another(kind, rng):
    cells = [filled(cell_of(kind), rng), filled(layers.SimpleRNNCell(4), rng, UNITS)]
    cells.append(filled(cell_of("lstm"), rng, 4))
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    y, *states = layers.RNN(cells, return_sequences=True, return_state=True)(x, mask=MASK)
    for cell, found in zip(cells, states, strict=True):
        alone = layers.RNN(cell, return_sequences=True, return_state=True)
        x, *after = alone(x, mask=MASK)
        for actual, expected in zip(found, after, strict=True):
            np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_both_directions(merge_mode, kind, rng):
    both = layers.Bidirectional(layer_of(kind, return_sequences=True, return_state=True), merge_mode=merge_mode)
    filled(both, rng)
    x, states = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f"), states_of(kind, rng, "f") * 2
    results = both(x, initial_state=states, mask=MASK)
    half = len(states) // 2
    forward, *ends = both.forward_layer(x, initial_state=states[:half], mask=MASK)
    backward, *begins = both.backward_layer(x, initial_state=states[half:], mask=MASK)
    backward = backward[:, ::-1]
    merged = {
        "concat": [np.concatenate([forward, backward], -1)],
        "sum": [forward + backward],
        None: [forward, backward],
    }[merge_mode]
    for actual, expected in zip(results, [*merged, *ends, *begins], strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stateful_layer_carries_all_states(kind, rng):
    layer, other = layer_of(kind, stateful=True), filled(layer_of(kind, return_state=True), rng)
    layer.build((BATCH, None, FEATURES))
    layer.set_weights(other.get_weights())
    x = rng.standard_normal((BATCH, 2 * TIMESTEPS, FEATURES)).astype("f")
    layer(x[:, :TIMESTEPS])
    y, *states = other(x)
    np.testing.assert_array_equal(layer(x[:, TIMESTEPS:]), y)
    for actual, expected in zip(layer.states, states, strict=True):
        np.testing.assert_array_equal(actual, expected)
    layer.reset_state()
    assert not any(state.any() for state in layer.states)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 4, 20])
def test_steppers_have_the_bits_of_the_sequence(batch, kind, rng):
    layer = filled(layer_of(kind, return_sequences=True), rng)
    x = rng.standard_normal((batch, TIMESTEPS, FEATURES)).astype("f")
    outputs, stepper = layer(x), layer.stepper(batch)
    for t in range(TIMESTEPS):
        if t == 3:
            stepper = pickle.loads(pickle.dumps(copy.copy(stepper)))
        np.testing.assert_array_equal(stepper.step(x[:, t]), outputs[:, t])
    begun = layer.stepper(batch, initial_state=stepper.state)
    for actual, expected in zip(np.ravel(begun.state), np.ravel(stepper.state), strict=True):
        assert actual == expected


@pytest.mark.parametrize("kind", KINDS)
def test_models_predict_and_step_and_are_copied(kind, rng):
    model = cyrnn.Sequential(
        [layers.Masking(), layer_of(kind, return_sequences=True), layer_of(kind), layers.Dense(2, "softmax")]
    )
    x = rng.standard_normal((70, TIMESTEPS, FEATURES)).astype("f")
    x[::3, 3:] = 0
    y = model(x)
    assert_close(model.predict(x, batch_size=16), y, "float32")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(x), y)
    copied = cyrnn.from_json(model.to_json())
    copied.build(x.shape)
    copied.set_weights(model.get_weights())
    np.testing.assert_array_equal(copied(x), y)


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_your_own_give_the_same_numbers(kind, rng):
    """Python walks over the timesteps then."""
    layer = filled(layer_of(kind, return_sequences=True, return_state=True), rng)
    own = layer_of(
        kind,
        return_sequences=True,
        return_state=True,
        activation=lambda z: np.tanh(z),
        recurrent_activation=lambda z: 1 / (1 + np.exp(-z)),
    )
    own.build((None, None, FEATURES))
    own.set_weights(layer.get_weights())
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    for actual, expected in zip(own(x, mask=MASK), layer(x, mask=MASK), strict=True):
        assert_close(actual, expected, "float32")


DROPPED = [
    # dropout, recurrent_dropout, implementation, masks that are drawn of one gate
    (0.5, 0.0, 2, 1, 0),
    (0.0, 0.5, 2, 0, None),
    (0.5, 0.25, 2, None, None),
    (0.5, 0.0, 1, None, 0),
    (1.0, 1.0, 2, 0, 0),  # nothing is dropped, as in Keras
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dropout", "recurrent_dropout", "implementation", "of_x", "of_h"), DROPPED)
def test_dropout_masks(dropout, recurrent_dropout, implementation, of_x, of_h, kind, rng):
    """One mask for all gates, or one for each; those of the inputs are drawn first."""
    gates = 4 if kind == "lstm" else 3
    of_x, of_h = (gates if count is None else count for count in (of_x, of_h))
    options = {"dropout": dropout, "recurrent_dropout": recurrent_dropout, "seed": 3}
    layer = filled(layer_of(kind, implementation=implementation, return_sequences=True, **options), rng)
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    y = layer(x, training=True)
    drawn = cyrnn.random.SeedGenerator(3)
    into_x = [cyrnn.random.dropout_mask((BATCH, FEATURES), dropout, drawn) for _ in range(of_x)] or [1]
    into_h = [cyrnn.random.dropout_mask((BATCH, UNITS), recurrent_dropout, drawn) for _ in range(of_h)] or [1]
    kernel, recurrent_kernel, bias = layer.get_weights()
    # A kernel for each row: what is dropped for a gate is a row of zeros in its columns.
    expected = []
    for row in range(BATCH):
        blocks = []
        for array, factors in ((kernel, into_x), (recurrent_kernel, into_h)):
            each = factors * gates if len(factors) == 1 else factors
            parts = zip(np.split(array, gates, axis=1), each, strict=True)
            blocks.append(np.concatenate([b * (f if np.ndim(f) == 0 else f[row][:, None]) for b, f in parts], axis=1))
        expected.append(cell_recurrence(kind, x[row : row + 1], *blocks, bias)[0])
    assert_close(y, np.concatenate(expected), "float32")
    assert_close(layer(x), cell_recurrence(kind, x, kernel, recurrent_kernel, bias)[0], "float32")


def test_configs_have_the_keys_of_keras():
    """Their order is that of keras 3.15."""
    of_all = ["name", "trainable", "dtype"]
    initializers = ["kernel_initializer", "recurrent_initializer", "bias_initializer"]
    regularizers = ["kernel_regularizer", "recurrent_regularizer", "bias_regularizer"]
    constraints = ["kernel_constraint", "recurrent_constraint", "bias_constraint"]
    first, rates = ["units", "activation", "recurrent_activation", "use_bias"], ["dropout", "recurrent_dropout"]
    flags = ["return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"]
    begin = [*of_all, *flags, *first, *initializers]
    end = [*regularizers, "activity_regularizer", *constraints, *rates]
    assert list(layers.LSTM(2).get_config()) == [*begin, "unit_forget_bias", *end, "seed"]
    assert list(layers.GRU(2).get_config()) == [*begin, *end, "reset_after", "seed"]
    of_cell = [*of_all, *first]
    rest = [*initializers, *regularizers, *constraints, *rates]
    assert list(layers.LSTMCell(2).get_config()) == [*of_cell, "unit_forget_bias", *rest, "seed"]
    assert list(layers.GRUCell(2).get_config()) == [*of_cell, *rest, "reset_after", "seed"]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "LSTMCell", "GRUCell"])
def test_configs_go_both_ways(name):
    options = {"activation": "relu", "recurrent_activation": "hard_sigmoid", "dropout": 0.25, "seed": 8}
    options |= {"unit_forget_bias": False} if "LSTM" in name else {"reset_after": False}
    options |= {} if "Cell" in name else {"activity_regularizer": "l2", "use_cudnn": False, "return_sequences": True}
    layer = getattr(layers, name)(3, kernel_regularizer="l1", bias_constraint="non_neg", **options)
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
    assert not {"use_cudnn", "implementation"} & set(config)
    for key in ("recurrent_activation", "dropout"):
        assert config[key] == options[key]


def test_attributes_of_the_layer():
    layer = layers.LSTM(3, implementation=1)
    assert (layer.use_cudnn, layer.unit_forget_bias, layer.cell.implementation) == ("auto", True, 1)
    assert (layer.activation.__name__, layer.recurrent_activation.__name__) == ("tanh", "sigmoid")
    assert layers.GRU(3).reset_after is True
    assert layers.GRUCell(3, recurrent_dropout=0.5).implementation == 1
    layer.build((None, None, 2))
    layer.bias = np.ones(12)
    np.testing.assert_array_equal(layer.cell.bias, np.ones(12))


def test_another_recurrent_activation_is_used_at_once(rng):
    layer = filled(layers.GRU(UNITS), rng)
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    before = layer(x)
    layer.cell.recurrent_activation = "hard_sigmoid"
    expected, _ = cell_recurrence("gru", x, *layer.get_weights(), recurrent_activation="hard_sigmoid")
    assert_close(layer(x), expected[:, -1], "float32")
    assert not np.array_equal(layer(x), before)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_policies_round_what_they_return(kind, policy, rng):
    layer = filled(layer_of(kind, return_state=True, dtype=policy), rng)
    x = rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("f")
    y, *states = layer(x)
    expected, ends = cell_recurrence(kind, x, *[w.astype("f8") for w in layer.get_weights()])
    for actual, wanted in zip([y, *states], [expected[:, -1], *ends], strict=True):
        assert actual.dtype == layer.dtype_policy.compute_dtype
        np.testing.assert_allclose(actual.astype("f8"), wanted, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_takes_its_arguments_by_the_names_of_keras(kind, rng):
    cell, x, states = cell_of(kind), rng.standard_normal((BATCH, FEATURES)).astype("f"), states_of(kind, rng, "f")
    for _ in range(2):  # the second call is the short one
        expected, _ = cell(x, states)
        np.testing.assert_array_equal(cell(inputs=x, states=states, training=False)[0], expected)
    assert layers.RNN(cell).engine_cells == [cell]
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, features\), got \(4, 1, 3\)"):
        cell(inputs=x[:, None], states=states)
    with pytest.raises(ValueError, match="inputs must have 3 features, as the kernel has, got 2"):
        cell(x[:, :2], states)


@pytest.mark.parametrize("use_cudnn", [True, False, "auto"])
def test_both_directions_have_the_use_cudnn_of_the_layer(use_cudnn):
    both = layers.Bidirectional(layers.LSTM(3, use_cudnn=use_cudnn), backward_layer=layers.GRU(3, go_backwards=True))
    assert both.forward_layer.use_cudnn is both.backward_layer.use_cudnn is use_cudnn
    assert layers.Bidirectional(both.forward_layer).backward_layer.use_cudnn is use_cudnn


@pytest.mark.parametrize("name", ["LSTM", "GRU", "LSTMCell", "GRUCell"])
def test_wrong_arguments(name):
    make = getattr(layers, name)
    for units in (0, -1, True):
        with pytest.raises(ValueError, match="units"):
            make(units)
    with pytest.raises(TypeError, match="units"):
        make("3")
    with pytest.raises(ValueError, match="recurrent_activation|activation"):
        make(3, recurrent_activation="sigmod")
    with pytest.raises(ValueError, match="time_major"):
        make(3, time_major=True)
    if "Cell" not in name:
        with pytest.raises(ValueError, match="use_cudnn must be 'auto', True or False, got 'never'"):
            make(3, use_cudnn="never")


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_states_change_nothing(kind, rng):
    layer = layer_of(kind, stateful=True)
    layer.build((BATCH, None, FEATURES))
    x, states = rng.standard_normal((BATCH, 2, FEATURES)).astype("f"), states_of(kind, rng, "f")
    layer(x)
    before = [state.copy() for state in layer.states]
    for wrong in ([], [*states, *states], [state[:, 1:] for state in states]):
        with pytest.raises(ValueError, match="initial_state must"):
            layer(x, initial_state=wrong)
    for actual, expected in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_thousand_steps_stay_close_to_float64(rng):
    for kind in KINDS:
        layer = getattr(layers, KINDS[kind][0])(64, return_sequences=True, **KINDS[kind][1])
        layer.build((None, None, 32))
        x = rng.standard_normal((2, 1000, 32)).astype("f")
        expected, _ = cell_recurrence(kind, x, *layer.get_weights())
        assert np.abs(layer(x) - expected).max() < 4e-6
