"""Models as ONNX files: ONNX Runtime gives what the model gives, or the model is refused by name."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import layers as L
from cyrnn.engine import plan
from cyrnn.layers.base import nest
from cyrnn.saving import export_onnx, load_model
from cyrnn.saving.onnx.activations import IN_RNN

NEEDED = "needs onnx and onnxruntime: pip install '.[test-onnx]'"
onnx = pytest.importorskip("onnx", reason=NEEDED)
reference = pytest.importorskip("onnx.reference", reason=NEEDED)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDED)
onnxruntime.set_default_logger_severity(3)
RIGHT_PADDED = {"masks": "right-padded"}


def model(*layers, shape=(None, 3), dtype="float32"):
    return cyrnn.Sequential([L.Input(shape, dtype=dtype), *layers])


def filled(whole, seed=0):
    """The model with weights that are not zero anywhere; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in whole.layers_within():
        for name, spec in layer._specs.items():
            low = 0.5 if "variance" in name else -0.6
            layer.assign({name: np.asarray(rng.uniform(low, 1.5 if low > 0 else 0.6, spec.shape), spec.dtype)})
    return whole


def sequences(batch=5, timesteps=7, features=3):
    return np.random.default_rng(1).standard_normal((batch, timesteps, features)).astype("f4")


def padded():
    """Sequences of 7, 3, 0, 1 and 6 timesteps, with zeros behind them."""
    x = sequences()
    for row, length in enumerate([7, 3, 0, 1, 6]):
        x[row, length:] = 0
    return x


