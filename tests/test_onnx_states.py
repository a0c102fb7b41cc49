"""ONNX files with lengths of sequences, learned states, masks and rows of all timesteps: as ONNX Runtime runs them."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
from onnx_by_hand import FEATURES, UNITS, close, graph, onnx, rnn, run, sequences, value, weights

import cyrnn
from cyrnn import layers as L
from cyrnn.layers.base import nest
from cyrnn.saving import ModelFileError, export_onnx, from_onnx

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
LENGTHS = np.array([7, 1, 4, 7, 2], np.int32)


def recurrent(
    kind, directions, states=(), arrays=None, more=(), x=(None, None, FEATURES), direction=None, **attributes
):
    """A recurrent node by hand with lengths, and these names as initial states."""
    rng, rows = np.random.default_rng(3), GATES[kind] * UNITS
    shapes = {"W": (rows, FEATURES), "R": (rows, UNITS), "B": (2 * rows,)}
    own = {name: rng.uniform(-0.7, 0.7, (directions, *shape)).astype("f4") for name, shape in shapes.items()}
    results = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    attributes["direction"] = direction or ("bidirectional" if directions == 2 else "forward")
    node = (kind, ["x", "W", "R", "B", "l", *states], results, {"hidden_size": UNITS, **attributes})
    return graph([node], results, {**own, **(arrays or {})}, x, [value("l", (None,), onnx.TensorProto.INT32), *more])


def beside(array):
    """States, or outputs of all timesteps, with the directions beside each other."""
    if array.ndim == 4:
        return np.concatenate([part.swapaxes(0, 1) for part in np.moveaxis(array, 1, 0)], -1)
    return np.concatenate(list(array), -1)


# ------------------------------------------------------------ lengths


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths_of_sequences(kind, direction, steps):
    count = 2 if direction == "bidirectional" else 1
    proto = recurrent(kind, count, direction=direction, x=(steps, None, FEATURES))
    x = sequences()
    wanted = run(proto, x=x.swapaxes(0, 1), l=LENGTHS)
    model = from_onnx(proto)
    for got, again, array in zip(*(nest.leaves(found) for found in (
        model([x, LENGTHS]), model.predict([x, LENGTHS], batch_size=2))), wanted, strict=True):  # fmt: skip
        close(got, beside(array))
        close(again, beside(array))
    x[1, 1:] = np.nan  # padding is not looked at
    for got, array in zip(nest.leaves(model([x, LENGTHS])), wanted, strict=True):
        close(got, beside(array))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("only", ["Y", "Y_h"])
def test_lengths_where_one_output_is_used(kind, only):
    proto = recurrent(kind, 2)
    for name in [output.name for output in proto.graph.output if output.name != only]:
        proto.graph.output.remove(next(output for output in proto.graph.output if output.name == name))
    x = sequences()
    close(from_onnx(proto)([x, LENGTHS]), beside(run(proto, x=x.swapaxes(0, 1), l=LENGTHS)[0]))


@pytest.mark.parametrize("kind", GATES)
def test_lengths_and_initial_states(kind):
    names = ["h", "c"][: 1 + (kind == "LSTM")]
    proto = recurrent(kind, 2, names, more=[value(name, (2, None, UNITS)) for name in names])
    rng, x = np.random.default_rng(4), sequences()
    states = [rng.standard_normal((2, 5, UNITS)).astype("f4") for _ in names]
    wanted = run(proto, x=x.swapaxes(0, 1), l=LENGTHS, **dict(zip(names, states, strict=True)))
    found = from_onnx(proto)([x, LENGTHS, *map(beside, states)])
    for got, array in zip(nest.leaves(found), wanted, strict=True):
        close(got, beside(array))


def test_constant_lengths():
    inputs = ("x", "W", "R", "B", "l")
    for numbers, sound in (([7] * 5, True), ([7, 7, 3, 7, 7], False)):
        nodes = [("RNN", inputs, ["Y", "Y_h"], {"hidden_size": UNITS})]
        proto = graph(nodes, ["Y_h"], {**weights(), "l": np.array(numbers, np.int32)}, x=(7, 5, FEATURES))
        if sound:
            close(from_onnx(proto)(sequences()), run(proto, x=sequences().swapaxes(0, 1))[0][0])
        else:
            with pytest.raises(ModelFileError, match=r"'my RNN' \(RNN\): .*sequence_lens are constants"):
                from_onnx(proto)


def test_lengths_of_the_wrong_kind():
    proto = recurrent("RNN", 1)
    proto.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    with pytest.raises(ModelFileError, match="one integer for each of the batch"):
        from_onnx(proto)


# ------------------------------------------------------------ learned states


def learned(kind, nodes, arrays, names, x=(None, None, FEATURES)):
    rows = GATES[kind] * UNITS
    rng = np.random.default_rng(3)
    own = {"W": (2, rows, FEATURES), "R": (2, rows, UNITS), "B": (2, 2 * rows)}
    own = {name: rng.uniform(-0.7, 0.7, shape).astype("f4") for name, shape in own.items()}
    results = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    attributes = {"hidden_size": UNITS, "direction": "bidirectional"}
    nodes = [*nodes, (kind, ["x", "W", "R", "B", "", *names], results, attributes)]
    return graph(nodes, results, {**own, **arrays}, x)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("way", ["Expand", "Tile", "constant"])
def test_learned_states(kind, way):
    rng = np.random.default_rng(5)
    names = ["h", "c"][: 1 + (kind == "LSTM")]
    rows = {f"{name}0": rng.standard_normal((2, 1, UNITS)).astype("f4") for name in names}
    if way == "constant":
        arrays = {name: np.repeat(rows[f"{name}0"], 5, axis=1) for name in names}
        proto = learned(kind, [], arrays, names, (None, 5, FEATURES))
    else:
        ints = {"one": np.array([1]), "two": np.array([2]), "units": np.array([UNITS])}
        nodes = [("Shape", ["x"], ["s"], {}), ("Gather", ["s", "one"], ["b"], {})]
        ends = ["two", "b", "units"] if way == "Expand" else ["one", "b", "one"]
        nodes.append(("Concat", ends, ["shape"], {"axis": 0}))
        nodes += [(way, [f"{name}0", "shape"], [name], {}) for name in names]
        proto = learned(kind, nodes, {**rows, **ints}, names)
    x = sequences()
    wanted = run(proto, x=x.swapaxes(0, 1))
    model = from_onnx(proto)
    for got, array in zip(nest.leaves(model(x)), wanted, strict=True):
        close(got, beside(array))
    assert nest.leaves(model(x[:2]))[0].shape[0] == 2  # any batch


def test_states_that_differ_within_the_batch_are_refused():
    arrays = {"h": np.random.default_rng(5).standard_normal((2, 5, UNITS)).astype("f4")}
    with pytest.raises(ModelFileError, match=r"'my RNN' \(RNN\): its initial_h are constants that differ within the"):
        from_onnx(learned("RNN", [], arrays, ["h"], (None, 5, FEATURES)))


def test_a_constant_with_equal_rows_is_for_any_batch():
    """As torch's newer exporter writes the bias of a first step, for the batch that it was given."""
    rows = np.repeat(np.arange(3, dtype="f4")[None, None], 5, axis=0)
    model = from_onnx(graph([("Add", ["x", "c"], ["Y"], {})], ["Y"], {"c": rows}, x=(5, 7, FEATURES)))
    close(model(sequences(3)), sequences(3) + rows[:1])


