"""What each axis of a tensor in an ONNX file is: `from_onnx` gives ONNX Runtime's axes in their order, or refuses."""

import numpy as np
import pytest
from onnx_by_hand import FEATURES, UNITS, close, graph, run, sequences, value, weights

from cyrnn import layers as L
from cyrnn.layers.base import nest
from cyrnn.saving import ModelFileError, from_onnx

BATCH, TIMESTEPS = 5, 7
HEAD = [
    ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
    ("RNN", ["xt", "W", "R", "B"], ["y", "h"], {"hidden_size": UNITS}),
    ("Squeeze", ["y", "one"], ["s"], {}),
    ("Transpose", ["s"], ["o"], {"perm": [1, 0, 2]}),
]
KERNEL = np.random.default_rng(2).uniform(-0.7, 0.7, (UNITS, 2)).astype("f4")
ANY = "batch"
BOTH = {"direction": "bidirectional", "hidden_size": UNITS}
ONE = {"hidden_size": UNITS}


def proto(nodes, outputs=("Y",), arrays=None, batch=ANY, timesteps=TIMESTEPS, head=HEAD):
    """A file of nodes after `o`, the outputs of an RNN (batch, timesteps, units)."""
    return graph(
        [*head, *nodes],
        outputs,
        {**weights(), "one": np.array([1]), "k": KERNEL, **(arrays or {})},
        x=(batch, timesteps, FEATURES),
    )


def check_equal(file, sizes=(1, 2, BATCH), timesteps=TIMESTEPS):
    """The model gives what ONNX Runtime gives, for batches of several sizes, with the axes that it announces."""
    model = from_onnx(file)
    for size in sizes:
        x = sequences(size, timesteps)
        outputs = nest.leaves(model.predict(x, batch_size=2))
        for got, wanted, announced in zip(outputs, run(file, x=x), model.outputs, strict=True):
            assert got.shape == wanted.shape and len(announced.shape) == wanted.ndim
            assert all(n in (None, m) for n, m in zip(announced.shape, wanted.shape, strict=True))
            close(got, wanted)
    return model


def i64(*values):
    return np.array(values, np.int64)


