"""NaN, infinity and huge numbers are values like others: cyrnn makes NumPy neither warn nor raise because of them.

What a custom layer does is the user's own: its warnings come through.
"""

import contextlib
import inspect
import warnings

import numpy as np
import pytest

import cyrnn
from cyrnn import activations, constraints, initializers, layers, random, regularizers
from cyrnn.layers import Dense, Embedding, SimpleRNN

B, T, F = 2, 6, 4
RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((B, T, F))
DTYPES = ["float32", "float64", "float16", "mixed_bfloat16"]
INF, NAN = np.inf, np.nan


@contextlib.contextmanager
def silence():
    """Within the block, each warning of NumPy is an error."""
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error", RuntimeWarning)
        yield


def with_values(*values):
    x = NORMAL.copy()
    for place, value in enumerate(values):
        x[0, place, :2] = value
    return x


INPUTS = {
    "nan": np.full((B, T, F), NAN),
    "inf": np.full((B, T, F), INF),
    "both infinities": np.where(NORMAL > 0, INF, -INF),
    "too large for float32": np.full((B, T, F), -1e300),
    "nearly too large": np.full((B, T, F), 3e38),
    "tiny": np.full((B, T, F), -1e-310),
    "mixed": with_values(NAN, INF, -INF, 1e300, -1e300, 1e-310),
    "float32": np.full((B, T, F), 3e38, "float32"),
    "longdouble": np.full((B, T, F), np.finfo(np.longdouble).max),
    "int64": np.full((B, T, F), 2**63 - 1),
    "bool": np.ones((B, T, F), bool),
    "no samples": np.zeros((0, T, F)),
    "strided": (1e300 * NORMAL)[:, ::-1],
}
MASKS = {
    "none": None,
    "nothing is kept": np.zeros((B, T), bool),
    "holes": NORMAL[:, :, 0] > 0,
    "nan": np.full((B, T), NAN),
}

