"""Wrong arguments get an error that names the argument, what was expected and what came."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers import RNN, Activation, Dense, Dropout, Embedding, Input, Masking, SimpleRNN, SimpleRNNCell

X = np.zeros((2, 5, 3), "float32")
H = np.zeros((2, 4), "float32")


class NoCell:
    state_size = 3


class NoState:
    def call(self, inputs, states):
        return inputs, states


@pytest.mark.parametrize("layer", [SimpleRNNCell, SimpleRNN])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"units": 0}, ValueError, "units.*positive.*0"),
        ({"units": -3}, ValueError, "units.*positive.*-3"),
        ({"units": 2.5}, ValueError, "units.*2.5"),
        ({"units": True}, ValueError, "units.*True"),
        ({"units": "3"}, TypeError, "units.*'3'"),
        ({"units": None}, TypeError, "units.*None"),
        ({"activation": "tanhh"}, ValueError, "activation 'tanhh'"),
        ({"activation": 3}, ValueError, "activation.*3"),
        ({"kernel_initializer": "glorot"}, ValueError, "initializer.*'glorot'"),
        ({"kernel_initializer": 3}, ValueError, "initializer.*3"),
        ({"recurrent_regularizer": "l1_l2"}, ValueError, "regularizer.*'l1_l2'"),
        ({"bias_constraint": "nonneg"}, ValueError, "constraint.*'nonneg'"),
        ({"dropout": "0.5"}, TypeError, "dropout.*'0.5'"),
        ({"recurrent_dropout": None}, TypeError, "recurrent_dropout.*None"),
        ({"dropout": float("nan")}, ValueError, "dropout.*nan"),
        ({"seed": 1.5}, ValueError, "seed.*1.5"),
        ({"name": "a/b"}, ValueError, "name.*'a/b'"),
        ({"name": 3}, ValueError, "name.*3"),
        ({"dtype": "float8"}, ValueError, "dtype.*'float8'"),
        ({"dtype": "int32"}, ValueError, "dtype.*'int32'"),
        ({"trainable": 1}, ValueError, "trainable.*1"),
        ({"time_major": True}, ValueError, "Unrecognized.*time_major"),
        ({"weights": [1]}, ValueError, "Unrecognized.*weights"),
    ],
    ids=str,
)
def test_constructor(layer, arguments, error, words):
    with pytest.raises(error, match=words):
        layer(**{"units": 4, **arguments})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda layer: layer(X[0]), ValueError, r"sequences.*\(5, 3\)"),
        (lambda layer: layer(X[None]), ValueError, r"sequences.*\(1, 2, 5, 3\)"),
        (lambda layer: layer(X[:, :0]), ValueError, r"at least one timestep.*\(2, 0, 3\)"),
        (lambda layer: layer(X[:, :0]), IndexError, r"at least one timestep"),
        (lambda layer: layer(X[:, :, :2]), ValueError, "3 features.*got 2"),
        (lambda layer: layer(X.tolist()), ValueError, "sequences must be an array, got list"),
        (lambda layer: layer(None), ValueError, "sequences must be an array, got NoneType"),
        (lambda layer: layer(X.astype(complex)), TypeError, "sequences.*complex128"),
        (lambda layer: layer(X.astype(object)), TypeError, "sequences.*object"),
        (lambda layer: layer(X.astype(str)), TypeError, "sequences"),
        (lambda layer: layer(X, mask=np.ones((2, 4))), ValueError, r"mask.*\(2, 5\).*\(2, 4\)"),
        (lambda layer: layer(X, mask=[[1], [1, 2]]), ValueError, "mask must be an array"),
        (lambda layer: layer(X, mask=np.ones(5)), ValueError, r"mask.*\(2, 5\).*\(5,\)"),
        (lambda layer: layer(X, mask=np.ones((2, 5, 3))), ValueError, r"mask.*\(2, 5, 3\)"),
        (lambda layer: layer(X, mask=np.ones((1, 5))), ValueError, r"mask.*\(1, 5\)"),
        (lambda layer: layer(X, initial_state=H[:, :3]), ValueError, r"initial_state.*\(2, 4\).*\(2, 3\)"),
        (lambda layer: layer(X, initial_state=np.zeros((3, 4))), ValueError, r"initial_state.*\(2, 4\).*\(3, 4\)"),
        (lambda layer: layer(X, initial_state=[H, H]), ValueError, "initial_state.*1 arrays, got 2"),
        (lambda layer: layer(X, initial_state=[]), ValueError, "initial_state.*1 arrays, got 0"),
        (lambda layer: layer(X, initial_state=["a"]), ValueError, "initial_state.*str"),
        (lambda layer: layer.predict(X, batch_size=0), ValueError, "batch_size.*0"),
        (lambda layer: layer.predict(X, batch_size="2"), TypeError, "batch_size.*'2'"),
        (lambda layer: layer.predict(X, num_threads=0), ValueError, "num_threads.*0"),
        (lambda layer: layer.predict(X, out=np.zeros((2, 3), "f4")), ValueError, r"out.*\(2, 4\).*\(2, 3\)"),
        (lambda layer: layer.predict(X, out=np.zeros((2, 4))), ValueError, "out.*float32.*float64"),
        (lambda layer: layer.predict(X, out=[0]), ValueError, "out.*list"),
        (lambda layer: layer.predict(np.float32(3)), ValueError, "x must have a batch axis"),
        (lambda layer: setattr(layer, "kernel", np.zeros((3, 3))), ValueError, r"'kernel'.*\(3, 4\).*\(3, 3\)"),
        (lambda layer: setattr(layer, "trainable", "yes"), ValueError, "trainable.*'yes'"),
    ],
)
def test_a_call_that_fails_changes_nothing(call, error, words):
    layer = SimpleRNN(4, stateful=True)
    before = layer(np.ones_like(X))
    weights, states = layer.get_weights(), [s.copy() for s in layer.states]
    with pytest.raises(error, match=words):
        call(layer)
    np.testing.assert_array_equal(layer.states, states)
    for a, b in zip(layer.weights, weights, strict=True):
        np.testing.assert_array_equal(a, b)
    layer.reset_state()
    np.testing.assert_array_equal(layer(np.ones_like(X)), before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda cell: cell(X, H), ValueError, r"sequence.*\(2, 5, 3\)"),
        (lambda cell: cell(X[:, 0, :2], H), ValueError, "3 features.*got 2"),
        (lambda cell: cell(X[:, 0], H[:, :2]), ValueError, r"states.*\(2, 4\).*\(2, 2\)"),
        (lambda cell: cell(X[:, 0], None), ValueError, "states must be an array"),
        (lambda cell: cell(X[:, 0], []), IndexError, "states"),
        (lambda cell: cell.get_initial_state(), TypeError, "batch_size"),
    ],
)
def test_a_wrong_step(call, error, words):
    cell = SimpleRNNCell(4)
    cell.build((None, 3))
    with pytest.raises(error, match=words):
        call(cell)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RNN(3), ValueError, "cell must have a method `call"),
        (lambda: RNN(NoCell()), ValueError, "cell must have a method `call"),
        (lambda: RNN(NoState()), ValueError, "state_size.*None"),
        (lambda: Dense(0), ValueError, "units.*0"),
        (lambda: Dense(2, lora_rank=2), ValueError, "lora_rank"),
        (lambda: Dense(2)(np.zeros(3, "f4")), ValueError, r"\(batch, ..., 3\).*\(3,\)"),
        (lambda: Dropout(1.5), ValueError, "rate.*1.5"),
        (lambda: Dropout("a"), TypeError, "rate.*'a'"),
        (lambda: Embedding(0, 3), ValueError, "input_dim.*0"),
        (lambda: Embedding(4, 3)(np.array([[0, 4]])), ValueError, "0 to 3.*0 to 4"),
        (lambda: Embedding(4, 3)(np.array([[-1, 2]])), ValueError, "0 to 3.*-1 to 2"),
        (lambda: Activation("nope"), ValueError, "'nope'"),
        (lambda: Masking("a"), ValueError, "'a'"),
        (lambda: Input(), ValueError, "shape"),
        (lambda: SimpleRNN(3).build(()), ValueError, "input_shape"),
        (lambda: SimpleRNN(3).build(None), ValueError, "input_shape.*None"),
        (lambda: SimpleRNN(3).build("abc"), ValueError, "input_shape.*'abc'"),
        (lambda: SimpleRNN(3).call(X), ValueError, "not built"),
        (lambda: Input((3, -1)), ValueError, "-1"),
        (lambda: cyrnn.Sequential([3]), ValueError, "layers.*3"),
        (lambda: SimpleRNN(3, stateful=True).build((None, 5, 3)), ValueError, "stateful.*batch"),
        (lambda: cyrnn.Sequential([Dense(2, name="a"), Dense(3, name="a")]), ValueError, "'a' twice"),
        (lambda: cyrnn.Sequential([Dense(2), Input((3,))]), ValueError, "Input must be the first"),
        (lambda: cyrnn.Sequential([Input((None, None)), SimpleRNN(3)]), ValueError, "last axis"),
        (lambda: cyrnn.from_json("{"), ValueError, "not JSON"),
        (lambda: cyrnn.from_json("3"), ValueError, "expected a JSON object"),
        (
            lambda: cyrnn.from_json('{"class_name": "ConvLSTM1D", "config": {"name": "l"}}'),
            ValueError,
            "layer 'l'.*'ConvLSTM1D'",
        ),
        (lambda: cyrnn.from_json("[" * 100_000), ValueError, "not JSON"),
    ],
)
def test_other_wrong_calls(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(("rate", "kept"), [(-0.1, 0.0), (1.5, 1.0), (True, 1.0), (0.25, 0.25)])
def test_rates_are_clamped_as_in_keras(rate, kept):
    assert SimpleRNNCell(2, dropout=rate).dropout == kept


# ------------------------------------------------------------ masks and other options, also where they change nothing


def of_a_graph(layer):
    inputs = [Input((5, 3)), Input((5, 3))]
    return cyrnn.Model(inputs, layer(inputs))


TAKING_ONE = {
    "SimpleRNN": lambda: SimpleRNN(2),
    "Bidirectional": lambda: layers.Bidirectional(SimpleRNN(2)),
    "Dense": lambda: Dense(2),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "TimeDistributed": lambda: layers.TimeDistributed(Dense(2)),
    "Softmax": lambda: layers.Softmax(),
    "Masking": lambda: Masking(),
    "Flatten": lambda: layers.Flatten(),
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(),
    "a Sequential": lambda: cyrnn.Sequential([Dense(2)]),
    "a Functional": lambda: cyrnn.Model(x := Input((5, 3)), Dense(2)(x)),
}
TAKING_TWO = {
    **{name: lambda name=name: getattr(layers, name)() for name in ("Add", "Multiply", "Maximum", "Concatenate")},
    **{
        f"a model of {name}": lambda name=name: of_a_graph(getattr(layers, name)())
        for name in ("Add", "Multiply", "Concatenate")
    },
}
NO_MASKS = [
    ("x", "of bools or numbers, got str"),
    (len, "of bools or numbers, got builtin_function_or_method"),
    (3.5, "with a batch axis, got float"),
    (True, "with a batch axis, got bool"),
    ({"mask": 1}, "of bools or numbers, got dict|with a batch axis, got int"),
    (np.full((2, 5), "a"), "of bools or numbers, got dtype <U1"),
    (np.full((2, 5), None), "of bools or numbers, got dtype object"),
    (np.ones((2, 5), complex), "of bools or numbers, got dtype complex128"),
]


@pytest.mark.parametrize("name", [*TAKING_ONE, *TAKING_TWO])
def test_what_is_no_mask_is_refused_by_every_layer(name):
    layer = {**TAKING_ONE, **TAKING_TWO}[name]()
    for calls in range(3):  # the first one builds the layer, later ones may take its program
        for mask, words in NO_MASKS:
            for training in (False, True):
                for parts in [mask] if name in TAKING_ONE else [[mask, mask], [None, mask]]:
                    x = X if name in TAKING_ONE else [X, X]
                    with pytest.raises(ValueError, match=f"mask must be an array ({words})"):
                        layer(x, mask=parts, training=training)
        if calls:
            layer(X if name in TAKING_ONE else [X, X])


def test_a_mask_by_position_is_checked():
    for layer in (Dense(2), layers.BatchNormalization()):
        with pytest.raises(ValueError, match="mask must be an array"):
            layer(X, "x")


@pytest.mark.parametrize("name", [*TAKING_ONE, "a cell"])
def test_an_array_as_training_is_named(name):
    layer = SimpleRNNCell(2) if name == "a cell" else TAKING_ONE[name]()
    arguments = (X[:, 0], X[:, 0, :2]) if name == "a cell" else (X,)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"training must be a bool, got array\(\[1, 2\]\)"):
            layer(*arguments, training=np.array([1, 2]))
        layer(*arguments)


# ------------------------------------------------------------ the Input of a Sequential


INPUTS = {
    "fixed": ((5, 3), None, lambda: SimpleRNN(2)),
    "any length": ((None, 3), None, lambda: Dense(2)),
    "integers": ((3,), "int32", lambda: Dense(2)),
    "tokens": ((4,), "int32", lambda: Embedding(7, 2)),
    "tokens as numbers": ((4,), None, lambda: Embedding(7, 2)),
    "one feature": ((1,), None, lambda: Dense(2)),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("use", ["__call__", "predict"])
def test_a_sequential_takes_what_a_functional_does(use, name):
    """The same numbers, or the same errors, in a first call and in later ones."""
    rng, (shape, dtype, make) = np.random.default_rng(0), INPUTS[name]
    ones = np.ones((2, *(4 if n is None else n for n in shape)), "f")
    sequential = cyrnn.Sequential([Input(shape, dtype=dtype, name="in"), make()], name="it")
    begin = Input(shape, dtype=dtype, name="in")
    functional = cyrnn.Model(begin, make()(begin), name="it")
    sequential.layers[-1].name = functional.layers[-1].name = "last"
    functional.set_weights(sequential.get_weights())
    tokens = rng.integers(0, 7, (2, 4))
    for x in [
        *(3 * rng.random((2, *axes)).astype("f") for axes in [(5, 3), (7, 3), (5, 4), (3,), (1,), (5, 1), ()]),
        *(tokens, tokens + 0.5, np.full((2, 3), np.nan)),
        *([ones], {"in": ones}, {"other": ones}, [ones, ones], None, "x"),
    ]:
        expected, got = outcome(functional, use, x), outcome(sequential, use, x)
        assert type(got) is type(expected), (got, expected)
        np.testing.assert_equal(got, expected)
        sequential(ones), functional(ones)
    assert sequential._bound is not None or functional._bound is None  # plain calls stay one program


def outcome(model, use, x):
    """The array of a call, or its error."""
    try:
        return getattr(model, use)(x)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_the_input_of_a_sequential_within_a_model():
    within = cyrnn.Sequential([Input((5, 3), name="in"), Dense(2)])
    with pytest.raises(ValueError, match=r"input 'in' must have shape \(None, 5, 3\), got \(None, 7, 3\)"):
        within(Input((7, 3)))
    model = cyrnn.Model(x := Input((None, 3)), within(x))
    np.testing.assert_array_equal(model(X), within(X))
    with pytest.raises(ValueError, match=r"input 'in' must have shape \(None, 5, 3\), got \(2, 7, 3\)"):
        model(np.zeros((2, 7, 3), "f"))
    whole = cyrnn.Sequential([Input((3,), dtype="int32"), Dense(2)])
    model = cyrnn.Sequential([Dense(3), whole])
    np.testing.assert_array_equal(model(X[:, 0] + 0.7), whole(model.layers[0](X[:, 0] + 0.7).astype(int)))


# ------------------------------------------------------------ other inputs, and attributes


def test_a_timestep_that_is_not_there():
    model = cyrnn.Model(x := Input((None, 3)), Dense(2)(x[:, -1]))
    for error in (ValueError, IndexError):
        for _ in range(2):
            with pytest.raises(error, match=r"inputs of 'get_item.*' do not have its index: .*size 0"):
                model(X[:, :0])
            model(X)


@pytest.mark.parametrize(("value", "what"), [({"a": 1}, "dict"), (len, "builtin_function_or_method"), ({1}, "set")])
def test_what_is_no_array_is_said_by_its_type(value, what):
    for layer in (Dense(2), SimpleRNN(2)):
        with pytest.raises(TypeError, match=f"must be an array of real numbers, got {what}$"):
            layer(value)


def test_attributes_take_what_arguments_do():
    for layer, step in ((SimpleRNNCell(3), (X[:, 0], H[:, :3])), (Dense(3), (X,)), (Activation("tanh"), (X,))):
        layer(*step)
        layer.activation = "relu"
        assert layer.activation is cyrnn.activations.relu
        assert layer.get_config()["activation"] == "relu"
        layer(*step)
        with pytest.raises(ValueError, match="activation 'tanhh'"):
            layer.activation = "tanhh"
        layer.activation = None
        assert layer.activation is cyrnn.activations.linear
    layer = Dense(3)
    layer.dtype_policy = "float64"
    assert layer(X).dtype == layer.kernel.dtype == np.float64
    with pytest.raises(ValueError, match="'float8'"):
        layer.dtype_policy = "float8"
    assert layer.dtype_policy.name == "float64"


@pytest.mark.parametrize("name", ["return_sequences", "return_state", "go_backwards", "stateful"])
def test_options_that_are_assigned_are_bools(name):
    layer = SimpleRNN(2)
    before = layer(X)
    for value in ("x", None, np.ones(2), []):
        with pytest.raises(ValueError, match=f"{name} must be a bool, got"):
            setattr(layer, name, value)
    np.testing.assert_array_equal(layer(X), before)
    setattr(layer, name, 1)
    assert getattr(layer, name) is True
