"""What the layers of a Sequential return, as symbolic tensors: Model(model.inputs, model.layers[0].output)."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Embedding, Layer, SimpleRNN

X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")


def row():
    return cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(3, return_sequences=True), SimpleRNN(2), Dense(1)])


def test_a_model_of_what_a_layer_returns():
    model = row()
    first, second, _ = model.layers
    hidden = cyrnn.Model(model.inputs, [layer.output for layer in model.layers])
    states = first(X)
    expected = [states, second(states), model(X)]
    for found, wanted in zip(hidden.predict(X), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    one = cyrnn.Model(inputs=model.input, outputs=model.get_layer(index=1).output)
    np.testing.assert_allclose(one.predict(X), expected[1], rtol=1e-6, atol=1e-6)
    assert hidden.layers[1] is first  # the weights are shared


def test_the_tensors_are_those_of_one_row():
    model = row()
    first, second, last = model.layers
    assert model.inputs == [first.input] and model.outputs == [last.output] and model.output is last.output
    assert second.input is first.output and last.input is second.output
    assert model.inputs[0].shape == (None, 6, 3) and first.output.shape == (None, 6, 3)
    assert model.inputs == model.inputs and first.output is first.output
    assert model.inputs[0] is model.all_layers[0].output


@pytest.mark.parametrize("asked", [True, False])
def test_the_tensors_follow_what_is_added_and_removed(asked):
    model = row()
    before = model.layers[0].output if asked else None
    model.add(Dense(5))
    assert model.outputs[0].shape == (None, 5) and model.layers[-1].input is model.layers[-2].output
    removed = model.pop()
    assert model.outputs[0].shape == (None, 1) and model.output is model.layers[-1].output
    assert before is None or model.layers[0].output is before
    model.add(Dense(7))
    assert model.outputs[0].shape == (None, 7)
    assert removed.output.shape == (None, 5) if asked else True
    np.testing.assert_array_equal(cyrnn.Model(model.inputs, model.outputs)(X), model(X))


def test_a_row_without_an_input_has_tensors_once_it_is_built():
    model = cyrnn.Sequential([Embedding(9, 3), SimpleRNN(2, return_sequences=True, return_state=True)])
    for wanted in ("inputs", "outputs", "input", "output"):
        with pytest.raises(AttributeError, match="before it has an Input or is built"):
            getattr(model, wanted)
    with pytest.raises(AttributeError, match="has no output: .* is in no built Sequential"):
        _ = model.layers[0].output
    ids = np.array([[1, 2, 3, 0]])
    expected = model(ids)
    assert model.inputs[0].shape == (None, 4)
    assert [tensor.shape for tensor in model.outputs] == [(None, 4, 2), (None, 2)] and model.layers[
        0
    ].output is not None
    found = cyrnn.Model(model.inputs, model.outputs)(ids)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_first_call_of_a_layer_is_that_in_its_row():
    model = row()
    other = model.layers[0](cyrnn.Input((6, 3)))
    assert model.layers[0].output is not other and model.layers[0].input is model.inputs[0]
    second = cyrnn.Sequential([cyrnn.Input((6, 3)), *model.layers[:1]])
    assert second.outputs[0] is not model.layers[0].output
    np.testing.assert_array_equal(cyrnn.Model(second.inputs, second.outputs)(X), second(X))


def test_rows_in_rows():
    inner = cyrnn.Sequential([SimpleRNN(3, return_sequences=True)])
    model = cyrnn.Sequential([cyrnn.Input((6, 3)), inner, SimpleRNN(2)])
    assert inner.layers[0].output.shape == (None, 6, 3)
    np.testing.assert_allclose(cyrnn.Model(model.inputs, inner.output)(X), inner(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cyrnn.Model(inner.inputs, inner.outputs)(X), inner(X), rtol=1e-6, atol=1e-6)


def test_a_custom_layer_in_a_row():
    class Doubled(Layer):
        def call(self, inputs):
            return 2 * inputs

    model = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(2), Doubled()])
    np.testing.assert_array_equal(cyrnn.Model(model.inputs, model.outputs)(X), 2 * model.layers[0](X))


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_tensors_of_its_own(duplicate, asked):
    model = row()
    known = model.layers[0].output if asked else None
    again = duplicate(model)
    assert again.layers[0].output is not known
    np.testing.assert_array_equal(cyrnn.Model(again.inputs, again.layers[0].output)(X), model.layers[0](X))


def test_a_file_gives_a_row_with_tensors(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model = row()
    model.save(tmp_path / "m.keras")
    again = cyrnn.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(cyrnn.Model(again.inputs, again.layers[0].output)(X), model.layers[0](X))


def test_a_row_whose_tensors_are_not_asked_for_is_freed_at_once():
    model = row()
    gone = weakref.ref(model.layers[0])
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()
