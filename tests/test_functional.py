"""Functional models: symbolic calls, running, states, masks, configs, and what is refused."""

import copy
import json
import pickle
import weakref

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import (
    RNN,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Input,
    InputLayer,
    Layer,
    Masking,
    SimpleRNN,
    SimpleRNNCell,
    SpatialDropout1D,
    TimeDistributed,
)
from cyrnn.layers.base.symbolic import KerasTensor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 5, 3)).astype("float32")
IDS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [0, 0, 5, 3, 5], [1, 0, 2, 0, 3]])


def translator():
    """Encoder and decoder over one table of words, the state handed over."""
    source, target = Input((None,), dtype="int32", name="source"), Input((None,), dtype="int32", name="target")
    words = Embedding(7, 3, mask_zero=True, name="table")
    _, state = SimpleRNN(4, return_state=True, name="encoder")(words(source))
    decoded = SimpleRNN(4, return_sequences=True, name="decoder")(words(target), initial_state=[state])
    return cyrnn.Model([source, target], [Dense(7, name="answer")(decoded), state], name="translator")


class Joined(Layer):
    """Several inputs next to each other, as a user might write it."""

    def call(self, inputs):
        return np.concatenate(inputs, axis=-1)


# ------------------------------------------------------------ symbolic calls


def test_a_model_from_a_symbolic_call():
    x = cyrnn.Input((10, 8))
    y = SimpleRNN(4)(x)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((None, 10, 8), "float32", (None, 4), "float32")
    model = cyrnn.Model(x, y)
    given = RNG.standard_normal((3, 10, 8)).astype("float32")
    np.testing.assert_array_equal(model(given), model.layers[1](given))
    np.testing.assert_array_equal(model.predict(given), model.layers[1](given))
    assert model.input_shape == (None, 10, 8) and model.output_shape == (None, 4)
    assert [type(layer) for layer in model.layers] == [InputLayer, SimpleRNN]
    assert model.count_params() == 4 * (8 + 4 + 1)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (SimpleRNN(4), (None, 4)),
        (SimpleRNN(4, return_sequences=True, return_state=True), [(None, 5, 4), (None, 4)]),
        (RNN([SimpleRNNCell(2), SimpleRNNCell(3)], return_state=True), [(None, 3), (None, 2), (None, 3)]),
        (Bidirectional(SimpleRNN(4, return_state=True)), [(None, 8), (None, 4), (None, 4)]),
        (Bidirectional(SimpleRNN(4), merge_mode=None), [(None, 4), (None, 4)]),
        (TimeDistributed(Dense(2)), (None, 5, 2)),
        (cyrnn.Sequential([SimpleRNN(4), Dense(2)]), (None, 2)),
        (Masking(), (None, 5, 3)),
    ],
)
def test_every_output_is_a_symbolic_tensor_and_a_real_one(layer, shapes):
    x = Input((5, 3))
    outputs = layer(x)
    tensors = list(outputs) if isinstance(outputs, tuple) else [outputs]
    assert [t.shape for t in tensors] == (shapes if isinstance(shapes, list) else [shapes])
    results = cyrnn.Model(x, tensors)(X)
    results = results if isinstance(results, list) else [results]
    for tensor, result in zip(tensors, results, strict=True):
        assert (6, *tensor.shape[1:]) == result.shape and result.dtype == tensor.dtype


def test_a_cell_is_called_symbolically():
    x, h = Input((3,)), Input((4,))
    cell = SimpleRNNCell(4)
    model = cyrnn.Model([x, h], list(cell(x, [h])))
    state = RNG.standard_normal((6, 4)).astype("float32")
    output, new = model([X[:, 0], state])
    np.testing.assert_array_equal(output, cell(X[:, 0], [state])[0])
    np.testing.assert_array_equal(new, output)


def test_an_input_begins_a_sequential():
    model = cyrnn.Sequential([cyrnn.Input((5, 3), name="x"), SimpleRNN(4)])
    assert model.built and model.input_shape == (None, 5, 3)
    with pytest.raises(ValueError, match="cyrnn layers"):
        cyrnn.Sequential([SimpleRNN(4)(Input((5, 3)))])


