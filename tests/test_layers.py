"""SimpleRNNCell, RNN and SimpleRNN: options, masks, states, weights, copies. Numbers come from the float64 oracle."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from helpers import assert_close, pairs
from reference import recurrence

import cyrnn
from cyrnn.layers import RNN, Dense, SimpleRNN, SimpleRNNCell


def inputs(batch=4, timesteps=6, features=3, dtype="float32"):
    return np.random.default_rng(0).standard_normal((batch, timesteps, features)).astype(dtype)


def expected(layer, x, **options):
    weights = layer.get_weights()
    bias = weights[2] if len(weights) == 3 else None
    return recurrence(x, weights[0], weights[1], bias, **options)


def built(layer, x):
    """The layer with weights that are not zero anywhere."""
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(-0.7, 0.7, w.shape) for w in layer.weights])
    return layer


def test_the_example_of_keras_documentation():
    keras = cyrnn
    inputs = np.random.random([32, 10, 8]).astype(np.float32)  # noqa: NPY002
    rnn = keras.layers.RNN(keras.layers.SimpleRNNCell(4))
    assert rnn(inputs).shape == (32, 4)
    rnn = keras.layers.RNN(keras.layers.SimpleRNNCell(4), return_sequences=True, return_state=True)
    whole_sequence_output, final_state = rnn(inputs)
    assert whole_sequence_output.shape == (32, 10, 4)
    assert final_state.shape == (32, 4)
    np.testing.assert_array_equal(whole_sequence_output[:, -1], final_state)


# ---------------------------------------------------------------- options

MASKS = {
    "none": None,
    "right padding": np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]], bool),
    "left padding": np.array([[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1]], bool),
    "holes": np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1], [1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]], bool),
    "a row all masked": np.array([[0] * 6, [1] * 6, [0] * 6, [1, 0, 0, 0, 0, 1]], bool),
}


@pytest.mark.parametrize(
    ("mask", "with_initial_state", "go_backwards", "zero_output_for_mask", "dtype"),
    pairs([*MASKS], [False, True], [False, True], [False, True], ["float32", "float64"]),
)
def test_masks_and_directions(mask, with_initial_state, go_backwards, zero_output_for_mask, dtype):
    x, mask = inputs(dtype=dtype), MASKS[mask]
    state = inputs(4, 1, 5, dtype)[:, 0] if with_initial_state else None
    layer = built(
        SimpleRNN(
            5,
            return_sequences=True,
            return_state=True,
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output_for_mask,
            dtype=dtype,
        ),
        x,
    )
    outputs, final = layer(x, initial_state=state, mask=mask)
    options = {"mask": mask, "go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    all_outputs, final_state = expected(layer, x, initial_state=state, **options)
    assert_close(outputs, all_outputs)
    assert_close(final, final_state)
    layer.return_sequences = layer.return_state = False
    assert_close(layer(x, initial_state=state, mask=mask), all_outputs[:, -1])


def test_padding_left_right_or_not_at_all_ends_in_the_same_state():
    x = inputs(1, 4)
    layer = built(SimpleRNN(5), x)
    nothing = np.full((1, 3, 3), 7, "float32")
    right = layer(np.concatenate([x, nothing], 1), mask=np.array([[1, 1, 1, 1, 0, 0, 0]]))
    left = layer(np.concatenate([nothing, x], 1), mask=np.array([[0, 0, 0, 1, 1, 1, 1]]))
    np.testing.assert_array_equal(right, layer(x))
    np.testing.assert_array_equal(left, layer(x))


@pytest.mark.parametrize("form", [(4, 6), (4, 6, 1)])
@pytest.mark.parametrize("dtype", [bool, "int64", "float32"])
def test_forms_of_a_mask(form, dtype):
    x, mask = inputs(), MASKS["holes"]
    layer = built(SimpleRNN(5, return_sequences=True), x)
    np.testing.assert_array_equal(layer(x, mask=mask.reshape(form).astype(dtype)), layer(x, mask=mask))
    np.testing.assert_array_equal(layer(x[:1], mask=mask[0]), layer(x[:1], mask=mask[:1]))


def test_unroll_changes_nothing():
    x = inputs()
    layer = built(SimpleRNN(5, unroll=True, return_sequences=True, zero_output_for_mask=True), x)
    y = layer(x, mask=MASKS["holes"])
    layer.unroll = False
    np.testing.assert_array_equal(layer(x, mask=MASKS["holes"]), y)


def test_return_forms():
    x = inputs()
    cell = SimpleRNNCell(5)
    assert isinstance(RNN(cell)(x), np.ndarray)
    result = RNN(cell, return_state=True)(x)
    assert isinstance(result, tuple) and [part.shape for part in result] == [(4, 5), (4, 5)]
    result = RNN(cell, return_state=True, return_sequences=True)(x)
    assert [part.shape for part in result] == [(4, 6, 5), (4, 5)]


def test_results_belong_to_the_caller():
    x = inputs()
    layer = built(SimpleRNN(5, return_sequences=True, return_state=True, stateful=True), x)
    outputs, state = layer(x)
    assert outputs.flags.writeable and outputs.flags.owndata and state.flags.owndata
    carried = layer.states[0].copy()
    outputs[:] = 9
    state[:] = 9
    np.testing.assert_array_equal(layer.states[0], carried)


@pytest.mark.parametrize(
    "state",
    [np.ones((4, 5)), [np.ones((4, 5), "float32")], (np.ones((1, 5)),), np.ones(5)],
    ids=["array", "list", "one row", "one axis"],
)
def test_forms_of_an_initial_state(state):
    x = inputs()
    layer = built(SimpleRNN(5), x)
    assert_close(layer(x, initial_state=state), expected(layer, x, initial_state=np.ones((4, 5)))[0][:, -1])


def test_a_stateful_layer_goes_on_where_it_stopped():
    x = inputs(timesteps=9)
    layer = built(SimpleRNN(5, stateful=True, return_sequences=True), x)
    parts = [layer(x[:, :4]), layer(x[:, 4:5]), layer(x[:, 5:])]
    whole, _ = expected(layer, x)
    assert_close(np.concatenate(parts, axis=1), whole)
    layer.reset_state()
    assert_close(layer(x), whole)
    layer(x, initial_state=np.ones((4, 5)))  # overrides, and what it ends in is carried on
    carried = expected(layer, x, initial_state=np.ones((4, 5)))[1]
    assert_close(layer.states[0], carried)
    with pytest.raises(ValueError, match=r"4 rows.*batch of 3"):
        layer(x[:3])
    assert_close(layer.states[0], carried)


@pytest.mark.parametrize("activation", sorted({"tanh", "relu", "softmax", "gelu"}))
@pytest.mark.parametrize("use_bias", [True, False])
def test_activation_and_bias(activation, use_bias):
    x = inputs()
    layer = built(SimpleRNN(5, activation=activation, use_bias=use_bias, return_sequences=True), x)
    assert len(layer.weights) == 2 + use_bias
    assert (layer.bias is None) is not use_bias
    assert_close(layer(x), expected(layer, x, activation=activation)[0])


def test_none_is_the_linear_activation():
    assert SimpleRNNCell(2, activation=None).get_config()["activation"] == "linear"


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_an_activation_of_your_own(go_backwards, mask):
    x, mask = inputs(), MASKS[mask]
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    builtin = built(SimpleRNN(5, "relu", **options), x)
    own = built(SimpleRNN(5, lambda z: np.maximum(z, 0), **options), x)
    for a, b in zip(own(x, mask=mask), builtin(x, mask=mask), strict=True):
        assert_close(a, b)


class Counter:
    """A cell with two states, one of them a count of the unmasked steps, and an output of another width."""

    state_size = (3, 1)
    output_size = 2

    def call(self, inputs, states):
        total, count = states
        total, count = total + inputs, count + 1
        return total[:, :2] * count, [total, count]


def test_a_cell_of_your_own():
    x = inputs()
    outputs, total, count = RNN(Counter(), return_sequences=True, return_state=True)(x, mask=MASKS["holes"])
    keep = MASKS["holes"][:, :, None]
    totals, counts = np.cumsum(np.where(keep, x, 0), axis=1), np.cumsum(keep, axis=1)
    assert_close(total, totals[:, -1], "float32")
    np.testing.assert_array_equal(count, counts[:, -1])
    last = np.maximum.accumulate(np.where(keep[:, :, 0], np.arange(6), -1), axis=1)  # last unmasked step, or -1
    emitted = np.where(last[..., None] >= 0, np.take_along_axis(totals[..., :2] * counts, last[..., None], 1), 0)
    assert_close(outputs, emitted, "float32")


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", "bool"])
def test_inputs_are_cast(dtype):
    x = (inputs() * 3).astype(dtype)
    layer = built(SimpleRNN(5), x)
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, layer(x.astype("float32")))


def test_an_input_of_any_layout_gives_the_same_bits(tmp_path):
    x = inputs(20)
    layer = built(SimpleRNN(5), x)
    y = layer(x)
    np.save(tmp_path / "x.npy", x)
    swapped = x.astype(x.dtype.newbyteorder())
    misaligned = np.frombuffer(b"." + x.tobytes(), "u1")[1:].view("f4").reshape(x.shape)
    for same in (np.asfortranarray(x), np.load(tmp_path / "x.npy", mmap_mode="r"), x[::-1][::-1], swapped, misaligned):
        np.testing.assert_array_equal(layer(same), y)


@pytest.mark.parametrize(
    ("policy", "result"), [("float16", "float16"), ("mixed_float16", "float16"), ("float64", "float64")]
)
def test_dtype_policies(policy, result):
    x = inputs()
    layer = built(SimpleRNN(5, dtype=policy, return_state=True), x)
    outputs, state = layer(x)
    assert outputs.dtype == state.dtype == result
    assert layer.weights[0].dtype == {"mixed_float16": "float32"}.get(policy, result)
    tolerance = 2e-3 if result == "float16" else 1e-12
    np.testing.assert_allclose(outputs, expected(layer, x)[0][:, -1], atol=tolerance)


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.4, 0.3), (1.0, 1.0)])
def test_dropout_in_training_only(rates):
    x = inputs(features=8)
    layer = built(SimpleRNN(5, dropout=rates[0], recurrent_dropout=rates[1], seed=3, return_sequences=True), x)
    plain, _ = expected(layer, x)
    assert_close(layer(x), plain)
    twin = built(SimpleRNN(5, dropout=rates[0], recurrent_dropout=rates[1], seed=3, return_sequences=True), x)
    masks = twin.cell.draw_dropout_masks(4, 8)
    dropped, _ = expected(layer, x, input_dropout=masks[0], recurrent_dropout=masks[1])
    assert_close(layer(x, training=True), dropped)
    assert not np.allclose(dropped, plain)


def test_dropout_masks_of_a_cell_last_until_reset():
    x = inputs()[:, 0]
    cell = built(SimpleRNNCell(5, dropout=0.5, seed=1), x)
    h = np.zeros((4, 5), "float32")
    first, _ = cell(x, h, training=True)
    np.testing.assert_array_equal(cell(x, h, training=True)[0], first)
    cell.reset_dropout_mask()
    assert not np.array_equal(cell(x, h, training=True)[0], first)
    assert cell(x[:2], h[:2], training=True)[0].shape == (2, 5)  # another batch: another mask, no error


def test_inference_draws_no_random_numbers():
    x = inputs()
    layer, twin = (built(SimpleRNN(5, dropout=0.5, seed=1), x) for _ in range(2))
    for _ in range(3):
        layer(x)
    np.testing.assert_array_equal(layer(x, training=True), twin(x, training=True))


# ---------------------------------------------------------------- weights


def test_weights_are_read_only_and_replaced_by_assignment():
    x = inputs()
    layer = built(SimpleRNN(5), x)
    before = layer(x)
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel[0, 0] = 1
    kernel = np.zeros_like(layer.kernel)
    layer.kernel = kernel
    kernel[:] = 5  # the layer has a copy
    assert not layer.kernel.any()
    assert not np.array_equal(layer(x), before)
    assert_close(layer(x), expected(layer, x)[0][:, -1])
    assert layer.cell.kernel is layer.kernel


def test_another_activation_is_used_at_once():
    x = inputs()
    layer = built(SimpleRNN(5), x)
    layer(x)
    layer.cell.activation = cyrnn.activations.relu
    assert_close(layer(x), expected(layer, x, activation="relu")[0][:, -1])


def test_get_weights_gives_copies_in_keras_order():
    layer = built(SimpleRNN(5), inputs())
    weights = layer.get_weights()
    assert [w.shape for w in weights] == [(3, 5), (5, 5), (5,)]
    weights[0][:] = 0
    assert layer.kernel.any()
    assert layer.count_params() == 45


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([np.zeros((3, 5)), np.zeros((5, 5))], "has 3 weights, got 2"),
        ([np.zeros((3, 5)), np.zeros((5, 5)), np.zeros(4)], r"'bias'.*\(5,\).*\(4,\)"),
    ],
)
def test_wrong_weights_change_nothing(weights, words):
    layer = built(SimpleRNN(5), inputs())
    before = layer.get_weights()
    with pytest.raises(ValueError, match=words):
        layer.set_weights(weights)
    for a, b in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unbuilt_layer_has_no_weights():
    layer = SimpleRNN(5)
    assert layer.weights == [] and layer.kernel is None and not layer.built
    with pytest.raises(ValueError, match="not built"):
        layer.set_weights([np.zeros((3, 5))])
    with pytest.raises(ValueError, match="before it is built"):
        layer.count_params()


def test_frozen_layers():
    layer = built(SimpleRNN(5, kernel_regularizer="l2"), inputs())
    assert len(layer.trainable_weights) == 3 and len(layer.losses) == 1
    layer.trainable = False
    assert layer.trainable_weights == [] and layer.losses == [] and not layer.cell.trainable
    assert len(layer.weights) == 3


def test_regularizers_and_constraints():
    layer = SimpleRNN(
        5, kernel_regularizer="l1", recurrent_regularizer="l2", bias_regularizer="l2", bias_constraint="non_neg"
    )
    layer = built(layer, inputs())
    kernel, recurrent_kernel, bias = (w.astype("float64") for w in layer.get_weights())
    penalties = [0.01 * np.abs(kernel).sum(), 0.01 * (recurrent_kernel**2).sum(), 0.01 * (bias**2).sum()]
    np.testing.assert_allclose(layer.losses, penalties, rtol=1e-6)
    assert (layer.bias < 0).any()
    layer.apply_constraints()
    np.testing.assert_array_equal(layer.bias, np.maximum(bias, 0).astype("float32"))


def test_activity_regularizer():
    x = inputs()
    layer = built(SimpleRNN(5, activity_regularizer="l2", return_state=True), x)
    outputs, state = layer(x)
    np.testing.assert_allclose(
        layer.losses, [0.01 * (a.astype("f8") ** 2).sum() / 4 for a in (outputs, state)], rtol=1e-5
    )
    cell = SimpleRNNCell(5, activity_regularizer="l2")
    rnn = built(RNN(cell), x)
    rnn(x)
    assert len(rnn.losses) == 2 * 6  # output and state, at each of six timesteps


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("make", [lambda: SimpleRNN(5, seed=1, dropout=0.2), lambda: RNN(SimpleRNNCell(5, "relu"))])
def test_layers_can_be_copied(make, duplicate):
    x = inputs()
    layer = built(make(), x)
    y = layer(x)
    np.testing.assert_array_equal(duplicate(layer)(x), y)


def test_repr_says_what_it_is():
    layer = SimpleRNN(5, name="reader")
    assert repr(layer) == "<SimpleRNN name='reader', units=5, built=False, dtype='float32'>"
    described = "units=5, features=3, parameters=45, dtype='float32'"
    assert repr(built(layer, inputs())) == f"<SimpleRNN name='reader', {described}>"


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_shapes_and_masks_that_a_layer_announces(sequences, state):
    x, mask = inputs(), MASKS["holes"]
    layer = SimpleRNN(5, return_sequences=sequences, return_state=state)
    shape = layer.compute_output_shape((None, 6, 3))
    assert (shape[0] if state else shape) == ((None, 6, 5) if sequences else (None, 5))
    got = layer(x, mask=mask)
    shapes = layer.compute_output_shape(x.shape)
    assert ([a.shape for a in got] if state else got.shape) == (list(shapes) if state else shapes)
    announced = layer.compute_mask(x, mask)
    assert (announced[0] if state else announced) is (mask if sequences else None)


def test_dense_on_vectors_and_sequences():
    x = inputs()
    dense = built(Dense(7, activation="softmax"), x)
    y = dense(x)
    assert y.shape == (4, 6, 7)
    assert_close(y, recurrence(x, dense.kernel, None, dense.bias, "softmax")[0])
    np.testing.assert_array_equal(dense(x[:, 0]), dense(np.ascontiguousarray(x[:, 0])))
    assert dense(x[:0]).shape == (0, 6, 7)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_weights_of_a_copy_are_read_only_too(duplicate):
    twin = duplicate(built(SimpleRNN(5), inputs()))
    with pytest.raises(ValueError, match="read-only"):
        twin.kernel[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        twin.weights[2][:] = 0


def test_an_activation_that_fails_leaves_no_dropout_mask():
    x = inputs()
    calls = []

    def fails_once(z):
        calls.append(z)
        if len(calls) == 3:
            raise RuntimeError
        return np.tanh(z)

    layer, twin = (built(SimpleRNN(5, f, dropout=0.5, seed=1), x) for f in (fails_once, lambda z: np.tanh(z)))
    with pytest.raises(RuntimeError):
        layer(x, training=True)
    twin(x, training=True)
    np.testing.assert_array_equal(layer(x, training=True), twin(x, training=True))


def test_a_dense_layer_without_features():
    assert built(Dense(3), np.zeros((4, 0), "f4"))(np.zeros((4, 0), "f4")).shape == (4, 3)


# ---------------------------------------------------------------- what code written for Keras does


def test_a_sequential_begins_with_the_input_shape_of_its_first_layer():
    with pytest.warns(UserWarning, match="deprecated"):
        model = cyrnn.Sequential([SimpleRNN(5, input_shape=(6, 3)), Dense(2)])
    assert model.built and model.input_shape == (None, 6, 3) and len(model.get_weights()) == 5
    assert cyrnn.from_json(model.to_json()).input_shape == (None, 6, 3)


def test_layers_of_a_sequential_by_name_and_index():
    model = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(5, name="reader"), Dense(2, name="answer")])
    assert model.get_layer("reader") is model.layers[0] and model.get_layer(index=1) is model.layers[1]
    for wrong in ({"name": "nobody"}, {"index": 5}, {}, {"name": "reader", "index": 0}):
        with pytest.raises(ValueError):
            model.get_layer(**wrong)
    assert model.pop().name == "answer" and model(inputs()).shape == (4, 5)
    with pytest.raises(ValueError, match="no layers"):
        cyrnn.Sequential()(inputs())


def test_a_layer_without_get_config_has_its_arguments_as_config():
    class Cell(cyrnn.layers.Layer):
        def __init__(self, units, factor=2.0, *, kernel_initializer="ones", **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = units
            self.factor, self.kernel_initializer = factor, kernel_initializer

        def build(self, input_shape):
            self.kernel = self.add_weight((input_shape[-1], self.units), self.kernel_initializer)

        def call(self, x, states):
            output = np.tanh(self.factor * x @ self.kernel + states[0])
            return output, [output]

    layer = RNN(Cell(3, factor=0.5, kernel_initializer=cyrnn.initializers.Constant(0.25), name="mine"))
    read = cyrnn.from_json(built(layer, inputs()).to_json(), custom_objects={"Cell": Cell})
    assert (read.cell.units, read.cell.factor, read.cell.name) == (3, 0.5, "mine")
    assert np.all(read.cell.kernel == 0.25)
    read.set_weights(layer.get_weights())
    np.testing.assert_array_equal(read(inputs()), layer(inputs()))
    assert cyrnn.layers.Bidirectional(layer)(inputs()).shape == (4, 6)


def test_dropout_takes_noise_shapes_that_make_sense():
    for wrong in ("ab", (2, 1.5), (2, -1), (2, 0)):
        with pytest.raises(ValueError, match="noise_shape"):
            cyrnn.layers.Dropout(0.5, noise_shape=wrong)
    with pytest.raises(ValueError, match="as many axes"):
        cyrnn.layers.Dropout(0.5, noise_shape=(2, 3))(inputs(), training=True)
    ours = cyrnn.layers.Dropout(0.5, noise_shape=(None, 1, 3), seed=1)(inputs() * 0 + 1, training=True)
    assert np.all(ours == ours[:, :1]) and set(np.unique(ours)) == {0, 2}


def test_weights_under_keras_other_names():
    layer = built(SimpleRNN(5), inputs())
    layer.cell.trainable = False
    assert len(layer.variables) == len(layer.non_trainable_weights) == 3 and layer.trainable_variables == []
    layer.cell.activation = None
    np.testing.assert_allclose(layer(inputs()), built(layer, inputs())(inputs()))
    assert cyrnn.layers.Embedding(3, 2).build() is None


def test_a_layer_over_a_built_cell_is_built_by_its_first_call():
    cell, x = SimpleRNNCell(5), np.zeros((2, 3, 4), "f")
    RNN(cell)(x)
    second = RNN(cell)
    second(x)
    assert second.built
    assert second.count_params() == 50


def test_every_class_has_what_its_bases_leave_to_it():
    """A method that only raises NotImplementedError is there for classes that have their own."""
    modules = (cyrnn.layers, cyrnn.models, cyrnn.initializers, cyrnn.regularizers, cyrnn.constraints)
    made_to_derive_from = {"Layer", "Wrapper", "Model", "InputLayer", "Initializer", "RandomInitializer", "Regularizer"}
    public = (getattr(module, name) for module in modules for name in dir(module))
    found = {value for value in public if inspect.isclass(value)}
    assert len(found) > 60
    for cls in found:
        if cls.__name__ in made_to_derive_from:
            continue
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            names, constants = method.__code__.co_names, set(method.__code__.co_consts)
            only_raises = names[:1] == ("NotImplementedError",) and not constants & set(names)
            assert not only_raises, f"{cls.__name__}.{name}"
