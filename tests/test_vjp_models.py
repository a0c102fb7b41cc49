"""`vjp` of models: of one program, and of programs with layers of Python between them; layers that are shared."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.tape import TAPE

RNG = np.random.default_rng(0)
DTYPE = {"dtype": "float64"}


def rnn(units=4, **options):
    return layers.SimpleRNN(units, **DTYPE, **options)


def sequences(batch=3, timesteps=5, features=2):
    return RNG.standard_normal((batch, timesteps, features))


def chain():
    return cyrnn.Sequential(
        [rnn(return_sequences=True), rnn(3), layers.Dense(2, activation="gelu", **DTYPE)]
    ), sequences()


def encoder_decoder():
    source, target = cyrnn.Input((None, 2), **DTYPE), cyrnn.Input((None, 3), **DTYPE)
    _, state = rnn(return_state=True)(source)
    decoded = rnn(return_sequences=True)(target, initial_state=state)
    return cyrnn.Model([source, target], layers.Dense(2, **DTYPE)(decoded)), [sequences(), sequences(3, 6, 3)]


def shared_layer():
    a, b = cyrnn.Input((None, 2), **DTYPE), cyrnn.Input((None, 2), **DTYPE)
    layer, dense = rnn(), layers.Dense(3, **DTYPE)
    return cyrnn.Model({"a": a, "b": b}, [dense(layer(a)), dense(layer(b))]), {"a": sequences(), "b": sequences(3, 4)}


def called_twice():
    x = cyrnn.Input((None, 2), **DTYPE)
    first = rnn(return_sequences=True)(x)
    return cyrnn.Model(x, [rnn(3)(first), layers.Dense(2, **DTYPE)(first)]), sequences()


def nested():
    inner = cyrnn.Sequential([cyrnn.Input((5, 2), **DTYPE), rnn(return_sequences=True), rnn(3)])
    return cyrnn.Sequential([inner, layers.Dense(2, activation="softmax", **DTYPE)]), sequences()


class Doubled(layers.Layer):
    """A layer of the user's own, with gradients."""

    def build(self, input_shape):
        self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")

    def call(self, x):
        return x * self.factor

    def vjp(self, x, initial_state=None, mask=None, training=False):
        factor = self.factor

        def pullback(dy, inputs=True):
            axes = tuple(range(dy.ndim - 1))
            return Gradients(dy * factor if inputs else None, [], [(dy * x).sum(axis=axes)])

        return self.call(x), pullback


class Gradients:
    def __init__(self, inputs, initial_state, weights):
        self.inputs, self.initial_state, self.weights = inputs, initial_state, weights


def with_a_cut():
    return cyrnn.Sequential(
        [rnn(return_sequences=True), Doubled(**DTYPE), rnn(3), layers.Dense(2, **DTYPE)]
    ), sequences()


MODELS = {f.__name__: f for f in (chain, encoder_decoder, shared_layer, called_twice, nested, with_a_cut)}


def built(name):
    model, x = MODELS[name]()
    model(x)
    model.set_weights(
        [RNG.standard_normal(weight.shape) / max(1, weight.shape[0]) ** 0.5 for weight in model.get_weights()]
    )
    return model, x