def test_symbolic_tensors_have_no_values():
    x = Input((5, 3))
    for use in (np.asarray, bool, list, len, float, lambda x: np.add(x, 1), lambda x: SimpleRNN(4).predict(x)):
        with pytest.raises(TypeError, match="symbolic|unsupported|no ufunc|__array_ufunc__"):
            use(x)


def test_the_first_call_of_a_layer_is_at_hand():
    x = Input((5, 3))
    layer = SimpleRNN(4, return_state=True)
    with pytest.raises(AttributeError, match="has no output: it was not called with symbolic tensors"):
        _ = layer.output
    y, h = layer(x)
    assert layer.input is x and layer.output == [y, h]
    states = cyrnn.Model(x, layer.output[1])
    np.testing.assert_array_equal(states(X), layer(X)[1])
    layer(Input((5, 3)))
    assert layer.input is x and layer.output == [y, h]


# ------------------------------------------------------------ running


def test_states_are_handed_over():
    model = translator()
    answer, state = model.predict([IDS, IDS[::-1]])
    table, encoder, decoder, dense = (model.get_layer(n) for n in ("table", "encoder", "decoder", "answer"))
    expected = encoder(table(IDS), mask=IDS != 0)[1]
    np.testing.assert_array_equal(state, expected)
    # As in Keras 3, the mask of the sequences does not go with an initial state.
    np.testing.assert_allclose(answer, dense(decoder(table(IDS[::-1]), initial_state=expected)), rtol=1e-6)


def test_an_explicit_mask_goes_with_an_initial_state():
    x, h, keep = Input((5, 3)), Input((4,)), Input((5,), dtype="bool")
    layer = SimpleRNN(4, return_sequences=True)
    model = cyrnn.Model([x, h, keep], layer(x, initial_state=h, mask=keep))
    state = RNG.standard_normal((6, 4)).astype("float32")
    mask = RNG.random((6, 5)) < 0.5
    np.testing.assert_array_equal(model([X, state, mask]), layer(X, initial_state=state, mask=mask))
    again = cyrnn.from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again([X, state, mask]), model([X, state, mask]))


def test_masks_flow_through_branches():
    x = Input((None, 3))
    masked = Masking()(x)
    sequences, other, last = SimpleRNN(4, return_sequences=True), SimpleRNN(2), SimpleRNN(2)
    model = cyrnn.Model(x, [other(sequences(masked)), last(Dropout(0.5)(masked))])
    padded = np.where((np.arange(5) < 3)[None, :, None], X, 0)
    first, second = model(padded)
    np.testing.assert_array_equal(first, other(sequences(padded[:, :3])))
    np.testing.assert_array_equal(second, last(padded[:, :3]))


def test_a_shared_layer_is_called_for_each_input():
    a, b = Input((5, 3), name="a"), Input((5, 3), name="b")
    shared = SimpleRNN(4, name="shared", activity_regularizer="l2")
    model = cyrnn.Model([a, b], [shared(a), shared(b), shared(a)])
    assert len(model.weights) == 3 and [layer.name for layer in model.layers] == ["a", "b", "shared"]
    y = model([X, -X])
    np.testing.assert_array_equal(y[0], y[2])
    np.testing.assert_array_equal(y[1], shared(-X))
    model([X, -X])
    expected = [0.01 * np.sum(np.square(part)) / 6 for part in y]
    np.testing.assert_allclose(model.losses, expected, rtol=1e-5)


def test_models_in_models():
    inner_x = Input((5, 3))
    inner = cyrnn.Model(inner_x, [TimeDistributed(Dense(3))(inner_x), SimpleRNN(2)(inner_x)], name="inner")
    x = Input((None, 3))
    first, _ = inner(x)
    second, state = inner(first)
    end = cyrnn.Sequential([SimpleRNN(4), Dense(2)], name="end")(second)
    model = cyrnn.Model(x, {"end": end, "state": state})
    assert len(model.weights) == 2 + 3 + 3 + 2
    y = model.predict(X)
    np.testing.assert_array_equal(y["state"], inner(inner(X)[0])[1])


def test_a_functional_model_in_a_sequential_and_at_each_timestep():
    x = Input((3,))
    rows = cyrnn.Model(x, Dense(2)(x))
    np.testing.assert_allclose(TimeDistributed(rows)(X), np.stack([rows(X[:, t]) for t in range(5)], 1), rtol=1e-6)
    chain = cyrnn.Sequential([rows, Dense(4)])
    assert chain(X[:, 0]).shape == (6, 4) and chain.input_shape == (6, 3)