EQUAL = {
    "an axis after the last timestep": (
        [("Gather", ["o", "n"], ["g"], {"axis": 1}), ("Unsqueeze", ["g", "a"], ["Y"], {})],
        {"n": np.array(5), "a": i64(-1)},
    ),
    "an axis before the timesteps": ([("Unsqueeze", ["o", "one"], ["Y"], {})], {}),
    "several axes": ([("Unsqueeze", ["o", "a"], ["Y"], {})], {"a": i64(1, -1, 3)}),
    "axes that come and go": (
        [("Unsqueeze", ["o", "a"], ["u"], {}), ("Squeeze", ["u", "b"], ["Y"], {})],
        {"a": i64(1, 4), "b": i64(-1)},
    ),
    "axes in another order": ([("Transpose", ["o"], ["Y"], {"perm": [0, 2, 1]})], {}),
    "final states with the batch first": ([("Transpose", ["h"], ["Y"], {"perm": [1, 0, 2]})], {}),
    "final states, the directions last": ([("Transpose", ["h"], ["Y"], {"perm": [1, 2, 0]})], {}),
    "features before timesteps, multiplied": (
        [("Transpose", ["o"], ["t"], {"perm": [0, 2, 1]}), ("MatMul", ["t", "k7"], ["Y"], {})],
        {"k7": np.random.default_rng(0).standard_normal((TIMESTEPS, 2)).astype("f4")},
    ),
    "backward from the first": (
        [("Slice", ["o", "zero", "low", "one", "minus"], ["Y"], {})],
        {"zero": i64(0), "low": i64(-(1 << 63)), "minus": i64(-1)},
    ),
    "backward to the largest integer": (
        [("Slice", ["o", "start", "high", "one", "minus"], ["Y"], {})],
        {"start": i64(3), "high": i64((1 << 31) - 1), "minus": i64(-2)},
    ),
    "backward from before the first": (
        [("Slice", ["o", "start", "low", "one", "minus"], ["Y"], {})],
        {"start": i64(-100), "low": i64(-100), "minus": i64(-1)},
    ),
    "places in any order": ([("Gather", ["o", "n"], ["Y"], {"axis": 2})], {"n": i64(2, 0, -1, 2)}),
    "a matrix of one place": ([("Gather", ["o", "n"], ["Y"], {"axis": 2})], {"n": np.array([[1]])}),
    "the mean over features": ([("ReduceMean", ["o"], ["Y"], {"axes": [2], "keepdims": 0})], {}),
    "the sum over both": ([("ReduceSum", ["o", "a"], ["Y"], {"keepdims": 1})], {"a": i64(-1, 1)}),
    "the largest, from axes in another order": (
        [("Transpose", ["o"], ["t"], {"perm": [2, 0, 1]}), ("ReduceMax", ["t"], ["Y"], {"axes": [0], "keepdims": 0})],
        {},
    ),
    "a constant along the timesteps": ([("Mul", ["o", "c"], ["Y"], {})], {"c": np.arange(7, dtype="f4")[:, None]}),
    "a constant along both, in another order": (
        [("Transpose", ["o"], ["t"], {"perm": [0, 2, 1]}), ("Sub", ["c", "t"], ["Y"], {})],
        {"c": np.arange(28, dtype="f4").reshape(UNITS, 7)},
    ),
    "a constant that makes an axis longer": (
        [("Unsqueeze", ["o", "one"], ["u"], {}), ("Max", ["u", "c"], ["Y"], {})],
        {"c": np.arange(3, dtype="f4").reshape(3, 1, 1) - 1},
    ),
    "an outer product": (
        [
            ("Unsqueeze", ["o", "two"], ["a"], {}),
            ("Unsqueeze", ["o", "one"], ["b"], {}),
            ("Mul", ["a", "b"], ["Y"], {}),
        ],
        {"two": i64(2)},
    ),
    "attention": (
        [
            ("Softmax", ["o"], ["w"], {"axis": 1}),
            ("Mul", ["w", "o"], ["p"], {}),
            ("ReduceSum", ["p", "one"], ["Y"], {"keepdims": 0}),
        ],
        {},
    ),
    "timesteps and features as one, and apart again": (
        [("Flatten", ["o"], ["f"], {}), ("Tanh", ["f"], ["g"], {}), ("Reshape", ["g", "shape"], ["Y"], {})],
        {"shape": i64(-1, 7, 2, 2)},
    ),
    "batch and timesteps as one, and apart again": (
        [
            ("Reshape", ["s", "all"], ["r"], {}),
            ("Gemm", ["r", "k"], ["g"], {}),
            ("Reshape", ["g", "apart"], ["p"], {}),
            ("Transpose", ["p"], ["Y"], {"perm": [1, 2, 0]}),
        ],
        {"all": i64(-1, UNITS), "apart": i64(7, -1, 2)},
    ),
    "batch and timesteps as one": ([("Reshape", ["o", "n"], ["Y"], {})], {"n": i64(-1, UNITS)}),
    "a shape for each sample": ([("Reshape", ["o", "shape"], ["Y"], {})], {"shape": i64(-1, 2, 14)}),
    "lengths of the tensor": (
        [
            ("Shape", ["o"], ["lengths"], {}),
            ("Gather", ["lengths", "n"], ["two"], {}),
            ("Concat", ["two", "rest"], ["t"], {"axis": 0}),
            ("Reshape", ["o", "t"], ["Y"], {}),
        ],
        {"n": i64(0, 1), "rest": i64(2, -1)},
    ),
    "parts, the other way round": (
        [("Split", ["o", "n"], ["a", "b"], {"axis": 2}), ("Concat", ["b", "a"], ["Y"], {"axis": 2})],
        {"n": i64(1, 3)},
    ),
}


