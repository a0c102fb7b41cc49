"""Models as programs: which calls become ops, and that a program computes what the layers do one by one.

The executor alone, which calls each layer, is compared with the engine's programs and with those of the oracle.
"""

import copy
import importlib.util
import pickle
import re
import warnings

import numpy as np
import pytest
import reference_program
from helpers import assert_close

import cyrnn
from cyrnn import layers, objects
from cyrnn.engine import plan
from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.alone import INPUTS, program_of
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not
from cyrnn.models import executor
from cyrnn.models.executor import Place
from cyrnn.models.programs.parts import ProgramPart

REFERENCE = reference_program.TARGET
RNG = np.random.default_rng(0)
FEATURES, UNITS, WORDS = 3, 4, 7


def sequences(batch=2, timesteps=5, features=FEATURES, dtype="float32"):
    return RNG.standard_normal((batch, timesteps, features)).astype(dtype)


def padded(batch=4, timesteps=5):
    """Tokens, of which the last ones of most rows are 0, and all of one row."""
    tokens = RNG.integers(1, WORDS, (batch, timesteps))
    tokens[np.arange(timesteps) >= np.arange(timesteps, timesteps - batch, -1)[:, None]] = 0
    tokens[-1] = 0
    return tokens


def embedding(**options):
    return layers.Embedding(WORDS, FEATURES, mask_zero=True, **options)


def simple_rnn(units=UNITS, **options):
    return layers.SimpleRNN(units, **options)


def built(model, x):
    """The model, built, with weights that are not small."""
    model(x)
    model.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in model.get_weights()])
    return model


# ---------------------------------------------------------------- models that are one program


def tagger():
    tagging = layers.Bidirectional(simple_rnn(return_sequences=True))
    return cyrnn.Sequential([embedding(), tagging, layers.Dense(2, activation="softmax")]), padded()


def encoder_decoder():
    source, target = cyrnn.Input((None,), dtype="int32"), cyrnn.Input((None, FEATURES))
    _, state = simple_rnn(return_state=True)(embedding()(source))
    decoded = simple_rnn(return_sequences=True)(target, initial_state=state)
    return cyrnn.Model([source, target], layers.Dense(2)(decoded)), [padded(2, 5), sequences(2, 6)]


def two_inputs():
    a, b = cyrnn.Input((None, FEATURES)), cyrnn.Input((4,))
    return cyrnn.Model([a, b], [simple_rnn()(a), layers.Dense(2, activation="relu")(b)]), [
        sequences(),
        RNG.standard_normal((2, 4)),
    ]


def shared_layer():
    a, b, rnn = cyrnn.Input((None, FEATURES)), cyrnn.Input((None, FEATURES)), simple_rnn()
    return cyrnn.Model({"a": a, "b": b}, {"a": rnn(a), "b": rnn(b)}), {"a": sequences(), "b": sequences(2, 3)}


def nested():
    x = cyrnn.Input((None, FEATURES))
    encoder = cyrnn.Model(x, layers.Masking()(x))
    tail = cyrnn.Sequential([simple_rnn(return_sequences=True), layers.Dropout(0.5), layers.Dense(2)])
    return cyrnn.Sequential([encoder, tail, layers.Activation("tanh")]), sequences() * (RNG.random((2, 5, 1)) < 0.6)


def states_out():
    x = cyrnn.Input((None, FEATURES))
    cells = [layers.SimpleRNNCell(UNITS), layers.SimpleRNNCell(2, activation="relu", use_bias=False)]
    return cyrnn.Model(x, layers.RNN(cells, return_state=True, go_backwards=True)(x)), sequences()


def both_directions_of_states():
    x = cyrnn.Input((None, FEATURES))
    states = layers.Bidirectional(simple_rnn(return_state=True, return_sequences=True))(x)
    return cyrnn.Model(x, layers.Bidirectional(simple_rnn(), merge_mode=None)(x, initial_state=states[1:])), sequences()


def masks_of_keras_3():
    """As its files hold them: operations compute the masks."""
    tokens, x = cyrnn.Input((None,), dtype="int32"), cyrnn.Input((None, FEATURES))
    embed, masking = embedding(), layers.Masking(0.5)
    words = simple_rnn(return_sequences=True)(embed(tokens), mask=embed.compute_mask(tokens))
    return cyrnn.Model([tokens, x], [words, simple_rnn()(masking(x), mask=masking.compute_mask(x))]), [
        padded(),
        np.where(RNG.random((4, 6, 1)) < 0.4, 0.5, sequences(4, 6)),
    ]


def mask_as_input():
    x, mask = cyrnn.Input((None, FEATURES)), cyrnn.Input((None,), dtype="bool")
    rnns = [simple_rnn(return_sequences=True), simple_rnn()]
    return cyrnn.Model([x, mask], rnns[1](rnns[0](x, mask=mask))), [sequences(), RNG.random((2, 5)) < 0.6]


def residual():
    """Two branches of a sequence that are added, and joined with what comes of it."""
    x = cyrnn.Input((None, FEATURES))
    h = simple_rnn(FEATURES, return_sequences=True)(x)
    both = layers.Concatenate()([x, layers.LayerNormalization()(layers.Add()([x, h])), h])
    return cyrnn.Model(x, [layers.Dense(2)(both), layers.Average()([simple_rnn()(x), simple_rnn()(h)])]), sequences()