# ------------------------------------------------------------ masks, as export_onnx writes them


def masked_model(seed, steps):
    rng = np.random.default_rng(seed)
    kinds = [L.SimpleRNN, L.LSTM, L.GRU]
    layers = [L.Input((steps,), dtype="int32"), L.Embedding(5, 4, mask_zero=True)]
    if seed % 3 == 1:
        layers = [L.Input((steps, 2)), L.Masking(0.5)]
    for _ in range(rng.integers(0, 2)):
        inner = kinds[rng.integers(3)](3, return_sequences=True, zero_output_for_mask=bool(rng.integers(2)))
        layers.append(L.Bidirectional(inner) if rng.integers(2) else inner)
    layers.append(kinds[rng.integers(3)](2, go_backwards=bool(rng.integers(2)), return_sequences=bool(rng.integers(2))))
    model = cyrnn.Sequential([*layers, L.Dense(3)])
    model.set_weights([rng.uniform(-0.8, 0.8, w.shape) for w in model.weights])
    return model


def padded(seed, rows=6, steps=7):
    rng = np.random.default_rng(seed)
    keep = np.arange(steps) < rng.integers(0, steps + 1, (rows, 1))
    if seed % 3 == 1:
        x = rng.standard_normal((rows, steps, 2)).astype("f4")
        x[~keep] = 0.5
        return x
    return np.where(keep, rng.integers(1, 5, (rows, steps)), 0).astype("i4")


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("seed", range(12))
def test_masked_models_there_and_back(tmp_path, seed, steps):
    model, x = masked_model(seed, steps), padded(seed)
    export_onnx(model, tmp_path / "m.onnx", masks="right-padded")
    again = from_onnx(tmp_path / "m.onnx")
    close(again(x), model(x))
    close(again.predict(x, batch_size=4), model(x))
    if seed % 3 != 1:
        x[0] = [0, 1, 0, 2, 2, 0, 1]  # a mask with holes, which lengths do not say
        proto = onnx.load(tmp_path / "m.onnx")
        close(again(x), run(proto, **{proto.graph.input[0].name: x})[0])
        assert np.isnan(again(x)[0]).all() and not np.isnan(again(x)[1:]).any()


