"""Steppers of models of layers: `model.stepper()`, and models for C."""

import copy
import ctypes
import pickle
import threading

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from program_models import call_from_c
from test_random_models import chains, graphs

import cyrnn
from cyrnn import Input, Model, Sequential, layers
from cyrnn.layers.base import nest
from cyrnn.models import executor

C = cyrnn.capi.functions()
ROWS = 11


@pytest.fixture(autouse=True)
def simd(monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", "simd")


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def filled(model, rng):
    """The model with weights that are not zeros anywhere."""
    model.set_weights(
        [rng.standard_normal(w.shape).astype(w.dtype) / max(1, *w.shape[:1]) ** 0.5 for w in model.get_weights()]
    )
    return model


def classifier(rng, sequences=False):
    found = Sequential([
        layers.Embedding(ROWS, 6, mask_zero=True),
        layers.SimpleRNN(12, return_sequences=True),
        layers.Dropout(0.5),
        layers.SimpleRNN(9, return_sequences=sequences),
        layers.Dense(4, activation="softmax"),
    ])  # fmt: skip
    found.build((None, None))
    return filled(found, rng)


def two_inputs(rng):
    numbers, words = Input((None, 5), name="numbers"), Input((None,), dtype="int32", name="words")
    right = layers.SimpleRNN(8, name="right")(layers.Embedding(ROWS, 3, mask_zero=True)(words))  # reads its input first
    left = layers.SimpleRNN(7, name="left")(numbers)
    scores = layers.Dense(4, name="scores")(layers.Concatenate()([left, right]))
    return filled(Model([numbers, words], [scores, left]), rng)


def drawn_tokens(rng, batch, timesteps):
    return rng.integers(0, ROWS, (batch, timesteps)) * (rng.random((batch, timesteps)) > 0.3)


def with_attributes(rng):
    """Layers whose calls are ops beside the recurrence: norms, merges, activations, a residual, the last timestep."""
    x = Input((None, 6))
    h = layers.LayerNormalization()(layers.SimpleRNN(6, return_sequences=True)(x))
    h = layers.Activation("relu")(layers.Add()([h, x]))
    h = layers.TimeDistributed(layers.Dense(5))(h)
    return filled(Model(x, [layers.SimpleRNN(3, return_sequences=True)(h)[:, -1]]), rng)


def joined_inputs(rng):
    """Inputs with as many timesteps, which are joined and added before recurrences; some are masked."""
    numbers, more, words = Input((None, 5)), Input((None, 3)), Input((None,), dtype="int32")
    embedded = layers.Embedding(ROWS, 3, mask_zero=True)(words)
    added = layers.Add()([layers.Masking()(more), embedded])
    h = layers.SimpleRNN(4, return_sequences=True)(layers.Concatenate()([numbers, added]))
    h = layers.Maximum()([layers.SimpleRNN(3, return_sequences=True)(h), added])
    return filled(Model([numbers, more, words], [layers.Dense(2)(h), layers.SimpleRNN(3)(added)]), rng)


def test_steps_of_joined_inputs_are_their_calls(rng):
    model = joined_inputs(rng)
    stepper = model.stepper(3)
    x = [rng.standard_normal((3, 6, width)).astype("f") for width in (5, 3)]
    x[1][rng.random((3, 6)) < 0.3] = 0
    x.append(drawn_tokens(rng, 3, 6))
    for t in range(6):
        got, called = stepper.step([array[:, t] for array in x]), model([array[:, : t + 1] for array in x])
        np.testing.assert_array_equal(got[0], called[0][:, t])
        np.testing.assert_array_equal(got[1], called[1])
    outputs = [np.empty((3, 6, width), "f") for width in (2, 3)]
    runner, arrays = model.stepper(3), [np.ascontiguousarray(array, "i8" if array.ndim == 2 else "f") for array in x]
    assert call_from_c("forward", runner, 6, None, arrays, outputs) == "ok"
    np.testing.assert_array_equal(outputs[0], called[0])
    np.testing.assert_array_equal(outputs[1][:, -1], called[1])


def test_joined_inputs_that_are_turned_are_not_stepped(rng):
    pair = Input((None, 3)), Input((None, 3))
    turned = layers.Add()([pair[0], pair[1][:, ::-1]])
    with pytest.raises(ValueError, match="goes from the last timestep to the first"):
        Model(pair, layers.SimpleRNN(4)(turned)).stepper()


@pytest.mark.parametrize("batch", [1, 3, 130])
@pytest.mark.parametrize("sequences", [False, True])
def test_steps_of_a_model_are_its_calls(batch, sequences, rng):
    model, tokens = classifier(rng, sequences), drawn_tokens(rng, batch, 8)
    stepper, out = model.stepper(batch), np.empty((batch, 4), np.float32)
    for t in range(8):
        called = model(tokens[:, : t + 1])
        assert stepper.step(tokens[:, t], out) is out
        np.testing.assert_array_equal(out, called[:, t] if sequences else called)
    assert [state.shape for state in stepper.state] == [(batch, 12), (batch, 9)]
    assert repr(stepper).startswith(f"<Stepper batch_size={batch}, features='tokens', units=[12, 9], outputs=4")


@pytest.mark.parametrize("batch", [1, 20])
def test_inputs_are_in_the_order_of_the_model(batch, rng):
    model = two_inputs(rng)
    x, tokens = rng.standard_normal((batch, 6, 5)).astype("f"), drawn_tokens(rng, batch, 6)
    stepper = model.stepper(batch)
    assert [port.name for port in stepper.inputs] == ["numbers", "words"]
    assert [port.name for port in stepper.outputs] == model.output_names
    assert {port.name for port in stepper.states} == {"left", "right"}
    for t in range(6):
        got = stepper.step([x[:, t], tokens[:, t]])
        for one, expected in zip(got, model([x[:, : t + 1], tokens[:, : t + 1]]), strict=True):
            np.testing.assert_array_equal(one, expected)


def test_layers_between_recurrences_are_stepped(rng):
    model, x = with_attributes(rng), rng.standard_normal((4, 6, 6)).astype("f")
    stepper = model.stepper(4)
    for t in range(6):
        np.testing.assert_array_equal(stepper.step(x[:, t]), model(x[:, : t + 1]))


@given(st.one_of(chains(), graphs()), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_steps_of_random_models_are_their_calls(model, seed):
    rng = np.random.default_rng(seed)
    tokens, x = drawn_tokens(rng, 2, 5) % 6, rng.standard_normal((2, 5, 3)).astype("f")
    x[rng.random((2, 5)) < 0.3] = 0
    embeds = isinstance(model, Sequential) and isinstance(model.layers[0], layers.Embedding)
    given_x = [x, tokens] if not isinstance(model, Sequential) else [tokens] if embeds else [x]
    model(given_x if len(given_x) > 1 else given_x[0])
    try:
        stepper = model.stepper(2)
    except ValueError as error:
        event(str(error).partition("cannot be stepped: ")[2])
        return
    event(f"{len(stepper.inputs)} inputs, {len(stepper.states)} states")
    for t in range(5):
        got = stepper.step(given_x[0][:, t] if len(given_x) == 1 else [a[:, t] for a in given_x])
        model.reset_states()
        parts = [a[:, : t + 1] for a in given_x]
        called = nest.leaves(model(parts if len(parts) > 1 else parts[0]))
        for expected, one in zip(called, nest.leaves(got), strict=True):
            np.testing.assert_array_equal(one, expected if expected.ndim == one.ndim else expected[:, t])


def test_a_model_in_float64(rng):
    model = Sequential([layers.SimpleRNN(5, dtype="float64"), layers.Dense(2, dtype="float64")])
    model.build((None, None, 3))
    x, stepper = rng.standard_normal((2, 4, 3)), filled(model, rng).stepper(2)
    for t in range(4):
        np.testing.assert_array_equal(stepper.step(x[:, t]), model(x[:, : t + 1]))
    assert stepper.dtype == np.float64


def test_states_begin_with_zeros_or_as_they_are_given(rng):
    model = Sequential([
        layers.SimpleRNN(5, return_sequences=True, stateful=True), layers.SimpleRNN(3, stateful=True), layers.Dense(2)
    ])  # fmt: skip
    model.build((2, None, 4))
    filled(model, rng)
    x = rng.standard_normal((2, 6, 4)).astype("f")
    first = model(x[:, :3])
    states = [np.asarray(layer.states[0]).copy() for layer in model.layers[:2]]
    stepper = model.stepper(2)
    for t in range(3):
        stepped = stepper.step(x[:, t])
    np.testing.assert_array_equal(stepped, first)
    for state, expected in zip(stepper.state, states, strict=True):
        np.testing.assert_array_equal(state, expected)
    np.testing.assert_array_equal(model.layers[0].states[0], states[0])  # the steps have not moved those of the model
    second, begun = model(x[:, 3:]), model.stepper(2, initial_state=states)
    for t in range(3, 6):
        stepped = begun.step(x[:, t])
    np.testing.assert_array_equal(stepped, second)
    begun.reset()
    np.testing.assert_array_equal(begun.state[0], states[0])
    begun.reset([state[:1] * 0 for state in states], rows=1)
    assert not begun.state[1][1].any() and begun.state[1][0].any()
    with pytest.raises(ValueError, match="initial_state must hold 2 arrays, got 1"):
        model.stepper(2, initial_state=states[:1])
    with pytest.raises(ValueError, match=r"initial_state must have shape \(2, 5\), got \(3, 5\)"):
        model.stepper(2, initial_state=[np.zeros((3, 5)), states[1]])


def stateful_outputs():
    x = Input((None, 3), name="x")
    outputs, state = layers.SimpleRNN(4, return_sequences=True, return_state=True)(layers.Masking()(x))
    return x, outputs, state


def stacked(x):
    return layers.RNN([layers.SimpleRNNCell(4), layers.SimpleRNNCell(2)], return_state=True)(x)


FORMS = {
    "states between outputs": lambda x, y, h: (x, [y, h, layers.Dense(1)(y)]),
    "a state alone": lambda x, y, h: (x, h),
    "a state first": lambda x, y, h: (x, [h, y]),
    "two states": lambda x, y, h: (x, stacked(x)),
    "states of several layers": lambda x, y, h: (x, [*stacked(y), h]),
    "a dict": lambda x, y, h: (x, {"outputs": y, "final": h}),
    "a dict of one": lambda x, y, h: ({"input": x}, {"output": y}),
    "lists in a dict": lambda x, y, h: (x, {"all": [y, h], "again": layers.Dense(2)(y)}),
    "inputs in a dict": lambda x, y, h: ({"b": x, "a": Input((4,))}, y),
    "an input that no output reads": lambda x, y, h: ([Input((4,)), x], y),
    "an input that no output reads, and a state": lambda x, y, h: ([x, Input((4,))], [h, y]),
}


def at(x, t):
    """The timestep, or the timesteps up to it, of what has timesteps."""
    return nest.mapped(lambda array: array if array.ndim == 2 else array[:, t], x)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", FORMS)
def test_a_step_takes_and_returns_what_the_model_does(name, batch, rng):
    model = filled(Model(*FORMS[name](*stateful_outputs())), rng)
    x = nest.mapped(
        lambda tensor: rng.standard_normal((batch, 5, 3) if tensor.ndim == 3 else (batch, 4)).astype("f"), model.input
    )
    for array in nest.leaves(x):
        if array.ndim == 3:
            array[0, :2] = array[-1, 3] = 0  # masked
    stepper = model.stepper(batch)
    for t in range(5):
        got, called = stepper.step(at(x, t)), model(at(x, slice(0, t + 1)))
        assert type(got) is (tuple if isinstance(called, list) else type(called))
        flat = nest.leaves(called)
        expected = nest.filled(called, [array if array.ndim == 2 else array[:, t] for array in flat])
        np.testing.assert_equal(got, tuple(expected) if isinstance(called, list) else expected)
    for way in (copy.copy, lambda one: pickle.loads(pickle.dumps(one))):
        other = way(stepper)
        np.testing.assert_equal(other.step(at(x, 0)), way(stepper).step(at(x, 0)))
    stepper.reset()
    first, out = stepper.step(at(x, 0)), nest.mapped(np.zeros_like, got)
    stepper.reset()
    assert stepper.step(at(x, 0), out) is out
    np.testing.assert_equal(out, first)


def test_steps_that_do_not_fit_say_how_arrays_must_come(rng):
    x, y, h = stateful_outputs()
    model = filled(Model({"b": x, "a": Input((4,), name="unread")}, {"y": y, "h": h}), rng)
    stepper, given = model.stepper(2), np.ones((2, 3), "f")
    expected = stepper.step({"b": given, "a": None})
    stepper.reset()
    wrong = [
        ([given], None, r"x_t must come as {'b': 'x', 'a': 'unread'}, got \['ndarray"),
        ({"b": given}, None, "x_t must come as"),
        ({"b": given[:1], "a": None}, None, r"x_t\['b'\] must have shape \(2, 3\), got \(1, 3\)"),
        ({"b": given, "a": None}, [given], "out must come as {'y': 'simple_rnn"),
        ({"b": given, "a": None}, {"y": given, "h": np.ones((2, 4), "f")}, r"out\['y'\] must be a writeable"),
        ({"b": given, "a": None}, {"y": np.ones((2, 4), "f"), "h": given}, r"out must be an array of shape \(2, 4\)"),
    ]
    for x_t, out, message in wrong:
        with pytest.raises(ValueError, match=message):
            stepper.step(x_t, out)
    memory = np.ones((3, 4), "f")
    with pytest.raises(ValueError, match="out must hold arrays that share no memory"):
        stepper.step({"b": given, "a": None}, {"y": memory[:2], "h": memory[1:]})
    np.testing.assert_equal(stepper.step({"b": given, "a": None}), expected)  # no state has moved


def test_inputs_that_states_begin_with_are_no_inputs_of_a_step(rng):
    x, begin = Input((None, 3)), Input((4,))
    model = filled(Model({"x": x, "begin": begin}, layers.SimpleRNN(4)(x, initial_state=begin)), rng)
    given, state = rng.standard_normal((2, 5, 3)).astype("f"), rng.standard_normal((2, 4)).astype("f")
    stepper = model.stepper(2, initial_state=[state])
    for t in range(5):
        np.testing.assert_array_equal(stepper.step({"x": given[:, t]}), model({"x": given[:, : t + 1], "begin": state}))


def test_one_recurrent_layer_is_a_list_of_one_state(rng):
    model = Sequential([layers.SimpleRNN(4)])
    model.build((None, None, 3))
    assert [state.shape for state in model.stepper(2).state] == [(2, 4)]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize("make", [classifier, two_inputs, with_attributes])
def test_steppers_of_models_are_copied_and_pickled(way, make, rng):
    stepper = make(rng).stepper(3)

    def inputs():
        drawn = [
            rng.integers(0, ROWS, 3) if port.kind == "token" else rng.standard_normal((3, *port.shape)).astype("f")
            for port in stepper.inputs
        ]
        return drawn if len(drawn) > 1 else drawn[0]

    stepper.step(inputs())
    other = way(stepper)
    assert repr(other) == repr(stepper) and other.address != stepper.address
    masked = [x * 0 for x in inputs()] if len(stepper.inputs) > 1 else inputs() * 0  # what a row has seen is copied too
    for x in (masked, inputs()):
        np.testing.assert_equal(other.step(x), stepper.step(x))


def test_a_stepper_keeps_its_weights_and_each_has_those_of_one_moment(rng):
    model = Sequential(
        [
            layers.Dense(1, use_bias=False),
            layers.SimpleRNN(1, activation="linear", use_bias=False),
            layers.Dense(1, use_bias=False),
        ]
    )
    model.build((None, None, 1))
    sets = [
        [np.full(w.shape, v, "f") for w, v in zip(model.get_weights(), (2.0**p, 1, 0, 0.5**p), strict=True)]
        for p in range(4)
    ]
    model.set_weights(sets[0])
    ended, seen = threading.Event(), set()

    def make():
        while not ended.is_set():
            seen.add(float(model.stepper().step(np.ones((1, 1), "f"))[0, 0]))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        model.set_weights(sets[number % 4])
    ended.set()
    for thread in threads:
        thread.join()
    assert seen == {1.0}


# ---------------------------------------------------------------- models that cannot be stepped


class Custom(layers.Layer):
    def call(self, x):
        return x * 2


class OwnCall(Sequential):
    def call(self, *args, **kwargs):
        return super().call(*args, **kwargs)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [layers.Bidirectional(layers.SimpleRNN(3), name="both")],
            "layer 'both' goes from the last timestep to the first",
        ),
        (
            [layers.SimpleRNN(3, go_backwards=True, name="back")],
            "layer 'back' goes from the last timestep to the first",
        ),
        (
            [layers.SimpleRNN(3, return_sequences=True), layers.GlobalAveragePooling1D(name="mean")],
            "layer 'mean' has one result for all timesteps",
        ),
        (
            [layers.SimpleRNN(3), layers.RepeatVector(4, name="again"), layers.SimpleRNN(2)],
            "layer 'again' has other timesteps",
        ),
        (
            [layers.SimpleRNN(3, return_sequences=True), Custom(name="own")],
            "the engine does not compute layer 'own': the class Custom",
        ),
        ([layers.SimpleRNN(3, activation=np.tanh, name="bent")], "the engine does not compute layer 'bent': .*custom"),
        (
            [layers.SimpleRNN(3, dtype="float16", name="narrow")],
            "the engine does not compute layer 'narrow': .*rounded",
        ),
    ],
)
def test_the_layer_is_named_for_which_a_model_has_no_steps(parts, message):
    model = Sequential(parts, name="model")
    model.build((None, None, 4))
    for make in (model.stepper, lambda: model.__cyrnn_model__):
        with pytest.raises(ValueError, match=f"model 'model' cannot be stepped: {message}"):
            make()