@pytest.mark.parametrize("case", EQUAL)
def test_as_onnx_runtime(case):
    nodes, arrays = EQUAL[case]
    check_equal(proto(nodes, arrays=arrays))


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_axes_as_attributes_and_as_inputs(opset):
    def with_axes(operator, since, name, result, axes, **more):
        if opset >= since:
            return (operator, [name, f"axes_{result}"], [result], more), {f"axes_{result}": i64(*axes)}
        return (operator, [name], [result], {"axes": axes, **more}), {}

    steps = [
        with_axes("Squeeze", 13, "y", "s", [1]),
        with_axes("Unsqueeze", 13, "s", "u", [-1]),
        with_axes("ReduceMean", 18, "u", "m", [0], keepdims=0),
        with_axes("ReduceSum", 13, "m", "n", [-1], keepdims=1),
    ]
    nodes = [*HEAD[:2], *(node for node, _ in steps), ("Softmax", ["n"], ["Y"], {"axis": 1})]
    arrays = {**weights(), **{name: array for _, part in steps for name, array in part.items()}}
    check_equal(graph(nodes, ["Y"], arrays, x=(ANY, TIMESTEPS, FEATURES), opset=opset))


def test_a_dense_step_by_step():
    nodes = []
    for n in range(TIMESTEPS):
        nodes += [("Gather", ["o", f"i{n}"], [f"g{n}"], {"axis": 1}), ("MatMul", [f"g{n}", "k"], [f"d{n}"], {})]
        nodes += [("Unsqueeze", [f"d{n}", "one"], [f"u{n}"], {})]
    stacked = ("Concat", [f"u{n}" for n in range(TIMESTEPS)], ["Y"], {"axis": 1})
    check_equal(proto([*nodes, stacked], arrays={f"i{n}": np.array(n) for n in range(TIMESTEPS)}))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 1), (1, 2), "column", "matrix"])
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1}, {"transA": 1}], ids=str)
@pytest.mark.parametrize("batch", [2, ANY])  # of two rows and two columns: a column has the length of a row
def test_what_gemm_adds(shape, attributes, batch):
    lengths = {"column": (2, 1), "matrix": (2, 2)}.get(shape, shape)
    offset = np.arange(1, 1 + np.prod(lengths, dtype=int), dtype="f4").reshape(lengths)
    kernel = np.ascontiguousarray(KERNEL.T) if "transB" in attributes else KERNEL
    nodes = [("Squeeze", ["h", "zero"], ["g"], {})]
    if "transA" in attributes:
        nodes = [("Transpose", ["h"], ["t"], {"perm": [0, 2, 1]}), ("Squeeze", ["t", "zero"], ["g"], {})]
    file = proto(
        [*nodes, ("Gemm", ["g", "kernel", "c"], ["Y"], attributes)],
        arrays={"zero": i64(0), "kernel": kernel, "c": offset},
        batch=batch,
    )
    if isinstance(shape, str):
        with pytest.raises(ModelFileError, match=r"my Gemm.*does not broadcast to \(batch, 2\)"):
            from_onnx(file)
    else:
        check_equal(file, (2,) if batch == 2 else (1, 2, BATCH))


@pytest.mark.parametrize("batch, timesteps", [(3, 1), (3, 7), (1, 7), (ANY, 1), (3, None)])
def test_squeeze_without_axes(batch, timesteps):
    """It takes away whatever has length 1: the timesteps too, and the batch if it is 1 at run time."""
    file = proto([("Squeeze", ["o"], ["Y"], {})], batch=batch, timesteps=timesteps)
    if batch == 3 and timesteps:
        check_equal(file, (3,), timesteps)
    else:
        with pytest.raises(ModelFileError, match=r"'my Squeeze 2' \(Squeeze\): it takes away .*batch"):
            from_onnx(file)


@pytest.mark.parametrize("batch", [1, 7])
def test_axes_of_one_length_are_not_confused(batch):
    """A batch of 1 beside an axis of length 1, and one of as many rows as timesteps."""
    nodes = [("Unsqueeze", ["o", "a"], ["u"], {}), ("Transpose", ["u"], ["t"], {"perm": [1, 0, 2, 3]})]
    file = proto([*nodes, ("Squeeze", ["t", "a"], ["Y"], {})], ["Y"], {"a": i64(-1)}, batch=batch)
    with pytest.raises(ModelFileError, match=r"my Squeeze.* of axes \(7, batch, 4\), and the batch must stay in front"):
        from_onnx(file)
    back = [("Squeeze", ["t", "a"], ["q"], {}), ("Transpose", ["q"], ["Y"], {"perm": [1, 2, 0]})]
    check_equal(proto([*nodes, *back], arrays={"a": i64(-1)}, batch=batch), (batch,))
    with pytest.raises(ModelFileError, match=r"my Squeeze.*the axes \[0\] of \(batch, 1, 7, 4\): the batch, or longer"):
        from_onnx(proto([nodes[0], ("Squeeze", ["u", "b"], ["Y"], {})], arrays={"a": i64(1), "b": i64(0)}, batch=batch))


