"""Configs that ask for too much: sizes, dtypes and work that a text of some kilobytes may name."""

import json
import math
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import budget, initializers
from cyrnn.layers import (
    AveragePooling1D,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    InputLayer,
    Layer,
    LayerNormalization,
    MaxPooling1D,
    Normalization,
    RepeatVector,
    Rescaling,
    Reshape,
    SimpleRNN,
    SimpleRNNCell,
    UpSampling1D,
    ZeroPadding1D,
)
from cyrnn.layers.base.arguments import LARGEST, checked_shape, checked_size_of, size_of
from cyrnn.saving import ModelFileError, Reason, load_model, save_model
from cyrnn.saving.keras import archive

HUGE = 10**5000  # more digits than Python writes

limited = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's size is read in /proc")
memory_known = pytest.mark.skipif(
    budget.memory_of_this_machine() == sys.maxsize, reason="the system does not say how much memory there is"
)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (2**62,), (2**31, 2**31), (2**32, 2**31 - 1), (7, 0, 9)])
def test_sizes_that_arrays_have(shape):
    assert size_of(shape) == math.prod(shape) == checked_size_of("it", shape)


@pytest.mark.parametrize("shape", [(2**63,), (2**32, 2**31), (2**62, 2), (HUGE,), (HUGE, HUGE), (3,) * 1000])
def test_sizes_that_no_array_has(shape):
    assert size_of(shape) == LARGEST + 1 <= math.prod(shape)
    assert size_of((*shape, 0)) == size_of((0, *shape)) == 0
    with pytest.raises(ValueError, match="it would have more elements than an array can have"):
        checked_size_of("it", shape)


def test_sizes_of_many_large_numbers_take_no_time():
    """The product of these numbers has 160 million digits."""
    code = "from cyrnn.layers.base.arguments import size_of; print(size_of([10**400] * 400_000) > 0)"
    assert run_python(code, timeout=60).stdout == "True\n"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((None, 2**63), "none above 9223372036854775807"),
        ((None, HUGE), "none above"),
        ((-1,), "non-negative"),
        ((True,), "non-negative"),
        ((2.0,), "non-negative"),
        (("3",), "non-negative"),
        ((), "non-negative"),
        ((1,) * 65, "at most 64 axes, got 65"),
        ([1] * 10_000_000, "at most 64 axes, got 10000000"),
    ],
)
def test_shapes(shape, words):
    with pytest.raises(ValueError, match=words) as caught:
        checked_shape("shape", shape)
    assert len(str(caught.value)) < 300


def test_the_largest_shapes():
    assert checked_shape("shape", [None, np.int64(2**62), 0]) == (None, 2**62, 0)
    assert len(Input((1,) * 63).shape) == 64
    for make in (lambda: Input((1,) * 64), lambda: Flatten().build((1,) * 65)):
        with pytest.raises(ValueError, match="at most 64 axes"):
            make()


LAYERS = {
    "units of Dense": (lambda n: Dense(n), "units must be at most 9223372036854775807"),
    "units of SimpleRNN": (lambda n: SimpleRNN(n), "units must be at most"),
    "units of a cell": (lambda n: SimpleRNNCell(n), "units must be at most"),
    "input_dim": (lambda n: Embedding(n, 2), "input_dim must be at most"),
    "output_dim": (lambda n: Embedding(2, n), "output_dim must be at most"),
    "n": (lambda n: RepeatVector(n), "n must be at most"),
    "size": (lambda n: UpSampling1D(n), "size must be at most"),
    "padding": (lambda n: ZeroPadding1D((0, n)), "padding must be an integer or 2 of them, from 0 to"),
    "pool_size": (lambda n: MaxPooling1D(n), "pool_size must be an integer or 1 of them, from 1 to"),
    "strides": (lambda n: AveragePooling1D(2, n), "strides must be an integer or 1 of them"),
    "target_shape": (lambda n: Reshape((2, n)), "target_shape must hold less than 64 integers from 0 to"),
    "many in target_shape": (lambda n: Reshape([1] * 100_000), "target_shape must hold .*; got 100000"),
    "product of target_shape": (lambda n: Reshape((2**32, 2**31)), "target_shape would have more elements"),
    "noise_shape": (lambda n: Dropout(0.5, noise_shape=(n,)), "noise_shape must be a list"),
    "many in noise_shape": (lambda n: Dropout(0.5, noise_shape=[1] * 65), "noise_shape must be a list"),
    "axis": (lambda n: LayerNormalization(axis=n), "axis must be one of at most 64 axes"),
    "many axes": (lambda n: LayerNormalization(axis=[-1] * 65), "axis must be one of at most 64 axes"),
    "shape": (lambda n: InputLayer((n,)), "shape must be a tuple of non-negative integers"),
    "batch_size": (lambda n: InputLayer((3,), n), "shape must be a tuple of non-negative integers"),
    "input_shape of build": (lambda n: Dense(2).build((None, n)), "input_shape must be a tuple of non-negative"),
}