def attention():
    """Weights over the timesteps, of which each has one."""
    x = cyrnn.Input((None, FEATURES))
    h = simple_rnn(return_sequences=True)(x)
    weights = layers.Softmax(axis=1)(layers.Dense(1, activation="tanh")(h))
    return cyrnn.Model(x, layers.GlobalAveragePooling1D()(layers.Multiply()([h, weights]))), sequences()


def normalizations():
    data = [layers.Normalization(), layers.BatchNormalization(), layers.Rescaling(0.5, 1.0)]
    normal = [layers.LayerNormalization(), layers.PReLU(shared_axes=[1]), layers.UnitNormalization()]
    return cyrnn.Sequential([*data, simple_rnn(return_sequences=True), *normal, simple_rnn()])


def timesteps_changed():
    before, after = (
        [layers.ZeroPadding1D(2)],
        [layers.MaxPooling1D(2), layers.UpSampling1D(3), layers.Cropping1D((1, 0))],
    )
    return cyrnn.Sequential([*before, simple_rnn(return_sequences=True), *after, simple_rnn()])


ONE_PROGRAM = {
    "masks of Keras 3": masks_of_keras_3,
    "mask as input": mask_as_input,
    "simple": lambda: (cyrnn.Sequential([simple_rnn(), layers.Dense(2)]), sequences()),
    "embedding": lambda: (cyrnn.Sequential([embedding(), simple_rnn(), layers.Dense(2)]), padded()),
    "tagger": tagger,
    "encoder-decoder": encoder_decoder,
    "stateful": lambda: (
        cyrnn.Sequential([simple_rnn(stateful=True, return_sequences=True), simple_rnn(2, stateful=True)]),
        sequences(),
    ),
    "two inputs": two_inputs,
    "stacked": lambda: (
        cyrnn.Sequential([simple_rnn(return_sequences=True), simple_rnn(2, return_sequences=True), simple_rnn(3)]),
        sequences(),
    ),
    "stack of cells": lambda: (
        cyrnn.Sequential([embedding(), layers.RNN([layers.SimpleRNNCell(UNITS), layers.SimpleRNNCell(2)])]),
        padded(),
    ),
    "time distributed": lambda: (
        cyrnn.Sequential([simple_rnn(return_sequences=True), layers.TimeDistributed(layers.Dense(2))]),
        sequences(),
    ),
    "masking": lambda: (
        cyrnn.Sequential([layers.Masking(0.5), simple_rnn(return_sequences=True, zero_output_for_mask=True)]),
        np.where(RNG.random((3, 5, 1)) < 0.4, 0.5, sequences(3, 5)),
    ),
    "nested": nested,
    "shared layer": shared_layer,
    "states": states_out,
    "states of both directions": both_directions_of_states,
    "all axes": lambda: (
        cyrnn.Sequential(
            [layers.Dense(2, activation="softmax"), layers.ReLU(), layers.TimeDistributed(layers.Dense(3))]
        ),
        RNG.standard_normal((2, 3, 2, 4)).astype("float32"),
    ),
    "tokens of several axes": lambda: (
        cyrnn.Sequential([layers.TimeDistributed(layers.Embedding(WORDS, 2)), layers.Softmax()]),
        RNG.integers(0, WORDS, (2, 3, 2)),
    ),
    "rows": lambda: (
        cyrnn.Sequential([layers.GaussianNoise(0.5), layers.Dense(2), layers.LeakyReLU(0.2), layers.Identity()]),
        RNG.standard_normal((3, 4)).astype("float32"),
    ),
    "residual": residual,
    "attention": attention,
    "directions added": lambda: (
        cyrnn.Sequential(
            [embedding(), layers.Bidirectional(simple_rnn(return_sequences=True), merge_mode="sum"), layers.Dense(2)]
        ),
        padded(),
    ),
    "normalizations": lambda: (normalizations(), sequences()),
    "pooling": lambda: (
        cyrnn.Sequential(
            [embedding(), simple_rnn(return_sequences=True), layers.GlobalAveragePooling1D(), layers.Dense(2)]
        ),
        padded(),
    ),
    "timesteps": lambda: (timesteps_changed(), sequences()),
    "repeated": lambda: (
        cyrnn.Sequential([simple_rnn(), layers.RepeatVector(3), simple_rnn(return_sequences=True), layers.Flatten()]),
        sequences(),
    ),
    "double precision": lambda: (
        cyrnn.Sequential([simple_rnn(dtype="float64"), layers.Dense(2, dtype="float64")]),
        sequences(dtype="float64"),
    ),
}


def divided(model, x, target=REFERENCE, **options):
    """The model's calls as programs and cuts, for an input like x."""
    with executor.lowering_to(target):
        if isinstance(model, cyrnn.Sequential):
            return model.partition(Place((None, *model.input_shape[1:])), **options)
        inputs = nest.mapped(lambda tensor: Place(tensor.shape, tensor.dtype), model.input)
        return model.partition(inputs, **options)


def assert_same(got, expected, dtype="float32"):
    got, expected = nest.leaves(got), nest.leaves(expected)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        if theirs is None or theirs.dtype.kind != "f":
            np.testing.assert_array_equal(ours, theirs)
            assert (ours is None) == (theirs is None)
        else:
            assert ours.dtype == theirs.dtype
            assert_close(ours, theirs)