def test_models_that_are_not_ready():
    model = Sequential([layers.SimpleRNN(3)])
    with pytest.raises(ValueError, match="is not built yet"):
        model.stepper()
    own = OwnCall([layers.SimpleRNN(3)])
    own.build((None, None, 4))
    with pytest.raises(ValueError, match="has a `call` of its own, which a stepper does not know"):
        own.stepper()
    model.build((None, None, 4))
    for size in (0, 2.5, 2**62):
        with pytest.raises(ValueError, match="batch_size must be"):
            model.stepper(size)
    x, integers = Input((None, 4), name="x"), Input((None, 4), dtype="int32", name="integers")
    h = layers.SimpleRNN(2, return_sequences=True, name="rnn")(x)
    flat = layers.Permute((1, 2), name="permute")(layers.Masking()(x))
    for model, message in [
        (Model(x, [h, x]), "it returns its input 'x' as it is"),
        (Model(x, [h, h]), "it returns the output of layer 'rnn' twice"),
        (Model(integers, layers.SimpleRNN(2)(integers)), "its input 'integers' is int32, and is converted to float32"),
        (Model(x, layers.Dense(2, dtype="float64")(h)), "its layers compute in float32 and float64"),
        (Model(x, layers.SimpleRNN(2)(flat)), "layer 'permute' does not pass the mask on"),
    ]:
        with pytest.raises(ValueError, match=f"cannot be stepped: {message}"):
            model.stepper()
    x = Input((4,))
    with pytest.raises(ValueError, match="it has no timesteps"):
        Model(x, layers.Dense(2)(x)).stepper()
    x, mask = Input((None, 4)), Input((None,), dtype="bool")
    with pytest.raises(ValueError, match="an input is the mask of a layer, and steps have none"):
        Model([x, mask], layers.SimpleRNN(2)(x, mask=mask)).stepper()