@pytest.mark.parametrize("number", [2**63, HUGE], ids=["2**63", "10**5000"])
@pytest.mark.parametrize("case", LAYERS)
def test_sizes_in_layers(case, number):
    make, words = LAYERS[case]
    with pytest.raises(ValueError, match=words) as caught:
        make(number)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: UpSampling1D(2**62)(x), "longer|above|at most 9223372036854775807"),
        (lambda x: ZeroPadding1D(2**62)(x), "at most 9223372036854775807"),
        (lambda x: Flatten()(Input((2**40, 2**40))), "more elements|larger than any array"),
        (lambda x: Concatenate()([Input((2**62,)), Input((2**62,))]), "at most|larger than any array"),
        (lambda x: Dense(2)(Input((2**40, 2**40))), "larger than any array"),
    ],
)
def test_shapes_that_grow(make, words):
    with pytest.raises(ValueError, match=words):
        make(Input((4, 3)))


def test_shapes_that_grow_in_a_row():
    for layers, words in (
        ([UpSampling1D(2**31) for _ in range(3)], "axes have a length of at most"),
        ([Embedding(2, 2) for _ in range(70)], "65 axes, but arrays have at most 64"),
    ):
        with pytest.raises(ValueError, match=words):
            cyrnn.Sequential([Input((3, 2)), *layers]).compute_output_shape((None, 3, 2))


def test_windows_that_are_longer_than_any_sequence():
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    for size in (20, 2**62):
        for strides, count in ((1, 5), (2, 3), (7, 1)):
            means = AveragePooling1D(size, strides, padding="same")(x)
            np.testing.assert_allclose(means, np.repeat(x.mean(1, keepdims=True), count, 1), atol=1e-6)
            largest = MaxPooling1D(size, strides, padding="same")(x)
            np.testing.assert_array_equal(largest, np.repeat(x.max(1, keepdims=True), count, 1))


def test_noise_is_not_larger_than_the_inputs():
    with pytest.raises(ValueError, match="noise_shape .* must hold 1, None, or the lengths of the inputs"):
        Dropout(0.5, noise_shape=(1, 2**40))(np.ones((2, 3), "f4"), training=True)


# ---------------------------------------------------------------- dtypes and numbers


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ("complex64", "complex numbers are not supported"),
        ("float8_e4m3fn", "8-bit floats are not supported"),
        ("object", "must be one of float16, .*, got dtype 'object'"),
        ("M8[s]", "got dtype 'M8"),
        ("S10", "got dtype 'S10'"),
        ("f4", "got dtype 'f4'"),
        ("float32,(1000,1000,250)f8", "got dtype 'float32,"),
        (np.dtype("M8[s]"), "got dtype"),
        (7, "got dtype 7"),
        ({}, "got dtype {}"),
        ("x" * 1_000_000, "got dtype 'xxx"),
    ],
)
def test_dtypes_of_inputs(dtype, words):
    with pytest.raises(ValueError, match=words) as caught:
        Input((3,), dtype=dtype, name="x")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *((name, name) for name in ("bool", "int8", "uint16", "int64", "float16", "float64")),
        (None, "float32"),
        (float, "float32"),
        (int, "int32"),
        (bool, "bool"),
        (str, "string"),
        ("string", "string"),
        (np.float64, "float64"),
        (np.dtype(">i4"), "int32"),
    ],
)
def test_dtypes_of_inputs_that_are_numbers_or_text(dtype, name):
    assert Input((3,), dtype=dtype).dtype == name


