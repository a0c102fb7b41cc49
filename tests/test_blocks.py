"""A custom layer that is made of layers: in a model its calls stand in its place, with programs and gradients."""

import copy
import pickle

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers import GRU, LSTM, Dense, Dropout, Embedding, SimpleRNN
from cyrnn.layers.base.programs.interface import alone

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6, 3)).astype("float32")
IDS = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [7, 0, 0, 0]])


class Encoder(L.Layer):
    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.scale, self._shift = 2.0, 0.0
        self.project, self.rnn = Dense(units, "tanh"), LSTM(units, return_sequences=True)

    def call(self, x):
        return self.rnn(self.project(x) * self.scale - self._shift)

    def as_written(self, x):
        return self.rnn(self.project(x) * np.float32(self.scale) - np.float32(self._shift))


def around(block, head=None):
    return cyrnn.Sequential([cyrnn.Input((None, 3)), block, head or SimpleRNN(2)])


def notes_of(model):
    lines = []
    model.summary(print_fn=lines.append, programs=True, line_length=200)
    return [line for line in "".join(lines).splitlines() if line.startswith((" Program", " Python"))]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def gradients_of(model, x, dy, **options):
    y, pullback = model.vjp(x, **options)
    found = pullback(dy)
    return y, [found.inputs, *found.weights]


# ------------------------------------------------------------ programs


def test_a_block_is_part_of_the_program():
    block = Encoder()
    model = around(block)
    expected = model.layers[1](block.as_written(X))
    for _ in range(2):
        close(model(X), expected)
    close(model.predict(X), expected)
    (line,) = notes_of(model)
    assert line.startswith(" Program 1: 5 ops") and "lstm" in line
    begin = cyrnn.Input((None, 3))
    graph = cyrnn.Model(begin, model.layers[1](block(begin)))
    np.testing.assert_array_equal(graph(X), model(X))
    with alone():
        close(model(X), expected)