def test_models_are_stepped_where_the_executor_runs_alone(rng):
    model, tokens = classifier(rng), drawn_tokens(rng, 2, 1)
    with executor.alone():
        stepped = model.stepper(2).step(tokens[:, 0])
    np.testing.assert_array_equal(stepped, model(tokens))


# ---------------------------------------------------------------- models in C


def test_lengths_in_c_are_the_mask_of_a_call(rng):
    x = Input((None, 5))
    h = layers.SimpleRNN(8, return_sequences=True)(x)
    model = filled(Model(x, [layers.SimpleRNN(4, return_sequences=True, zero_output_for_mask=True)(h), h]), rng)
    given, lengths = rng.standard_normal((20, 70, 5)).astype("f"), rng.integers(0, 71, 20)
    expected = model(given, mask=np.arange(70) < lengths[:, None])
    outputs = [np.empty_like(array) for array in expected]
    assert call_from_c("forward", model.stepper(20), 70, lengths, [given], outputs) == "ok"
    for got, want in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_c_gets_models_by_capsule(rng):
    model, tokens = classifier(rng, True), drawn_tokens(rng, 1, 30)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule, made = model.__cyrnn_model__, ctypes.c_void_p()
    assert C["runner_create"](pointer(capsule, b"cyrnn_model"), 1, None, 0, ctypes.addressof(made)) == 0
    expected, outputs = model(tokens), np.empty((1, 30, 4), "f")
    model.set_weights([w * 0 for w in model.get_weights()])  # the capsule has those of before
    del model, capsule
    assert C["forward_tokens_f32"](made, 30, tokens.ctypes.data, outputs.ctypes.data) == 0
    np.testing.assert_array_equal(outputs, expected)
    assert C["runner_destroy"](made) == 0