def assert_program_is_the_layers(model, x, target, mask=None, calls=2):
    """Several calls of the model give what the layers give one by one: outputs, masks and states."""
    copies = [copy.deepcopy(model) for _ in range(2)]
    for _ in range(calls):
        with executor.alone():
            expected = copies[0].call_and_mask(copies[0].checked_inputs(x), mask, False)
        with executor.lowering_to(target):
            got = copies[1].call_and_mask(copies[1].checked_inputs(x), mask, False)
        assert_same(got[0], expected[0])
        assert_same(got[1], expected[1])
        states = [[part.states for part in one.layers_within() if part.states is not None] for one in copies]
        assert_same(*states)


@pytest.mark.parametrize("name", ONE_PROGRAM)
def test_is_one_program(name):
    model, x = ONE_PROGRAM[name]()
    built(model, x)
    for options in ({}, {"wanted": True}, {"masked": True, "wanted": True}):
        found = divided(model, x, **options)
        if "masked" in options and name in ("tokens of several axes", "attention"):  # softmax has no op with a mask
            continue
        assert found.cuts == []
        assert len(found.parts) == len(found.programs) == 1


@pytest.fixture
def inputs_fit(monkeypatch):
    """The executor never takes the place of a program in the test."""

    def run_calls(part, values, losses):
        pytest.fail("the inputs do not fit the program")

    monkeypatch.setattr(ProgramPart, "_run_calls", run_calls)


both_targets = pytest.mark.parametrize("target", [REFERENCE, ENGINE], ids=["reference", "engine"])


@both_targets
@pytest.mark.parametrize("name", ONE_PROGRAM)
@pytest.mark.usefixtures("inputs_fit")
def test_a_program_computes_what_the_layers_do(name, target):
    model, x = ONE_PROGRAM[name]()
    assert_program_is_the_layers(built(model, x), x, target)


# ---------------------------------------------------------------- masks, states and training of a call


@both_targets
@pytest.mark.parametrize("name", ["simple", "stacked", "stateful", "time distributed", "nested"])
@pytest.mark.usefixtures("inputs_fit")
def test_masks_of_the_caller(name, target):
    model, x = ONE_PROGRAM[name]()
    for mask in (RNG.random((2, 5)) < 0.6, np.ones((2, 5, 1)), np.zeros((2, 5), int)):
        assert_program_is_the_layers(built(model, x), x, target, mask)


@both_targets
@pytest.mark.usefixtures("inputs_fit")
def test_masks_of_the_caller_for_several_inputs(target):
    model, x = shared_layer()
    built(model, x)
    assert_program_is_the_layers(model, x, target, {"a": None, "b": RNG.random((2, 3)) < 0.6})
    assert_program_is_the_layers(model, x, target, {"a": RNG.random((2, 5)) < 0.6, "b": np.ones((2, 3), bool)})


@both_targets
@pytest.mark.usefixtures("inputs_fit")
def test_dropout_in_training_is_drawn_as_the_layers_draw_it(target):
    """Noise is an input of the program; that of AlphaDropout is none, and so it is a cut."""
    cells = [layers.SimpleRNNCell(4, dropout=0.4, seed=1), layers.SimpleRNNCell(3, recurrent_dropout=0.4, seed=2)]
    rnn = layers.RNN(cells, return_sequences=True)
    noisy = [
        layers.Dropout(0.5, seed=3), layers.SpatialDropout1D(0.3, seed=4), layers.GaussianNoise(0.2, seed=5),
        layers.GaussianDropout(0.2, seed=6), layers.AlphaDropout(0.2, seed=7, name="alpha"), layers.Flatten(),
        layers.Dropout(0.2, seed=8), layers.RepeatVector(3), layers.Dropout(0.2, seed=9),
    ]  # fmt: skip
    x = sequences(4)[:, :5]
    model = built(cyrnn.Sequential([cyrnn.Input(x.shape[1:]), rnn, *noisy, layers.Dense(2)]), x)
    found = divided(model, x, target, training=True)
    assert [name for name, _ in found.cuts] == ["alpha"]
    assert len(found.programs) == 2
    copies = [copy.deepcopy(model) for _ in range(2)]
    with executor.alone():
        expected = [copies[0](x, training=True) for _ in range(2)]
    with executor.lowering_to(target):
        assert_same([copies[1](x, training=True) for _ in range(2)], expected)
        assert_same(copies[1](x), model(x))
    assert np.any(expected[0] != expected[1])


def test_calls_of_the_graph_may_be_in_training_alone():
    x = cyrnn.Input((None, FEATURES))
    model = cyrnn.Model(x, layers.AlphaDropout(0.5, seed=1)(simple_rnn()(x), training=True))
    assert divided(model, None, training=None).cuts[0][1] == "it is random in training"
    assert divided(model, None, training=False).cuts == []


@pytest.mark.usefixtures("inputs_fit")
def test_arrays_of_any_kind():
    model = built(cyrnn.Sequential([simple_rnn(), layers.Dense(2)]), sequences())
    whole = RNG.integers(-3, 3, (2, 5, 2 * FEATURES))
    for dtype in ("float64", "float16", "int8", "uint64", "bool", ">f4", ">i2"):
        for x in (
            whole[..., ::2].astype(dtype),
            whole.astype(dtype)[..., ::2],
            whole.astype(dtype)[:, ::-1, FEATURES:],
        ):
            with executor.alone():
                expected = model(x)
            with executor.lowering_to(ENGINE):
                assert_same(model(x), expected)
                assert_same(model.predict(x), expected)


