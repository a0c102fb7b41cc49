"""Names that are changed on the way into a file stay distinct: nothing is lost because two have become equal."""

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Dropout, Layer
from cyrnn.layers.base.names import distinct
from cyrnn.saving import load_weights, save_weights

ENDS = [".npz", ".safetensors", ".weights.h5"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a_1", "a_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),  # a name that occurs is never another's
        (["a_1", "a", "a", "a_1"], ["a_1", "a", "a_2", "a_1_1"]),
    ],
)
def test_distinct(names, expected):
    assert distinct(names) == expected


def test_many_equal_names_take_linear_time():
    assert distinct(["a"] * 100_000)[-1] == "a_99999"


class InAnAttributeAndInAList(Layer):
    """Both weights files leave the word `layers` out of paths, so two kernels would have one name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.layers = Dense(2), [Dense(3)]

    def call(self, inputs):
        return self.layers[0](self.dense(inputs))


class Dense_1(Dense):  # in a list, the second Dense is called so
    pass


class ClassesLikeNumbers(Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [Dense(2), Dense(2), Dense_1(2)]

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


class ArgumentsOfNumPy(Layer):
    """Weights with the names that arguments of `numpy.savez` have."""

    def build(self, input_shape):
        self.one, self.two = (self.add_weight((2,), "ones", name=name) for name in ("file", "allow_pickle"))

    def call(self, inputs):
        return inputs * self.one * self.two


class PathsInNames(Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = Dense(2)

    def build(self, input_shape):
        self.own = self.add_weight((5,), "ones", name="dense/kernel")
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("make", [InAnAttributeAndInAList, ClassesLikeNumbers, ArgumentsOfNumPy, PathsInNames])
def test_every_weight_is_in_the_file(tmp_path, make, end):
    if end == ".weights.h5":
        pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    rng = np.random.default_rng(0)
    layer, other = make(), make()
    for one in (layer, other):
        one(np.ones((1, 2), "float32"))
        one.set_weights([rng.standard_normal(weight.shape) for weight in one.get_weights()])
    save_weights(layer, tmp_path / f"w{end}")
    load_weights(other, tmp_path / f"w{end}")
    for found, expected in zip(other.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_names_in_onnx_files_are_distinct(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[test-onnx]'")
    x = cyrnn.Input((2,), name="x")
    hidden = Dense(2, name="a b")(x)
    outputs = [hidden, hidden, Dense(2, name="a:b")(x), Dense(2, name="a_1")(x), Dropout(0.5, name="a")(hidden)]
    model = cyrnn.Model(x, outputs)
    cyrnn.saving.export_onnx(model, tmp_path / "m.onnx")
    nodes = onnx.load(tmp_path / "m.onnx").graph.node
    assert len({node.name for node in nodes}) == len(nodes)
    inputs = np.random.default_rng(0).standard_normal((3, 2), dtype="float32")
    results = runtime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": inputs})
    assert len(results) == len(outputs)
    for found, expected in zip(results, model(inputs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