def test_a_part_has_not_the_length_of_the_whole():
    """A shape that a slice of open length has is not that of what it was taken from."""
    nodes = [
        ("Slice", ["o", "start", "end", "one"], ["part"], {}),
        ("Shape", ["part"], ["lengths"], {}),
        ("Gather", ["lengths", "n"], ["two"], {}),
        ("Concat", ["two", "units"], ["three"], {"axis": 0}),
    ]
    arrays = {"start": i64(2), "end": i64(1 << 40), "n": i64(0, 1), "units": i64(UNITS)}
    check_equal(proto([*nodes, ("Reshape", ["part", "three"], ["Y"], {})], arrays=arrays, timesteps=None))
    with pytest.raises(ModelFileError, match="my Reshape.*it makes"):
        from_onnx(proto([*nodes, ("Reshape", ["o", "three"], ["Y"], {})], arrays=arrays, timesteps=None))


@pytest.mark.parametrize("start, end", [(4, 5), (-3, 1 << 40), (0, 3), (6, 1 << 40)])
def test_slices_of_open_length(start, end):
    nodes = [("Slice", ["o", "start", "end", "one"], ["Y"], {})]
    file = proto(nodes, arrays={"start": i64(start), "end": i64(end)}, timesteps=None)
    for timesteps in (1, 2, 5, 9):
        model = check_equal(file, (2,), timesteps)
    assert model.output_shape == (None, None, UNITS)


def test_final_states_and_sequences_are_what_layers_return():
    """Y and Y_h as outputs, and the states of several RNNs joined along the directions."""
    nodes = [
        ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
        ("RNN", ["xt", "W", "R", "B"], ["y", "h"], BOTH),
        ("RNN", ["xt", "W", "R", "B"], ["z", "i"], BOTH),
        ("Concat", ["h", "i"], ["j"], {"axis": 0}),
        ("Transpose", ["j"], ["k"], {"perm": [1, 0, 2]}),
    ]
    file = graph(nodes, ["y", "h", "j", "k"], weights(2), x=(ANY, TIMESTEPS, FEATURES))
    x = sequences()
    y, h, j, k = run(file, x=x)
    got = from_onnx(file)(x)
    wanted = [y.transpose(2, 0, 1, 3).reshape(BATCH, TIMESTEPS, -1)]
    wanted += [part.swapaxes(0, 1).reshape(BATCH, -1) for part in (h, j)] + [k]
    for ours, theirs in zip(got, wanted, strict=True):
        close(ours, theirs)


def test_the_batch_moves_to_the_front_where_the_timesteps_come_first():
    nodes = [
        ("RNN", ["x", "W", "R", "B"], ["y", "h"], ONE),
        ("Transpose", ["y"], ["a"], {"perm": [3, 0, 2, 1]}),
        ("Tanh", ["h"], ["b"], {}),
        ("Slice", ["x", "start", "end"], ["c"], {}),
    ]
    file = graph(nodes, ["a", "b", "c"], {**weights(), "start": i64(1), "end": i64(3)}, x=(7, None, FEATURES))
    x = sequences()
    for got, wanted, place in zip(from_onnx(file)(x), run(file, x=x.swapaxes(0, 1)), (2, 1, 1), strict=True):
        close(got, np.moveaxis(wanted, place, 0))


def test_states_that_are_parts_of_an_input():
    """The states of two RNNs in one input, as torch has them."""
    nodes = [
        ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
        ("Split", ["h", "n"], ["a", "b"], {"axis": 0}),
        ("RNN", ["xt", "W", "R", "B", "", "a"], ["", "first"], ONE),
        ("RNN", ["xt", "W", "R", "B", "", "b"], ["", "second"], ONE),
        ("Sub", ["first", "second"], ["d"], {}),
        ("Squeeze", ["d", "zero"], ["Y"], {}),
    ]
    arrays = {**weights(), "n": i64(1, 1), "zero": i64(0)}
    file = graph(nodes, ["Y"], arrays, x=(None, TIMESTEPS, FEATURES), more=[value("h", (2, None, UNITS))])
    states = np.random.default_rng(0).standard_normal((2, BATCH, UNITS)).astype("f4")
    got = from_onnx(file)([sequences(), states.swapaxes(0, 1).reshape(BATCH, -1)])
    close(got, run(file, x=sequences(), h=states)[0])