def test_arrays_that_do_not_fit_raise_the_errors_of_the_layers():
    tokens = built(cyrnn.Sequential([embedding(), simple_rnn(stateful=True)]), padded())
    model = built(cyrnn.Sequential([layers.Activation("tanh"), simple_rnn(), layers.Dense(2)]), sequences())
    wrong = [
        (tokens, np.full((4, 5), WORDS), "must be indices from 0 to 6, got 7 to 7"),
        (tokens, np.full((4, 5), np.nan), "must be indices from 0 to 6, got nan to nan"),
        (tokens, np.full((4, 5), 2**63, np.uint64), "must be indices from 0 to 6"),
        (tokens, padded(3), "carries states of 4 rows, got a batch of 3"),
        (model, sequences(features=2), "must have 3 features, as the kernel has, got 2"),
        (model, sequences(timesteps=0), "at least one timestep"),
        (model, np.zeros((2, 3), "f4"), "must have shape"),
        (model, [[1.0]], "must be an array"),
        (model, np.zeros((2, 5, 3), complex), "real numbers"),
    ]
    for made, x, message in wrong:
        before = [part.states for part in made.layers_within()]
        for context in (executor.alone(), executor.lowering_to(ENGINE)):
            with context, pytest.raises((ValueError, TypeError), match=message):
                made(x)
        assert all(now is was for now, was in zip([part.states for part in made.layers_within()], before, strict=True))
    with executor.lowering_to(ENGINE), pytest.raises(ValueError, match="mask must have shape"):
        model(sequences(), mask=np.ones((2, 4), bool))


def test_what_programs_do_not_take_goes_to_the_layers():
    """An index with a fraction is cut off, but not masked where that makes it 0."""
    tokens = cyrnn.Input((None,))
    model = built(cyrnn.Model(tokens, simple_rnn()(embedding()(tokens))), padded())
    x = np.array([[1.0, 0.5, 2.0], [0.0, 3.0, 1.0]])
    with executor.alone():
        expected = model(x)
    with executor.lowering_to(ENGINE):
        assert_same(model(x), expected)
        assert_same(model(np.floor(x))[1:], expected[1:])
        assert np.any(model(np.floor(x))[0] != expected[0])


# ---------------------------------------------------------------- cuts


class Doubled(cyrnn.layers.Layer):
    supports_masking = True

    def call(self, inputs):
        return 2 * inputs


class LoudRNN(layers.SimpleRNN):
    def call(self, *args, **kwargs):
        return -super().call(*args, **kwargs)


class OtherMask(layers.Dense):
    def compute_mask(self, inputs, mask=None):
        return None