def assert_derivative(function, at, gradient, dy, step=1e-6):
    """The gradient of sum(dy * function(at)) along a random direction."""
    direction = RNG.standard_normal(at.shape)
    ends = [function(at + sign * step * direction) for sign in (1, -1)]
    values = [sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(end), strict=True)) for end in ends]
    assert abs((values[0] - values[1]) / (2 * step) - np.sum(direction * gradient)) < 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_derivatives(name):
    model, x = built(name)
    y, pullback = model.vjp(x)
    for a, b in zip(nest.leaves(y), nest.leaves(model(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    found = pullback(dy)
    assert type(found.inputs) is type(x) and found.initial_state == []
    given = nest.leaves(x)
    for number, gradient in enumerate(nest.leaves(found.inputs)):

        def of_input(moved, number=number):
            return model(nest.filled(x, [*given[:number], moved, *given[number + 1 :]]))

        assert_derivative(of_input, given[number], gradient, dy)
    weights = model.get_weights()
    assert len(found.weights) == len(model.trainable_weights) == len(weights)
    for number, gradient in enumerate(found.weights):

        def of_weight(moved, number=number):
            model.set_weights([*weights[:number], moved, *weights[number + 1 :]])
            return model(x)

        assert_derivative(of_weight, weights[number], gradient, dy)
    without = pullback(dy, inputs=False)
    assert without.inputs is None
    for a, b in zip(without.weights, found.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_an_output_without_a_gradient():
    model, x = built("called_twice")
    y, pullback = model.vjp(x)
    first, second = np.ones_like(y[0]), np.ones_like(y[1])
    both, one, other = pullback([first, second]), pullback([first, None]), pullback([None, second])
    for a, b, c in zip(both.weights, one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b + c, rtol=1e-9, atol=1e-12)
    assert not one.weights[-1].any()
    with pytest.raises(ValueError, match="dy must be a list of 2, as the outputs are"):
        pullback(first)


def test_masks_of_the_caller():
    model, x = built("chain")
    mask = RNG.random((3, 5)) < 0.6
    y, pullback = model.vjp(x, mask=mask)
    np.testing.assert_array_equal(y, model(x, mask=mask))
    dy = RNG.standard_normal(y.shape)
    assert_derivative(lambda moved: model(moved, mask=mask), x, pullback(dy).inputs, dy)
    assert not pullback(dy).inputs[~mask].any()


def test_a_layer_without_gradients_is_named():
    class Plain(layers.Layer):
        def call(self, x):
            return 2 * x

    model, x = cyrnn.Sequential([rnn(), Plain(name="mine", **DTYPE)]), sequences()
    model(x)
    with pytest.raises(ValueError, match=r"layer 'mine' has no gradients: its class Plain must have a method vjp\(x,"):
        model.vjp(x)


def test_wrong_inputs_raise_what_a_call_raises():
    model, x = built("encoder_decoder")
    for wrong in (x[0], [x[0], x[1][..., :2]], [x[0][0], x[1]], [*x, x[0]]):
        with pytest.raises(ValueError) as called:
            model(wrong)
        with pytest.raises(ValueError) as derived:
            model.vjp(wrong)
        assert str(derived.value) == str(called.value)
    with pytest.raises(ValueError, match="takes no initial_state"):
        model.vjp(x, initial_state=[x[0]])


def test_without_gradients_of_inputs_less_is_computed():
    model, x = built("chain")
    y, pullback = model.vjp(x)
    dy = np.ones_like(y)
    pullback(dy), pullback(dy, inputs=False)
    (part,) = model.partition_for([None], False, TAPE).parts
    ops = {bool(wanted): route.program.ops for (wanted, _), route in part.taped._routes.items()}
    assert ops[False] < ops[True]


@pytest.mark.parametrize("dtype", ["int8", "float16", ">f8", "longdouble", "bool"])
def test_a_dy_of_any_real_numbers(dtype):
    x = cyrnn.Input((3,), **DTYPE)
    out = layers.Dense(2, **DTYPE)(x)
    model = cyrnn.Model(x, [out, out])
    (y, _), pullback = model.vjp(np.ones((2, 3)))
    if dtype == "bool":
        with pytest.raises(ValueError, match=r"dy\[0\] must hold real numbers"):
            pullback([y > 0, y > 0])
        return
    dy = np.full((2, 2), 100, dtype)
    np.testing.assert_allclose(pullback([dy, dy]).weights[1], [400, 400])


def test_gradients_are_the_callers_own():
    x = cyrnn.Input((3,), **DTYPE)
    y, pullback = cyrnn.Model(x, [x, layers.Dense(2, **DTYPE)(x)]).vjp(np.ones((2, 3)))
    dy = [np.ones_like(y[0]), None]
    assert not np.shares_memory(pullback(dy).inputs, dy[0])


class Raising(layers.Layer):
    """It has a `vjp`, which fails after the layers before it have run."""

    def call(self, x):
        return x

    def vjp(self, x, initial_state=None, mask=None, training=False):
        raise ValueError("out of order")


class WithoutVjp(layers.Layer):
    def call(self, x):
        return x


@pytest.mark.parametrize("last", [Raising, WithoutVjp])
def test_a_refused_vjp_changes_nothing(last):
    model = cyrnn.Sequential(
        [
            cyrnn.Input(batch_shape=(3, 5, 2)),
            layers.SimpleRNN(4, stateful=True, return_sequences=True),
            layers.BatchNormalization(),
            last(),
            layers.SimpleRNN(2, activation=np.sin, stateful=True),
        ]
    )
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype("float32")
    model(x)
    states, weights = [np.array(layer.states) for layer in (model.layers[0], model.layers[3])], model.get_weights()
    with pytest.raises(ValueError, match="out of order|has no gradients: its class WithoutVjp must have a method"):
        model.vjp(x, training=True)
    for before, layer in zip(states, (model.layers[0], model.layers[3]), strict=True):
        np.testing.assert_array_equal(before, layer.states)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_has_no_vjp_is_refused_before_anything_runs():
    ran = []

    class Noting(layers.Layer):
        def call(self, x):
            return x

        def vjp(self, x, initial_state=None, mask=None, training=False):
            ran.append(x)
            return x, None

    model = cyrnn.Sequential([cyrnn.Input((2,)), Noting(), layers.Dense(2), WithoutVjp()])
    with pytest.raises(ValueError, match="its class WithoutVjp must have a method"):
        model.vjp(np.ones((3, 2)))
    assert ran == []


# ------------------------------------------------------------ calls like the last one


def tagger():
    return cyrnn.Sequential(
        [
            cyrnn.Input((None,), dtype="int32"),
            layers.Embedding(9, 3, mask_zero=True),
            layers.SimpleRNN(4, return_sequences=True),
            layers.Dense(2),
        ]
    )


class Traced(cyrnn.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn, self.head, self.factor = layers.SimpleRNN(4), layers.Dense(2), 2.0

    def call(self, x):
        return self.head(self.rnn(x)) * self.factor


def numbers(shape, dtype="f4"):
    return RNG.standard_normal(shape).astype(dtype)


AGAIN = {
    "numbers": (lambda: cyrnn.Sequential([layers.SimpleRNN(4, return_sequences=True), layers.GRU(2)]), numbers),
    "tokens": (tagger, lambda shape: RNG.integers(0, 9, shape[:2])),
    "a subclass": (Traced, numbers),
    "of float64": (lambda: cyrnn.Sequential([layers.Dense(2, **DTYPE)]), lambda shape: numbers(shape, "f8")),
}


def leaves_of(found):
    return [part for part in nest.leaves(list(found)) if part is not None]


@pytest.mark.parametrize("name", AGAIN)
def test_later_calls_return_what_the_first_did(name):
    make, given = AGAIN[name]
    model = make()
    model(given((3, 5, 2)))
    for batch, timesteps in ((3, 5), (3, 5), (4, 5), (3, 7), (1, 1)):
        x = given((batch, timesteps, 2))
        y, pullback = model.vjp(x)
        np.testing.assert_array_equal(y, model(x))
        dy = numbers(y.shape, y.dtype)
        model.note_quick_vjp(None, False)
        first_y, first = model.vjp(x)
        np.testing.assert_array_equal(y, first_y)
        for inputs, losses in ((True, False), (False, False), (True, True)):
            found, expected = pullback(dy, inputs, losses), first(dy, inputs, losses)
            assert (found.inputs is None) == (expected.inputs is None)
            for a, b in zip(leaves_of(found), leaves_of(expected), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def dropping():
    lstm = layers.LSTM(4, dropout=0.2, recurrent_dropout=0.3, seed=2, return_sequences=True)
    return cyrnn.Sequential([layers.Embedding(9, 3, mask_zero=True), lstm, layers.Dropout(0.3, seed=4), layers.GRU(3)])


def test_later_calls_in_training_draw_what_calls_do_and_errors_draw_nothing():
    cell = {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 3}
    for make, x in ((lambda: layers.SimpleRNN(5, **cell), numbers((3, 5, 2))), (dropping, RNG.integers(0, 9, (3, 5)))):
        one, other = make(), make()
        one(x), other(x)
        other.set_weights(one.get_weights())
        for _ in range(4):
            np.testing.assert_array_equal(one.vjp(x, training=True)[0], other(x, training=True))
            with pytest.raises(ValueError):
                one.vjp(x, initial_state=[np.ones((7, 5))], training=True)


def test_later_calls_see_what_has_changed():
    model, x = Traced(), numbers((3, 5, 2))
    model(x)
    for change in (
        lambda: None,
        lambda: model.set_weights([weight + 1 for weight in model.get_weights()]),
        lambda: setattr(model, "factor", 3.0),
        lambda: setattr(model.head, "activation", "tanh"),
        lambda: setattr(model.rnn, "trainable", False),
        lambda: setattr(model.rnn, "kernel", np.ones((2, 4))),
    ):
        model.vjp(x)
        change()
        y, pullback = model.vjp(x)
        np.testing.assert_array_equal(y, model(x))
        assert len(pullback(np.ones_like(y)).weights) == len(model.trainable_weights)
    for wrong in (x[0], x[..., :1], "x", np.array(["a"])):
        with pytest.raises((ValueError, TypeError)):
            model.vjp(wrong)
    for wrong in (np.ones((3, 3)), np.ones((2, 2)), [np.ones((3, 2))], "a"):
        with pytest.raises(ValueError, match="dy"):
            pullback(wrong)


def test_a_mask_that_comes_later_counts():
    model, x = cyrnn.Sequential([layers.SimpleRNN(4, return_sequences=True), layers.SimpleRNN(2)]), numbers((3, 5, 2))
    model(x)
    mask = np.arange(5) < np.array([[2], [5], [0]])
    for given in (None, mask, None, mask):
        y, pullback = model.vjp(x, mask=given)
        np.testing.assert_array_equal(y, model(x, mask=given))
        kept = np.ones_like(mask) if given is None else given
        assert not pullback(np.ones_like(y)).inputs[~kept].any()
        assert pullback(np.ones_like(y)).inputs[kept].all()


def test_in_training_later_calls_draw_as_the_first():
    """Of a layer, whose dropout goes on from call to call as in calls of its twin, which has no gradients."""
    made = [layers.SimpleRNN(4, dropout=0.4, recurrent_dropout=0.3, seed=3) for _ in range(2)]
    for layer in made:
        layer.build((None, None, 2))
        layer.set_weights([np.linspace(-1, 1, weight.size).reshape(weight.shape) for weight in layer.get_weights()])
    masks = {n: np.arange(5) < RNG.integers(0, 6, (3, 1)) for n in (2, 3)}
    for n, shape in enumerate([(3, 5, 2), (3, 5, 2), (3, 5, 2), (3, 5, 2), (3, 6, 2), (2, 6, 2), (3, 5, 2)]):
        x, mask = numbers(shape, "f8" if n == 5 else "f4"), masks.get(n)
        y, pullback = made[0].vjp(x, mask=mask, training=True)
        np.testing.assert_array_equal(y, made[1](x, mask=mask, training=True))
        found, again = pullback(np.ones_like(y)), pullback(np.ones_like(y))
        assert found.inputs.dtype == x.dtype and found.inputs.shape == shape
        for a, b in zip(leaves_of(found), leaves_of(again), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="mask"):
        made[0].vjp(numbers((3, 5, 2)), mask=np.ones((2, 5), bool), training=True)
    with pytest.raises(ValueError, match="must have 2 features"):
        made[0].vjp(numbers((3, 5, 3)), training=True)