@pytest.mark.parametrize("order", [["b", "a"], ["a", "b"]])
def test_inputs_come_in_lists_and_dicts(order):
    tensors = {name: Input((width,), name=name) for name, width in (("a", 3), ("b", 4))}
    a, b = np.ones((2, 3), "float32"), np.full((2, 4), 2, "float32")
    model = cyrnn.Model([tensors["a"], tensors["b"]], Joined()([tensors["a"], tensors["b"]]))
    named = cyrnn.Model({name: tensors[name] for name in order}, model.outputs)
    expected = np.concatenate([a, b], axis=1)
    for given in ([a, b], (a, b), {"b": b, "a": a}, {"b": b, "a": a, "more": a}):
        np.testing.assert_array_equal(model(given), expected)
        np.testing.assert_array_equal(model.predict(given), expected)
        if isinstance(given, dict) or order == ["a", "b"]:
            np.testing.assert_array_equal(named(given), expected)
    assert model.input_names == ["a", "b"] and model.output_names == [model.layers[-1].name]


def test_inputs_are_brought_into_the_form_of_the_input():
    x, ids = Input((5, 1), name="x"), Input((5,), dtype="int32", name="ids")
    model = cyrnn.Model([x, ids], [SimpleRNN(2)(x), Embedding(9, 2)(ids)])
    flat = RNG.standard_normal((6, 5))
    y = model([flat, np.arange(30).reshape(6, 5, 1) % 9])
    z = model([flat[..., None].astype("float32"), np.arange(30.0).reshape(6, 5) % 9])
    assert y[0].dtype == np.float32 and y[1].shape == (6, 5, 2)
    for a, b in zip(y, z, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="indices from 0 to 8"):
        model([flat, np.full((6, 5), 2**32)])  # no index is wrapped around