def test_masked_models_travel(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model, x = masked_model(0, 7), padded(0)
    export_onnx(model, tmp_path / "m.onnx", masks="right-padded")
    again = from_onnx(tmp_path / "m.onnx")
    again.save(tmp_path / "m.keras")
    modules = {entry["module"] for entry in json.loads(again.to_json())["config"]["layers"]}
    assert modules == {"keras.layers", "keras.src.ops.core", "keras.src.ops.numpy"}  # where Keras has them
    close(cyrnn.saving.load_model(tmp_path / "m.keras")(x), model(x))


# ------------------------------------------------------------ rows of all timesteps; one sequence


def test_rows_of_all_timesteps(tmp_path):
    arrays = {**weights(), "rows": np.array([-1, UNITS]), "K": np.random.default_rng(0).random((UNITS, 3), "f4")}
    nodes = [
        ("Transpose", ["x"], ["xt"], {"perm": [1, 0, 2]}),
        ("RNN", ["xt", "W", "R", "B"], ["Y", "Y_h"], {"hidden_size": UNITS}),
        ("Squeeze", ["Y", "one"], ["s"], {}),
        ("Transpose", ["s"], ["st"], {"perm": [1, 0, 2]}),
        ("Reshape", ["st", "rows"], ["r"], {}),
        ("Gemm", ["r", "K"], ["Z"], {}),
    ]
    proto = graph(nodes, ["Z"], {**arrays, "one": np.array([1])}, x=(None, 7, FEATURES))
    model, x = from_onnx(proto), sequences()
    wanted = run(proto, x=x)[0]
    assert wanted.shape == (35, 3) and model.output_shape == (None, 3)
    close(model(x), wanted)
    close(model.predict(x, batch_size=2), wanted)
    export_onnx(model, tmp_path / "m.onnx")
    close(from_onnx(tmp_path / "m.onnx")(x), wanted)


def test_a_file_for_one_sequence():
    nodes = [
        ("Unsqueeze", ["x", "one"], ["u"], {}),
        ("RNN", ["u", "W", "R", "B"], ["Y", "Y_h"], {"hidden_size": UNITS}),
        ("Squeeze", ["Y", "axes"], ["Z"], {}),
    ]
    proto = graph(nodes, ["Z"], {**weights(), "one": np.array([1]), "axes": np.array([1, 2])}, x=(7, FEATURES))
    model, x = from_onnx(proto), sequences()
    for row, got in zip(x, model(x), strict=True):
        close(got, run(proto, x=row)[0])


# ------------------------------------------------------------ files that are made to hurt


def refused_in_little_memory(proto, words, most=8 << 20):
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=words) as caught:
            from_onnx(proto)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000


