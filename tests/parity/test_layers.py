"""SimpleRNNCell, RNN(SimpleRNNCell) and SimpleRNN against Keras: every option, masks, states, dropout."""

import itertools

import numpy as np
import pytest
from parity.twins import ACTIVATIONS, assert_same, follow_tensorflow, keras, twins

import cyrnn

DTYPES = ["float32", "float64"]
KINDS = ["SimpleRNN", "RNN"]
OF_THE_LAYER = {
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"),
    *("dtype", "name"),
}
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5


def maker(kind, units=UNITS, **options):
    """A function from module (Keras or cyrnn) to a layer of this kind."""
    of_the_cell = {key: value for key, value in options.items() if key not in OF_THE_LAYER or key == "dtype"}
    of_the_layer = {key: value for key, value in options.items() if key in OF_THE_LAYER}

    def make(module):
        layers = module.layers
        if kind == "SimpleRNN":
            return layers.SimpleRNN(units, **options)
        return layers.RNN(layers.SimpleRNNCell(units, **of_the_cell), **of_the_layer)

    return make


def sequences(dtype="float32", seed=0, shape=(BATCH, TIMESTEPS, FEATURES)):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(ours, theirs, x, mask=None, **arguments):
    """One call of both layers."""
    follow_tensorflow(theirs, mask)
    assert_same(ours(x, mask=mask, **arguments), theirs(x, mask=mask, **arguments))


# ---------------------------------------------------------------- the grid

MASKS = {
    "no mask": None,
    "right padding": np.arange(TIMESTEPS) < np.array([[6], [3], [1], [5]]),
    "left padding": np.arange(TIMESTEPS) >= np.array([[0], [3], [5], [1]]),
    "holes": np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1], [1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]], bool),
    "a row all masked": np.array([[0] * 6, [1] * 6, [0] * 6, [1, 0, 0, 0, 0, 1]], bool),
    "all masked": np.zeros((BATCH, TIMESTEPS), bool),
    "(batch, timesteps, 1)": (np.arange(TIMESTEPS) < np.array([[2], [3], [1], [5]]))[:, :, None],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("state", ["zeros", "initial_state_as_in_tensorflow"])
@pytest.mark.parametrize("mask", MASKS)
def test_options_masks_and_states(mask, state, zero_output_for_mask, go_backwards, dtype):
    x, rng = sequences(dtype), np.random.default_rng(1)
    h = None if state == "zeros" else rng.standard_normal((BATCH, UNITS)).astype(dtype)
    options = {"zero_output_for_mask": zero_output_for_mask, "go_backwards": go_backwards, "dtype": dtype}
    for kind, sequences_, state_, unroll in itertools.product(KINDS, *[[False, True]] * 3):
        make = maker(kind, return_sequences=sequences_, return_state=state_, unroll=unroll, **options)
        ours, theirs = twins(make, x.shape, rng)
        check(ours, theirs, x, mask=MASKS[mask], initial_state=h)
        if h is None and not (zero_output_for_mask and unroll):  # both of Keras' loops agree here
            theirs.unroll = unroll
            assert_same(ours(x, mask=MASKS[mask]), theirs(x, mask=MASKS[mask]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, None])
def test_every_activation_by_name(activation, use_bias, dtype):
    x, rng = sequences(dtype), np.random.default_rng(2)
    for kind in KINDS:
        make = maker(kind, activation=activation, use_bias=use_bias, dtype=dtype, return_sequences=True)
        ours, theirs = twins(make, x.shape, rng, 0.1 if activation == "exponential" else 0.5)
        check(ours, theirs, 2 * x)
        assert ours.cell.get_config()["activation"] == theirs.cell.get_config()["activation"]


def test_cyrnn_has_every_activation_of_keras():
    assert len(ACTIVATIONS) >= 30
    assert [name for name in ACTIVATIONS if not callable(getattr(cyrnn.activations, name, None))] == []


@pytest.mark.parametrize("mask", ["no mask", "left padding", "holes"])
@pytest.mark.parametrize("kind", KINDS)
def test_stateful_calls_as_in_tensorflow(kind, mask):
    rng = np.random.default_rng(3)
    make = maker(kind, stateful=True, return_sequences=True, return_state=True)
    ours, theirs = twins(make, (BATCH, TIMESTEPS, FEATURES), rng)
    h = rng.standard_normal((BATCH, UNITS)).astype("float32")
    for step, arguments in enumerate([{}, {}, {"initial_state": h}, {}, "reset", {}, {}]):
        if arguments == "reset":
            ours.reset_state()
            theirs.reset_state()
        else:
            check(ours, theirs, sequences(seed=step), mask=MASKS[mask], **arguments)
        assert_same(ours.states, [np.asarray(state) for state in theirs.states])