def run(path, *arrays):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def same(folder, whole, *arrays, **options):
    """Export, run, compare; returns the graph."""
    path = folder / "model.onnx"
    export_onnx(filled(whole), path, **options)
    expected = nest.leaves(whole(list(arrays) if len(arrays) > 1 else arrays[0]))
    for got, wanted in zip(run(path, *arrays), expected, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    return onnx.load(path).graph


def operators(graph):
    return [node.op_type for node in graph.node]


# ---------------------------------------------------------------- recurrent layers


@pytest.mark.parametrize("opset", [14, 17, 21])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_simple_rnn(tmp_path, use_bias, return_sequences, go_backwards, opset):
    options = {"return_sequences": return_sequences, "go_backwards": go_backwards, "use_bias": use_bias}
    graph = same(tmp_path, model(L.SimpleRNN(4, return_state=True, **options)), sequences(), opset=opset)
    assert operators(graph).count("RNN") == 1


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_gated_layers(tmp_path, use_bias, return_sequences, go_backwards):
    options = {"return_sequences": return_sequences, "go_backwards": go_backwards, "use_bias": use_bias}
    options["return_state"] = True
    for layer in (L.LSTM(4, **options), L.GRU(4, **options), L.GRU(4, reset_after=False, **options)):
        graph = same(tmp_path, model(layer), sequences())
        assert operators(graph).count(type(layer).__name__) == 1


@pytest.mark.parametrize("activation", sorted(plan.ACTIVATIONS))
def test_activations_of_gates(tmp_path, activation):
    for cls in (L.LSTM, L.GRU):
        for names in ((activation, "sigmoid"), ("tanh", activation)):
            if activation in IN_RNN:
                same(tmp_path, model(cls(4, *names)), sequences())
                same(tmp_path, model(L.Bidirectional(cls(4, *names))), sequences())
            else:
                with pytest.raises(ValueError, match=f"'(lstm|gru).*no activation '{activation}'"):
                    export_onnx(model(cls(4, *names)), tmp_path / "model.onnx")


@pytest.mark.parametrize("activation", sorted(plan.ACTIVATIONS))
def test_activations(tmp_path, activation):
    if activation in IN_RNN:
        same(tmp_path, model(L.SimpleRNN(4, activation)), sequences())
        same(tmp_path, model(L.Bidirectional(L.SimpleRNN(4, activation))), sequences())
    else:
        with pytest.raises(ValueError, match=f"'simple_rnn.*no activation '{activation}'"):
            export_onnx(model(L.SimpleRNN(4, activation)), tmp_path / "model.onnx")
    whole = model(L.Dense(4, activation), L.Activation(activation))
    if activation == "sparsemax":
        with pytest.raises(ValueError, match=r"'dense.*'sparsemax' is not supported"):
            export_onnx(whole, tmp_path / "model.onnx")
    else:
        same(tmp_path, whole, sequences())
    assert [path.name for path in tmp_path.iterdir()] in ([], ["model.onnx"])


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_bidirectional(tmp_path, go_backwards, return_sequences, mode):
    options = {"return_sequences": return_sequences, "return_state": True}
    forward = L.SimpleRNN(4, go_backwards=go_backwards, **options)
    backward = L.SimpleRNN(4, "relu", use_bias=False, go_backwards=not go_backwards, **options)
    layer = L.Bidirectional(forward, mode, backward_layer=backward)
    same(tmp_path, model(layer), sequences())
    same(tmp_path, model(L.Masking(), L.Bidirectional.from_config(layer.get_config())), padded(), **RIGHT_PADDED)


def test_two_directions_are_one_operator_where_that_is_clear(tmp_path):
    def count(layer):
        return operators(same(tmp_path, model(L.Bidirectional(layer)), sequences())).count("RNN")

    assert count(L.SimpleRNN(4)) == 1
    assert count(L.SimpleRNN(4, "hard_sigmoid")) == 2  # whose alpha would it be?
    assert count(L.RNN([L.SimpleRNNCell(4), L.SimpleRNNCell(2)])) == 4


def test_two_directions_of_gated_layers(tmp_path):
    def counts(forward, backward=None):
        names = operators(same(tmp_path, model(L.Bidirectional(forward, backward_layer=backward)), sequences()))
        return [names.count(name) for name in ("RNN", "LSTM", "GRU")]

    assert counts(L.LSTM(4)) == [0, 1, 0]
    assert counts(L.GRU(4)) == [0, 0, 1]
    assert counts(L.GRU(4, recurrent_activation="hard_sigmoid")) == [0, 0, 2]
    assert counts(L.GRU(4), L.GRU(4, reset_after=False, go_backwards=True)) == [0, 0, 2]
    assert counts(L.LSTM(4), L.GRU(4, go_backwards=True)) == [0, 1, 1]
    assert counts(L.LSTM(4), L.LSTM(4, use_bias=False, go_backwards=True)) == [0, 1, 0]


def test_stacks_and_layers_in_a_row(tmp_path):
    cells = [L.SimpleRNNCell(4, "softsign"), L.StackedRNNCells([L.SimpleRNNCell(2), L.SimpleRNNCell(3, "relu")])]
    for go_backwards in (False, True):
        stack = L.RNN(cells, return_sequences=True, return_state=True, go_backwards=go_backwards)
        same(tmp_path, model(stack), sequences())
        cells = [L.GRUCell(4), L.StackedRNNCells([L.LSTMCell(2, "relu"), L.GRUCell(3, reset_after=False)])]
        mixed = L.RNN([*cells, L.SimpleRNNCell(2)], return_state=True, go_backwards=go_backwards)
        same(tmp_path, model(mixed), sequences())
    same(tmp_path, model(L.SimpleRNN(4, return_sequences=True), L.SimpleRNN(2)), sequences())


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_right_padded_masks(tmp_path, zero_output_for_mask, return_sequences, go_backwards):
    options = {"return_sequences": return_sequences, "go_backwards": go_backwards, "return_state": True}
    cells = [L.SimpleRNNCell(4), L.LSTMCell(4), L.GRUCell(4), [L.SimpleRNNCell(4, "softplus"), L.LSTMCell(2)]]
    for cell in cells:
        layer = L.RNN(cell, zero_output_for_mask=zero_output_for_mask, **options)
        same(tmp_path, model(L.Masking(), layer), padded(), **RIGHT_PADDED)


def test_rows_of_length_0_keep_their_state_and_give_zeros(tmp_path):
    x, begin = L.Input((None, 3), name="x"), L.Input((4,), name="begin")
    masked = L.Masking()(x)
    mask = L.Masking().compute_mask(x)
    outputs = L.SimpleRNN(4, return_state=True)(masked, initial_state=begin, mask=mask)
    both = L.Bidirectional(L.SimpleRNN(4, return_sequences=True, return_state=True))(
        masked, initial_state=[begin, begin], mask=mask
    )
    states = np.random.default_rng(2).standard_normal((5, 4)).astype("f4")
    gated = [L.LSTM(4, return_state=True)(masked, initial_state=[begin, begin], mask=mask)]
    gated.append(L.GRU(4, return_state=True)(masked, initial_state=begin, mask=mask))
    whole = cyrnn.Model([x, begin], [*outputs, *both, *gated[0], *gated[1]])
    same(tmp_path, whole, padded(), states, **RIGHT_PADDED)
    assert not run(tmp_path / "model.onnx", padded(), states)[0][2].any()
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", padded(), states)[1][2], states[2])
    nothing = np.zeros_like(padded())
    for got, wanted in zip(run(tmp_path / "model.onnx", nothing, states), whole([nothing, states]), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_masks_go_through_layers(tmp_path):
    words = np.where(padded()[..., 0] != 0, np.arange(7) % 4 + 1, 0).astype("i4")
    whole = model(
        L.Embedding(5, 4, mask_zero=True),
        L.Dropout(0.3),
        L.SimpleRNN(4, return_sequences=True),
        L.TimeDistributed(L.Dense(3, "relu")),
        L.LayerNormalization(),
        L.Bidirectional(L.SimpleRNN(2, return_sequences=True)),
        L.GlobalAveragePooling1D(),
        shape=(None,),
        dtype="int32",
    )
    words[2] = 1  # the mean of nothing is NaN
    same(tmp_path, whole, words, **RIGHT_PADDED)
    x = L.Input((None, 3))
    a, b = L.Masking()(x), L.Masking()(x)
    joined = L.Concatenate()([L.Add()([a, b]), L.Average()([a, b]), x])
    same(tmp_path, cyrnn.Model(x, L.SimpleRNN(2)(joined)), padded(), **RIGHT_PADDED)


def test_other_masks_are_refused_or_give_nan(tmp_path):
    path = tmp_path / "model.onnx"
    for layer, options in ((L.Masking(), {}), (L.Embedding(5, 3, mask_zero=True), {"shape": (None,)})):
        with pytest.raises(ValueError, match=rf"{layer.name}.*masks='right-padded'"):
            export_onnx(model(layer, L.SimpleRNN(2), **options), path)
    assert not path.exists()
    whole = filled(model(L.Masking(), L.Bidirectional(L.SimpleRNN(2, return_sequences=True, return_state=True))))
    export_onnx(whole, path, **RIGHT_PADDED)
    x = sequences(3)
    x[0, 3] = 0  # a hole
    x[1, :2] = 0  # padding in front
    for got, wanted in zip(run(path, x), whole(x), strict=True):
        assert np.isnan(got[:2]).all()
        np.testing.assert_allclose(got[2], wanted[2], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- layers around them

AROUND = {
    "head": [L.SimpleRNN(4), L.Dense(5, "relu"), L.Dropout(0.5), L.Dense(2, "softmax", use_bias=False)],
    "times": [L.TimeDistributed(L.Dense(4, "gelu")), L.TimeDistributed(L.Activation("softmax")), L.SimpleRNN(2)],
    "rows of timesteps": [L.TimeDistributed(L.Rescaling(2.0)), L.TimeDistributed(L.BatchNormalization())],
    "noise": [L.SpatialDropout1D(0.1), L.GaussianNoise(0.2), L.GaussianDropout(0.2), L.AlphaDropout(0.1), L.Identity()],
    "normal": [L.BatchNormalization(), L.Normalization(), L.LayerNormalization(center=False), L.Rescaling(0.5, 1.0)],
    "another axis": [L.BatchNormalization(axis=1), L.Normalization(axis=(1, 2)), L.Normalization(invert=True)],
    "bent": [L.PReLU(), L.ReLU(1.0, 0.1, 0.2), L.ReLU(2.0), L.ELU(0.5), L.LeakyReLU(), L.ThresholdedReLU(0.1)],
    "moved": [L.Permute((2, 1)), L.Softmax(1), L.Flatten(), L.Dense(6), L.Reshape((-1, 2)), L.GlobalMaxPooling1D()],
    "repeated": [L.GlobalAveragePooling1D(), L.RepeatVector(4), L.SimpleRNN(2, return_sequences=True)],
    "a model in a model": [cyrnn.Sequential([L.SimpleRNN(4, return_sequences=True), L.Dense(2)]), L.SimpleRNN(3)],
}


@pytest.mark.parametrize("case", AROUND)
def test_layers_around(tmp_path, case):
    copies = cyrnn.Sequential.from_config(cyrnn.Sequential(AROUND[case]).get_config()).layers
    same(tmp_path, model(*copies, shape=(7, 3)), sequences())


def test_graphs(tmp_path):
    x, begin = L.Input((None, 3), name="x"), L.Input((4,), name="begin")
    shared = L.SimpleRNN(4, return_sequences=True, return_state=True)
    a, state = shared(x, initial_state=begin)
    b, _ = shared(x)
    inner_x = L.Input((None, 4))
    inner = cyrnn.Model(inner_x, [L.SimpleRNN(4)(inner_x), inner_x[:, -1]])
    c, d = inner(L.Add()([a, b]))
    both = L.Bidirectional(L.RNN([L.SimpleRNNCell(3), L.SimpleRNNCell(4)]))(a, initial_state=[x[:, 0], c, x[:, -1], d])
    outputs = [
        L.Concatenate()([state, c * d, both]),
        L.Maximum()([a, b, c]),
        (L.Multiply()([a, b]) - 1.0) / 2.0,
        L.Subtract()([c, d])[:, 1:-1],
        L.Average()([a[:, ::2], b[:, ::2]]),
    ]
    whole = cyrnn.Model([x, begin], outputs)
    begins = np.random.default_rng(3).standard_normal((5, 4)).astype("f4")
    graph = same(tmp_path, whole, sequences(), begins)
    assert [value.name for value in graph.input] == ["x", "begin"]
    assert graph.output[0].name == outputs[0].node.layer.name


@pytest.mark.parametrize("name", ["around", "branches", "embedding", "masking", "translator"])
def test_models_that_keras_saved(tmp_path, name):
    """In those of a graph, Keras 3 has written the operations that compute the masks."""
    whole = load_model(Path(__file__).parent / "golden" / f"{name}.keras")
    export_onnx(whole, tmp_path / "model.onnx", **RIGHT_PADDED)
    rng, arrays = np.random.default_rng(6), []
    for described in onnx.load(tmp_path / "model.onnx").graph.input:
        lengths = [axis.dim_value or 4 for axis in described.type.tensor_type.shape.dim]
        array = rng.integers(1, 4, lengths) if len(lengths) == 2 else rng.standard_normal(lengths)
        array[0, 3:] = array[1, 1:] = 0
        arrays.append(array.astype(onnx.helper.tensor_dtype_to_np_dtype(described.type.tensor_type.elem_type)))
    expected = nest.leaves(whole(arrays if len(arrays) > 1 else arrays[0]))
    for got, wanted in zip(run(tmp_path / "model.onnx", *arrays), expected, strict=True):
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_layers_alone_and_any_lengths(tmp_path):
    layer = L.SimpleRNN(4, return_sequences=True)
    layer.build((None, None, 3))
    graph = same(tmp_path, layer, sequences())
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["batch", "timesteps", 3]
    for batch, timesteps in itertools.product((1, 4), (1, 9)):
        x = sequences(batch, timesteps)
        np.testing.assert_allclose(run(tmp_path / "model.onnx", x)[0], layer(x), rtol=1e-5, atol=1e-5)


def test_names_that_are_taken(tmp_path):
    x = L.Input((None, 3), name="a")
    inner = cyrnn.Sequential([L.Input((None, 3)), L.SimpleRNN(2, name="a_1")], name="b")
    whole = cyrnn.Model(x, [inner(x), L.SimpleRNN(3, name="a_1", return_state=True)(x)[1], L.Dense(2, name="a_2")(x)])
    graph = same(tmp_path, cyrnn.Model(x, [*whole.outputs, *whole.outputs]), sequences())
    names = [name for node in graph.node for name in node.output] + [tensor.name for tensor in graph.initializer]
    assert len(set(names)) == len(names)


def test_float64_is_written_in_double(tmp_path):
    double = {"dtype": "float64"}
    whole = filled(model(L.SimpleRNN(4, **double), L.Dense(2, **double), **double))
    export_onnx(whole, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    types = {value.type.tensor_type.elem_type for value in [*proto.graph.input, *proto.graph.output]}
    assert types == {onnx.TensorProto.DOUBLE}
    x = sequences().astype("f8")
    (got,) = reference.ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x})
    np.testing.assert_allclose(got, whole(x), rtol=1e-6, atol=1e-6)  # it computes the RNN in float32


# ---------------------------------------------------------------- refusals


class Doubling(L.Dense):
    def call(self, inputs, mask=None, training=False):
        return 2 * super().call(inputs)


REFUSED = {
    "stateful": (
        lambda: cyrnn.Sequential([L.Input((None, 3), 5), L.SimpleRNN(2, stateful=True)]),
        "simple_rnn.*stateful",
    ),
    "class": (lambda: model(Doubling(2)), "doubling.*not one of the layers"),
    "layer": (lambda: model(L.UpSampling1D(2)), "up_sampling1d.*UpSampling1D.*not one of the layers"),
    "half": (lambda: model(L.SimpleRNN(2, dtype="mixed_float16")), "simple_rnn.*mixed_float16"),
    "dtypes": (lambda: model(L.SimpleRNN(2), L.Dense(2, dtype="float64")), "dense.*must be the float32 of"),
    "built": (lambda: cyrnn.Sequential([L.SimpleRNN(2)]), "sequential.*not built"),
    "activation": (lambda: model(L.Dense(2, lambda x: x)), "dense.*one of your own"),
    "cell": (lambda: model(L.RNN(L.SimpleRNNCell(2, np.sin))), "rnn.*activations of this package"),
    "rms": (lambda: model(L.LayerNormalization(rms_scaling=True)), "layer_normalization.*rms_scaling"),
    "gates": (lambda: model(L.RNN(L.LSTMCell(2, recurrent_activation=np.sin))), "rnn.*activations of this package"),
    "state of an LSTM": (
        lambda: cyrnn.Sequential([L.Input((None, 3), 5), L.LSTM(2, stateful=True)]),
        "lstm.*stateful",
    ),
    "axes": (lambda: model(L.Softmax((1, 2))), "softmax.*axis must be one"),
    "text": (lambda: cyrnn.Sequential([L.Input((1,), dtype="string"), L.Hashing(3)]), "sequential.*is text"),
    "text in a graph": (lambda: cyrnn.Model(x := L.Input((1,), dtype="string"), L.Hashing(3)(x)), "is text"),
    "inside": (lambda: model(L.TimeDistributed(L.UpSampling1D(2)), shape=(None, 4, 3)), "up_sampling1d"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_onnx_cannot_say_is_refused_by_name(tmp_path, case):
    make, words = REFUSED[case]
    with pytest.raises(ValueError, match=f"{words}"):
        export_onnx(make(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_calls_that_onnx_cannot_say_are_refused(tmp_path):
    x = L.Input((None, 3))
    for outputs, words in (
        (L.Dropout(0.5)(x, training=True), r"dropout.*training=True"),
        (L.SimpleRNN(2)(x, mask=L.Masking().compute_mask(x)), r"simple_rnn.*with a mask.*right-padded"),
        (L.Multiply()([L.Masking()(x), x]), r"multiply.*masks change what it computes"),
        (L.Concatenate(axis=1)([L.Masking()(x), x]), r"concatenate.*last axis"),
    ):
        options = {} if "with a mask" in words else RIGHT_PADDED
        with pytest.raises(ValueError, match=words):
            export_onnx(cyrnn.Model(x, outputs), tmp_path / "model.onnx", **options)


def test_arguments(tmp_path):
    whole, path = model(L.SimpleRNN(2)), tmp_path / "model.onnx"
    for options in ({"opset": 13}, {"opset": 10_000}, {"opset": "17"}, {"opset": True}, {"masks": "left"}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name} must be"):
            export_onnx(whole, path, **options)
    with pytest.raises(TypeError, match="model must be a layer"):
        export_onnx([whole], path)
    with pytest.raises(FileNotFoundError):
        export_onnx(whole, tmp_path / "none" / "model.onnx")


def test_without_onnx_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import cyrnn\nfrom cyrnn.saving import export_onnx, from_onnx\n"
        "m = cyrnn.Sequential([cyrnn.Input((None, 2)), cyrnn.layers.SimpleRNN(2)])\n"
        "for call in (lambda: export_onnx(m, 'x'), lambda: from_onnx('x')):\n"
        "    try: call()\n    except ImportError as error: print(error)\n"
    )
    assert run_python(code).stdout.count("pip install 'cyrnn[onnx]'") == 2