class SixUnits(layers.SimpleRNN):
    """It is only made in another way."""

    def __init__(self, **kwargs):
        super().__init__(6, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["units"]
        return config

    def helper(self):
        return self.units


class Mixin:
    def get_initial_state(self, batch_size):
        return [np.ones((batch_size, UNITS), "f4")]


class MixedRNN(Mixin, layers.SimpleRNN):
    pass


class PlainCell:
    state_size = UNITS

    def call(self, inputs, states):
        return states[0] + 1, [states[0] + 1]


def custom(x):
    return np.tanh(x)


CUTS = {
    "custom layer": (lambda: Doubled(), "the class Doubled is a custom one"),
    "own call": (lambda: LoudRNN(UNITS), "it has its own 'call'"),
    "own mask": (lambda: OtherMask(UNITS), "it has its own 'compute_mask'"),
    "own initial state": (lambda: MixedRNN(UNITS), "it has its own 'get_initial_state'"),
    "cell of the user": (lambda: layers.RNN(PlainCell()), "its cell PlainCell has a custom activation, or is a custom"),
    "activation of a cell": (lambda: simple_rnn(activation=custom), "its cell SimpleRNNCell has a custom activation"),
    "activation of a layer": (lambda: layers.Dense(2, activation=custom), "its activation <function custom"),
    "activity regularizer": (lambda: simple_rnn(activity_regularizer="l2"), "it has an activity regularizer"),
    "of a cell": (
        lambda: layers.RNN(layers.SimpleRNNCell(3, activity_regularizer="l1")),
        "its SimpleRNNCell .* it has an activity regularizer",
    ),
    "narrow type": (lambda: simple_rnn(dtype="float16"), "its results are rounded to float16"),
    "no op": (lambda: layers.ActivityRegularization(), "the engine has no op for ActivityRegularization"),
    "numbers of an activation": (lambda: layers.LeakyReLU(float("inf")), "the engine has no op for negative_slope=inf"),
    "axes": (lambda: layers.UnitNormalization(axis=0), r"the engine has this op for axes after that of the batch"),
    "calls for each timestep": (lambda: layers.TimeDistributed(Doubled()), "its layer is a Doubled"),
}


@pytest.mark.parametrize("name", CUTS)
def test_is_a_cut(name):
    make, reason = CUTS[name]
    first, cut = simple_rnn(FEATURES, return_sequences=True), make()
    model = cyrnn.Sequential([first, cut, layers.Dense(2)])
    built(model, x := sequences())
    found = divided(model, x)
    assert [part.layer for part in found.parts if not isinstance(part, ProgramPart)] == [cut]
    assert len(found.programs) == 2
    ((layer, said),) = found.cuts
    assert layer == cut.name
    assert re.match(reason, said), said
    assert_program_is_the_layers(model, x, ENGINE)


def test_a_class_that_is_only_made_in_another_way_is_no_cut():
    model = built(cyrnn.Sequential([SixUnits(), layers.Dense(2)]), x := sequences())
    assert divided(model, x).cuts == []
    assert_program_is_the_layers(model, x, ENGINE)


def test_layers_of_other_dtypes_are_other_programs():
    model = cyrnn.Sequential([simple_rnn(return_sequences=True), layers.Dense(2, dtype="float64"), simple_rnn(3)])
    built(model, x := sequences())
    found = divided(model, x)
    assert found.cuts == []
    assert len(found.programs) == 3
    assert_program_is_the_layers(model, x, ENGINE)


def test_a_program_has_all_that_waits_for_a_cut():
    """The custom layer comes first, though it was called last; the rest is one program."""
    a, b = cyrnn.Input((None, FEATURES)), cyrnn.Input((None, FEATURES))
    rnn = simple_rnn()
    first, second = rnn(a), rnn(Doubled()(b))
    model = cyrnn.Model([a, b], [layers.Dense(2)(first), layers.Dense(3)(second)])
    x = [sequences(), sequences(2, 3)]
    built(model, x)
    found = divided(model, x)
    assert [type(part).__name__ for part in found.parts] == ["Call", "ProgramPart"]
    assert_program_is_the_layers(model, x, ENGINE)


class Watch(layers.Layer):
    def call(self, inputs):
        self.seen = inputs
        return inputs


def test_layers_without_ops_copy_nothing():
    first, second = Watch(), Watch()
    model = cyrnn.Sequential([first, layers.Dropout(0.5), cyrnn.Sequential([layers.Identity()]), second])
    model(x := sequences())
    assert [len(part.calls) for part in divided(model, x).programs] == [2]
    with executor.lowering_to(ENGINE):
        assert_same(model(x), x)
        assert np.shares_memory(first.seen, second.seen)
        assert_same(model(x.astype("f8")), x)
        assert_same(model(x.astype("f2")), x.astype("f2").astype("f4"))


def test_one_value_is_returned_in_each_of_its_shapes():
    begin = cyrnn.Input((7, 5))
    y = layers.SimpleRNN(6, return_sequences=True)(begin)
    shapes = [(7, 2, 3), (7, 3, 2), (7, 6), (42,), (6, 7)]
    model = cyrnn.Model(begin, [y, *(layers.Reshape(shape)(y) for shape in shapes)])
    x = np.random.default_rng(0).standard_normal((3, 7, 5)).astype("f4")
    expected = model.layers[1](x)
    for results in (model(x), model.predict(x, batch_size=2)):
        for result, shape in zip(results, [(7, 6), *shapes], strict=True):
            assert_same(result, expected.reshape((3, *shape)))


def test_calls_of_a_stateful_layer_keep_their_order():
    """The second call begins with the states of the first, which waits for a cut."""
    a, b, rnn = cyrnn.Input(batch_shape=(2, None, 3)), cyrnn.Input(batch_shape=(2, None, 3)), simple_rnn(stateful=True)
    model = cyrnn.Model([a, b], [rnn(Doubled()(layers.Activation("tanh")(a))), rnn(b)])
    x = [sequences(), sequences(2, 3)]
    built(model, x)
    assert len(divided(model, x).programs) == 2
    assert_program_is_the_layers(model, x, ENGINE)


def test_a_mask_that_ends_is_said_in_each_call():
    model = cyrnn.Sequential([layers.Embedding(WORDS, FEATURES), simple_rnn()])
    built(model, x := padded())
    mask = np.ones(x.shape, bool)
    with executor.lowering_to(ENGINE):
        for _ in range(2):
            with pytest.warns(UserWarning, match="does not pass the mask on"):
                model(x, mask=mask)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(x)
    assert divided(model, x, masked=True).cuts == []


# ---------------------------------------------------------------- models of the user in models


class Halved(cyrnn.Sequential):
    times_called = 0

    def call(self, inputs, mask=None, training=False):
        self.times_called += 1
        return super().call(inputs, mask, training) / 2


class HalvedGraph(cyrnn.models.Functional):
    times_called = 0

    def call(self, inputs):
        self.times_called += 1
        return super().call(inputs) / 2


def halved_graph():
    x = cyrnn.Input((None, FEATURES))
    return HalvedGraph(x, layers.Masking()(x))


@pytest.mark.parametrize("target", [None, REFERENCE, ENGINE], ids=["alone", "reference", "engine"])
@pytest.mark.parametrize("around", ["sequential", "graph"])
@pytest.mark.parametrize("make", [lambda: Halved([layers.Masking()]), halved_graph], ids=["sequential", "graph"])
def test_a_model_with_its_own_call_is_called(make, around, target):
    own, dense, x = make(), layers.Dense(2), sequences()
    own(x)
    own.times_called = 0
    if around == "graph":
        given = cyrnn.Input((None, FEATURES))
        model = cyrnn.Model(given, dense(own(given)))
    else:
        model = cyrnn.Sequential([own, dense])
        model.build(x.shape)
    own.times_called = 0
    with executor.lowering_to(target):
        outputs, mask = model.call_and_mask(x, None, False)
    assert own.times_called == 1
    assert_close(outputs, x / 2 @ dense.kernel + dense.bias)
    np.testing.assert_array_equal(mask, np.ones((2, 5), bool))  # which the model's layers have made
    if target is not None:
        assert divided(model, x, target).cuts == [(own.name, "it has its own 'call'")]


def test_the_mask_of_a_model_moves_no_states():
    inner = Halved([simple_rnn(stateful=True, return_sequences=True)])
    model = cyrnn.Sequential([inner, simple_rnn(2)])
    model.build((2, 5, FEATURES))
    model(x := sequences())
    (state,) = inner.layers[0].states
    with executor.alone():
        expected = layers.SimpleRNN(UNITS, return_sequences=True)
        expected.build(x.shape)
        expected.set_weights(inner.layers[0].get_weights())
        assert_close(state, expected(x)[:, -1])


# ---------------------------------------------------------------- what a partition depends on


def test_programs_are_made_again_when_they_must_be():
    rnn, dense = simple_rnn(return_sequences=True), layers.Dense(2)
    model = built(cyrnn.Sequential([rnn, layers.Dropout(0.5), dense]), x := sequences())

    def now():
        return divided(model, x, ENGINE)

    def program_is_the_layers():
        with executor.alone():
            expected = model(x)
        with executor.lowering_to(ENGINE):
            assert_same(model(x), expected)

    first = now()
    assert now() is first
    model.set_weights([2 * weight for weight in model.get_weights()])
    layers.Dense(3).build((None, 2))  # other layers move the token of all, and not those of these
    assert now() is first
    program_is_the_layers()
    changes = [
        lambda: setattr(rnn, "go_backwards", True),
        lambda: setattr(rnn.cell, "activation", cyrnn.activations.get("relu")),
        lambda: setattr(dense, "activation", custom),
        lambda: setattr(dense, "activation", cyrnn.activations.get("softmax")),
        lambda: setattr(rnn, "return_sequences", False),
        lambda: setattr(rnn, "activity_regularizer", cyrnn.regularizers.get("l2")),
        lambda: model.add(layers.Activation("tanh")),
        lambda: model.pop(),
    ]
    for change in changes:
        before = now()
        change()
        assert now() is not before
        program_is_the_layers()


def test_attributes_of_custom_layers_move_nothing():
    own = Doubled()
    model = built(cyrnn.Sequential([own, simple_rnn()]), x := sequences())
    first, structure = divided(model, x), structure_now()
    own.count = 1
    own.count += 1
    assert structure_now() == structure
    assert divided(model, x) is first


def test_models_with_programs_are_copied_and_pickled():
    model = built(cyrnn.Sequential([embedding(), simple_rnn(), layers.Dense(2)]), x := padded())
    with executor.lowering_to(ENGINE):
        expected = model(x)
        assert model.weights
        assert model._settled
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert_same(again(x), expected)


# ---------------------------------------------------------------- layers alone


def alone(layer, x, target=ENGINE, **options):
    return program_of(layer, (None, *x.shape[1:]), target, **options)


@both_targets
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_recurrent_layer_alone(bidirectional, stateful, target):
    """Masks and initial states are optional inputs; states that are carried are too, unless others are given."""
    rnn = simple_rnn(return_state=True, return_sequences=True, stateful=stateful)
    layer = built(layers.Bidirectional(rnn) if bidirectional else rnn, x := sequences())
    sizes = [UNITS] * (1 + bidirectional)
    states = [RNG.standard_normal((2, UNITS)).astype("f4") for _ in sizes]
    mask = RNG.random((2, 5)) < 0.6
    if stateful:
        layer.reset_state()
    again = copy.deepcopy(layer)
    programs = [alone(again, x, target), alone(again, x, target, state_sizes=sizes)]
    for given in (None, states, None):
        for keep in (None, mask):
            expected = layer(x, initial_state=given, mask=keep)
            if given is None:
                got = programs[0].run(x, keep)
            else:
                got = programs[1].run(x, keep, states)
            assert_same(got, expected)
            assert_same(again.states, layer.states)


def test_a_program_bound_to_its_slots():
    layer = built(simple_rnn(stateful=True), x := sequences())
    layer.reset_state()
    made_at = structure_now()
    bound = alone(layer, x).lowered.bound(ENGINE, [INPUTS], made_at=made_at)
    output, state = bound.call(x, np.ones((2, 5), bool))
    assert bound.up_to_date and bound.keeps_states
    assert_same([output, state], [output, layer.states[0]])
    assert not np.shares_memory(state, layer.states[0])
    layer.reset_state()
    assert_same([output, state], [layer(x), layer.states[0]])
    layer.go_backwards = True
    assert not bound.up_to_date
    assert bound.call(x) is None


@pytest.mark.parametrize(
    "name", ["simple", "embedding", "encoder-decoder", "shared layer", "states of both directions"]
)
def test_a_model_bound_to_its_slots(name):
    model, x = ONE_PROGRAM[name]()
    expected = built(model, x)(x)
    bound = divided(model, x, ENGINE).whole(structure_now()).bound
    arrays = nest.leaves(x)
    assert_same(bound.call(arrays if len(arrays) > 1 else arrays[0]), expected)


def test_a_bound_program_returns_the_structure_it_was_given_and_layers_keep_their_states_in_theirs():
    stack = layers.RNN([layers.SimpleRNNCell(3), layers.SimpleRNNCell(2)], stateful=True, return_state=True)
    x = sequences()
    built(stack, x).reset_state()
    with executor.alone():
        expected = stack(x)
    stack.reset_state()
    first, states = stack(x), stack.states
    assert_same(nest.leaves(first), nest.leaves(expected))
    assert [[state.shape for state in part] for part in states] == [[(2, 3)], [(2, 2)]]
    assert [type(part) for part in first] == [type(part) for part in expected]
    assert not any(np.shares_memory(a, b) for a in nest.leaves(first) for b in nest.leaves(states))
    second = stack(x, initial_state=first[1:])  # nested, in a tuple
    assert_same(nest.leaves(second), nest.leaves(stack(x, initial_state=nest.leaves(first[1:]))))


def test_states_are_kept_by_a_layer_that_began_to_carry_them_after_it_was_built():
    layer, x = built(layers.RNN([layers.SimpleRNNCell(3)]), sequences()), sequences()
    layer(x)
    layer.stateful = True
    output = layer(x)
    assert [[state.shape for state in part] for part in layer.states] == [[(2, 3)]]
    assert_same([layer.states[0][0]], [output])


def test_a_model_that_takes_more_is_not_bound():
    x = cyrnn.Input((None, FEATURES), dtype="float64")
    converted = cyrnn.Model(x, simple_rnn()(x))
    moved = cyrnn.Sequential([layers.Identity()])
    cut = cyrnn.Sequential([simple_rnn(), Doubled()])
    for model in (converted, moved, cut):
        assert divided(built(model, given := sequences()), given, ENGINE).whole(structure_now()) is None


@pytest.mark.parametrize("module", ["cyrnn.models.stages", "cyrnn.models.wavefront", "cyrnn.layers.base.wavefront"])
def test_the_ways_beside_programs_are_gone(module):
    assert importlib.util.find_spec(module) is None
    assert not {"call", "forward", "step"} & set(dir(plan.Plan))
    assert not {"run", "Call", "run_together"} & set(dir(plan))
    for layer in (layers.SimpleRNN, layers.RNN, layers.Bidirectional, layers.Dense, cyrnn.Sequential, cyrnn.Model):
        assert not {"_takes_the_short_way", "checked_and_called"} & set(dir(layer))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"mask": np.array([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]], bool)}, {"initial_state": np.ones((2, 4), "f4")}],
    ids=["plain", "mask", "state"],
)
def test_every_call_of_a_layer_takes_one_bound_program(arguments):
    layer, x = built(simple_rnn(), sequences()), sequences()
    layer(x)
    expected, bound = layer(x, **arguments), layer._bound
    seen = []

    class Watched:
        up_to_date = True

        def call(self, *given):
            seen.append(given)
            return bound.call(*given)

    vars(layer)["_bound"] = Watched()
    assert_same([layer(x, **arguments)], [expected])
    assert len(seen) == 1


