"""Models as C that are more than chains of recurrences and dense layers: all ops, inputs and outputs, tokens."""

import re
from pathlib import Path

import numpy as np
import program_models
import pytest
import test_model_stepper
from exported import C99, CC, CXX, STRICT, TOLERANCE, Network, needs_compiler, run
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from test_export_c_files import example
from test_random_models import chains, graphs

import cyrnn
from cyrnn import Input, Model, Sequential, layers
from cyrnn.layers.base import nest
from cyrnn.models.model_stepper import ModelStepper
from cyrnn.saving import export_c, load_model
from cyrnn.saving.c.export import step_of
from cyrnn.saving.c.source import source

pytestmark = needs_compiler


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def drawn(stepper, rng):
    """Arrays for the inputs of a step; some are zeros, which masks leave out."""
    shapes = [(stepper.batch_size, *port.shape) for port in stepper.inputs]
    keep = rng.random() > 0.3
    return [
        rng.integers(0, program_models.ROWS, shape) * keep
        if port.kind == "token"
        else rng.standard_normal(shape).astype(stepper.dtype) * keep
        for port, shape in zip(stepper.inputs, shapes, strict=True)
    ]


def compare(network, stepper, steps, tolerance=1):
    """Each step has what the stepper returns, and so has `output`; and `forward` has the same bits."""
    static = [int(number) - 1 for number in re.findall(r"x(\d) is one row for all of them", network.text)]
    steps = [[steps[0][i] if i in static else array for i, array in enumerate(x)] for x in steps]
    outputs = []
    for x in steps:
        given_x = x[0] if len(x) == 1 else x
        if isinstance(stepper, ModelStepper):  # it takes inputs too that nothing reads
            named = zip((port.name for port in stepper.inputs), x, strict=True)
            given_x = {**dict.fromkeys(stepper._takes.names), **dict(named)}
        expected = stepper.step(given_x)
        outputs.append(nest.leaves(network.step(*x)))
        for got, want in zip(outputs[-1], nest.leaves(expected), strict=True):
            limit = tolerance * TOLERANCE[stepper.dtype.name] * max(1, np.abs(want).max())
            np.testing.assert_allclose(got, want.ravel(), rtol=0, atol=limit)
    np.testing.assert_equal(nest.leaves(network.output()), outputs[-1])
    network.init()
    every = [arrays[0] if i in static else np.stack(arrays) for i, arrays in enumerate(zip(*steps, strict=True))]
    for got, want in zip(nest.leaves(network.forward(*every)), zip(*outputs, strict=True), strict=True):
        np.testing.assert_array_equal(got, np.stack(want))


# ---------------------------------------------------------------- the named models of steppers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "make",
    [
        program_models.classifier,
        lambda rng, dtype: program_models.classifier(rng, True, dtype, zero_output_for_mask=True),
        program_models.stack,
        program_models.two_inputs,
    ],
)
def test_programs(tmp_path, make, dtype, rng):
    runner = make(rng, dtype=dtype).runner()
    text = source("net", step_of(runner, ["layer"] * runner.program.ops), "net.c")
    compare(Network(tmp_path, text), runner, [drawn(runner, rng) for _ in range(12)])


@pytest.mark.parametrize("name", ["classifier", "tagger", "two_inputs", "with_attributes", "joined_inputs"])
def test_models_of_steppers(tmp_path, name, rng):
    made = test_model_stepper.classifier(rng, True) if name == "tagger" else getattr(test_model_stepper, name)(rng)
    stepper = made.stepper()
    compare(Network(tmp_path, made), stepper, [drawn(stepper, rng) for _ in range(12)])


def test_a_model_of_keras_that_embeds_and_masks(tmp_path, rng):
    made = load_model(Path(__file__).parent / "golden" / "embedding.keras")
    stepper = made.stepper()
    steps = [[rng.integers(0, 4, (1, *stepper.inputs[0].shape))] for _ in range(9)]
    compare(Network(tmp_path, made), stepper, steps)


# ---------------------------------------------------------------- each op


def chain(*parts, shape=(None, 6)):
    return Sequential([Input(shape), *parts])


def graph(connect, *shapes):
    inputs = [Input(shape) for shape in shapes or [(None, 6)]]
    return Model(inputs, connect(*inputs))


def rnn(**options):
    return layers.SimpleRNN(6, return_sequences=True, **options)


def merged(kind):
    def connect(x):
        masked = layers.Masking()(x)
        return kind()([rnn()(masked), x, layers.Dense(6, "tanh")(masked)])

    return lambda: graph(connect)


def difference(x):
    return layers.Subtract()([rnn()(x), x])


