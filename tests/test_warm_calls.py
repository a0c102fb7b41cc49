"""After any earlier calls, a layer or model returns, or raises, what a fresh one does.

A program of earlier calls must not take arrays of another rank or other axes, though they have as many elements.
"""

import inspect
import math

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.engine.program import structure_changed
from cyrnn.layers.base import nest

RNG = np.random.default_rng(3)
SEQUENCES, ROWS = RNG.standard_normal((2, 3, 8)).astype("f4"), RNG.standard_normal((2, 8)).astype("f4")
TOKENS = RNG.integers(0, 5, (2, 3))
WORDS = np.array([["a", "b", "c"], ["b", "b", "d"]])
PAIR = [SEQUENCES, RNG.standard_normal((2, 3, 8)).astype("f4")]

# For each class the arguments, and what a right call brings.
LAYERS = {
    "Activation": [({"activation": "softmax"}, SEQUENCES), ({"activation": "softmax"}, ROWS)],
    "ActivityRegularization": [({}, SEQUENCES)],
    "AdditiveAttention": [({}, PAIR)],
    "Add": [({}, PAIR)],
    "AlphaDropout": [({"rate": 0.5}, SEQUENCES)],
    "Attention": [({}, PAIR)],
    "Average": [({}, PAIR)],
    "AveragePooling1D": [({"pool_size": 2}, SEQUENCES)],
    "BatchNormalization": [({}, SEQUENCES), ({}, ROWS)],
    "Bidirectional": [({"layer": lambda: layers.SimpleRNN(4, name="within")}, SEQUENCES)],
    "CategoryEncoding": [({"num_tokens": 5}, TOKENS)],
    "Concatenate": [({}, PAIR), ({}, [ROWS, ROWS])],
    "Conv1D": [({"filters": 4, "kernel_size": 2}, SEQUENCES)],
    "Cropping1D": [({}, SEQUENCES)],
    "Dense": [({"units": 5}, ROWS), ({"units": 5}, SEQUENCES)],
    "Discretization": [({"bin_boundaries": [-1.0, 0.5]}, SEQUENCES)],
    "Dot": [({"axes": 2}, PAIR), ({"axes": 1}, [ROWS, ROWS])],
    "Dropout": [({"rate": 0.5}, SEQUENCES)],
    "ELU": [({}, SEQUENCES)],
    "Embedding": [({"input_dim": 5, "output_dim": 2}, TOKENS)],
    "Flatten": [({}, SEQUENCES)],
    "GaussianDropout": [({"rate": 0.5}, SEQUENCES)],
    "GaussianNoise": [({"stddev": 0.5}, SEQUENCES)],
    "GlobalAveragePooling1D": [({}, SEQUENCES)],
    "GlobalMaxPooling1D": [({}, SEQUENCES)],
    "GRU": [({"units": 4}, SEQUENCES), ({"units": 4, "return_sequences": True, "return_state": True}, SEQUENCES)],
    "Hashing": [({"num_bins": 5}, TOKENS)],
    "Identity": [({}, SEQUENCES)],
    "IntegerLookup": [({"vocabulary": [1, 2, 4]}, TOKENS)],
    "LayerNormalization": [({}, SEQUENCES), ({}, ROWS)],
    "LeakyReLU": [({}, SEQUENCES)],
    "LSTM": [({"units": 4}, SEQUENCES), ({"units": 4, "return_sequences": True, "return_state": True}, SEQUENCES)],
    "Masking": [({}, SEQUENCES)],
    "MaxPooling1D": [({"pool_size": 2}, SEQUENCES)],
    "Maximum": [({}, PAIR)],
    "Minimum": [({}, PAIR)],
    "Multiply": [({}, PAIR)],
    "Normalization": [({"mean": 1.0, "variance": 2.0}, SEQUENCES)],
    "PReLU": [({}, SEQUENCES), ({"shared_axes": [1]}, SEQUENCES), ({}, ROWS)],
    "Permute": [({"dims": (2, 1)}, SEQUENCES)],
    "RNN": [({"cell": lambda: [layers.SimpleRNNCell(4), layers.SimpleRNNCell(3)]}, SEQUENCES)],
    "ReLU": [({}, SEQUENCES)],
    "RepeatVector": [({"n": 2}, ROWS)],
    "Rescaling": [({"scale": 2.0}, SEQUENCES)],
    "Reshape": [({"target_shape": (24,)}, SEQUENCES), ({"target_shape": (2, 4)}, ROWS)],
    "SimpleRNN": [({"units": 4}, SEQUENCES), ({"units": 4, "return_sequences": True, "return_state": True}, SEQUENCES)],
    "Softmax": [({}, SEQUENCES), ({"axis": 1}, SEQUENCES), ({}, ROWS)],
    "SpatialDropout1D": [({"rate": 0.5}, SEQUENCES)],
    "StringLookup": [({"vocabulary": ["a", "c"]}, WORDS)],
    "Subtract": [({}, PAIR)],
    "TextVectorization": [({"vocabulary": ["a", "c"], "split": None}, WORDS)],
    "ThresholdedReLU": [({}, SEQUENCES)],
    "TimeDistributed": [({"layer": lambda: layers.Dense(5, name="within")}, SEQUENCES)],
    "UnitNormalization": [({}, SEQUENCES)],
    "UpSampling1D": [({}, SEQUENCES)],
    "ZeroPadding1D": [({}, SEQUENCES)],
}
CELLS = {"SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}
OTHERS = {*CELLS, "Layer", "Wrapper", "InputLayer"}  # that do not compute, or not sequences
OTHERS |= {"MultiHeadAttention"}  # that take several arguments
CASES = [(name, arguments, x) for name, cases in LAYERS.items() for arguments, x in cases]


def divided(count):
    """All axes that have so many elements together, with an axis of length 1 too."""
    for first in (n for n in range(1, count + 1) if count % n == 0):
        rest = count // first
        yield (first, rest)
        yield from ((first, second, rest // second) for second in (2, 4) if rest % second == 0)


def in_other_forms(x):
    """The elements of an array with other axes after that of the batch."""
    shapes = {(math.prod(x.shape),), (len(x), x[0].size), *((len(x), *axes) for axes in divided(x[0].size))}
    shapes |= {(*x.shape, 1), (len(x), 1, *x.shape[1:]), (*x.shape[:-1], 1, x.shape[-1])}
    shapes |= {(len(x), x.shape[1], *axes) for axes in divided(x[0, 0].size)} if x.ndim > 2 else set()
    return [x.reshape(shape) for shape in sorted(shapes - {x.shape})]


def other_calls(x):
    if isinstance(x, list):
        for form in in_other_forms(x[0]):
            yield from ([form, x[1]], [x[0], form], [form, form])
    else:
        yield from in_other_forms(x)


def made(name, arguments):
    return getattr(layers, name)(
        **{key: value() if callable(value) else value for key, value in arguments.items()}, name="it"
    )


def outcome(call):
    """The arrays of a call, or its error."""
    try:
        return [np.asarray(leaf) for leaf in nest.leaves(call())]
    except Exception as error:
        return [type(error), str(error)]


def assert_same(actual, expected, what):
    assert len(actual) == len(expected), what
    for ours, theirs in zip(actual, expected, strict=True):
        if not isinstance(theirs, np.ndarray):
            assert ours == theirs, what
        else:
            assert isinstance(ours, np.ndarray) and (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=str(what))


def assert_calls_as_fresh(make, right, wrong):
    """`make` returns an object as it is before any call, `right` and each of `wrong` are calls of it."""
    first = make()
    right(first)
    weights = first.get_weights()

    def with_weights():
        layer = make()
        right(layer)
        layer.set_weights(weights)
        return layer

    warm = with_weights()
    for what, call in wrong:
        fresh = with_weights()
        structure_changed()  # so the program of its right call is out of date
        right(warm)
        right(warm)
        for layer in (warm, fresh):
            if getattr(layer, "stateful", False):
                layer.reset_state()
        assert_same(outcome(lambda call=call: call(warm)), outcome(lambda call=call, fresh=fresh: call(fresh)), what)


def test_every_class_is_here():
    found = {name for name in dir(layers) if name[0].isupper() and inspect.isclass(getattr(layers, name))} - {"Any"}
    same = {"GlobalAvgPool1D", "GlobalMaxPool1D", "MaxPool1D", "AvgPool1D", "Convolution1D"}
    assert found - same - OTHERS == set(LAYERS)


@pytest.mark.parametrize(("name", "arguments", "x"), CASES, ids=[f"{name}{i}" for i, (name, *_) in enumerate(CASES)])
def test_a_layer_called_with_other_axes(name, arguments, x):
    shapes = [[np.shape(part) for part in nest.leaves(given)] for given in other_calls(x)]
    calls = [lambda layer, given=given: layer(given) for given in other_calls(x)]
    assert_calls_as_fresh(lambda: made(name, arguments), lambda layer: layer(x), list(zip(shapes, calls, strict=True)))


STATE, MASK = RNG.standard_normal((2, 4)).astype("f4"), np.array([[True, True, False], [False, True, True]])
RECURRENT = {
    "SimpleRNN": lambda: layers.SimpleRNN(4, return_sequences=True, name="it"),
    "stateful": lambda: layers.SimpleRNN(4, stateful=True, name="it"),
    "RNN": lambda: layers.RNN([layers.SimpleRNNCell(4)], return_state=True, name="it"),
    "Bidirectional": lambda: layers.Bidirectional(layers.SimpleRNN(2, name="within"), name="it"),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_called_with_other_states_and_masks(name):
    states = [STATE[:, :2], STATE[:, 2:]] if name == "Bidirectional" else [STATE]
    given = list(in_other_forms(states[0]))
    wrong = [
        (form.shape, lambda layer, form=form: layer(SEQUENCES, initial_state=[form, *states[1:]])) for form in given
    ]
    assert_calls_as_fresh(RECURRENT[name], lambda layer: layer(SEQUENCES, initial_state=states), wrong)
    wrong = [(form.shape, lambda layer, form=form: layer(SEQUENCES, mask=form)) for form in in_other_forms(MASK)]
    assert_calls_as_fresh(RECURRENT[name], lambda layer: layer(SEQUENCES, mask=MASK), wrong)


def functional():
    a, b = layers.Input((None, 8), name="a"), layers.Input((8,), name="b")
    outputs = layers.Concatenate()([layers.SimpleRNN(4)(a), layers.Dense(3, name="dense")(b)])
    return cyrnn.Model([a, b], outputs, name="it")


def sequential(*parts):
    return lambda: cyrnn.Sequential([part(name=f"part{index}") for index, part in enumerate(parts)], name="it")


def recurrent(**options):
    return layers.SimpleRNN(4, **options)


def embedding(**options):
    return layers.Embedding(5, 2, **options)


def softmax(**options):
    return layers.Activation("softmax", **options)


MODELS = {
    "recurrent": (sequential(recurrent), SEQUENCES),
    "embedding": (sequential(embedding, recurrent), TOKENS),
    "softmax": (sequential(softmax), ROWS),
    "functional": (functional, [SEQUENCES, ROWS]),
    "shape given": (
        lambda: cyrnn.Sequential([layers.Input((3, 8), name="input"), recurrent(name="part")], name="it"),
        SEQUENCES,
    ),
    "one feature": (
        lambda: cyrnn.Sequential([layers.Input((None, 1), name="input"), recurrent(name="part")], name="it"),
        ROWS[..., None],
    ),
}


@pytest.mark.parametrize("how", ["__call__", "predict"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_called_with_other_axes(name, how):
    make, x = MODELS[name]
    shapes = [[np.shape(part) for part in nest.leaves(given)] for given in other_calls(x)]
    calls = [lambda model, given=given: getattr(model, how)(given) for given in other_calls(x)]
    assert_calls_as_fresh(make, lambda model: getattr(model, how)(x), list(zip(shapes, calls, strict=True)))


@pytest.mark.parametrize("keyed", [False, True])
def test_an_input_that_is_a_mask_is_one_in_every_call(keyed):
    x, keep = cyrnn.Input((5, 3), name="x"), cyrnn.Input((5,), dtype="bool", name="keep")
    layer = cyrnn.layers.SimpleRNN(2)
    y = layer(x, mask=keep)
    model = cyrnn.Model({"x": x, "keep": keep} if keyed else [x, keep], y)
    r = np.random.default_rng(0)
    arrays = {"x": r.standard_normal((4, 5, 3)).astype("float32"), "keep": r.random((4, 5)) < 0.6}
    expected, given = layer(arrays["x"], mask=arrays["keep"]), arrays if keyed else list(arrays.values())
    for _ in range(3):
        np.testing.assert_array_equal(model(given), expected)
        np.testing.assert_array_equal(model.predict(given), expected)
        np.testing.assert_array_equal(model.vjp(given)[0], expected)
    integers = {**arrays, "keep": arrays["keep"].astype("int32")}
    np.testing.assert_array_equal(model(integers if keyed else list(integers.values())), expected)