def with_inputs_and_outputs(rng, inputs, outputs):
    """A model of so many inputs, of which all but one are the same for all timesteps, and so many outputs."""
    x, rows = Input((None, 3)), [Input((2,)) for _ in range(inputs - 1)]
    last = layers.Concatenate()([layers.SimpleRNN(4)(x), *rows]) if rows else layers.SimpleRNN(4)(x)
    return filled(Model([x, *rows], [layers.Dense(2)(last) for _ in range(outputs)]), rng)


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 1), (1, 64), (64, 64)])
def test_steps_of_many_inputs_and_outputs(inputs, outputs, rng):
    model = with_inputs_and_outputs(rng, inputs, outputs)
    stepper, x = model.stepper(2), rng.standard_normal((2, 5, 3)).astype("f")
    rows = [rng.standard_normal((2, 2)).astype("f") for _ in range(inputs - 1)]
    for t in range(5):
        step = stepper.step([x[:, t], *rows] if rows else x[:, t])
    np.testing.assert_array_equal(step, model([x, *rows] if rows else x))
    memory = np.zeros((outputs, 2, 2), "f")  # which inputs share: they are copied
    given = [x[:, 0].copy(), *[memory[0]] * len(rows)]
    memory[0] = 1
    expected = stepper.reset() or stepper.step([given[0], *[np.ones((2, 2), "f")] * len(rows)] if rows else given[0])
    stepper.reset()
    stepper.step(given if rows else given[0], out=list(memory) if outputs > 1 else memory[0])
    np.testing.assert_array_equal(memory, expected if outputs > 1 else [expected])


@pytest.mark.parametrize(("inputs", "outputs"), [(65, 1), (1, 65), (70, 70)])
def test_models_of_too_many_inputs_or_outputs_have_no_stepper(inputs, outputs, rng):
    model = with_inputs_and_outputs(rng, inputs, outputs)
    for use in (model.stepper, lambda: model.__cyrnn_model__):
        with pytest.raises(ValueError, match=r"cannot be stepped: it has more than 64 inputs or outputs"):
            use()