def test_operators_on_constants_are_computed():
    """As exporters write weights that they do not prepare."""
    w = weights()
    arrays = {"w": w["W"][0].T, "r": w["R"][0], "b": w["B"][0, :UNITS], "c": w["B"][0, UNITS:], "zero": i64(0)}
    nodes = [
        ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
        ("Transpose", ["w"], ["wt"], {}),
        *(("Unsqueeze", [name, "zero"], [f"{name}1"], {}) for name in ("wt", "r")),
        ("Concat", ["b", "c"], ["bc"], {"axis": 0}),
        ("Unsqueeze", ["bc", "zero"], ["bc1"], {}),
        ("RNN", ["xt", "wt1", "r1", "bc1"], ["", "h"], ONE),
        ("Squeeze", ["h", "zero"], ["Y"], {}),
    ]
    check_equal(graph(nodes, ["Y"], arrays, x=(ANY, TIMESTEPS, FEATURES)))


def test_models_stay_plain():
    """No layer only moves axes where none has to be moved: of a Dense at each timestep, and of both directions."""
    nodes = [
        ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
        ("RNN", ["xt", "W", "R", "B"], ["y", ""], BOTH),
        ("Split", ["y"], ["f", "b"], {"axis": 1}),
        ("Concat", ["f", "b"], ["both"], {"axis": -1}),
        ("Squeeze", ["both", "one"], ["s"], {}),
        ("MatMul", ["s", "k8"], ["m"], {}),
        ("Transpose", ["m"], ["Y"], {"perm": [1, 0, 2]}),
    ]
    arrays = {**weights(2), "one": i64(1), "k8": np.ones((2 * UNITS, 2), "f4")}
    model = check_equal(graph(nodes, ["Y"], arrays, x=(ANY, TIMESTEPS, FEATURES)))
    assert [type(layer) for layer in model.layers] == [L.InputLayer, L.Bidirectional, L.Dense]
    assert len(model.operations) == 3


REFUSED = {
    "the batch last": ([("Transpose", ["o"], ["Y"], {})], {}, r"my Transpose.*output 'Y' of axes \(4, 7, batch\)"),
    "timesteps and batch": ([("Identity", ["s"], ["Y"], {})], {}, r"my Identity.*\(7, batch, 4\), and the batch must"),
    "rows that are other parts": ([("Reshape", ["s", "n"], ["Y"], {})], {"n": i64(-1, 7, UNITS)}, "my Reshape.*makes"),
    "the mean of the batch": ([("ReduceMean", ["o"], ["Y"], {"axes": [0]})], {}, "my ReduceMean.*along the batch"),
    "the mean of all": ([("ReduceMean", ["o"], ["Y"], {})], {}, "my ReduceMean.*along the batch"),
    "a part of the batch": (
        [("Slice", ["o", "one", "n", "zero"], ["Y"], {})],
        {"n": i64(3), "zero": i64(0)},
        "my Slice.*part of the batch",
    ),
    "batches in a row": ([("Concat", ["o", "o"], ["Y"], {"axis": 0})], {}, "my Concat.*joins batches"),
    "a batch in parts": ([("Split", ["o"], ["Y", "z"], {})], {}, "my Split.*the batch"),
    "softmax over the batch": ([("Softmax", ["o"], ["Y"], {"axis": 0})], {}, "my Softmax.*along the batch"),
    "the batch as features": (
        [("Transpose", ["o"], ["t"], {}), ("MatMul", ["t", "k"], ["Y"], {})],
        {},
        "my MatMul.*fit",
    ),
    "nothing is left": (
        [("Slice", ["o", "n", "n", "one"], ["Y"], {})],
        {"n": i64(3)},
        "my Slice.*takes nothing of axis 1",
    ),
    "beyond the end": ([("Gather", ["o", "n"], ["Y"], {"axis": 1})], {"n": i64(7)}, r"my Gather.*\[7\] of axis 1"),
    "an axis twice": ([("Unsqueeze", ["o", "n"], ["Y"], {})], {"n": i64(1, 1)}, "my Unsqueeze.*it adds"),
    "a bias for each row": (
        [("Add", ["o", "c"], ["Y"], {})],
        {"c": i64(*range(5)).astype("f4")[:, None, None]},
        "my Add.*not broadcast",
    ),
}