def test_what_is_no_op_says_why():
    x = sequences()
    with pytest.raises(NotLoweredError, match="it has its own 'call'"):
        alone(built(LoudRNN(3), x), x)
    with pytest.raises(NotLoweredError, match="it is random in training"):
        alone(built(layers.AlphaDropout(0.5), x), x, training=True)
    with pytest.raises(NotLoweredError, match="it returns its input"):
        alone(built(layers.Identity(), x), x)
    with pytest.raises(UnfitError):
        alone(built(simple_rnn(), x), x).run(ENGINE, sequences(features=2))


# ---------------------------------------------------------------- every layer

NO_OPS = {
    "Layer": "the base class of custom layers",
    "Wrapper": "the base class of custom layers around others",
    "ActivityRegularization": "its calls leave a loss",
    **dict.fromkeys(("Conv1D", "Attention", "AdditiveAttention", "MultiHeadAttention"), "NumPy computes them"),
    **dict.fromkeys(("TextVectorization", "StringLookup", "IntegerLookup", "Hashing"), "they take text and categories"),
    **dict.fromkeys(("CategoryEncoding", "Discretization"), "NumPy computes them"),
}
CELLS = {"SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}
WITHIN = {*CELLS, "InputLayer"}  # parts of an RNN's ops, and of models
LAYERS = {cls.__name__: cls for name in layers.__all__ if isinstance(cls := getattr(layers, name), type)}
ALONE = {
    "RNN": lambda: layers.RNN(layers.SimpleRNNCell(2)),
    "SimpleRNN": lambda: layers.SimpleRNN(2),
    "LSTM": lambda: layers.LSTM(2),
    "GRU": lambda: layers.GRU(2),
    "Bidirectional": lambda: layers.Bidirectional(layers.SimpleRNN(2)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    "Embedding": lambda: layers.Embedding(WORDS, 2),
    "Dense": lambda: layers.Dense(2),
    "Activation": lambda: layers.Activation("gelu"),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "Dot": lambda: layers.Dot(2),
    "Reshape": lambda: layers.Reshape((3, 5)),
    "Permute": lambda: layers.Permute((2, 1)),
    "RepeatVector": lambda: layers.RepeatVector(3),
    "Rescaling": lambda: layers.Rescaling(0.5, 1.0),
    **{name: lambda name=name: LAYERS[name](0.5) for name in ("Dropout", "SpatialDropout1D", "AlphaDropout")},
    **{name: lambda name=name: LAYERS[name](0.5) for name in ("GaussianDropout", "GaussianNoise")},
}


def test_every_layer_is_an_op_or_says_why_not():
    assert LAYERS.keys() == {name for name in LAYERS if hasattr(LAYERS[name], "lower")} | WITHIN | NO_OPS.keys()
    assert not any(hasattr(LAYERS[name], "lower") for name in WITHIN | NO_OPS.keys())


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - WITHIN - NO_OPS.keys()))
@pytest.mark.usefixtures("inputs_fit")
def test_each_layer_with_an_op_is_one_program(name):
    layer = ALONE[name]() if name in ALONE else LAYERS[name]()
    if layer.takes_one_input:
        x = padded() if name == "Embedding" else sequences()[:, 0] if name == "RepeatVector" else sequences()
        model = built(cyrnn.Sequential([layer, layers.Activation("tanh")]), x)
    else:
        x = [sequences(), sequences()]
        inputs = [cyrnn.Input((5, FEATURES)) for _ in x]
        model = built(cyrnn.Model(inputs, layer(inputs)), x)
    assert divided(model, x).cuts == []
    assert why_not(layer) is None
    assert_program_is_the_layers(model, x, ENGINE)