@pytest.mark.parametrize("form", [lambda h: h, lambda h: [h], lambda h: (h,), lambda h: h[:1], lambda h: h[0]])
@pytest.mark.parametrize("kind", KINDS)
def test_forms_of_an_initial_state(kind, form):
    ours, theirs = twins(maker(kind, return_state=True), (BATCH, TIMESTEPS, FEATURES), np.random.default_rng(4))
    h = np.random.default_rng(5).standard_normal((BATCH, UNITS)).astype("float32")
    check(ours, theirs, sequences(), initial_state=form(h))


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "float16", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_another_dtype(kind, dtype):
    ours, theirs = twins(maker(kind), (BATCH, TIMESTEPS, FEATURES), np.random.default_rng(6))
    x = np.abs(3 * sequences()).astype(dtype)
    ours, theirs = ours(x), np.asarray(theirs(x))
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)
    assert ours.dtype == "float32"


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_nan_in_masked_steps_stays_there_and_elsewhere_spreads(zero_output_for_mask):
    x, keep = sequences(), MASKS["holes"]
    make = maker("SimpleRNN", return_sequences=True, return_state=True, zero_output_for_mask=zero_output_for_mask)
    ours, theirs = twins(make, x.shape, np.random.default_rng(7))
    check(ours, theirs, np.where(keep[:, :, None], x, np.nan), mask=keep)
    x[1, 3, 0], x[2, 4, 1] = np.nan, np.inf
    check(ours, theirs, x, mask=keep)


# ---------------------------------------------------------------- the cell

FORMS = {"array": lambda h: h, "list": lambda h: [h], "tuple": lambda h: (h,)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_cell_alone(form, training, dtype):
    def make(module):
        return module.layers.SimpleRNNCell(UNITS, dropout=0.4, recurrent_dropout=0.3, seed=11, dtype=dtype)

    ours, theirs = twins(make, (BATCH, FEATURES), np.random.default_rng(8))
    h = h_theirs = FORMS[form](np.ones((BATCH, UNITS), dtype))
    for call in range(5):
        if call == 3:  # the masks last until then
            for cell in (ours, theirs):
                cell.reset_dropout_mask()
                cell.reset_recurrent_dropout_mask()
        x = sequences(dtype, seed=call)[:, 0]
        output, h = ours(x, h, training=training)
        output_theirs, h_theirs = theirs(x, h_theirs, training=training)
        assert isinstance(h, list) == isinstance(h_theirs, list)
        assert_same((output, h), (np.asarray(output_theirs), h_theirs))
    assert (ours.state_size, ours.output_size) == (theirs.state_size, theirs.output_size)
    assert_same(ours.get_initial_state(batch_size=2), theirs.get_initial_state(batch_size=2))


# ---------------------------------------------------------------- dropout

RATES = [0.0, 0.25, 0.6, 1.0]


@pytest.mark.parametrize("mask", ["no mask", "holes"])
@pytest.mark.parametrize("recurrent_dropout", RATES)
@pytest.mark.parametrize("dropout", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_masks_are_those_of_keras_on_numpy(kind, dropout, recurrent_dropout, mask):
    options = {"dropout": dropout, "recurrent_dropout": recurrent_dropout, "seed": 42, "return_sequences": True}
    ours, theirs = twins(maker(kind, **options), (BATCH, TIMESTEPS, FEATURES), np.random.default_rng(9))
    for call in range(3):  # each has other masks
        check(ours, theirs, sequences(seed=call), mask=MASKS[mask], training=True)


def test_inference_leaves_the_stream_of_dropout_masks_where_it_was():
    """Keras draws masks that inference then does not use; cyrnn draws none, so its streams agree between trainings."""
    ours, theirs = twins(
        maker("SimpleRNN", dropout=0.5, seed=1), (BATCH, TIMESTEPS, FEATURES), np.random.default_rng(1)
    )
    x = sequences()
    first = ours(x, training=True)
    assert_same(ours(x), keras.ops.convert_to_numpy(theirs(x * 0 + x)))  # the draw that Keras has here
    second = ours(x, training=True)
    theirs.cell.seed_generator.state.assign(np.array([1, 0], "uint32"))
    assert_same([first, second], [theirs(x, training=True), theirs(x, training=True)])