def called_with(entry):
    """A model that adds an argument of a config to its input."""
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["i", 0, 0]}}
    call = {"args": [tensor, entry], "kwargs": {}}
    operation = {"module": "keras.src.ops.numpy", "class_name": "Add", "name": "a", "config": {"name": "a"}}
    return functional([layer("InputLayer", "i", batch_shape=[None, 3]), {**operation, "inbound_nodes": [call]}], "a")


def functional(layers, output, call=0):
    ends = {"input_layers": [["i", 0, 0]], "output_layers": [[output, call, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}


def layer(class_name, name, *calls, **config):
    """The entry of a layer, with calls that name the layers whose outputs they take, or call and output too."""
    nodes = [[[source, 0, 0, {}] if isinstance(source, str) else [*source, {}] for source in call] for call in calls]
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def array(value, dtype):
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}


def test_arrays_in_calls():
    x = np.ones((2, 3), "float32")
    for entry in (array([1, 2, 3], "float32"), [1.0, 2.0, 3.0], [1, 2, 3], array([[1], [2]], "int8")):
        model = cyrnn.from_json(json.dumps(called_with(entry)))
        value = entry["config"]["value"] if isinstance(entry, dict) else entry
        np.testing.assert_array_equal(model(x), x + np.array(value))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (array(1, "float32,(1000,1000,250)f8"), "dtype of an array must be one of"),
        (array(1, "float32, float32"), "dtype of an array must be one of"),
        (array(1, "float"), "dtype of an array must be one of"),
        (array(1, "float320"), "dtype of an array must be one of"),
        (array(1, "object"), "dtype of an array must be one of"),
        (array(1, "string"), "text is only what Input, TextVectorization"),
        (array("1.5", "float32"), "a real number or an array of them, got '1.5'"),
        (array([1, None], "float32"), "a real number or an array of them, got None"),
        (array([[1], [2, 3]], "float32"), "in lists of the same lengths"),
        (array([300], "uint8"), "in lists of the same lengths: .*300"),
        (array([10**390], "int64"), "in lists of the same lengths"),
        (["", "x"], "a real number or an array of them, got 'x'"),
        ([10**300], "64 bits at most|int32|too large"),
        ({"a": 1}, "a real number or an array of them"),
        ("text", "a real number or an array of them, got 'text'"),
    ],
)
def test_arrays_in_calls_that_are_none(entry, words):
    with pytest.raises(ValueError, match=words):
        cyrnn.from_json(json.dumps(called_with(entry)))


def test_text_in_calls():
    inputs = layer("InputLayer", "i", batch_shape=[None, 4, 3])
    calls = [[["i", 0, 0, {"mask": ["", "x"]}]]]
    rnn = {**layer("SimpleRNN", "r", units=2), "inbound_nodes": calls}
    with pytest.raises(ValueError, match="'r'.*called with the text ''"):
        cyrnn.from_json(json.dumps(functional([inputs, rnn], "r")))


TEXTS = [""] * 300_000 + ["x" * 300_000]  # as an array of NumPy: 360 GB


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Normalization", {"mean": TEXTS, "variance": TEXTS}),
        ("Normalization", {"mean": array(TEXTS, "float32"), "variance": 1.0}),
        ("Rescaling", {"scale": TEXTS}),
        ("Dense", {"units": 2, "kernel_initializer": {"class_name": "Constant", "config": {"value": TEXTS}}}),
    ],
)
def test_lists_of_texts_become_no_arrays(class_name, config):
    with pytest.raises(ValueError, match="must be a real number or an array of them, got 'xxx"):
        cyrnn.from_json(json.dumps({"class_name": class_name, "config": config}))


def test_lists_of_texts_are_no_weights():
    dense = Dense(2)
    dense.build((None, 3))
    before = dense.weights
    with pytest.raises(ValueError, match="weight 'kernel' .* must be a real number or an array of them, got 'xxx"):
        dense.set_weights([TEXTS, [0, 0]])
    assert all(a is b for a, b in zip(before, dense.weights, strict=True))


def test_numbers_in_lists_are_arrays():
    assert Normalization(mean=[1, 2], variance=(0.5, True))(np.ones((1, 2), "f4")).shape == (1, 2)
    np.testing.assert_array_equal(Rescaling([1, 2], offset=np.float32(1))(np.ones((1, 2), "f4")), [[2, 3]])
    np.testing.assert_array_equal(initializers.Constant([1, 2])((3, 2)), np.array([[1, 2]] * 3))


