"""A subclass of Model with its own `call`: what is traced runs as programs and has gradients, the rest as written."""

import copy
import pickle

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers import BatchNormalization, Dense, Dropout, Embedding, SimpleRNN
from cyrnn.layers.base.programs.tape import TAPE

X = np.random.default_rng(0).standard_normal((5, 6, 3)).astype("float32")
IDS = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [0, 0, 0, 0]])
MASK = np.arange(6) < np.array([[6], [3], [1], [0], [5]])


class Plain(cyrnn.Model):
    """Layers and arithmetic; a way that `training` decides."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.scale = 2.0
        self.below, self.above = SimpleRNN(units, return_sequences=True), SimpleRNN(3, return_state=True)
        self.dropout, self.head = Dropout(0.5, seed=1), Dense(2)

    def call(self, x, training=False):
        output, state = self.above(self.below(x) * self.scale)
        return self.head(self.dropout(output - 0.5 * state, training=training))


def functional(model):
    """The same graph as a Functional model, with the same layers."""
    begin = cyrnn.Input((None, 3))
    output, state = model.above(model.below(begin) * model.scale)
    return cyrnn.Model(begin, model.head(output - 0.5 * state))


class WithNumPy(cyrnn.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.calls = Dense(2), 0

    def call(self, x):
        self.calls += 1
        return np.tanh(self.dense(x))


def programs_of(model):
    lines = []
    model.summary(print_fn=lines.append, programs=True, line_length=200)
    return [line for line in "".join(lines).splitlines() if line.startswith((" Program", " Python"))]


# ------------------------------------------------------------ calls


def test_a_traced_call_has_the_bits_of_the_graph():
    model = Plain()
    first = model(X)
    expected = functional(model)(X)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(model(X), expected)
    np.testing.assert_array_equal(model.predict(X), expected)
    np.testing.assert_array_equal(model(X.astype("float64")), expected)
    model.run_eagerly = True
    np.testing.assert_allclose(model(X), expected, rtol=1e-6, atol=1e-6)


def test_a_traced_model_runs_as_a_program():
    model = Plain()
    model(X)
    around = cyrnn.Sequential([cyrnn.Input((None, 3)), model, Dense(1)])
    (line,) = programs_of(around)
    assert line.startswith(" Program 1: ") and "dense" in line and "Python" not in line
    np.testing.assert_array_equal(around(X), around.layers[1](model(X)))
    begin = cyrnn.Input((None, 3))
    np.testing.assert_array_equal(cyrnn.Model(begin, Dense(1)(model(begin))).layers[1](X), model(X))


def test_the_code_of_a_call_runs_once_for_each_kind_of_inputs():
    seen = []

    class Noted(Plain):
        def call(self, x, training=False):
            seen.append((x.shape, training))
            return super().call(x, training)

    model = Noted()
    for array in (X, X[:2], X, X.astype("float64")):
        model(array)
    model.predict(X, batch_size=2)
    assert seen == [((None, 6, 3), False)]
    model(X, training=True)
    assert seen[1:] == [((None, 6, 3), True)]
    for length in (4, 3, 2, 6):  # from the second length on with any
        np.testing.assert_allclose(model(X[:, :length]), functional(model)(X[:, :length]), rtol=1e-6, atol=1e-6)
    assert seen[2:] == [((None, None, 3), False)]


def test_a_call_that_needs_the_length_is_traced_for_each():
    class EachStep(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.add = Dense(2), L.Add()

        def call(self, x):
            return self.add([self.dense(x[:, t]) for t in range(x.shape[1])])

    model = EachStep()
    for length in (6, 3, 4, 3):
        expected = sum(model.dense(X[:, t]) for t in range(length)) if model.built else None
        found = model(X[:, :length])
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    y, pullback = model.vjp(X)
    assert pullback(np.ones_like(y)).inputs.shape == X.shape


@pytest.mark.parametrize("name, value", [("scale", 3.0), ("head", None), ("_private", 1.0)])
def test_an_assignment_to_an_attribute_ends_the_trace(name, value):
    class Private(Plain):
        def __init__(self):
            super().__init__()
            self._private = 0.0

        def call(self, x, training=False):
            return super().call(x, training) + self._private

    model = Private()
    around = cyrnn.Sequential([cyrnn.Input((None, 3)), model])
    before = around(X)
    np.testing.assert_array_equal(model(X), before)
    setattr(model, name, Dense(2) if value is None else value)
    expected = functional(model)(X) + model._private
    np.testing.assert_allclose(model(X), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(around(X), expected, rtol=1e-6, atol=1e-6)
    assert not np.allclose(before, expected)
    y, _ = model.vjp(X)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_layers_that_the_first_call_makes():
    class Late(cyrnn.Model):
        dense = None

        def call(self, x):
            if self.dense is None:
                self.dense = Dense(x.shape[-1])
            return self.dense(x)

    model = Late()
    assert model(X).shape == X.shape and len(model.weights) == 2
    y, pullback = model.vjp(X)
    assert [g.shape for g in pullback(np.ones_like(y)).weights] == [(3, 3), (3,)]


def test_new_weights_reach_a_trace():
    model = Plain()
    model(X)
    model.set_weights([0.5 * weight for weight in model.get_weights()])
    np.testing.assert_array_equal(model(X), functional(model)(X))


def test_stateful_layers_keep_their_rows():
    class Stateful(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = SimpleRNN(2, stateful=True)

        def call(self, x):
            return self.rnn(x)

    model, other = Stateful(), SimpleRNN(2, stateful=True)
    first = model(X)
    other.build(X.shape)
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(first, other(X))
    np.testing.assert_array_equal(model(X), other(X))
    y, _ = model.vjp(X)
    np.testing.assert_array_equal(y, other(X))
    model.reset_states()
    np.testing.assert_array_equal(model(X), first)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_traces_of_its_own(duplicate):
    model = Plain()
    expected = model(X)
    again = duplicate(model)
    np.testing.assert_array_equal(again(X), expected)
    again.scale = 0.0
    assert not np.allclose(again(X), expected)
    np.testing.assert_array_equal(model(X), expected)


# ------------------------------------------------------------ masks and training


class OfText(cyrnn.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding, self.rnn, self.head = Embedding(9, 4, mask_zero=True), SimpleRNN(3), Dense(1)

    def call(self, ids):
        return self.head(self.rnn(self.embedding(ids)))


def test_masks_flow_between_the_layers():
    model = OfText()
    found = model(IDS)
    expected = model.head(model.rnn(model.embedding(IDS), mask=IDS != 0))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.predict(IDS), expected)
    np.testing.assert_array_equal(cyrnn.Sequential([cyrnn.Input((None,), dtype="int32"), model])(IDS), expected)
    y, pullback = model.vjp(IDS)
    np.testing.assert_array_equal(y, expected)
    assert not pullback(np.ones_like(y)).weights[0][0].any()  # the row of the padding


def test_a_mask_that_the_call_takes():
    class Masked(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = SimpleRNN(3, return_sequences=True)

        def call(self, x, mask=None):
            return 2 * self.rnn(x, mask=mask)

    model = Masked()
    np.testing.assert_array_equal(model(X), 2 * model.rnn(X))
    np.testing.assert_array_equal(model(X, mask=MASK), 2 * model.rnn(X, mask=MASK))
    np.testing.assert_array_equal(model(X, mask=MASK.astype("float32")), 2 * model.rnn(X, mask=MASK))
    y, pullback = model.vjp(X, mask=MASK)
    _, plain = model.rnn.vjp(X, mask=MASK)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    found, expected = pullback(dy), plain(2 * dy)
    for a, b in zip([found.inputs, *found.weights], [expected.inputs, *expected.weights], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_mask_reaches_the_layers_of_a_call_that_takes_none():
    class Unmasked(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = SimpleRNN(3)

        def call(self, x):
            return self.rnn(x)

    model = Unmasked()
    np.testing.assert_array_equal(model(X, mask=MASK), model.rnn(X, mask=MASK))
    masking = cyrnn.Sequential([cyrnn.Input((6, 3)), L.Masking(), model])
    x = X * MASK[:, :, None]
    np.testing.assert_array_equal(masking(x), model.rnn(x, mask=MASK))


def test_a_mask_of_a_comparison():
    class Compared(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn = Embedding(9, 4), SimpleRNN(3)

        def call(self, ids):
            return self.rnn(self.embedding(ids), mask=ids != 0)

    model = Compared()
    np.testing.assert_array_equal(model(IDS), model.rnn(model.embedding(IDS), mask=IDS != 0))
    y, pullback = model.vjp(IDS)
    assert pullback(np.ones_like(y)).weights[0].shape == (9, 4)


def test_training_reaches_the_layers_as_in_python():
    class Frozen(cyrnn.Model):
        """A part in inference always, one in training always, one that is not said of."""

        def __init__(self):
            super().__init__()
            self.parts = [BatchNormalization(momentum=0.5) for _ in range(3)]

        def call(self, x, training=None):
            x = self.parts[0](x, training=False)
            return self.parts[2](self.parts[1](x, training=True))

    model = Frozen()
    model(X)
    means = [part.moving_mean.copy() for part in model.parts]
    model(X)
    moved = [not np.array_equal(part.moving_mean, mean) for part, mean in zip(model.parts, means, strict=True)]
    assert moved == [False, True, False]
    model(X, training=True)
    assert not model.parts[0].moving_mean.any() and model.parts[2].moving_mean.any()


def test_training_that_is_on_by_default():
    class Trained(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.5, seed=1)

        def call(self, x, training=True):
            return self.dropout(x, training=training)

    model = Trained()
    assert (model(X) == 0).any() and (model(X) == 0).any()
    np.testing.assert_array_equal(model(X, training=False), X)
    assert (model(X) == 0).any()


# ------------------------------------------------------------ gradients


def test_gradients_are_those_of_the_graph():
    model = Plain()
    y, pullback = model.vjp(X)  # which builds it
    assert model.built and np.array_equal(y, model(X))
    graph = functional(model)
    expected_y, expected = graph.vjp(X)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    found, expected = pullback(dy), expected(dy)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(found.inputs, expected.inputs)
    by_name = {id(w): g for w, g in zip(graph.trainable_weights, expected.weights, strict=True)}
    for weight, gradient in zip(model.trainable_weights, found.weights, strict=True):
        np.testing.assert_array_equal(gradient, by_name[id(weight)])


def test_gradients_of_inputs_and_outputs_in_structures():
    class Several(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn, self.unused = Embedding(9, 3), SimpleRNN(2, return_state=True), Dense(1)

        def build(self, input_shape):
            self.unused.build((None, 2))

        def call(self, inputs):
            output, state = self.rnn(self.embedding(inputs["ids"]) + inputs["x"])
            return {"out": [output * 2], "state": state}

    model, inputs = Several(), {"ids": IDS, "x": np.ones((3, 4, 3))}
    y, pullback = model.vjp(inputs)
    called = model(inputs)
    assert sorted(y) == ["out", "state"] and isinstance(y["out"], list)
    np.testing.assert_array_equal(y["out"][0], called["out"][0])
    found = pullback({"out": [np.ones((3, 2))], "state": None})
    assert found.inputs["ids"] is None and found.inputs["x"].dtype == np.float64
    assert [g.shape for g in found.weights] == [w.shape for w in model.trainable_weights]
    assert not found.weights[-1].any() and found.weights[0].any()  # no output depends on the last ones


def test_training_a_subclass_learns():
    model, optimizer = OfText(), cyrnn.optimizers.Adam(0.05)
    target, loss = np.array([[1.0], [-1.0], [0.0]], "float32"), cyrnn.losses.MeanSquaredError()
    values = []
    for _ in range(150):
        y, pullback = model.vjp(IDS, training=True)
        value, dy = loss.value_and_gradient(target, y)
        optimizer.apply(pullback(dy, inputs=False).weights, model)
        values.append(value)
    assert values[-1] < 0.01 * values[0]
    np.testing.assert_allclose(model(IDS), target, atol=0.2)


def test_fit_of_a_subclass_is_that_of_the_graph():
    target = X.sum(axis=(1, 2), keepdims=True)[:, 0] * np.ones(2)
    model = Plain()
    model.dropout.rate = 0.0
    model(X)
    graph = functional(model)
    again = Plain()
    again.dropout.rate = 0.0
    again(X)
    again.set_weights(model.get_weights())
    for one in (graph, again):
        one.compile(cyrnn.optimizers.Adam(0.01), "mse")
    expected = graph.fit(X, target, epochs=4, batch_size=2, shuffle=False, verbose=0)
    found = again.fit(X, target, epochs=4, batch_size=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-5)
    assert again.evaluate(X, target, verbose=0) == pytest.approx(graph.evaluate(X, target, verbose=0), rel=1e-5)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_of_a_subclass_is_compiled():
    class Simple(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.head, self.factor = SimpleRNN(4), Dense(1), 1.0

        def call(self, x):
            return self.head(self.rnn(x)) * self.factor

    model = Simple()
    model.build((None, 6, 3))
    row = cyrnn.Sequential([cyrnn.Input((None, 3)), SimpleRNN(4), Dense(1)])
    row.set_weights(model.get_weights())
    for one in (model, row):
        one.compile(cyrnn.optimizers.SGD(0.1), "mse")
    assert model.compiled_step(model._compiled) is not None
    for length in (6, 4, 6, 5, 3):
        x, y = X[:, :length], X[:, 0, :1]
        assert model.train_on_batch(x, y) == pytest.approx(row.train_on_batch(x, y), rel=1e-5)
    for a, b in zip(model.get_weights(), row.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model.factor = 2.0  # another model from now on
    assert model.train_on_batch(X, X[:, 0, :1]) == pytest.approx(
        float(np.mean((2 * row(X) - X[:, 0, :1]) ** 2)), rel=1e-5
    )


def test_a_call_that_cannot_be_noted_is_not_trained():
    model = WithNumPy()
    model.compile("sgd", "mse")
    model(X)
    assert model.compiled_step(model._compiled) is None
    with pytest.raises(ValueError, match="has no gradients: its `call` cannot be noted"):
        model.fit(X, np.zeros((5, 6, 2)), verbose=0)


def test_a_model_whose_call_is_not_noted_is_trained_with_a_vjp_of_its_own():
    class Own(WithNumPy):
        def vjp(self, x, initial_state=None, mask=None, training=False):
            y, pullback = self.dense.vjp(x)
            return np.tanh(y), lambda dy, **options: pullback(dy * (1 - np.tanh(y) ** 2), **options)

    class Twin(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.dense = Dense(2, activation="tanh")

        def call(self, x):
            return self.dense(x)

    own, twin = Own(), Twin()
    own(X), twin(X)
    twin.set_weights(own.get_weights())
    losses = []
    for model in (own, twin):
        model.compile("sgd", "mse")
        losses.append(model.fit(X, np.ones((5, 6, 2), "f"), epochs=3, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(own.get_weights()[0], twin.get_weights()[0], rtol=1e-5)
    np.testing.assert_allclose(
        own.evaluate(X, np.ones((5, 6, 2)), verbose=0), twin.evaluate(X, np.ones((5, 6, 2)), verbose=0), rtol=1e-5
    )


def test_a_model_that_regularizes_its_own_output_has_no_gradients():
    model = Plain(activity_regularizer="l2")
    model(X)
    with pytest.raises(ValueError, match="has no gradients: it has an activity regularizer itself"):
        model.vjp(X)


def test_a_build_of_ones_own_is_called_before_shapes_and_gradients():
    class Built(cyrnn.Model):
        def build(self, input_shape):
            self.dense = Dense(input_shape[-1] + 1)
            self.dense.build(input_shape)
            self.built = True

        def call(self, x):
            return self.dense(x)

    assert Built().compute_output_shape((None, 3)) == (None, 4)
    y, pullback = Built().vjp(X)
    assert y.shape == (5, 6, 4) and pullback(np.ones_like(y)).inputs.shape == X.shape


def test_models_in_models():
    class Outer(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.head = Plain(), Dense(1)

        def call(self, x, training=False):
            return self.head(self.inner(x, training=training))

    model = Outer()
    y, pullback = model.vjp(X)
    np.testing.assert_array_equal(y, model.head(model.inner(X)))
    inner_y, inner = model.inner.vjp(X)
    head_y, head = model.head.vjp(inner_y)
    of_head = head(np.ones_like(head_y))
    expected = [*inner(of_head.inputs).weights, *of_head.weights]
    for found, wanted in zip(pullback(np.ones_like(y)).weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------ what cannot be traced


def test_a_call_with_numpy_runs_as_it_is_written():
    model = WithNumPy()
    np.testing.assert_array_equal(model(X), np.tanh(model.dense(X)))
    before = model.calls
    model(X)
    model.predict(X)
    assert model.calls == before + 2
    words = "no gradients: its `call` cannot be noted as calls of layers, because with symbolic tensors it raises Type"
    with pytest.raises(ValueError, match=words):
        model.vjp(X)
    (line,) = programs_of(cyrnn.Sequential([cyrnn.Input((6, 3)), model]))
    assert line.startswith(f" Python calls {model.name}: its `call` cannot be noted, because with symbolic tensors")


class OfItsWeight(cyrnn.Model):
    def build(self, input_shape):
        self.factor = self.add_weight((), "ones", name="factor")

    def call(self, x):
        return x * self.factor


class OfItsNumbers(cyrnn.Model):
    def call(self, x):
        return -x if x.sum() > 0 else x


class Counting(cyrnn.Model):
    count = 0

    def call(self, x):
        self.count += 1
        return x * self.count


class OfAnArray(cyrnn.Model):
    def call(self, x):
        return x + np.arange(3, dtype="float32")


class OfNoTensor(cyrnn.Model):
    def call(self, x):
        return {"x": x, "one": np.ones(len(x) if isinstance(x, np.ndarray) else 1)}


@pytest.mark.parametrize(
    "make, expected, words",
    [
        (OfItsWeight, X, "'multiply.*' gets an array that Python has computed, or a weight"),
        (OfItsNumbers, -X if X.sum() > 0 else X, "with symbolic tensors it raises AttributeError"),
        (Counting, None, "it assigns attributes of the model"),
        (OfAnArray, X + np.arange(3), "'add.*' gets an array that Python has computed, or a weight"),
        (OfNoTensor, None, "it returns a ndarray that layers have not computed"),
    ],
)
def test_what_is_not_traced(make, expected, words):
    model = make()
    outputs = model(X)
    if expected is not None:
        np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=words):
        model.vjp(X)
    assert str(model._refusals).count("'") >= 2


def test_a_weight_of_ones_own_is_never_old():
    model = OfItsWeight()
    model(X)
    model.set_weights([np.array(3.0)])
    np.testing.assert_allclose(model(X), 3 * X, rtol=1e-6)


def test_wrong_inputs_do_not_stop_traces():
    model = Plain()
    model(X)
    with pytest.raises(ValueError):
        model(X[:, :, :2])
    with pytest.raises(ValueError, match="ndim=3"):
        model(X[0])
    np.testing.assert_array_equal(model(X), functional(model)(X))
    assert not model._refusals and model.vjp(X)[0].shape == (5, 2)


def test_a_deleted_attribute_ends_the_trace():
    class Optional(Plain):
        def call(self, x, training=False):
            found = super().call(x, training)
            return found * self.factor if hasattr(self, "factor") else found

    model = Optional()
    model.factor = 2.0
    twice = model(X)
    del model.factor
    np.testing.assert_allclose(2 * model(X), twice, rtol=1e-6)
    np.testing.assert_allclose(2 * model.vjp(X)[0], twice, rtol=1e-6)


class TakesAMask(Plain):
    def call(self, x, mask=None):
        return super().call(x)


def eager(model):
    model.run_eagerly = True
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (TakesAMask, "its `call` takes a mask"),
        (lambda: Plain(activity_regularizer="l2"), "it has an activity regularizer"),
        (lambda: eager(Plain()), "it is to run eagerly"),
        (WithNumPy, "its `call` cannot be noted, because"),
    ],
)
def test_models_that_are_called_as_they_are_within_others_say_why(make, reason):
    inner = make()
    around = cyrnn.Sequential([cyrnn.Input((6, 3)), inner])
    assert any(reason in line for line in programs_of(around)), programs_of(around)
    np.testing.assert_allclose(around(X), inner(X), rtol=1e-6)


def test_run_eagerly():
    seen = []

    class Noted(Plain):
        def call(self, x, training=False):
            seen.append(type(x))
            return super().call(x, training)

    model = Noted()
    model.run_eagerly = True
    model(X)
    model(X)
    assert seen == [np.ndarray, np.ndarray]
    assert model.vjp(X)[0].shape == (5, 2)
    model.run_eagerly = False
    model(X)
    assert len(seen) == 4 and seen[-1] is not np.ndarray


def test_other_arguments_of_a_call():
    class More(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = SimpleRNN(2, return_state=True)

        def call(self, x, states=None, return_state=False):
            output, state = self.rnn(x, initial_state=states)
            return (output, state) if return_state else output

    model = More()
    output = model(X)
    again, state = model(X, return_state=True)
    np.testing.assert_allclose(again, output, rtol=1e-6)
    np.testing.assert_array_equal(model(X, states=[state]), model.rnn(X, initial_state=[state])[0])


def test_a_vjp_of_ones_own_is_taken():
    class Own(WithNumPy):
        def vjp(self, x, initial_state=None, mask=None, training=False):
            y, pullback = self.dense.vjp(x)
            return np.tanh(y), lambda dy, inputs=True: pullback(dy * (1 - np.tanh(y) ** 2), inputs)

    model = Own()
    around = cyrnn.Sequential([cyrnn.Input((6, 3)), model])
    y, pullback = around.vjp(X)
    np.testing.assert_allclose(y, around(X), rtol=1e-6)
    assert pullback(np.ones_like(y)).inputs.shape == X.shape


# ------------------------------------------------------------ several arguments, in another model


class Decoder(cyrnn.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn, self.head = SimpleRNN(4, return_sequences=True), Dense(2)

    def call(self, x, state, scale=None, training=False):
        y = self.head(self.rnn(x, initial_state=state))
        return y if scale is None else y * scale


@pytest.mark.parametrize("scaled", [False, True])
def test_a_model_of_several_arguments_within_another(scaled):
    rng = np.random.default_rng(7)
    x, state, scale = cyrnn.Input((None, 3)), cyrnn.Input((4,)), cyrnn.Input((None, 2))
    decoder = Decoder()
    given = [x, state, scale] if scaled else [x, state]
    outputs = decoder(Dense(3)(x), state, **({"scale": scale} if scaled else {}))
    model = cyrnn.Model(given, outputs)
    arrays = [X, rng.standard_normal((5, 4)).astype("f4"), rng.standard_normal((5, 6, 2)).astype("f4")][: len(given)]
    inner = decoder.head(decoder.rnn(model.layers[[type(part) for part in model.layers].index(Dense)](X), arrays[1]))
    expected = inner * arrays[2] if scaled else inner
    np.testing.assert_allclose(model(arrays), expected, rtol=1e-6, atol=1e-6)
    assert len(model.partition_for([None] * len(given), False, TAPE).parts) == 1
    y, pullback = model.vjp(arrays)
    np.testing.assert_array_equal(y, model(arrays))
    dy = np.ones_like(y)
    found = pullback(dy)
    assert len(found.weights) == len(model.trainable_weights) == 7
    for number, array in enumerate(arrays):
        direction = rng.standard_normal(array.shape).astype("f4")
        ends = [model([*arrays[:number], array + h * direction, *arrays[number + 1 :]]) for h in (0.01, -0.01)]
        derivative = np.sum((ends[0] - ends[1]).astype(float)) / 0.02
        assert abs(derivative - np.sum(found.inputs[number] * direction)) < 2e-2 * max(1, abs(derivative))


def test_a_model_alone_is_not_confused_by_calls_with_several_arguments():
    decoder, x, state = Decoder(), cyrnn.Input((6, 3)), cyrnn.Input((4,))
    model = cyrnn.Model([x, state], decoder(x, state))
    model([X, np.zeros((5, 4), "f4")])
    with pytest.raises(ValueError, match="has no gradients: its `call` cannot be noted"):
        decoder.vjp(X)