def test_blocks_in_blocks_and_in_models_of_ones_own():
    class Twice(L.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = Encoder(3), Encoder(2)

        def call(self, x):
            return self.second(self.first(x) + x)

    class Mine(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.block, self.head = Twice(), Dense(1)

        def call(self, x):
            return self.head(self.block(x))

    model = Mine()
    close(model(X), model.head(model.block.second(model.block.first(X) + X)))
    (line,) = notes_of(cyrnn.Sequential([cyrnn.Input((None, 3)), model]))
    assert line.startswith(" Program 1: ")


def test_several_inputs_and_outputs():
    class Attending(L.Layer):
        def __init__(self):
            super().__init__()
            self.rnn, self.query = GRU(3, return_state=True), Dense(3)

        def call(self, inputs):
            x, query = inputs
            output, state = self.rnn(x)
            return {"sum": output + self.query(query), "state": state}

    block, x, query = Attending(), cyrnn.Input((None, 3)), cyrnn.Input((2,))
    found = block([x, query])
    model = cyrnn.Model([x, query], [found["sum"], found["state"]])
    rows = RNG.standard_normal((5, 2)).astype("float32")
    total, state = model([X, rows])
    close(state, block.rnn(X)[1])
    close(total, block.rnn(X)[0] + block.query(rows))
    assert notes_of(model)[0].startswith(" Program 1: ") and len(notes_of(model)) == 1
    y, pullback = model.vjp([X, rows])
    gradients = pullback([np.ones_like(y[0]), None])
    assert all(gradient.any() for gradient in [*gradients.inputs, *gradients.weights])


def test_tokens_come_to_an_embedding_as_they_are():
    class Reader(L.Layer):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn = Embedding(9, 3, mask_zero=True), GRU(4)

        def call(self, ids):
            return self.rnn(self.embedding(ids))

    block = Reader()
    model = cyrnn.Sequential([cyrnn.Input((None,), dtype="int32"), block, Dense(1)])
    close(model(IDS), model.layers[1](block.rnn(block.embedding(IDS), mask=IDS != 0)))
    (line,) = notes_of(model)
    assert line.startswith(" Program 1: ")
    y, pullback = model.vjp(IDS)
    assert not pullback(np.ones_like(y)).weights[0][0].any()  # the row of the padding


def test_numbers_of_integers_are_computed_as_written():
    class Halved(L.Layer):
        def __init__(self):
            super().__init__()
            self.dense = Dense(2)

        def call(self, x):
            return self.dense(x / 2)

    block = Halved()
    model = cyrnn.Sequential([cyrnn.Input((3,), dtype="int32"), block])
    whole = np.arange(6, dtype="int32").reshape(2, 3)
    close(model(whole), block.dense(whole.astype("float32") / 2))


def test_masks_reach_the_layers_of_a_block():
    class Masked(L.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = SimpleRNN(3, return_sequences=True), LSTM(2)

        def call(self, x):
            return self.second(self.first(x))

    block, lengths = Masked(), np.arange(6) < np.array([[6], [3], [1], [0], [5]])
    model = cyrnn.Sequential([cyrnn.Input((6, 3)), L.Masking(), block])
    x = X * lengths[:, :, None]
    expected = block.second(block.first(x, mask=lengths), mask=lengths)
    close(model(x), expected)
    with alone():
        close(model(x), expected)


def test_stateful_layers_in_a_block():
    class Stateful(L.Layer):
        def __init__(self):
            super().__init__()
            self.rnn = LSTM(2, stateful=True)

        def call(self, x):
            return self.rnn(x)

    block = Stateful()
    model = cyrnn.Sequential([cyrnn.Input(batch_shape=(5, 6, 3)), block])
    other = LSTM(2, stateful=True)
    other.build(X.shape)
    other.set_weights(block.get_weights())
    for _ in range(2):
        np.testing.assert_array_equal(model(X), other(X))
    model.reset_states()
    other.reset_states()
    np.testing.assert_array_equal(model(X), other(X))


def test_a_block_has_a_stepper_in_a_model():
    block = Encoder()
    model = around(block, SimpleRNN(2, return_sequences=True))
    stepper = model.stepper(batch_size=5)
    steps = [stepper.step(X[:, t]).copy() for t in range(6)]
    np.testing.assert_allclose(np.stack(steps, axis=1), model(X), rtol=1e-6, atol=1e-7)


def test_the_shape_of_what_a_block_returns_for_any_length():
    class Last(L.Layer):
        def __init__(self, sequences):
            super().__init__()
            self.embedding, self.rnn = Embedding(9, 3), GRU(4, return_sequences=sequences)

        def call(self, ids):
            return self.rnn(self.embedding(ids))

    ids = cyrnn.Input((None,), dtype="int32")
    assert Last(False)(ids).shape == (None, 4)
    assert Last(True)(ids).shape == (None, None, 4)


def test_powers_absolute_values_and_activations_of_tensors():
    class Bent(L.Layer):
        def __init__(self):
            super().__init__()
            self.dense = Dense(4)

        def call(self, x):
            y = self.dense(x)
            return [
                cyrnn.activations.relu(y) + abs(y) - y**2,
                cyrnn.activations.softmax(y) * cyrnn.activations.tanh(y),
            ]

    block, begin = Bent(), cyrnn.Input((None, 3))
    model = cyrnn.Model(begin, block(begin))
    y = block.dense(X)
    exponentials = np.exp(y)
    close(model(X)[0], np.maximum(y, 0) + abs(y) - y**2)
    close(model(X)[1], exponentials / exponentials.sum(axis=-1, keepdims=True) * np.tanh(y))
    close(cyrnn.Model(begin, cyrnn.activations.silu(begin) ** 3)(X), cyrnn.activations.silu(X) ** 3)
    assert notes_of(model)[0].startswith(" Program 1: ") and len(notes_of(model)) == 1
    double = cyrnn.Sequential([cyrnn.Input((6, 3), dtype="float64"), Dense(4, dtype="float64")])
    double.set_weights(block.dense.get_weights())
    _, pullback = model.vjp(X)
    dy = RNG.standard_normal((5, 6, 4)).astype("float32")
    sums, of_sums = double(X), double.vjp(X.astype("float64"))[1]
    wanted = of_sums(dy * ((sums > 0) + np.sign(sums) - 2 * sums))
    close(pullback([dy, None]).inputs, wanted.inputs)
    with pytest.raises(TypeError, match="is symbolic and has no values"):
        cyrnn.activations.relu(begin, max_value=1.0)
    with pytest.raises(TypeError, match="'gelu' is no operation of symbolic tensors"):
        cyrnn.activations.gelu(begin)


# ------------------------------------------------------------ what ends a trace


@pytest.mark.parametrize("name, value", [("scale", 3.0), ("_shift", 1.0), ("project", None), ("trainable", False)])
def test_an_assignment_to_an_attribute_ends_it(name, value):
    block = Encoder()
    model = around(block)
    before = model(X)
    setattr(block, name, Dense(4) if value is None else value)
    expected = model.layers[1](block.as_written(X))
    for _ in range(2):
        close(model(X), expected)
    assert np.allclose(before, expected) == (name == "trainable")
    y, pullback = model.vjp(X)
    close(y, expected)
    assert len(pullback(np.ones_like(y)).weights) == (3 if name == "trainable" else 8)


def test_the_code_runs_once_for_each_kind_of_inputs():
    seen = []

    class Noted(Encoder):
        def call(self, x, training=False):
            seen.append((type(x).__name__, training))
            return super().call(x)

    model = around(Noted())
    model(X)
    count = len(seen)
    for length in (6, 4, 6):
        model(X[:, :length])
    assert len(seen) == count
    model(X, training=True)
    model(X, training=True)
    assert seen[count:] == [("KerasTensor", True)]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_a_block_of_its_own(duplicate):
    model = around(Encoder())
    expected = model(X)
    again = duplicate(model)
    np.testing.assert_array_equal(again(X), expected)
    again.layers[0].scale = 0.0
    assert not np.allclose(again(X), expected)
    np.testing.assert_array_equal(model(X), expected)


def test_training_reaches_the_layers_of_a_block():
    class Dropping(L.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.5, seed=1)

        def call(self, x):
            return self.dropout(x)

    model = cyrnn.Sequential([cyrnn.Input((6, 3)), Dropping()])
    np.testing.assert_array_equal(model(X), X)
    assert (model(X, training=True) == 0).any()


# ------------------------------------------------------------ gradients


def test_gradients_are_those_of_the_same_layers_in_a_row():
    block = Encoder()
    model = around(block)
    row = cyrnn.Sequential(
        [cyrnn.Input((None, 3)), block.project, L.Rescaling(block.scale), block.rnn, model.layers[1]]
    )
    dy = RNG.standard_normal((5, 2)).astype("float32")
    for found, wanted in zip(gradients_of(model, X, dy)[1], gradients_of(row, X, dy)[1], strict=True):
        close(found, wanted)


def test_fit_of_a_model_with_a_block():
    model = around(Encoder(), LSTM(1))
    model.compile(cyrnn.optimizers.Adam(0.02), "mse")
    target = np.tanh(X.sum(axis=(1, 2), keepdims=True)[:, 0])
    assert model.compiled_step(model._compiled) is not None
    history = model.fit(X, target, epochs=80, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]


# ------------------------------------------------------------ what runs as it is written


class WithNumPy(Encoder):
    def call(self, x):
        return np.tanh(self.project(x))


class Counting(Encoder):
    count = 0

    def call(self, x):
        self.count += 1
        return self.project(x) * self.count


class OfItsWeight(Encoder):
    def build(self, input_shape):
        self.factor = self.add_weight((), "ones", name="factor")

    def call(self, x):
        return self.project(x) * self.factor


class OfItsMask(Encoder):
    def call(self, x, mask=None):
        return self.project(x) if mask is None else self.project(x) * 2.0


@pytest.mark.parametrize(
    "cls, words",
    [
        (WithNumPy, "its `call` cannot be noted as calls of layers, because with symbolic tensors it raises TypeError"),
        (Counting, "because it assigns attributes of the layer"),
        (OfItsWeight, "gets an array that Python has computed, or a weight"),
        (OfItsMask, "its `call` takes a mask"),
    ],
)
def test_what_is_not_replaced(cls, words):
    block = cls()
    model = around(block, Dense(1))
    model(X)
    notes = notes_of(model)
    assert any(
        line.startswith(f" Python calls {block.name}: the class {cls.__name__} is a custom one, and") for line in notes
    )
    assert any(words in line for line in notes)
    with pytest.raises(
        ValueError, match=f"{block.name!r} has no gradients: the class {cls.__name__} is a custom one, and"
    ):
        model.vjp(X)


@pytest.mark.parametrize(
    "cls, words",
    [
        (WithNumPy, "its `call` cannot be noted as calls of layers, because with symbolic tensors it raises TypeError"),
        (OfItsMask, "its `call` takes a mask; it needs a `vjp` of its own"),
    ],
)
def test_what_has_no_gradients_alone_either(cls, words):
    with pytest.raises(ValueError, match=f"has no gradients: .*{words}"):
        cls().vjp(X)


class Mixed(L.Layer):
    """A block of several inputs, with a penalty on its output."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = Dense(4, "tanh", dtype=self.dtype_policy), SimpleRNN(4, dtype=self.dtype_policy)
        self.dropout = Dropout(0.5, seed=1, dtype=self.dtype_policy)

    def call(self, inputs, training=False):
        return self.dropout(self.a(inputs["state"]) * self.b(inputs["sequence"]) + 1.0, training=training)


def test_gradients_of_a_block_alone_are_those_of_central_differences():
    block = Mixed(dtype="float64", activity_regularizer="l2")
    rng = np.random.default_rng(1)
    x = {"sequence": rng.standard_normal((3, 5, 2)), "state": rng.standard_normal((3, 4))}
    y, pullback = block.vjp(x)  # which builds it
    close(y, block(x))
    dy = rng.standard_normal(y.shape)
    found, penalized = pullback(dy), pullback(dy, losses=True)
    assert list(found.inputs) == list(x) and len(found.weights) == len(block.trainable_weights) == 5
    weights = block.get_weights()

    def loss(penalty, **moved):
        block.set_weights(moved.get("weights", weights))
        value = np.sum(dy * block({**x, **moved.get("inputs", {})}))
        return value + penalty * block.losses[0]

    def slope(move, at, direction, penalty):
        ends = [loss(penalty, **move(at + sign * 1e-6 * direction)) for sign in (1, -1)]
        return (ends[0] - ends[1]) / 2e-6

    for gradients, penalty in ((found, 0), (penalized, 1)):
        for name, array in x.items():
            direction = rng.standard_normal(array.shape)
            move = lambda moved, name=name: {"inputs": {name: moved}}  # noqa: E731
            assert abs(slope(move, array, direction, penalty) - np.sum(direction * gradients.inputs[name])) < 1e-7
        for n, weight in enumerate(weights):
            direction = rng.standard_normal(weight.shape)
            move = lambda moved, n=n: {"weights": [*weights[:n], moved, *weights[n + 1 :]]}  # noqa: E731
            assert abs(slope(move, weight, direction, penalty) - np.sum(direction * gradients.weights[n])) < 1e-7


def test_a_block_alone_in_training_is_that_of_a_model():
    block = Encoder()
    model = cyrnn.Sequential([cyrnn.Input((None, 3)), block])
    dy = np.ones((5, 6, 4), "f4")
    for training in (False, True):
        alone_y, alone_found = gradients_of(block, X, dy, training=training)
        y, found = gradients_of(model, X, dy, training=training)
        np.testing.assert_array_equal(alone_y, y)
        for a, b in zip(alone_found, found, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_block_that_is_penalized_has_gradients_in_a_model():
    block = Mixed(activity_regularizer="l2")
    a, b = cyrnn.Input((5, 2)), cyrnn.Input((4,))
    model = cyrnn.Model([a, b], Dense(2)(block({"sequence": a, "state": b})))
    x = [RNG.standard_normal((3, 5, 2)).astype("f4"), RNG.standard_normal((3, 4)).astype("f4")]
    y, pullback = model.vjp(x)
    close(y, model(x))
    plain, penalized = pullback(np.ones_like(y)), pullback(np.ones_like(y), losses=True)
    assert all(weight.any() for weight in plain.weights)
    assert any(not np.array_equal(p, q) for p, q in zip(plain.weights, penalized.weights, strict=True))


def test_a_layer_that_counts_its_calls_is_not_touched_by_traces():
    block = Counting()
    model = around(block, Dense(1))
    before = block.count
    for n in range(1, 4):
        close(model(X), model.layers[1](block.project(X) * np.float32(before + n)))
        assert block.count == before + n and type(block.count) is int


def test_a_way_that_changes_an_attribute_in_training_alone():
    class Sometimes(Encoder):
        def __init__(self):
            super().__init__()
            self.factor = 1.0

        def call(self, x, training=False):
            if training:
                self.factor += 1.0
            return self.project(x) * self.factor

    block = Sometimes()
    model = around(block, Dense(1))
    model(X)
    for n in range(1, 3):
        model(X, training=True)
        assert block.factor == 1.0 + n
        close(model(X), model.layers[1](block.project(X) * np.float32(block.factor)))


def test_a_way_that_cannot_be_noted_in_training_alone():
    class Noisy(Encoder):
        def call(self, x, training=False):
            y = self.project(x)
            return np.add(y, 1) if training else y

    block = Noisy()
    model = around(block, Dense(1))
    head = model.layers[1]
    close(model(X, training=True), head(block.project(X) + 1))
    for length in (6, 3):
        close(model(X[:, :length]), head(block.project(X[:, :length])))
    assert len(notes_of(model)) == 1 and model.vjp(X)[0].shape == (5, 6, 1)
    with pytest.raises(ValueError, match="because with symbolic tensors it raises TypeError"):
        model.vjp(X, training=True)


def test_a_vjp_of_ones_own_is_taken():
    class Own(WithNumPy):
        def vjp(self, x, initial_state=None, mask=None, training=False):
            y, pullback = self.project.vjp(x)
            return np.tanh(y), lambda dy, inputs=True: pullback(dy * (1 - np.tanh(y) ** 2), inputs)

    model = around(Own(), Dense(1))
    y, pullback = model.vjp(X)
    close(y, model(X))
    assert pullback(np.ones_like(y)).inputs.shape == X.shape


def test_an_error_of_a_call_is_that_of_the_layer():
    model = around(Encoder())
    model(X)
    with pytest.raises(ValueError):
        model(X[:, :, :2])
    close(model(X), model.layers[1](model.layers[0].as_written(X)))


class Decoder(L.Layer):
    """A block of several arguments."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn, self.out = LSTM(6, return_sequences=True, **kwargs), Dense(2, **kwargs)

    def call(self, x, states, scale=None):
        outputs = self.out(self.rnn(x, initial_state=states))
        return outputs if scale is None else outputs * scale


class Translator(cyrnn.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = LSTM(6, return_state=True, **kwargs), Decoder(**kwargs)

    def call(self, inputs):
        source, target = inputs
        _, *states = self.encoder(source)
        return self.decoder(target, states, scale=target[:, :, :1])


def test_a_block_of_several_arguments_is_part_of_the_program():
    """An encoder whose states a decoder begins with: its gradients are those of differences."""
    x = [RNG.standard_normal((3, 5, 3)), RNG.standard_normal((3, 4, 2))]
    model = Translator(dtype="float64")
    y, pullback = model.vjp(x)
    dy, weights, step = RNG.standard_normal(y.shape), model.get_weights(), 1e-6
    for number, gradient in enumerate(pullback(dy).weights):
        there = [weight.copy() for weight in weights]
        there[number].flat[1] += step
        model.set_weights(there)
        np.testing.assert_allclose(gradient.flat[1], np.sum((model(x) - y) * dy) / step, rtol=1e-4, atol=1e-6)
    model.set_weights(weights)
    model.compile("adam", "mse")
    history = model.fit(x, np.zeros((3, 4, 2)), epochs=60, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