# ---------------------------------------------------------------- work


def cropped(depth):
    """A model that calls a model twice, which calls a model twice, and so on: each time with another shape."""
    inner = functional([layer("InputLayer", "i", batch_shape=[None, None, 3]), layer("ReLU", "r", ["i"])], "r")
    for level in range(depth):
        entries = [
            layer("InputLayer", "i", batch_shape=[None, None, 3]),
            layer("Cropping1D", "c", ["i"], cropping=[0, 2**level]),
            {**inner, "name": "m", "inbound_nodes": [[["i", 0, 0, {}]], [["c", 0, 0, {}]]]},
            layer("Concatenate", "j", [("m", 1, 0), ("m", 2, 0)], axis=1),
        ]
        inner = functional(entries, "j")
    inner["config"]["layers"][0]["config"]["batch_shape"] = [None, 2**depth + 3, 3]
    return inner


def test_models_in_models():
    model = cyrnn.from_json(json.dumps(cropped(4)))
    assert model.output_shape == (None, sum(2**4 + 3 - n for n in range(16)), 3)


def test_models_in_models_without_end():
    """Ten kilobytes that ask for 2**20 calls."""
    with pytest.raises(ValueError, match="the config asks for too much: more than 20000 layers and calls"):
        cyrnn.from_json(json.dumps(cropped(20)))


@pytest.mark.parametrize("deep", [False, True])
def test_models_of_many_layers(deep):
    entries = [{"class_name": "ReLU", "config": {"name": f"r{n}"}} for n in range(1200)]
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, 3], "name": "i"}}
    if deep:
        entries = [layer("ReLU", f"r{n}", [f"r{n - 1}" if n else "i"]) for n in range(1200)]
        config = functional([layer("InputLayer", "i", batch_shape=[None, 3]), *entries], "r1199")
    else:
        config = {"class_name": "Sequential", "config": {"layers": [first, *entries]}}
    model = cyrnn.from_json(json.dumps(config))
    np.testing.assert_array_equal(model(-np.ones((2, 3), "f4")), np.zeros((2, 3)))


def test_models_of_too_many_layers(monkeypatch):
    monkeypatch.setattr(budget, "MOST_STEPS", 1000)
    entries = [{"class_name": "ReLU", "config": {"name": f"r{n}"}} for n in range(250)]
    with pytest.raises(ValueError, match="asks for too much: more than 200 layers"):
        cyrnn.from_json(json.dumps({"class_name": "Sequential", "config": {"layers": entries}}))


def test_work_is_counted_while_configs_are_read_alone():
    budget.spend(10 * budget.MOST_STEPS)
    budget.spend_weights("it", 10**30)
    with budget.limited():
        budget.spend(budget.MOST_STEPS - 1)
        with budget.limited(), pytest.raises(budget.TooLargeError, match="too much"):
            budget.spend(2)
    with budget.limited():
        budget.spend(budget.MOST_STEPS)
    budget.spend(1)


# ---------------------------------------------------------------- weights


def sequential(*layers, shape=(None, 3)):
    first = {"class_name": "InputLayer", "config": {"batch_shape": list(shape), "name": "i"}}
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [first, *layers]}}


LARGE = {
    "a layer": {"class_name": "Dense", "config": {"units": 2**40}, "build_config": {"input_shape": [None, 2**20]}},
    "a cell": {"class_name": "SimpleRNNCell", "config": {"units": 2**40}, "build_config": {"input_shape": [None, 3]}},
    "a layer of Keras 2": {"class_name": "Dense", "config": {"units": 2**40, "batch_input_shape": [None, 3]}},
    "a Sequential": sequential({"class_name": "Dense", "config": {"units": 2**45}}),
    "several layers": sequential(*({"class_name": "Dense", "config": {"units": 10**6}} for _ in range(50))),
    "an Embedding": sequential({"class_name": "Embedding", "config": {"input_dim": 2**40, "output_dim": 2**20}}),
    "zeros": sequential({"class_name": "Dense", "config": {"units": 2**45, "kernel_initializer": "zeros"}}),
    "a graph": functional(
        [layer("InputLayer", "i", batch_shape=[None, 3]), layer("Dense", "d", ["i"], units=2**45)], "d"
    ),
    "build_input_shape": {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [{"class_name": "Dense", "config": {"units": 2**20}}],
            "build_input_shape": [None, 2**30],
        },
    },
}