def test_predict_in_batches():
    model = translator()
    whole = model([IDS, IDS])
    for size in (1, 3, None):
        for a, b in zip(model.predict([IDS, IDS], size), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    single = cyrnn.Model(model.inputs, model.outputs[1])
    out = np.empty((4, 4), "float32")
    assert single.predict([IDS, IDS], 3, out=out) is out
    np.testing.assert_allclose(out, whole[1], rtol=1e-6, atol=1e-7)
    assert [part.shape for part in model.predict([IDS[:0], IDS[:0]])] == [(0, 5, 7), (0, 4)]
    outs = [np.empty_like(part) for part in whole]
    model.predict([IDS, IDS], 3, out=tuple(outs))
    for a, b in zip(outs, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    for wrong, words in (
        (out, "an array for each output"),
        (outs[:1], "an array for each output"),
        ({"a": outs[0], "b": outs[1]}, "an array for each output"),
        ([outs[1], outs[0]], r"\(4, 5, 7\).*got \(4, 4\)"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict([IDS, IDS], out=wrong)
    with pytest.raises(ValueError, match=r"as many samples, got \[4, 3\]"):
        model.predict([IDS, IDS[:3]])


def test_values_go_when_nobody_needs_them():
    given, held = [], []

    class Watched(Layer):
        def call(self, inputs):
            held.append(sum(ref() is not None for ref in given))
            result = inputs + 1
            given.append(weakref.ref(result))
            return result

    x = y = Input((3,))
    for _ in range(6):
        y = Watched()(y)
    given.clear(), held.clear()
    cyrnn.Model(x, y)(np.zeros((2, 3), "float32"))
    assert held == [0, 1, 1, 1, 1, 1]  # what each is called with


def test_dropout_and_training():
    x = Input((5, 3))
    always = cyrnn.Model(x, Dropout(0.5, seed=1)(x, training=True))
    assert np.any(always(X) == 0) and not np.any(always.predict(X) == 0)  # Keras' predict says training=False
    model = cyrnn.Model(x, Dropout(0.5, seed=1)(x))
    np.testing.assert_array_equal(model(X), X)
    assert np.any(model(X, training=True) == 0)


def test_stateful_layers():
    x = Input((5, 3), batch_size=2)
    y = SimpleRNN(4, stateful=True, return_sequences=True, name="carries")(x)
    model = cyrnn.Model(x, SimpleRNN(2)(y))
    assert model.stateful and model.stateful_rows() == 2
    first, second = model.predict(X[:2]), model.predict(X[:2])
    assert not np.array_equal(first, second)
    model.reset_state()
    np.testing.assert_array_equal(model.predict(X[:2]), first)
    carried = model.get_layer("carries").states[0]
    with pytest.raises(ValueError):
        model(np.zeros((3, 5, 3), "float32"))
    assert model.get_layer("carries").states[0] is carried
    with pytest.raises(ValueError, match="multiple of 2"):
        model.predict(X[:3])


def test_constants_among_the_arguments():
    x = Input((5, 3))
    state = RNG.standard_normal((1, 4)).astype("float32")
    layer = SimpleRNN(4)
    model = cyrnn.Model(x, layer(x, initial_state=state))
    np.testing.assert_array_equal(model(X), layer(X, initial_state=state))
    again = cyrnn.from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(X), model(X))


def test_layers_of_your_own():
    class Gated(Layer):
        def __init__(self, power=2.0, **kwargs):
            super().__init__(**kwargs)
            self.power = power

        def build(self, input_shape):
            self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

        def call(self, inputs, gate, sharp=False):
            return inputs * self.scale * gate ** (self.power if sharp else 1)

    x, gate = Input((5, 3)), Input((5, 3))
    y = Gated(3.0, name="gated")(x, gate, sharp=True)
    model = cyrnn.Model([x, gate], [y, Joined(name="joined")([x, y])])
    assert model.output_shape == [(None, 5, 3), (None, 5, 6)]
    given = [X, X + 1]
    custom = {"Gated": Gated, "Joined": Joined}
    again = cyrnn.from_json(model.to_json(), custom)
    for a, b in zip(again(given), model(given), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(model(given)[0], X * (X + 1) ** 3, rtol=1e-4, atol=1e-5)


def test_a_mask_that_ends_is_told_of():
    class Blind(Layer):
        def call(self, inputs):
            return inputs

    x = Input((5, 3))
    model = cyrnn.Model(x, SimpleRNN(2)(Blind(name="blind")(Masking()(x))))
    with pytest.warns(UserWarning, match="'blind' does not pass the mask on"):
        model(X)


def test_copies_and_pickles_of_deep_models():
    x = Input((3,))
    y = x
    for _ in range(1200):  # deeper than Python calls functions in functions
        y = cyrnn.layers.Activation("linear")(y)
    model = cyrnn.Model(x, Dense(2)(y))
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other(X[:, 0]), model(X[:, 0]))
        assert json.loads(other.to_json()) == json.loads(model.to_json())
        assert other.layers[1].output.shape == (None, 3)
    assert len(cyrnn.from_json(model.to_json()).layers) == 1202


def test_weights_are_in_the_order_of_the_layers():
    model = translator()
    names = [layer.name for layer in model.layers]
    assert names == ["target", "source", "table", "encoder", "decoder", "answer"]  # as in Keras
    expected = [weight for layer in model.layers for weight in layer.weights]
    assert all(a is b for a, b in zip(model.weights, expected, strict=True))
    model.trainable = False
    assert model.trainable_weights == []
    assert model.get_layer(index=3) is model.get_layer("encoder")


def test_an_input_that_nothing_depends_on():
    x, unused = Input((5, 3), name="x"), Input((2,), name="unused")
    model = cyrnn.Model([x, unused], [SimpleRNN(2)(x), x])
    y = model([X, np.zeros((6, 2))])
    np.testing.assert_array_equal(y[1], X)
    assert cyrnn.from_json(model.to_json()).input_names == ["x", "unused"]


def test_a_model_from_the_middle_of_another():
    x = Input((5, 3))
    layers = [SimpleRNN(4, return_sequences=True), SimpleRNN(3, return_sequences=True), SimpleRNN(2)]
    first = layers[0](x)
    second, keep = layers[1](first), Input((5,), dtype="bool")
    end = layers[2](second, mask=keep)
    tail = cyrnn.Model([first, keep], [end, second])
    given, mask = RNG.standard_normal((6, 5, 4)).astype("float32"), RNG.random((6, 5)) < 0.6
    y = tail([given, mask])
    np.testing.assert_array_equal(y[1], layers[1](given))
    np.testing.assert_array_equal(y[0], layers[2](y[1], mask=mask))
    assert len(tail.weights) == 6 and [layer.name for layer in tail.layers if layer.weights] == [
        layer.name for layer in layers[1:]
    ]
    again = cyrnn.from_json(tail.to_json())
    again.set_weights(tail.get_weights())
    np.testing.assert_array_equal(again([given, mask])[0], y[0])
    assert layers[1].output is second  # the calls of the layers are what they were
    np.testing.assert_array_equal(cyrnn.Model(second, second)(y[1]), y[1])


def test_arithmetic_and_indexing():
    x, other = Input((5, 3)), Input((3,))
    last, shifted = x[:, -1], 2 * (x - 1) / x[:, :1] + (-other)[:, None]
    y, z = np.ones((5, 1), "float32") + x, x[:, ::2, 1:]
    model = cyrnn.Model([x, other], [last, shifted, y, z])
    assert model.output_shape == [(None, 3), (None, 5, 3), (None, 5, 3), (None, 3, 2)]
    vector = X[:, 0]
    expected = [X[:, -1], 2 * (X - 1) / X[:, :1] + (-vector)[:, None], X + 1, X[:, ::2, 1:]]
    for again in (model, cyrnn.from_json(model.to_json())):
        for actual, wanted in zip(again([X, vector]), expected, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-6)
            assert actual.dtype == np.float32


def test_parts_of_an_axis_of_any_length():
    """As in Keras: a slice of one has any length, and an index may be beyond a short one."""
    x = Input((None, 3))
    for part, shape in [
        (x[:, 5:], (None, None, 3)),
        (x[:, -2:], (None, None, 3)),
        (x[:, 2000000::4, 1], (None, None)),
        (x[:, 7], (None, 3)),
        (x[..., None, 1:], (None, None, 1, 2)),
        (x[:, None, -9, ..., 0], (None, 1)),
    ]:
        assert part.shape == shape
    model = cyrnn.Model(x, [x[:, 3:], x[:, 4]])
    for timesteps in (5, 9):
        given = np.random.default_rng(0).random((2, timesteps, 3), "float32")
        np.testing.assert_array_equal(model(given)[0], given[:, 3:])
        np.testing.assert_array_equal(model(given)[1], given[:, 4])
    with pytest.raises(IndexError, match="do not fit"):
        x[0, 0, 0, 0]


def test_the_mask_of_a_layer_given_to_another():
    ids, x = Input((5,), dtype="int32"), Input((5, 3))
    table, masking, layer = Embedding(7, 3, mask_zero=True), Masking(), SimpleRNN(4)
    ends = [layer(x, mask=table.compute_mask(ids)), layer(table(ids), mask=masking.compute_mask(x))]
    padded = X[:4] * (IDS > 2)[:, :, None]
    y = cyrnn.Model([ids, x], ends)([IDS, padded])
    np.testing.assert_array_equal(y[0], layer(padded, mask=IDS != 0))
    np.testing.assert_array_equal(y[1], layer(table(IDS), mask=IDS > 2))


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SimpleRNN(4, name="second")(Input((3,))), ValueError, r"'second'.*got \(None, 3\).*return_sequences"),
        (lambda: SimpleRNN(4)(Input((2, 3, 4))), ValueError, r"got \(None, 2, 3, 4\): expected ndim=3$"),
        (lambda: Bidirectional(SimpleRNN(4))(Input((3,))), ValueError, r"got \(None, 3\): expected ndim=3"),
        (lambda: SpatialDropout1D(0.5, name="drop")(Input((3,))), ValueError, r"'drop' must have the axes"),
        (lambda: Input(3), ValueError, "shape must be a tuple .*, got 3"),
        (lambda: SimpleRNN(4)(Input((None, None))), ValueError, "last axis"),
        (lambda: SimpleRNN(4)(Input((5, 3)), initial_state=Input((5,))), ValueError, r"initial_state.*\(1, 4\)"),
        (lambda: SimpleRNN(4)(Input((5, 3)), initial_state=[Input((4,))] * 2), ValueError, "1 arrays, got 2"),
        (lambda: Dense(4)(Input((3,)), scale=2), TypeError, "'dense.*scale"),
        (lambda: Dense(4)([Input((3,))]), ValueError, "inputs must be an array, got list"),
        (lambda: SimpleRNN(4, stateful=True)(Input((5, 3))), ValueError, "batch size"),
        (lambda: cyrnn.Model(X, Input((3,))), ValueError, "inputs must be symbolic"),
        (lambda: cyrnn.Model(Input((3,)), X), ValueError, "outputs must be symbolic"),
        (lambda: cyrnn.Model([], []), ValueError, "inputs must hold at least one"),
        (lambda: cyrnn.Model(Input((3,)), []), ValueError, "outputs must hold at least one"),
        (lambda: cyrnn.Model(Input((3,)), Dense(2)(Input((3,), name="other"))), ValueError, "other.*not among"),
        (lambda: cyrnn.Model(Dense(2)(Input((3,))), Input((3,), name="other")), ValueError, "other.*not among"),
        (lambda: Input((5, 3)) + np.ones((2, 4, 3), "float32"), ValueError, "do not fit"),
        (lambda: Input((5, 3))[:, 7], IndexError, "out of bounds"),
        (lambda: cyrnn.Model([t := Input((3,)), t], t), ValueError, "different from each other"),
        (lambda: cyrnn.Model(t := Input((3,)), Dense(2, name="d")(Dense(2, name="d")(t))), ValueError, "'d' twice"),
        (lambda: cyrnn.Model(KerasTensor((3,)), Input((3,))), ValueError, "that layers have returned"),
        (lambda: cyrnn.Model(Input((3,)), Input((3,)), name="a/b"), ValueError, "'a/b'"),
    ],
)
def test_wrong_graphs(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_built_layer_refuses_other_features():
    layer = SimpleRNN(4, name="narrow")
    layer(Input((5, 3)))
    with pytest.raises(ValueError, match=r"kernel.*\(3, 4\).*\(7, 4\)"):
        layer(Input((5, 7)))
    assert layer(Input((9, 3))).shape == (None, 4)
    inner = cyrnn.Model(t := Input((5, 3)), layer(t), name="inner")
    with pytest.raises(ValueError, match=r"must have shape \(None, 5, 3\), got \(None, 6, 3\)"):
        inner(Input((6, 3)))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (IDS, ValueError, r"\['source', 'target'\], got 'ndarray \(4, 5\)'"),
        ([IDS], ValueError, "must come as"),
        ([IDS, IDS, IDS], ValueError, "must come as"),
        ([IDS, [IDS]], ValueError, "must come as"),
        ({"source": IDS}, ValueError, "must come as"),
        ([IDS, None], ValueError, "'target' must be an array"),
        ([IDS, IDS[0]], ValueError, r"'target' must have shape \(None, None\), got \(5,\)"),
        ([IDS, np.full((4, 5), "a")], TypeError, "'target'.*real numbers"),
        (None, ValueError, "must come as"),
    ],
)
def test_wrong_inputs(given, error, words):
    model = translator()
    for run in (model, model.predict):
        with pytest.raises(error, match=words):
            run(given)


def test_wrong_masks():
    with pytest.raises(ValueError, match="each of 2 inputs, got 1"):
        translator()([IDS, IDS], mask=IDS != 0)


def test_the_output_of_a_model_is_the_callers_own():
    x = np.ones((2, 3, 4), "float32")
    i = cyrnn.Input((3, 4))
    models = [cyrnn.Model(i, i), cyrnn.Model(i, i[:, -1]), cyrnn.Sequential([i, cyrnn.layers.Flatten()])]
    for model in models:
        y = model(x)
        assert not np.shares_memory(x, y)
        y += 1
    assert (x == 1).all()


def test_a_normalization_that_is_always_in_training_keeps_its_averages():
    begin = Input((5, 3))
    layer = cyrnn.layers.BatchNormalization(momentum=0.5)
    model = cyrnn.Model(begin, layer(begin, training=True))
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    expected = x.mean(axis=(0, 1))
    for share in (0.5, 0.75, 0.875):  # the second call had failed
        model(x)
        np.testing.assert_allclose(layer.moving_mean, share * expected, rtol=1e-5, atol=1e-6)
