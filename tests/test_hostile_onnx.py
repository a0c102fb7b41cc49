"""ONNX files that are made to hurt: each gets one clear error, in little memory, and opens no other file."""

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from counted_work import SIZES, check, memory_of, quietly, work_of
from onnx_by_hand import UNITS, close, graph, onnx, rnn, sequences, weights

from cyrnn.saving import ModelFileError, from_onnx

GOLDEN = Path(__file__).parent / "golden"


def refused_in_little_memory(proto, words, most=8 << 20):
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=words) as caught:
            from_onnx(proto)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000


def test_weights_in_other_files_are_never_opened(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1000))
    proto = rnn()
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, str(secret), 0, 48)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    refused_in_little_memory(proto, r"'W' is in another file.*pass onnx.load\(path\)")
    tensor.data_location = onnx.TensorProto.DEFAULT
    refused_in_little_memory(proto, "'W' is in another file")


@pytest.mark.parametrize("dims", [(1, 1 << 40, 3), (1 << 62, 1 << 62), (-1, 4, 3), (0, 1 << 62), (1, 4, 4)])
def test_shapes_that_the_bytes_do_not_fill(dims):
    for typed in (False, True):
        proto = rnn()
        tensor = proto.graph.initializer[0]
        tensor.dims[:] = dims
        if typed:
            tensor.ClearField("raw_data")
            tensor.float_data.extend([0.5] * 12)
        refused_in_little_memory(proto, "my RNN.*tensor 'W'")


def test_arrays_that_are_described_and_never_needed_are_never_made():
    huge = {"s": np.array([1, 1 << 40, UNITS])}
    nodes = [
        ("ConstantOfShape", ["s"], ["h"], {}),
        ("Expand", ["h", "s"], ["e"], {}),
        ("RNN", ["x", "W", "R", "B", "", "e"], ["Y", "Y_h"], {}),
    ]
    proto = graph(nodes, ["Y_h"], {**weights(), **huge})
    tracemalloc.start()
    close(from_onnx(proto)(sequences()), from_onnx(rnn())(sequences())[1])
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    refused_in_little_memory(graph([("Add", ["x", "e"], ["Y"], {}), *nodes[:2]][::-1], ["Y"], huge), "my Add|my Expand")


def test_shapes_that_grow_without_end():
    nodes, last = [("Shape", ["x"], ["s0"], {})], "s0"
    for n in range(1, 40):
        nodes.append(("Concat", [last, last], [f"s{n}"], {"axis": 0}))
        last = f"s{n}"
    nodes.append(("Reshape", ["x", last], ["Y"], {}))
    refused_in_little_memory(graph(nodes, ["Y"], {}), "my Concat.*shape of 96 axes")


def test_inputs_of_any_size_take_no_memory():
    refused_in_little_memory(graph([("MatMul", ["x", "W"], ["Y"], {})], ["Y"], {"W": np.ones((2, 2), "f4")},
                                   x=(None, 1 << 60, 1 << 60)), "my MatMul.*does not fit")  # fmt: skip
    model = from_onnx(graph([("Flatten", ["x"], ["Y"], {})], ["Y"], {}, x=(1 << 60, 1 << 30, 1 << 30)))
    assert model.output_shape == (None, 1 << 60)


def test_long_chains_are_read():
    names = ["x", *(f"t{n}" for n in range(3000))]
    nodes = [("Relu", [a], [b], {}) for a, b in itertools.pairwise(names)]
    model = from_onnx(graph(nodes[:300], ["t299"], {}))
    np.testing.assert_array_equal(model(sequences()), np.maximum(sequences(), 0))
    nodes = [("Identity", [a], [b], {}) for a, b in itertools.pairwise(names)]
    np.testing.assert_array_equal(from_onnx(graph(nodes, ["t2999"], {}))(sequences()), sequences())


def test_damaged_files_give_one_error(tmp_path):
    """Bytes changed at random: a model, or a ModelFileError."""
    whole, rng = bytearray((GOLDEN / "onnx" / "tagger.onnx").read_bytes()), np.random.default_rng(5)
    path, refused = tmp_path / "model.onnx", 0
    for _ in range(300):
        damaged = whole.copy()
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            from_onnx(path)
        except ModelFileError as error:
            assert "model.onnx" in str(error)
            refused += 1
    assert refused > 50


def test_one_large_constant_for_many_nodes():
    names = ["x", *(f"y{number}" for number in range(300))]
    nodes = [("Mul", [before, "w"], [after], {}) for before, after in itertools.pairwise(names)]
    whole = graph(nodes, names[-1:], {"w": np.ones((1, 1, 30_000), "f4")}, x=(None, None, 30_000))
    refused_in_little_memory(whole, "'w' is used so often", most=100 << 20)


def chain(operator, name, count, *more, **attributes):
    """Nodes of one operator one after the other; and the name of what the last one returns."""
    names = [name, *(f"{operator}{n}" for n in range(count))]
    return [(operator, [a, *more], [b], attributes) for a, b in itertools.pairwise(names)], names[-1]


def test_axes_that_grow_without_end():
    nodes, last = chain("Unsqueeze", "x", 40, "a")
    refused_in_little_memory(graph(nodes, [last], {"a": np.array([0])}), "my Unsqueeze 30.*it adds the axes")
    many = {"a": np.arange(100_000)}
    refused_in_little_memory(graph([("Unsqueeze", ["x", "a"], ["Y"], {})], ["Y"], many), "my Unsqueeze.*it adds")
    whole = graph([("Reshape", ["x", "s"], ["Y"], {})], ["Y"], {"s": np.full(63, 2)}, x=(None, 1 << 62))
    refused_in_little_memory(whole, "my Reshape.*it makes")
    refused_in_little_memory(graph([("Relu", ["x"], ["Y"], {})], ["Y"], {}, x=(1,) * 10_000), "must have a batch axis")