@memory_known
@pytest.mark.parametrize("case", LARGE)
def test_initial_weights_that_are_larger_than_memory(case):
    with pytest.raises(ValueError, match="weight '.*' of layer .* would take .* more memory than this machine has"):
        cyrnn.from_json(json.dumps(LARGE[case]))


def test_initial_weights_without_a_size():
    with pytest.raises(ValueError, match="would have more elements than an array can have"):
        cyrnn.from_json(
            json.dumps(sequential({"class_name": "Dense", "config": {"units": 2**62}}, shape=(None, 2**62)))
        )


def test_the_memory_of_this_machine(monkeypatch):
    assert 2**26 < budget.memory_of_this_machine() <= sys.maxsize
    monkeypatch.setattr(budget, "memory_of_this_machine", lambda: 1000)
    config = sequential({"class_name": "Dense", "config": {"units": 50}})
    with pytest.raises(ValueError, match="would take 2000 bytes, .* more memory than this machine has: 1000 bytes"):
        cyrnn.from_json(json.dumps(sequential(*config["config"]["layers"][1:], shape=(None, 10))))
    assert cyrnn.from_json(json.dumps(config)).count_params() == 200  # 800 bytes
    cyrnn.from_json(json.dumps(config))  # each text has the whole memory again
    Dense(50).build((None, 10))  # and what is not from a config is not counted


def model_file(folder, config):
    """A .keras file of this config, with the weights of a small layer."""
    file = folder / "m.keras"
    save_model(cyrnn.Sequential([Input((5, 3)), SimpleRNN(4)]), file)
    with file.open("rb") as opened:
        weights = archive.read_archive(archive.Members(opened, file.stat().st_size)).weights
    texts = {archive.CONFIG: json.dumps(config).encode(), archive.METADATA: b"{}"}
    with file.open("wb") as opened:
        archive.write_archive(opened, {**texts, archive.WEIGHTS: weights})
    return file


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([None, 5, 3], None),
        ([None, 5, 10**390], "input_shape must be a tuple of non-negative integers"),
        ([None, 5, "3"], "input_shape must be a tuple of non-negative integers"),
        ([None] * 65, "input_shape must have at most 64 axes, got 65"),
        ([None, 5, 10**12], r"has shape \(1000000000000, 4\), the file has \(3, 4\)"),
    ],
)
def test_shapes_that_models_were_built_for(tmp_path, shape, words):
    layers = [{"class_name": "SimpleRNN", "config": {"units": 4, "name": "r"}}]
    config = {"name": "s", "layers": layers, "build_input_shape": shape}
    file = model_file(tmp_path, {"class_name": "Sequential", "config": config})
    if words is None:
        assert load_model(file).count_params() == 32
        return
    with pytest.raises(ModelFileError, match=words):
        load_model(file)


@limited
@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Dense", {"units": 10**9}),
        ("Dense", {"units": 10**18}),
        ("Embedding", {"input_dim": 10**9, "output_dim": 10**9}),
        ("SimpleRNN", {"units": 10**9}),
        ("SimpleRNN", {"units": 10**9, "return_state": True}),
        ("SimpleRNN", {"units": 4, "stateful": True}),
    ],
)
def test_files_allocate_no_more_than_they_hold(tmp_path, class_name, config):
    """A model file of some kilobytes whose config names weights, or states, of gigabytes."""
    shape = (10**9, 5, 3) if config.get("stateful") else (None, 5, 3)
    config = sequential({"class_name": class_name, "config": {"name": "d", **config}}, shape=shape)
    file = model_file(tmp_path, config)
    code = """
import resource, sys
import cyrnn
from cyrnn.saving import ModelFileError, load_model
with open("/proc/self/status") as status:
    size = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20),) * 2)
try:
    print(load_model(sys.argv[1]).count_params())
except ModelFileError as error:
    print(error.reason, error)
"""
    result = run_python(code, file).stdout
    assert result.startswith("32" if config["config"]["layers"][1]["config"].get("stateful") else "mismatch"), result