MAKE = {
    "SimpleRNN": lambda **k: SimpleRNN(3, **k),
    "LSTM": lambda **k: cyrnn.layers.LSTM(3, **k),
    "GRU": lambda **k: cyrnn.layers.GRU(3, **k),
    "SimpleRNN, linear, with dropout": lambda **k: SimpleRNN(
        3, "linear", dropout=0.5, recurrent_dropout=0.5, return_sequences=True, return_state=True, **k
    ),
    "RNN of a stack": lambda **k: layers.RNN([layers.SimpleRNNCell(3, **k) for _ in range(2)], **k),
    "Bidirectional": lambda **k: layers.Bidirectional(SimpleRNN(3, "linear", **k), "mul", **k),
    "Bidirectional, average": lambda **k: layers.Bidirectional(SimpleRNN(3, "linear", **k), "ave", **k),
    "TimeDistributed": lambda **k: layers.TimeDistributed(layers.LayerNormalization(**k), **k),
    "Masking": lambda **k: layers.Masking(1e300, **k),
    "Dense": lambda **k: Dense(3, "softmax", activity_regularizer="l2", kernel_regularizer="l2", **k),
    **{
        f"Activation {name}": lambda name=name, **k: layers.Activation(name, **k)
        for name in activations.__all__
        if isinstance(getattr(activations, name), activations.Activation)
    },
    "ReLU": lambda **k: layers.ReLU(1e300, 1e300, 1e300, **k),
    "LeakyReLU": lambda **k: layers.LeakyReLU(1e300, **k),
    "ThresholdedReLU": lambda **k: layers.ThresholdedReLU(1e300, **k),
    "PReLU": lambda **k: layers.PReLU("ones", shared_axes=[1], **k),
    "ELU": lambda **k: layers.ELU(1e300, **k),
    "Softmax": lambda **k: layers.Softmax(axis=[1, 2], **k),
    "Dropout": lambda **k: layers.Dropout(0.5, **k),
    "Dropout of all": lambda **k: layers.Dropout(1.0, **k),
    "SpatialDropout1D": lambda **k: layers.SpatialDropout1D(0.5, **k),
    "GaussianDropout": lambda **k: layers.GaussianDropout(0.5, **k),
    "GaussianNoise": lambda **k: layers.GaussianNoise(1.0, **k),
    "AlphaDropout": lambda **k: layers.AlphaDropout(0.5, **k),
    "ActivityRegularization": lambda **k: layers.ActivityRegularization(1.0, 1e30, **k),
    "BatchNormalization": lambda **k: layers.BatchNormalization(epsilon=0.0, **k),
    "LayerNormalization": lambda **k: layers.LayerNormalization(epsilon=0, **k),
    "LayerNormalization, rms": lambda **k: layers.LayerNormalization(rms_scaling=True, **k),
    "UnitNormalization": lambda **k: layers.UnitNormalization(**k),
    "Normalization": lambda **k: layers.Normalization(mean=1e300, variance=1e300, **k),
    "Normalization without variance": lambda **k: layers.Normalization(mean=0.0, variance=0.0, **k),
    "Normalization of a negative variance": lambda **k: layers.Normalization(mean=0.0, variance=-1.0, **k),
    "Normalization, inverted": lambda **k: layers.Normalization(mean=1e30, variance=1e38, invert=True, **k),
    "Rescaling": lambda **k: layers.Rescaling(1e30, 1e300, **k),
    "Flatten": lambda **k: layers.Flatten(**k),
    "Reshape": lambda **k: layers.Reshape((-1,), **k),
    "Permute": lambda **k: layers.Permute((2, 1), **k),
    "ZeroPadding1D": lambda **k: layers.ZeroPadding1D(**k),
    "Cropping1D": lambda **k: layers.Cropping1D(**k),
    "UpSampling1D": lambda **k: layers.UpSampling1D(**k),
    "Identity": lambda **k: layers.Identity(**k),
    "GlobalAveragePooling1D": lambda **k: layers.GlobalAveragePooling1D(**k),
    "GlobalMaxPooling1D": lambda **k: layers.GlobalMaxPooling1D(**k),
    "MaxPooling1D": lambda **k: layers.MaxPooling1D(padding="same", **k),
    "AveragePooling1D": lambda **k: layers.AveragePooling1D(4, padding="same", **k),
    "Conv1D": lambda **k: layers.Conv1D(2, 2, padding="same", **k),
}
MERGE = {
    **{name: getattr(layers, name) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": layers.Concatenate,
    "Attention": layers.Attention,
    "Attention of sums": lambda **k: layers.Attention(score_mode="concat", **k),
    "AdditiveAttention": layers.AdditiveAttention,
    "Dot": lambda **k: layers.Dot(2, **k),
    "Dot of unit vectors": lambda **k: layers.Dot(1, normalize=True, **k),
}


def test_every_layer_has_its_turn():
    every = {name: getattr(layers, name) for name in layers.__all__}
    classes = {name for name, found in every.items() if inspect.isclass(found) and not name.endswith("Cell")}
    named = {word.strip(",") for name in [*MAKE, *MERGE] for word in name.split()}
    others = {
        "Layer",
        "Input",
        "InputLayer",
        "StackedRNNCells",
        "Wrapper",
        "Embedding",
        "RepeatVector",
    }  # the latter two below
    others |= {"MultiHeadAttention"}  # of several arguments, see below
    others |= {"TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "CategoryEncoding", "Discretization"}
    aliases = {name for name, found in every.items() if inspect.isclass(found) and found.__name__ != name}
    assert classes - named - others - aliases == set()


@pytest.mark.filterwarnings("ignore:layer .* does not pass the mask on")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MAKE)
def test_layers(name, dtype):
    layer = MAKE[name](dtype=dtype)
    layer(NORMAL)
    for x in INPUTS.values():
        for training in (False, True):
            with silence():
                layer(x, training=training)
                assert isinstance(layer.losses, list)
    for mask in MASKS.values():
        if name == "Softmax":
            mask = None if mask is None else mask[:, :, None]
        with silence():
            layer(INPUTS["mixed"], mask=mask)
            layer.call_and_mask(INPUTS["mixed"], mask, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MERGE)
def test_merges(name, dtype):
    layer = MERGE[name](dtype=dtype)
    for x in INPUTS.values():
        with silence():
            layer([x, x])
    for mask in MASKS.values():
        with silence():
            layer.call_and_mask([INPUTS["mixed"], INPUTS["strided"]], mask if mask is None else [mask, None], False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_heads(dtype):
    layer = layers.MultiHeadAttention(2, 2, dtype=dtype)
    layer(NORMAL, NORMAL)
    for x in INPUTS.values():
        with silence():
            layer(x, x, use_causal_mask=True, return_attention_scores=True)


def test_a_model_and_its_predict():
    a, b = cyrnn.Input((T, F)), cyrnn.Input((T,), dtype="int32")
    model = cyrnn.Model([a, b], [2.0 * a + 1e30, a / a, (a - a) * a, Embedding(5, 2)(b), SimpleRNN(2)(a)])
    rnn = cyrnn.Sequential([cyrnn.Input((None, F)), SimpleRNN(3, return_sequences=True), Dense(2)])
    for x in INPUTS.values():
        with silence():
            model([x, np.zeros(x.shape[:2])])
            model.predict([x, np.zeros(x.shape[:2])])
            rnn.predict(x)
            rnn.predict(x, out=np.empty((len(x), T, 2), "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "mixed_bfloat16"])
def test_states_and_steps(dtype):
    layer = SimpleRNN(3, "linear", dtype=dtype, stateful=True)
    layer(NORMAL)
    huge = np.full((B, 3), 1e300)
    with silence():
        layer(INPUTS["mixed"])
        layer.reset_state(huge)
        layer.reset_state(huge[:1], 1)
        layer(NORMAL, initial_state=huge)
        stepper = layer.stepper(B, initial_state=huge)
        stepper.step(1e300 * NORMAL[:, 0])
        stepper.reset(huge)
        stepper.state = huge
        stepper.set_state(0, huge)
        output, [state] = layer.cell(1e300 * NORMAL[:, 0], [huge])
    assert output.shape == state.shape == stepper.state.shape == (B, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("value", [INF, NAN, 1e300, 3e38, 1e-40, 0.0])
def test_weights_penalties_and_constraints(value, dtype):
    for penalty in ("l1", "l2", "L1L2", "OrthogonalRegularizer"):
        for constraint in ("max_norm", "min_max_norm", "unit_norm", "non_neg"):
            layer = Dense(3, kernel_regularizer=penalty, kernel_constraint=constraint, dtype=dtype)
            layer.build((None, 3))
            with silence():
                layer.set_weights([np.full((3, 3), value), np.full(3, value)])
                assert len(layer.losses) == 1
                layer.apply_constraints()
                regularizers.get(penalty)(np.full((3, 3), value))
                constraints.get(constraint)(np.full((3, 3), value))
                layer(NORMAL[:, :, :3])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_activations(dtype):
    x = np.array([NAN, INF, -INF, 6e4, -6e4, 6e-8, 0.0]).astype(dtype)
    for name in activations.__all__:
        function = getattr(activations, name)
        if isinstance(function, activations.Activation):
            for argument in (x, np.full(3, np.finfo(np.longdouble).max), np.array([2**63 - 1])):
                with silence():
                    function(argument)
    with silence():
        activations.relu(x, 1e300, 1e300, 1e300)
        activations.leaky_relu(x, 1e300)
        activations.elu(x, 1e300)
        activations.celu(x, 0.0)
        activations.squareplus(x, -4.0)
        activations.threshold(x, 1e300, 1e300)
        activations.glu(x[:6])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "initializer",
    [
        initializers.Constant(1e300),
        initializers.Constant([NAN, INF]),
        initializers.Identity(1e300),
        initializers.Orthogonal(1e300, seed=0),
        initializers.RandomNormal(1e300, 1e300, seed=0),
        initializers.TruncatedNormal(0.0, 1e300, seed=0),
        initializers.RandomUniform(-8e307, 8e307, seed=0),
        initializers.VarianceScaling(1e300, seed=0),
    ],
)
def test_initializers(initializer, dtype):
    with silence():
        assert initializer((2, 2), dtype).dtype == dtype
        random.uniform((2,), np.float64(-8e307), np.float64(8e307), dtype, 0)


def test_files(tmp_path):
    def model(dtype):
        inner = [layers.Rescaling(1e300, dtype=dtype), SimpleRNN(2, dtype=dtype), Dense(2, dtype=dtype)]
        return cyrnn.Sequential([cyrnn.Input((4, 3)), *inner])

    wide, narrow = model("float64"), model("float32")
    wide.set_weights([np.full(weight.shape, 1e300) for weight in wide.weights])
    wide.save_weights(tmp_path / "w.npz")
    with silence():
        narrow.load_weights(tmp_path / "w.npz")
        cyrnn.saving.from_torch(
            {
                "weight_ih_l0": np.full((2, 3), 1e300),
                "weight_hh_l0": np.full((2, 2), INF),
                "bias_ih_l0": np.full(2, INF),
                "bias_hh_l0": np.full(2, -INF),
            }
        )
    assert all(np.all(weight == INF) for weight in narrow.weights)


def test_onnx_files(tmp_path):
    pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    normalized = layers.BatchNormalization(moving_variance_initializer=initializers.Constant(-1e-3))
    model = cyrnn.Sequential([cyrnn.Input((4, 3)), layers.Rescaling(1e300), normalized, SimpleRNN(2)])
    with silence():
        cyrnn.saving.export_onnx(model, tmp_path / "m.onnx")


# ------------------------------------------------------------ the right values


def values(layer, *rows):
    with silence():
        return layer(np.array(rows)).tolist()


@pytest.mark.parametrize(
    ("make", "row", "expected"),
    [
        (layers.Identity, [1e300, -1e300, 1.0], [INF, -INF, 1.0]),
        (lambda: layers.Identity(dtype="float16"), [1e5, -1e5, 1e-9], [INF, -INF, 0.0]),
        (lambda: layers.Activation("tanh"), [1e300, -INF, 0.0], [1.0, -1.0, 0.0]),
        (lambda: layers.Softmax(), [1e300, 0.0, -1e300], [NAN, NAN, NAN]),  # exp(inf - inf)
        (lambda: layers.ReLU(max_value=6.0), [1e300, -1e300, 2.0], [6.0, 0.0, 2.0]),
        (lambda: layers.LayerNormalization(epsilon=0), [5.0, 5.0, 5.0], [NAN, NAN, NAN]),  # 0 / 0
        (lambda: layers.LayerNormalization(), [INF, 0.0, 0.0], [NAN, NAN, NAN]),
        (lambda: layers.UnitNormalization(), [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (lambda: layers.UnitNormalization(), [1e30, 0.0, 0.0], [0.0, 0.0, 0.0]),  # the square is infinite
        (lambda: layers.Normalization(mean=0.0, variance=0.0), [1e-7, 0.0, INF], [1.0, 0.0, INF]),
        (lambda: layers.Rescaling(1e300), [1.0, -1.0, 0.0], [INF, -INF, NAN]),
        (lambda: layers.Masking(1e300), [INF, INF, INF], [0.0, 0.0, 0.0]),  # the value is infinite in float32
    ],
)
def test_values_of_rows(make, row, expected):
    np.testing.assert_allclose(values(make(), row), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (layers.Add, [INF, INF, NAN]),
        (layers.Subtract, [0.0, NAN, INF]),
        (layers.Multiply, [INF, INF, -INF]),
        (layers.Average, [INF, INF, NAN]),
        (layers.Maximum, [3e38, INF, INF]),
    ],
)
def test_values_of_merges(make, expected):
    with silence():
        found = make()([np.array([[3e38, INF, INF]]), np.array([[3e38, INF, -INF]])])
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_the_mean_of_no_timesteps_is_nan():
    with silence():
        found = layers.GlobalAveragePooling1D()(np.zeros((2, 0, 3)))
        assert layers.LayerNormalization(axis=1)(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert np.isnan(found).all() and found.shape == (2, 3)


@pytest.mark.parametrize("wrong", [NAN, INF, -INF, 1e300, 5.0, -1.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_indices_that_are_none(wrong, dtype):
    with np.errstate(over="ignore"):
        x = np.array([[1.0, wrong, 2.0]]).astype(dtype)
    layer = Embedding(5, 2)
    layer.build()
    with silence(), pytest.raises(ValueError, match="must be indices from 0 to 4, got "):
        layer(x)
    model = cyrnn.Model(inputs := cyrnn.Input((3,), dtype="int32"), Embedding(5, 2)(inputs))
    with silence(), pytest.raises(ValueError, match="must be (integers of int32|indices from 0 to 4), got "):
        model(x)


def test_fractions_of_indices_are_left_out_as_in_keras():
    layer = Embedding(5, 2)
    with silence():
        np.testing.assert_array_equal(layer(np.array([[4.9, -0.9]])), layer(np.array([[4, 0]])))


def test_adapt_to_nothing():
    layer = layers.Normalization()
    with silence(), pytest.raises(ValueError, match=r"must hold at least one number, got shape \(0, 3\)"):
        layer.adapt(np.zeros((0, 3)))
    assert not layer.built


# ------------------------------------------------------------ code of the user


class Unit(layers.Layer):
    def call(self, inputs):
        return inputs / np.sqrt((inputs**2).sum(-1, keepdims=True))


def test_a_custom_layer_warns_of_its_own_values_and_not_of_those_that_show_its_shape():
    layer = Unit()
    with silence():
        assert layer(cyrnn.Input((4, 3))).shape == (None, 4, 3)
        assert layer.compute_output_shape((None, 4, 3)) == (None, 4, 3)
        layer(np.ones((1, 4, 3)))
    with pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
        layer(np.zeros((1, 4, 3)))
    for wrapped in (
        layers.TimeDistributed(Unit()),
        Dense(2, lambda x: x / (x - x)),
        layers.Activation(lambda x: x / (x - x)),
    ):
        with pytest.warns(RuntimeWarning, match="encountered in divide"):
            wrapped(np.zeros((1, 4, 3)))