HUGE = 1 << 40
CASES = {
    "a long Range": (
        [("Range", ["zero", "huge", "one"], ["r"], {}), ("Add", ["x", "r"], ["Y"], {})],
        "my Range.*far more",
    ),
    "a Range without steps": (
        [("Range", ["zero", "huge", "zero"], ["r"], {}), ("Add", ["x", "r"], ["Y"], {})],
        "my Range",
    ),
    "an Expand of many axes": (
        [("Expand", ["c", "many"], ["e"], {}), ("Add", ["x", "e"], ["Y"], {})],
        "my Expand.*axes",
    ),
    "an Expand to something huge": (
        [("Expand", ["c", "shape"], ["e"], {}), ("Add", ["x", "e"], ["Y"], {})],
        "my Add.*repeated along other axes",
    ),
    "a Tile of something huge": (
        [("Tile", ["c", "shape"], ["e"], {}), ("Mul", ["x", "e"], ["Y"], {})],
        "my Mul.*repeated along other axes|my Tile",
    ),
    "a product of what is repeated": (
        [("Expand", ["c1", "shape1"], ["e"], {}), ("MatMul", ["e", "K"], ["m"], {}), ("Add", ["x", "m"], ["Y"], {})],
        "my MatMul|my Add",
    ),
    "many parts": (
        [("SplitToSequence", ["x", "step"], ["s"], {"axis": 1}), ("SequenceAt", ["s", "zero"], ["Y"], {})],
        "my SplitToSequence.*its parts",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_that_lie(case):
    nodes, words = CASES[case]
    arrays = {
        "zero": np.array(0),
        "one": np.array(1),
        "huge": np.array(HUGE),
        "step": np.array(1),
        "c": np.arange(3, dtype="f4")[None, None],
        "c1": np.ones((1, 1), "f4"),
        "K": np.ones((2, 2), "f4"),
        "many": np.ones(60, np.int64),
        "shape": np.array([HUGE, HUGE, 3] if case != "a Tile of something huge" else [HUGE, HUGE, 1]),
        "shape1": np.array([HUGE, HUGE]),
    }
    used = {name for _, inputs, *_ in nodes for name in inputs}
    given = {name: array for name, array in arrays.items() if name in used}
    refused_in_little_memory(graph(nodes, ["Y"], given, x=(None, HUGE, 3)), words)


def test_lengths_of_sequences_without_end():
    refused_in_little_memory(recurrent("RNN", 1, x=(1 << 50, None, FEATURES)), "my RNN.*far more than the file")


def test_repeated_things_that_grow_without_end():
    nodes, last = [("Expand", ["c", "shape"], ["e0"], {})], "e0"
    for n in range(1, 40):
        nodes.append(("Mul", [last, "row" if n % 2 else "column"], [f"e{n}"], {}))
        last = f"e{n}"
    nodes.append(("Add", ["x", last], ["Y"], {}))
    arrays = {"c": np.ones((1, 1, 1), "f4"), "row": np.ones((1, 1, 9000), "f4"), "column": np.ones((1, 9000, 1), "f4")}
    proto = graph(nodes, ["Y"], {**arrays, "shape": np.array([1, 9000, 9000])}, x=(None, 9000, 9000))
    refused_in_little_memory(proto, "my Mul.*far more than the file", most=16 << 20)


def test_damaged_files_of_all_these_forms():
    """Bytes changed at random: a model, or a ModelFileError."""
    rng, refused = np.random.default_rng(8), 0
    protos = [recurrent("LSTM", 2), rnn(), learned("GRU", [], {"h": np.ones((2, 5, UNITS), "f4")}, ["h"], (None, 5, 3))]
    for proto, _ in itertools.product(protos, range(100)):
        damaged = bytearray(proto.SerializeToString())
        for place in rng.integers(0, len(damaged), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        try:
            loaded = onnx.load_from_string(bytes(damaged))
        except Exception:
            continue
        try:
            from_onnx(loaded)
        except ModelFileError:
            refused += 1
    assert refused > 20