@pytest.mark.parametrize("shape", [[-1, 1 << 40], [0, 1 << 62, 1 << 62], [0, -5], [0, -1, -1], [1 << 62], [0, 0, 0, 0]])
def test_shapes_that_a_reshape_names(shape):
    for constant in (np.array(shape), np.array([shape] * 2)):
        whole = graph([("Reshape", ["x", "s"], ["Y"], {})], ["Y"], {"s": constant}, x=(None, 7, 3))
        refused_in_little_memory(whole, "my Reshape")


@pytest.mark.parametrize("operator", ["Pad", "Tile", "Range", "Expand"])
def test_sizes_that_other_operators_name(operator):
    inputs = ["x", "s"] if operator != "Range" else ["zero", "s", "one"]
    arrays = {"s": np.array([1 << 40] * (6 if operator == "Pad" else 3)), "zero": np.array(0), "one": np.array(1)}
    refused_in_little_memory(graph([(operator, inputs, ["Y"], {})], ["Y"], arrays, x=(1, 7, 3)), f"my {operator}")


def test_constants_that_grow_without_end():
    nodes, last = [], "c"
    for n in range(40):
        nodes.append(("Concat", [last, last], [f"c{n}"], {"axis": 0}))
        last = f"c{n}"
    constants = {"c": np.ones(10_000, "f4"), "row": np.ones((1, 10_000), "f4"), "column": np.ones((10_000, 1), "f4")}
    many = {"t": np.ones((10, 10_000), "f4"), "i": np.zeros(10_000, np.int64)}
    for part, words in [
        ([*nodes, ("Add", ["x", last], ["Y"], {})], "my Concat.*would take far more than the file"),
        ([("Mul", ["row", "column"], ["w"], {}), ("Add", ["x", "w"], ["Y"], {})], "my Mul.*far more than the file"),
        ([("Gather", ["t", "i"], ["w"], {}), ("Add", ["x", "w"], ["Y"], {})], "my Gather.*far more than the file"),
    ]:
        used = {name for _, inputs, *_ in part for name in inputs}
        arrays = {name: array for name, array in {**constants, **many}.items() if name in used}
        refused_in_little_memory(graph(part, ["Y"], arrays), words, most=16 << 20)


def test_places_that_are_no_slice():
    places = {"i": np.array([0, 1, 1 << 60]), "many": np.zeros(100_000, np.int64)}
    for name in places:
        whole = graph([("Gather", ["x", name], ["Y"], {"axis": 1})], ["Y"], places, x=(None, 1 << 61, 3))
        if name == "i":
            model = from_onnx(whole)
            assert model.output_shape == (None, 3, 3)
        else:
            refused_in_little_memory(whole, "my Gather.*a few integers")


def test_long_chains_of_axes_take_little_time():
    """Thousands of nodes that only move axes are read, each once: what is computed is one layer."""
    nodes, last = chain("Transpose", "x", 2001, perm=[0, 2, 1])
    more, end = [], last
    for n in range(1000):
        more += [("Unsqueeze", [end, "a"], [f"u{n}"], {}), ("Squeeze", [f"u{n}", "a"], [f"s{n}"], {})]
        end = f"s{n}"
    model = from_onnx(graph([*nodes, *more], [end], {"a": np.array([1])}))
    assert len(model.layers) == 2
    np.testing.assert_array_equal(model(sequences()), sequences().swapaxes(1, 2))


def test_parts_of_parts():
    """A file of a few kilobytes whose joined halves double forty times: no numbers are made while it is read."""
    nodes, last = [], "x"
    for n in range(40):
        nodes.append(("Concat", [last, last], [f"c{n}"], {"axis": -1}))
        last = f"c{n}"
    tracemalloc.start()
    model = from_onnx(graph(nodes, [last], {}, x=(None, 7, 3)))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert model.output_shape == (None, 7, 3 << 40)


def backwards(count):
    """A chain, its last node first."""
    names = ["x", *(f"t{n}" for n in range(count))]
    return graph([("Relu", [a], [b], {}) for a, b in itertools.pairwise(names)][::-1], names[-1:], {})


def ladder(count):
    """Each node takes the two before it: there are more ways through than atoms."""
    names = ["x", "x", *(f"t{n}" for n in range(count))]
    return graph([("Add", names[n : n + 2], [names[n + 2]], {}) for n in range(count)], names[-1:], {})


def star(count):
    names = [f"t{n}" for n in range(count)]
    nodes = [*(("Relu", ["x"], [name], {}) for name in names), ("Concat", names, ["Y"], {"axis": 2})]
    return graph(nodes, ["Y"], {})


def constants(count):
    nodes = [("Add", [f"t{n}" if n else "x", f"c{n}"], [f"t{n + 1}"], {}) for n in range(count)]
    return graph(nodes, [f"t{count}"], {f"c{n}": np.ones(3, "f4") for n in range(2 * count)})


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("knot", [backwards, ladder, star, constants])
def test_work_and_memory_grow_like_the_graph(knot):
    protos = [knot(size) for size in SIZES]
    acts = [quietly(lambda proto=proto: from_onnx(proto)) for proto in protos]
    check(acts, work_of, 1000)
    check(acts, memory_of, 64_000)