CASES = {
    "masking": lambda: chain(layers.Masking(), rnn()),
    "masking to the last output": lambda: chain(layers.Masking(), layers.SimpleRNN(4), layers.Dense(2)),
    "masking with zeros": lambda: chain(layers.Masking(), rnn(zero_output_for_mask=True), layers.Dense(3)),
    "masking with zeros between": lambda: chain(layers.Masking(), rnn(zero_output_for_mask=True), rnn()),
    "masks of two inputs": lambda: graph(lambda x: layers.Add()([layers.Masking()(x), layers.Masking(0.5)(x)])),
    "batch normalization": lambda: chain(rnn(), layers.BatchNormalization(), rnn(), layers.BatchNormalization()),
    "normalization": lambda: chain(layers.Normalization(mean=[0.5] * 6, variance=[2.0] * 6), rnn()),
    "rescaling": lambda: chain(layers.Rescaling(0.3, offset=-0.7), rnn()),
    "layer normalization": lambda: chain(rnn(), layers.LayerNormalization(), rnn(), layers.LayerNormalization()),
    "rms normalization": lambda: chain(rnn(), layers.LayerNormalization(rms_scaling=True)),
    "unit normalization": lambda: chain(rnn(), layers.UnitNormalization()),
    "relu": lambda: chain(rnn(), layers.ReLU(max_value=0.4, negative_slope=0.3, threshold=0.1)),
    "leaky relu": lambda: chain(rnn(), layers.LeakyReLU(0.2), rnn()),
    "prelu": lambda: chain(rnn(), layers.PReLU(shared_axes=[1])),
    "elu": lambda: chain(rnn(), layers.ELU()),
    "softmax": lambda: chain(rnn(), layers.Softmax()),
    "noise": lambda: chain(rnn(), layers.GaussianNoise(0.3)),
    "add": lambda: graph(lambda x: layers.Add()([rnn()(x), x, rnn()(x)])),
    "subtract": lambda: graph(difference),
    "multiply": lambda: graph(lambda x: layers.Multiply()([rnn()(x), x])),
    "average": lambda: graph(lambda x: layers.Average()([rnn()(x), x, layers.Dense(6)(x)])),
    "maximum": merged(layers.Maximum),
    "minimum": merged(layers.Minimum),
    "masked product": merged(layers.Multiply),
    "concatenate": lambda: graph(lambda x: layers.Concatenate()([rnn()(x), x])),
    "concatenate with and without a mask": lambda: graph(
        lambda x: rnn()(layers.Concatenate()([layers.Masking()(x), x * 2.0]))
    ),
    "several axes": lambda: graph(
        lambda x: layers.Concatenate(axis=-1)([layers.Dense(4, "softmax")(x), layers.Permute((1, 3, 2))(x)]),
        (None, 3, 3),
    ),
    "axes end to end": lambda: graph(lambda x: layers.Concatenate(axis=-2)([layers.ReLU()(x), x]), (None, 2, 3)),
    "the last timestep": lambda: graph(lambda x: layers.Dense(3)(rnn()(x)[:, -1])),
    "dot of two ends": lambda: graph(lambda x: layers.Dot(1)([layers.SimpleRNN(6)(x), layers.SimpleRNN(6)(x)])),
    "several outputs": lambda: graph(
        lambda x: (h := rnn()(x), layers.Dense(2, "relu")(h), layers.Concatenate()([h, x]))
    ),
    "final states": lambda: graph(
        lambda x: [*layers.SimpleRNN(3, return_state=True)(layers.Masking()(x)), layers.Dense(2)(x)]
    ),
    "a final state alone": lambda: graph(lambda x: layers.SimpleRNN(3, return_state=True)(rnn()(x))[1]),
    "outputs in a dict": lambda: graph(lambda x: {"b": rnn()(x), "a": layers.Dense(2)(x)}),
    "a dense layer alone in a model": lambda: chain(layers.Dense(4, "tanh")),
    "a vector for all timesteps": lambda: graph(
        lambda x, y: layers.Dense(3)(layers.Concatenate()([layers.SimpleRNN(4)(x), y])), (None, 6), (5,)
    ),
    "a model within": lambda: graph(lambda x: chain(rnn(), layers.Dense(3))(x) * 2.0),
}


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_ops(tmp_path, case, dtype, rng):
    made = cyrnn.from_json(CASES[case]().to_json().replace("float32", dtype))
    values = [np.abs(w + 0.4 * rng.standard_normal(w.shape)) if (w == 1).all() else w for w in made.get_weights()]
    made.set_weights([w + 0.4 * rng.standard_normal(w.shape) * (w == 0) for w in values])  # variances stay positive
    stepper = made.stepper()
    assert stepper.dtype == dtype
    compare(Network(tmp_path, made), stepper, [drawn(stepper, rng) for _ in range(9)])