@pytest.mark.parametrize("batch", [BATCH, ANY])
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_mix_rows_is_refused_by_the_node(case, batch):
    nodes, arrays, words = REFUSED[case]
    outputs = [name for name in nodes[-1][2] if name == "Y"]
    with pytest.raises(ModelFileError, match=words):
        from_onnx(proto(nodes, outputs, arrays, batch=batch))


def test_directions_are_followed_as_an_axis():
    """Directions apart, in another order and joined; and the layout with the batch first, which ONNX Runtime lacks."""
    rows = {"n": i64(1, 0), "one": i64(1)}
    tail = [("Gather", ["y", "n"], ["g"], {"axis": 1}), ("Transpose", ["g"], ["Y"], {"perm": [2, 1, 0, 3]})]
    rnn = ("RNN", ["xt", "W", "R", "B"], ["y", "h"], BOTH)
    file = graph([HEAD[0], rnn, *tail], ["Y"], {**weights(2), **rows}, x=(ANY, TIMESTEPS, FEATURES))
    check_equal(file)
    first = ("RNN", ["x", "W", "R", "B"], ["y", "h"], {**BOTH, "layout": 1})
    tail = [("Gather", ["y", "n"], ["g"], {"axis": 2}), ("Transpose", ["g"], ["Y"], {"perm": [0, 2, 1, 3]})]
    other = graph([first, *tail], ["Y"], {**weights(2), **rows}, x=(ANY, TIMESTEPS, FEATURES))
    np.testing.assert_array_equal(from_onnx(other)(sequences()), from_onnx(file)(sequences()))


def test_the_reason_is_that_it_is_not_supported():
    with pytest.raises(ModelFileError) as caught:
        from_onnx(proto([("Transpose", ["o"], ["Y"], {})]))
    assert caught.value.reason == "unsupported" and type(caught.value) is ModelFileError


def test_integers():
    """Words for a table may come with their axes in any order; they are no output with other axes."""
    nodes = [
        ("Transpose", ["x"], ["xt"], {}),
        ("Cast", ["xt"], ["c"], {"to": 6}),
        ("Gather", ["table", "c"], ["e"], {}),
        ("Transpose", ["e"], ["Y"], {"perm": [1, 2, 0]}),
        ("Slice", ["x", "two", "far", "one"], ["Z"], {}),
        ("Unsqueeze", ["x", "one"], ["u"], {}),
    ]
    table = np.random.default_rng(0).standard_normal((9, 2)).astype("f4")
    arrays = {"table": table, "one": i64(1), "two": i64(2), "far": i64(5)}
    for outputs in (["Y", "Z"], ["u"]):
        file = graph(nodes, outputs, arrays, x=(ANY, TIMESTEPS))
        for described in (*file.graph.input, *file.graph.output[outputs == ["Y", "Z"] :]):
            described.type.tensor_type.elem_type = 7
        words = np.random.default_rng(1).integers(0, 9, (BATCH, TIMESTEPS))
        for got, wanted in zip(nest.leaves(from_onnx(file)(words)), run(file, x=words), strict=True):
            np.testing.assert_array_equal(got, wanted)
            assert got.dtype == wanted.dtype


def test_an_output_that_is_an_input():
    file = graph([("RNN", ["x", "W", "R", "B", "", "h"], ["", "y"], ONE)], ["y", "x", "h"], weights(),
                 x=(7, None, FEATURES), more=[value("h", (1, None, UNITS))])  # fmt: skip
    states = np.ones((BATCH, UNITS), "f4")
    for got, wanted in zip(from_onnx(file)([sequences(), states])[1:], (sequences(), states[:, None]), strict=True):
        np.testing.assert_array_equal(got, wanted)