class Scaled(Layer):
    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        self.scale = self.add_weight((self.size,), "ones")

    def call(self, inputs):
        return inputs * self.scale[0]

    def compute_output_shape(self, input_shape):
        return input_shape


@memory_known
def test_weights_of_custom_layers(tmp_path):
    config = sequential({"class_name": "Scaled", "config": {"size": 2**45, "name": "x"}})
    with pytest.raises(ModelFileError, match="weight 'variable' of layer 'x'.* more memory than this machine has"):
        load_model(model_file(tmp_path, config), {"Scaled": Scaled})


class Doubled(Layer):
    def call(self, inputs):
        return inputs * 2


@memory_known
def test_inputs_that_custom_layers_are_tried_with():
    entries = [layer("InputLayer", "i", batch_shape=[None, 2**40, 2**10]), layer("Doubled", "d", ["i"])]
    with pytest.raises(ValueError, match=r"an input of shape \(None, 1099511627776, 1024\) would take"):
        cyrnn.from_json(json.dumps(functional(entries, "d")), {"Doubled": Doubled})


@limited
def test_states_of_placeholders_take_no_memory():
    """The states that a call names are checked before anything is made, however long they are."""
    inputs = [
        layer("InputLayer", "i", batch_shape=[10**9, 10**6, 3], dtype="int32"),
        layer("InputLayer", "h", batch_shape=[10**9, 4], dtype="float64"),
        layer("SimpleRNN", "r", ["i", "h"], units=4),
    ]
    code = """
import resource, sys
import cyrnn
with open("/proc/self/status") as status:
    size = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20),) * 2)
print(cyrnn.from_json(sys.argv[1]).output_shape)
"""
    config = functional(inputs, "r")
    config["config"]["input_layers"] = [["i", 0, 0], ["h", 0, 0]]
    assert run_python(code, json.dumps(config)).stdout == "(1000000000, 4)\n"


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" + "{}," * 2_000_000 + "{}]", "not JSON of the size of a config: it would take up to .* bytes"),
        ('{"class_name": ' + "9" * 500 + "}", "not JSON: an integer has 500 digits, more than 400"),
        ('{"class_name": ' + "9" * 1_000_000 + "}", "not JSON: an integer has 1000000 digits"),
        ("[" * 100_000, "not JSON"),
        ('{"class_name": "' + "x" * 5_000_000 + '", "config": {}}', "unknown layer class 'xxx"),
        ('{"class_name": "Dense", "config": {"units": ' + "9" * 300 + "}}", "units must be at most"),
        ('{"class_name": "Dense", "config": {"units": "' + "9" * 3_000_000 + '"}}', "units must be a positive"),
        ('{"class_name": "Dense", "config": {"name": "' + "d" * 3_000_000 + '", "units": 0}}', "units must be"),
        ('{"class_name": "Dense", "keras_version": "' + "9" * 5000 + '.1", "config": {"units": 0}}', "units must be"),
    ],
)
def test_text(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        cyrnn.from_json(text)
    assert len(str(caught.value)) < 2000


def test_text_is_text():
    for given in (None, 3, ["{}"]):
        with pytest.raises(TypeError, match="text must be a str or bytes"):
            cyrnn.from_json(given)
    dense = Dense(2, name="d")
    for given in (dense.to_json().encode(), bytearray(dense.to_json().encode()), dense.to_json().encode("utf-16")):
        assert cyrnn.from_json(given).name == "d"


def test_reasons(tmp_path, monkeypatch):
    """What is too large says so, in files."""
    monkeypatch.setattr(budget, "MOST_STEPS", 1000)
    entries = [{"class_name": "ReLU", "config": {"name": f"r{n}"}} for n in range(250)]
    config = json.dumps({"class_name": "Sequential", "config": {"layers": entries}})
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = config
        file.create_group("model_weights").attrs["layer_names"] = ["r0"]
        file["model_weights"].create_group("r0").attrs["weight_names"] = ["w"]
    with pytest.raises(ModelFileError, match="asks for too much") as caught:
        load_model(tmp_path / "m.h5")
    assert caught.value.reason is Reason.TOO_LARGE
