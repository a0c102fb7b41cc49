"""Arrays in any byte order, and those whose dtype spells the machine's own, as all that comes out of zarr: `<f4`."""

import sys

import numpy as np
import pytest

import cyrnn
from cyrnn.engine.plan import Plan
from cyrnn.layers import (
    RNN,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Dense,
    Embedding,
    Flatten,
    Layer,
    LayerNormalization,
    Masking,
    SimpleRNN,
    SimpleRNNCell,
    TimeDistributed,
)
from cyrnn.saving import load_weights, save_weights

ORDERS = ["<", ">"]
OWN = "<" if sys.byteorder == "little" else ">"


def ordered(array, order):
    """A copy in this byte order, which its dtype spells."""
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder(order))


def is_plain(array):
    return array.dtype.byteorder in "=|"


def draws(*shape, dtype="float32"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def test_these_arrays_spell_their_order():
    assert memoryview(ordered(draws(2), OWN)).format == OWN + "f"
    assert memoryview(draws(2)).format == "f"


INPUTS = {
    "SimpleRNN": (lambda: SimpleRNN(3), draws(2, 4, 3)),
    "LSTM": (lambda: cyrnn.layers.LSTM(3), draws(2, 4, 3)),
    "GRU": (lambda: cyrnn.layers.GRU(3), draws(2, 4, 3)),
    "SimpleRNN, float64": (lambda: SimpleRNN(3, dtype="float64"), draws(2, 4, 3, dtype="float64")),
    "a stack": (lambda: RNN([SimpleRNNCell(3), SimpleRNNCell(2)], return_sequences=True), draws(2, 4, 3)),
    "Bidirectional": (lambda: Bidirectional(SimpleRNN(3)), draws(2, 4, 3)),
    "TimeDistributed": (lambda: TimeDistributed(Dense(3)), draws(2, 4, 3)),
    "Dense": (lambda: Dense(3), draws(2, 3)),
    "Embedding": (lambda: Embedding(9, 3), np.arange(8).reshape(2, 4)),
    "Flatten": (Flatten, draws(2, 4, 3)),
    "Flatten, integers": (Flatten, np.arange(8).reshape(2, 2, 2)),
    "Masking": (Masking, draws(2, 4, 3)),
    "LayerNormalization": (LayerNormalization, draws(2, 4, 3, dtype="float64")),
    "BatchNormalization": (BatchNormalization, draws(2, 4, 3)),
    "Sequential": (lambda: cyrnn.Sequential([cyrnn.Input((4, 3)), SimpleRNN(3), Dense(2)]), draws(2, 4, 3)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", INPUTS)
def test_inputs(case, order):
    make, x = INPUTS[case]
    layer = make()
    expected = layer(x)
    for given in (ordered(x, order), ordered(x, order)[::-1][::-1], ordered(x[None], order)[0]):
        output = layer(given)
        assert is_plain(output) and output.dtype == expected.dtype
        np.testing.assert_array_equal(output, expected)
    if hasattr(layer, "predict"):
        np.testing.assert_array_equal(layer.predict(ordered(x, order)), layer.predict(x))


@pytest.mark.parametrize("order", ORDERS)
def test_models_of_several_inputs(order):
    a, b = cyrnn.Input((4,), dtype="int32"), cyrnn.Input((4,), dtype="int32")
    model = cyrnn.Model([a, b], [Concatenate()([a, b]), Embedding(9, 2)(a)])
    x = [np.arange(8, dtype="int32").reshape(2, 4), np.ones((2, 4), "int32")]
    for output, expected in zip(model([ordered(part, order) for part in x]), model(x), strict=True):
        assert is_plain(output)
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("order", ORDERS)
def test_states_and_masks(order):
    layer, x = SimpleRNN(3, return_state=True), draws(2, 4, 3)
    state, mask = draws(2, 3), np.array([[1, 1, 0, 1], [0, 1, 1, 0]], "int32")
    expected = layer(x, initial_state=state, mask=mask)
    for given, keep in (
        (ordered(state, order), mask),
        (state, ordered(mask, order)),
        (state, ordered(1.0 * mask, order)),
    ):
        for output, wanted in zip(layer(x, initial_state=given, mask=keep), expected, strict=True):
            assert is_plain(output)
            np.testing.assert_array_equal(output, wanted)
    stateful = SimpleRNN(3, stateful=True)
    stateful(x)
    stateful.reset_state(ordered(state, order))
    assert is_plain(stateful.states[0])
    np.testing.assert_array_equal(stateful.states[0], state)


@pytest.mark.parametrize("order", ORDERS)
def test_cells(order):
    cell, x, state = SimpleRNNCell(3), draws(2, 3), draws(2, 3)
    expected, _ = cell(x, [state])
    for given, h in (
        (ordered(x, order), state),
        (x, ordered(state, order)),
        (ordered(x, order), ordered(state, order)),
    ):
        output, [new] = cell(given, [h])
        assert is_plain(output) and is_plain(new)
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_float16"])
def test_steppers(order, policy):
    """`out` is filled by the engine as it is: only the machine's own order will do."""
    layer, x, state = SimpleRNN(3, dtype=policy), draws(2, 4, 3), draws(2, 3)
    layer(x)
    expected = layer.stepper(2, initial_state=state)
    stepper = layer.stepper(2, initial_state=ordered(state, order))
    out = ordered(np.zeros((2, 3), layer.compute_dtype), OWN)
    for t in range(3):
        wanted = expected.step(x[:, t])
        assert stepper.step(ordered(x[:, t], order), out) is out
        np.testing.assert_array_equal(out, wanted)
    expected.state = state
    stepper.state = ordered(state, order)
    np.testing.assert_array_equal(stepper.step(ordered(x[:, 3], order)), expected.step(x[:, 3]))


@pytest.mark.parametrize("order", ORDERS)
def test_out_of_predict(order):
    model, x = cyrnn.Sequential([cyrnn.Input((4, 3)), SimpleRNN(3)]), draws(5, 4, 3)
    out = ordered(np.zeros((5, 3), "f4"), order)
    assert model.predict(ordered(x, order), 2, out=out) is out
    np.testing.assert_array_equal(out, model.predict(x, 2))
    with pytest.raises(ValueError, match="out must be an array of shape"):
        model.predict(x, out=ordered(np.zeros((5, 3)), order))


@pytest.mark.parametrize("order", ORDERS)
def test_weights(order, tmp_path):
    layer, x = Bidirectional(SimpleRNN(3)), draws(2, 4, 3)
    expected = layer(x)
    weights = layer.get_weights()
    given = [ordered(weight, order) for weight in weights]

    def check(other):
        assert all(is_plain(weight) for weight in other.weights)
        np.testing.assert_array_equal(other(x), expected)
        stepped = other.forward_layer.stepper().step(x[:1, 0])
        np.testing.assert_array_equal(stepped, layer.forward_layer.stepper().step(x[:1, 0]))

    other = Bidirectional(SimpleRNN(3))
    other(x)
    other.set_weights(given)
    check(other)
    check(Bidirectional(SimpleRNN(3), weights=given))
    names = ("kernel", "recurrent_kernel", "bias")
    for direction, own in ((other.forward_layer, given[:3]), (other.backward_layer, given[3:])):
        direction.cell.assign({name: np.zeros_like(value) for name, value in zip(names, own, strict=True)})
        for name, value in zip(names, own, strict=True):
            setattr(direction.cell, name, value)
    check(other)
    initial = Bidirectional(SimpleRNN(3, kernel_initializer=given[0]))
    initial(x)
    assert is_plain(initial.weights[0])
    np.testing.assert_array_equal(initial.weights[0], weights[0])
    save_weights(other, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as arrays:
        np.savez(tmp_path / "o.npz", **{name: ordered(value, order) for name, value in arrays.items()})
    other.set_weights([np.zeros_like(weight) for weight in weights])
    load_weights(other, tmp_path / "o.npz")
    check(other)


class Scaled(Layer):
    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", dtype=np.dtype("f4").newbyteorder(self.order))

    def call(self, inputs):
        assert is_plain(inputs) and is_plain(self.scale)
        return inputs * self.scale


@pytest.mark.parametrize("order", ORDERS)
def test_layers_of_the_users(order):
    layer, x = Scaled(), draws(2, 3)
    layer.order = order
    np.testing.assert_array_equal(layer(ordered(x, order)), x)
    layer.scale = ordered([2, 3, 4], order).astype(np.dtype("f4").newbyteorder(order))
    np.testing.assert_array_equal(layer(x), x * np.array([2, 3, 4], "f4"))


def test_plans_of_the_engine():
    """Weights of the machine's own order are taken, others are refused."""
    kernel = draws(3, 2)
    plan = Plan(ordered(kernel, OWN), None, None, "linear")
    assert is_plain(np.empty(0, plan.dtype))
    other = ">" if OWN == "<" else "<"
    with pytest.raises(TypeError, match="kernel must be float32 or float64"):
        Plan(ordered(kernel, other), None, None, "linear")