@given(st.one_of(chains(), graphs()), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_models(tmp_path_factory, made, seed):
    """Every model that has a stepper has C functions with its numbers."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("random")
    inputs = [rng.standard_normal((2, 5, 3)).astype("f"), rng.integers(0, 6, (2, 5))]
    embeds = isinstance(made, Sequential) and isinstance(made.layers[0], layers.Embedding)
    made(inputs if not isinstance(made, Sequential) else inputs[embeds])
    try:
        stepper = made.stepper()
    except ValueError as error:
        event(str(error).partition("cannot be stepped: ")[2][:60])
        with pytest.raises(ValueError, match="cannot be exported to C: "):
            export_c(made, folder / "net.c")
        return
    event(f"{len(stepper.inputs)} inputs, {len(stepper.states)} states")
    network = Network(folder, made, flags=["-O0"])
    compare(
        network, stepper, [[x % 6 if x.dtype.kind == "i" else x for x in drawn(stepper, rng)] for _ in range(6)], 20
    )


# ---------------------------------------------------------------- layers alone


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(4, "softmax"), (None, 3)),
        (layers.Dense(4), (None, 2, 3)),
        (layers.Embedding(7, 3), (None, None)),
        (layers.LayerNormalization(), (None, None, 3)),
        (layers.TimeDistributed(layers.Dense(2)), (None, None, 3)),
    ],
)
def test_a_layer_alone(tmp_path, layer, shape, rng):
    layer.build(shape)
    network = Network(tmp_path, layer)
    x = rng.standard_normal((5, network.features)).astype("f")
    if isinstance(layer, layers.Embedding):
        x = rng.integers(0, 7, (5, 1))
    expected = layer(x[:, 0][None] if isinstance(layer, layers.Embedding) else x[None])[0]
    np.testing.assert_allclose(network.forward(x), expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- tokens, names, and the file


def test_tokens_that_are_in_no_table_give_nan_and_read_nothing(tmp_path, rng):
    table = Sequential([Input((None,)), layers.Embedding(program_models.ROWS, 3), layers.SimpleRNN(2)])
    network = Network(tmp_path, table, flags=["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"])
    for token in (-1, -(2**31), program_models.ROWS, 2**31 - 1):
        network.init()
        assert np.isnan(network.step([token])).all()
    network.init()
    np.testing.assert_allclose(network.step([3]), table(np.array([[3]]))[0], rtol=0, atol=1e-6)
    assert "For one that a table does not have, its row is NaN." in network.text


def test_parameters_have_the_order_of_the_model(tmp_path, rng):
    network = Network(tmp_path, test_model_stepper.two_inputs(rng))
    signature = "void net_step(net_state *state, const float *x1, const int32_t *x2, float *output1, float *output2);"
    assert signature in network.text
    assert re.search(r"x1: input numbers +5 features", network.text)
    assert re.search(r"x2: input words +1 token\n", network.text)
    assert re.search(r"output1: output scores +4 units", network.text)
    first, second = network.step(np.ones(5), [4])
    assert network.empty()[0].shape == (4,) and (first.shape, second.shape) == ((4,), (7,))


@pytest.mark.parametrize("case", ["masked product", "several axes", "layer normalization", "tokens"])
def test_cpp_takes_the_file(tmp_path, case, rng):
    if CXX is None:
        pytest.skip("there is no C++ compiler here")
    export_c(test_model_stepper.two_inputs(rng) if case == "tokens" else CASES[case](), tmp_path / "net.c")
    run(CXX, "-x", "c++", "-std=c++17", *STRICT, "-c", "-o", tmp_path / "net.o", tmp_path / "net.c")


def test_any_output_may_be_unwanted(tmp_path, rng):
    network = Network(tmp_path, test_model_stepper.two_inputs(rng))
    x, words = rng.standard_normal(5).astype("f"), np.array([3], "i4")
    first, second = network.step(x, words)
    state = network.state.copy()
    for outputs in ([first * 0, None], [None, second * 0], [None, None]):
        network.init()
        network.call("step", network.state, x, words, *outputs)
        for got, expected in zip(outputs, (first, second), strict=True):
            assert got is None or np.array_equal(got, expected)
        np.testing.assert_array_equal(network.state, state)


def test_the_example_of_several_inputs(tmp_path, rng):
    made = test_model_stepper.two_inputs(rng)
    export_c(made, tmp_path / "net.c", name="net")
    (tmp_path / "main.c").write_text(example((tmp_path / "net.c").read_text()))
    flags = ["-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    run(CC, *C99, *flags, "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    stepper = made.stepper()
    steps = [drawn(stepper, rng) for _ in range(5)]
    lines = "\n".join(" ".join([*(repr(float(v)) for v in x[0]), str(token[0])]) for x, token in steps)
    printed = run(tmp_path / "main", input=lines, env={"ASAN_OPTIONS": "detect_leaks=0"})
    for line, x in zip(printed.splitlines(), steps, strict=True):
        got = np.array(line.split(), "f")
        np.testing.assert_allclose(got, np.concatenate(stepper.step(x), axis=1)[0], rtol=0, atol=1e-6)