def test_what_calls_compute_is_what_lower_knows():
    """No class of this package takes `lower` from a class whose `call` or `compute_mask` it replaces."""
    for cls in LAYERS.values():
        if hasattr(cls, "lower"):
            known = objects.owner(cls, "lower").__mro__
            assert objects.owner(cls, "call") in known, cls
            assert objects.owner(cls, "compute_mask") in known, cls


def test_inputs_in_a_dict_reach_the_program_by_their_keys():
    a, b = cyrnn.Input((5, FEATURES), name="b"), cyrnn.Input((5, FEATURES), name="a")
    x, y = sequences(), 2 * sequences()
    listed = cyrnn.Model([a, b], layers.Concatenate()([simple_rnn()(a), simple_rnn()(b)]))
    keyed = cyrnn.Model({"second": b, "first": a}, listed([a, b]))
    expected = listed([x, y])
    for model, given in ((listed, {"a": y, "b": x}), (keyed, {"first": x, "second": y})):
        for _ in range(2):
            assert_same(model(given), expected)
            assert_same(model.predict(given), expected)
        assert model._bound.up_to_date
    for _ in range(2):  # a list for a dict is in the order of the keys
        assert_same(keyed([x, y]), expected)
    with pytest.raises(ValueError, match="inputs must come as"):
        listed({"a": y})


def refusal(call, *arguments):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(*arguments)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("state", [[None], [[np.zeros((2, UNITS), "f4")]], [], None, "zeros"])
def test_a_cell_refuses_wrong_states_after_right_ones_as_before_them(state):
    x, right = sequences()[:, 0], np.zeros((2, UNITS), "f4")
    fresh, used = layers.SimpleRNNCell(UNITS), layers.SimpleRNNCell(UNITS)
    for cell in (fresh, used):
        cell.build(x.shape)
    for _ in range(2):
        used(x, [right])
    assert refusal(used, x, state) == refusal(fresh, x, state)


@pytest.mark.parametrize("form", ["a list of one", "a list of two", "a mask in a list", "a mask of another length"])
def test_a_layer_refuses_wrong_calls_after_right_ones_as_before_them(form):
    x, mask = sequences(), np.ones((2, 5), bool)
    wrong = {
        "a list of one": lambda layer: layer([x]),
        "a list of two": lambda layer: layer([x, x]),
        "a mask in a list": lambda layer: layer(x, mask=[mask]),
        "a mask of another length": lambda layer: layer(x, mask=mask[:, :4]),
    }[form]
    fresh, used = simple_rnn(name="rnn"), simple_rnn(name="rnn")
    for layer in (fresh, used):
        layer.build(x.shape)
    for _ in range(2):
        used(x, mask=mask)
    assert refusal(wrong, used) == refusal(wrong, fresh)


def test_a_functional_model_of_one_input_takes_it_in_a_list():
    inputs = cyrnn.Input((5, FEATURES))
    model, x = cyrnn.Model(inputs, simple_rnn()(inputs)), sequences()
    expected = model(x)
    for _ in range(2):
        assert_same(model([x]), expected)
        assert_same(model((x,)), expected)


def test_programs_stay_up_to_date_where_nothing_that_they_are_made_of_changes():
    """Layers and models that are made, and steppers, do not let all programs of the process be made again."""
    model = cyrnn.Sequential([cyrnn.Input((None, FEATURES)), simple_rnn(), layers.Dense(2)])
    x = sequences()
    model(x)
    bound = model._bound
    before = structure_now()
    others = [simple_rnn(), layers.Bidirectional(simple_rnn()), cyrnn.Sequential([layers.Dense(3)])]
    others[0].go_backwards, others[0].cell.activation = True, cyrnn.activations.get("relu")
    with pytest.raises(ValueError, match="not built"):
        others[2].stepper()
    stepper, step = model.stepper(2), x[:, 0]
    np.testing.assert_array_equal(stepper.step(step), model(x[:, :1]))
    with executor.lowering_to(ENGINE):
        model(x)
    assert structure_now() == before
    assert model._bound is bound and bound.up_to_date


@pytest.mark.parametrize("change", ["activation", "built", "layers"])
def test_programs_are_out_of_date_when_a_built_layer_changes(change):
    rnn = simple_rnn()
    model = cyrnn.Sequential([cyrnn.Input((None, FEATURES)), rnn, layers.Dense(2)])
    x = sequences()
    model(x)
    bound, inner = model._bound, rnn.cell
    if change == "activation":
        inner.activation = cyrnn.activations.get("relu")
    elif change == "built":
        rnn.built = False
        assert not bound.up_to_date
        rnn.go_backwards = True  # which moves nothing, but there is no program that does not know it
        rnn.built = True
    else:
        model.add(layers.Dense(1))
    assert not bound.up_to_date
    found = model(x)
    with executor.alone():
        np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)
