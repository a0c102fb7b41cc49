"""Files that Keras 1, 2 and 3 and torch wrote, as recorded by golden/make_files.py, and those that cyrnn writes."""

import errno
import json
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Bidirectional, Dense, Embedding, Input, SimpleRNN, SimpleRNNCell
from cyrnn.saving import (
    ModelFileError,
    from_torch,
    interchange,
    load_model,
    load_weights,
    registry,
    save_model,
    save_weights,
)
from cyrnn.saving.keras import hdf5
from cyrnn.saving.safetensors import SafeTensors

FILES = Path(__file__).parent / "golden" / "files"
MODELS = ["keras1.h5", "keras2.h5", "keras2.keras", "keras213.keras", "keras3.h5", "keras3.keras"]
WEIGHTS = {  # and models with the same layers
    "keras2_weights.h5": "keras2.keras",
    "keras2.h5": "keras2.keras",
    "keras213.keras": "keras213.keras",
    "keras3.weights.h5": "keras3.keras",
    "keras3.h5": "keras3.keras",
    "keras3.keras": "keras3.keras",
}


def recorded(file):
    """The inputs, and the outputs by what computed them."""
    contents = json.loads((FILES / f"{Path(file).name.partition('.')[0].partition('_')[0]}.json").read_text())
    return np.array(contents["x"], "float32"), contents["outputs"]


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    x, outputs = recorded(name)
    np.testing.assert_allclose(load_model(FILES / name).predict(x), outputs["model"], atol=1e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_for_a_model_made_by_hand(name):
    x, _ = recorded(name)
    source = load_model(FILES / WEIGHTS[name])
    model = cyrnn.from_json(source.to_json())
    assert not np.allclose(model.predict(x), source.predict(x))
    load_weights(model, FILES / name)
    np.testing.assert_array_equal(model.predict(x), source.predict(x))


@pytest.mark.parametrize("path", sorted(FILES.glob("*.h5")), ids=lambda path: path.name)
def test_hdf5_files_are_read_as_its_library_reads_them(path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    root, found = hdf5.File(path.read_bytes()).root, []
    with h5py.File(path) as file:
        assert_same_attributes(root, file)

        def compare(name, theirs):
            ours = root.get(name)
            assert_same_attributes(ours, theirs)
            assert ours.is_group == isinstance(theirs, h5py.Group)
            if ours.is_group:
                assert sorted(ours.names) == sorted(theirs)
            elif theirs.dtype.kind == "f":
                np.testing.assert_array_equal(ours.read(), theirs[()], strict=True)
                found.append(name)

        file.visititems(compare)
    assert len(found) > 4


def assert_same_attributes(ours, theirs):
    for name, value in theirs.attrs.items():
        texts = [text.decode() if isinstance(text, bytes) else text for text in np.ravel(value).tolist()]
        assert ours.attribute(name) == (texts if np.ndim(value) else texts[0])


def test_weights_for_a_single_layer():
    x, outputs = recorded("keras3.json")
    layer = Bidirectional(SimpleRNN(4))
    with pytest.raises(ValueError, match="is not built"):
        load_weights(layer, FILES / "keras3_single.weights.h5")
    layer.build(x.shape)
    load_weights(layer, FILES / "keras3_single.weights.h5")
    np.testing.assert_allclose(layer(x), outputs["single"], atol=1e-6)


def test_torch():
    x, outputs = recorded("torch.json")
    deep = from_torch(FILES / "torch.safetensors", prefix="deep.")
    assert [type(layer) for layer in deep.layers] == [Bidirectional, Bidirectional]
    np.testing.assert_allclose(deep.predict(x), outputs["deep"], atol=1e-6)
    cell = from_torch(FILES / "torch.safetensors", prefix="cell.")
    assert type(cell) is SimpleRNNCell and cell.bias is None
    np.testing.assert_allclose(cell(x[:, 0], cell.get_initial_state(3))[0], outputs["cell"], atol=1e-6)


def parts(features=3, units=4, end="_l0", bias=True, dtype="float32", seed=0):
    """Weights of one layer in torch's layout."""
    rng = np.random.default_rng(seed)
    shapes = {"weight_ih": (units, features), "weight_hh": (units, units), "bias_ih": (units,), "bias_hh": (units,)}
    return {
        name + end: rng.standard_normal(shape).astype(dtype)
        for name, shape in shapes.items()
        if bias or not name.startswith("bias")
    }


def test_torch_arrays_alone():
    weights = parts(dtype="float64")
    layer = from_torch(weights, "relu", return_sequences=False, return_state=True)
    assert type(layer) is SimpleRNN and layer.dtype == "float64" and not layer.return_sequences
    x = np.random.default_rng(1).standard_normal((2, 5, 3))
    h = np.zeros((2, 4))
    for t in range(5):
        z = x[:, t] @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        h = np.maximum(0, z + weights["bias_ih_l0"] + weights["bias_hh_l0"])
    output, state = layer(x)
    np.testing.assert_allclose(output, h, rtol=1e-12)
    np.testing.assert_array_equal(state, output)


def test_several_layers_of_torch_have_their_states():
    weights = parts() | parts(4, end="_l1", seed=1)
    x, begin = np.random.default_rng(2).standard_normal((2, 5, 3)).astype("f"), [np.ones((2, 4), "f"), -np.ones((2, 4))]
    rnn = from_torch(weights, return_state=True)
    first, second = (
        from_torch({f"{name[:-1]}0": array for name, array in weights.items() if name.endswith(end)}, return_state=True)
        for end in ("_l0", "_l1")
    )
    between, h0 = first(x, initial_state=begin[0])
    expected = [*second(between, initial_state=begin[1])]
    output, (of_first,), (of_second,) = rnn(x, initial_state=begin)
    np.testing.assert_array_equal(output, expected[0])
    np.testing.assert_array_equal([of_first, of_second], [h0, expected[1]])
    stepper = rnn.stepper(2, initial_state=begin)
    for t in range(5):
        np.testing.assert_array_equal(stepper.step(x[:, t]), output[:, t])
    np.testing.assert_array_equal(from_torch(weights)(x), rnn(x)[0])


def test_several_layers_of_torch_in_both_directions_have_their_states():
    weights = parts() | parts(end="_l0_reverse", seed=1) | parts(8, end="_l1", seed=2)
    weights |= parts(8, end="_l1_reverse", seed=3)
    x = np.random.default_rng(4).standard_normal((2, 5, 3)).astype("f")
    output, *states = from_torch(weights, return_state=True)(x)
    assert [state.shape for state in states] == [(2, 4)] * 4
    np.testing.assert_array_equal(output, from_torch(weights)(x))
    np.testing.assert_array_equal(
        np.concatenate([states[2], states[3]], axis=1), from_torch(weights, return_sequences=False)(x)
    )


def test_biases_are_added_before_they_are_rounded():
    weights = parts()
    weights["bias_ih_l0"][:] = 1
    weights["bias_hh_l0"][:] = np.float32(2**-24 + 2**-40)  # lost, if 1 + 2**-24 is rounded to even first
    assert np.all(from_torch(weights).bias == np.float32(1 + 2**-23))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (parts(), {"nonlinearity": "sigmoid"}, "nonlinearity.*'sigmoid'"),
        (parts(), {"prefix": "rnn."}, "after the prefix 'rnn.'"),
        ({"weight": np.ones((3, 3))}, {}, "no weight_ih_l0"),
        ({k: v for k, v in parts().items() if k != "weight_hh_l0"}, {}, "weight_hh"),
        ({k: v for k, v in parts().items() if k != "bias_hh_l0"}, {}, "both biases or none"),
        (parts() | parts(end="_l2"), {}, "each layer"),
        (parts() | parts(4, end="_l1") | parts(end="_l0_reverse"), {}, "same directions"),
        (parts() | parts(end="_l0_reverse", bias=False), {}, "both directions.*biases.*_l0 and _l0_reverse differ"),
        (parts() | parts(5, end="_l1"), {}, r"\(4, 4\).*\(5, 4\)"),
        (parts() | {"weight_ih_l0": np.ones((16, 3), "f4")}, {}, r"\(4, 3\), of a module RNN.*\(16, 3\)"),
        (parts() | {"weight_hh_l0": np.ones((), "f4")}, {}, "weight_hh_l0|weight_ih_l0"),
        (FILES / "keras3.h5", {}, "not a .safetensors file"),
    ],
)
def test_torch_weights_that_are_refused(source, options, words):
    with pytest.raises(ValueError, match=words):
        from_torch(source, **options)


def test_torch_weights_of_another_type():
    with pytest.raises(TypeError, match="weight_ih_l0.*int64"):
        from_torch({name: array.astype(int) for name, array in parts().items()})


# ---------------------------------------------------------------- written


def small_model():
    return cyrnn.Sequential([Input((5, 3)), SimpleRNN(4, return_sequences=True), Bidirectional(SimpleRNN(2)), Dense(2)])


def test_a_model_is_written_and_comes_back(tmp_path):
    source = small_model()
    source.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert json.loads(loaded.to_json()) == json.loads(source.to_json())
    assert_same_weights(loaded, source)
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def assert_same_weights(actual, expected):
    for a, b in zip(actual.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", ["m.weights.h5", "m.npz", "m.safetensors", "m.keras"])
def test_weights_are_written_and_come_back(tmp_path, name):
    source, other = small_model(), small_model()
    (source.save if name == "m.keras" else source.save_weights)(tmp_path / name)
    other.load_weights(tmp_path / name)
    assert_same_weights(other, source)
    assert [path.name for path in tmp_path.iterdir()] == [name]


NAMES = [
    "simple_rnn/cell/kernel",
    "simple_rnn/cell/recurrent_kernel",
    "simple_rnn/cell/bias",
    "bidirectional/forward_layer/cell/kernel",
    "bidirectional/forward_layer/cell/recurrent_kernel",
    "bidirectional/forward_layer/cell/bias",
    "bidirectional/backward_layer/cell/kernel",
    "bidirectional/backward_layer/cell/recurrent_kernel",
    "bidirectional/backward_layer/cell/bias",
    "dense/kernel",
    "dense/bias",
]


def test_names_in_npz_files(tmp_path):
    source = small_model()
    save_weights(source, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as arrays:
        assert list(arrays) == NAMES
        for name, weight in zip(NAMES, source.weights, strict=True):
            np.testing.assert_array_equal(arrays[name], weight)
    save_weights(source.layers[0], tmp_path / "layer.npz")
    with np.load(tmp_path / "layer.npz") as arrays:
        assert list(arrays) == ["cell/kernel", "cell/recurrent_kernel", "cell/bias"]


def test_npz_files_as_numpy_writes_them(tmp_path):
    source, other = small_model(), small_model()
    np.savez_compressed(tmp_path / "m.npz", *source.get_weights())
    load_weights(other, tmp_path / "m.npz")
    assert_same_weights(other, source)
    reordered = dict(zip(NAMES, source.get_weights(), strict=True))
    np.savez(tmp_path / "m.npz", **{name: np.asfortranarray(reordered[name], ">f8") for name in reversed(NAMES)})
    load_weights(small := small_model(), tmp_path / "m.npz")
    assert_same_weights(small, source)
    np.savez(tmp_path / "m.npz", *source.get_weights()[:-1])
    with pytest.raises(ModelFileError, match="11 weights, the file 10 arrays"):
        load_weights(other, tmp_path / "m.npz")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npz_files_with_headers_of_each_version(version, tmp_path):
    source, other = small_model(), small_model()
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        for number, weight in enumerate(source.get_weights()):
            with archive.open(f"arr_{number}.npy", "w") as member:
                np.lib.format.write_array(member, weight, version)
    load_weights(other, tmp_path / "m.npz")
    assert_same_weights(other, source)


def test_npz_files_hold_bfloat16_as_float32(tmp_path):
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    layer = cyrnn.layers.Dense(3, dtype="bfloat16")
    layer.build((None, 2))
    save_weights(layer, tmp_path / "layer.npz")
    with np.load(tmp_path / "layer.npz") as arrays:
        for array, weight in zip(arrays.values(), layer.get_weights(), strict=True):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, weight.astype("f4"))


@pytest.mark.parametrize("marked", [True, False])
def test_hdf5_files_hold_bfloat16_as_two_opaque_bytes_that_are_marked(marked, tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    layer = cyrnn.layers.Dense(2, use_bias=False)
    layer.build((None, 3))
    values = np.float32([[1, -2], [0.5, 1.0078125], [3e38, -0.0]])  # the last bit of 1.0078125 is the last of bfloat16
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    with h5py.File(tmp_path / "layer.weights.h5", "w") as file:
        dataset = file.create_dataset("vars/0", data=upper.view("V2"))
        if marked:
            dataset.attrs["dtype"] = "bfloat16"
    dataset = hdf5.File((tmp_path / "layer.weights.h5").read_bytes()).root.get("vars/0")
    if not marked:
        for read in (lambda: dataset.dtype_name, lambda: load_weights(layer, tmp_path / "layer.weights.h5")):
            with pytest.raises(ModelFileError, match="it must be of a float type"):
                read()
        return
    assert dataset.dtype_name == "bfloat16"
    load_weights(layer, tmp_path / "layer.weights.h5")
    np.testing.assert_array_equal(layer.kernel, (upper.astype(np.uint32) << 16).view(np.float32))


def test_safetensors_files_are_those_of_its_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install '.[test]'")
    source, other = small_model(), small_model()
    save_weights(source, tmp_path / "ours.safetensors")
    arrays = library.load_file(tmp_path / "ours.safetensors")
    assert sorted(arrays) == sorted(NAMES)
    for name, weight in zip(NAMES, source.weights, strict=True):
        np.testing.assert_array_equal(arrays[name], weight)
    library.save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, tmp_path / "theirs.safetensors"
    )
    load_weights(other, tmp_path / "theirs.safetensors")
    assert_same_weights(other, source)


def test_safetensors_files_of_its_library_have_numbers_of_each_dtype():
    library = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install '.[test]'")
    kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    written = {kind: np.array([[0, 1, 100], [2, 3, 5]], kind) for kind in kinds}
    arrays = SafeTensors(library.save(written))
    assert sorted(arrays.names) == sorted(kinds)
    for kind in kinds:
        assert (arrays.dtype_name(kind), arrays.read(kind).dtype) == (np.dtype(kind).name, np.dtype(kind))
        np.testing.assert_array_equal(arrays.read(kind), written[kind])


def test_safetensors_files_may_name_an_empty_array_before_the_one_that_ends_where_it_lies():
    header = {
        "none": {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]},
        "two": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    arrays = SafeTensors(struct.pack("<Q", len(text)) + text + np.array([1, 2], "<f4").tobytes())
    assert arrays.read("none").shape == (0,)
    np.testing.assert_array_equal(arrays.read("two"), [1, 2])


def test_what_is_there_stays_if_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="overwrite"):
        small_model().save(path, overwrite=False)

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk is full"):
        save_model(small_model(), path)
    assert path.read_bytes() == b"precious" and [p.name for p in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.thread_unsafe(reason="watches what the process tells the system")
@pytest.mark.parametrize("name", ["m.keras", "w.weights.h5", "w.npz", "w.safetensors", "m.c", "m.onnx"])
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, name):
    """So that it is whole or not there after a crash of the machine; the folder's names are written last."""
    if name == "m.onnx":
        pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    path, synced, real = tmp_path / name, [], os.fsync
    path.write_bytes(b"precious")
    path.chmod(0o640)

    def fsync(handle):
        facts = os.fstat(handle)
        synced.append((stat.S_ISDIR(facts.st_mode), facts.st_size, stat.S_IMODE(facts.st_mode), path.read_bytes()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    model = cyrnn.Sequential([Input((None, 3)), SimpleRNN(4), Dense(2)])
    interchange.export(model, path, registry.by_end(path, interchange.WRITTEN))
    content = path.read_bytes()
    (of_folder, size, mode, before), *rest = synced
    assert not of_folder and size == len(content) and mode == 0o640 and before == b"precious" != content
    if hasattr(os, "O_DIRECTORY"):
        assert [(of_folder, now) for of_folder, _, _, now in rest] == [(True, content)]


@pytest.mark.thread_unsafe(reason="changes what the process tells the system")
def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.npz"
    path.write_bytes(b"precious")

    def fail(handle):
        raise OSError("the disk has gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk has gone"):
        save_weights(small_model(), path)
    assert path.read_bytes() == b"precious" and [p.name for p in tmp_path.iterdir()] == ["w.npz"]


@pytest.mark.thread_unsafe(reason="changes what the process tells the system")
def test_a_file_system_that_cannot_sync_is_written_to(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    save_weights(small_model(), tmp_path / "w.npz")
    load_weights(small_model(), tmp_path / "w.npz")


@pytest.mark.parametrize("path", [3, b"m.keras", None])
def test_what_is_no_path(path):
    for load in (load_model, lambda path: load_weights(small_model(), path)):
        with pytest.raises(TypeError, match=type(path).__name__):
            load(path)


@pytest.mark.parametrize("name", ["keras1.h5", "keras2.h5"])
def test_old_models_keep_their_meaning_when_they_are_written(tmp_path, name):
    source, (x, _) = load_model(FILES / name), recorded(name)
    save_model(source, tmp_path / "m.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "m.keras").predict(x), source.predict(x))


def carrying_time_major():
    entry = {"class_name": "SimpleRNN", "config": {"units": 2, "time_major": True, "batch_input_shape": [5, None, 3]}}
    return cyrnn.from_json(json.dumps({"class_name": "Sequential", "config": {"layers": [entry]}}))


@pytest.mark.parametrize(
    ("model", "path", "error", "words"),
    [
        (lambda: Dense(3), "m.keras", ValueError, "not a model"),
        (lambda: 3, "m.keras", TypeError, "model must be a model"),
        (small_model, "m.npz", ValueError, "must end in .keras or .h5"),
        (lambda: cyrnn.Sequential([Dense(3)]), "m.keras", ValueError, "not built"),
        (carrying_time_major, "m.keras", ValueError, "time_major"),
    ],
)
def test_models_that_are_not_written(tmp_path, model, path, error, words):
    with pytest.raises(error, match=words):
        save_model(model(), tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .weights.h5, .npz or .safetensors, got .*m.h5"):
        save_weights(small_model(), tmp_path / "m.h5")
    with pytest.raises(ValueError, match="not built"):
        save_weights(SimpleRNN(3), tmp_path / "m.npz")
    with pytest.raises(TypeError, match="layer must be a layer"):
        save_weights([1], tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_long_names_are_written_in_parts(tmp_path):
    """An attribute of HDF5 takes 64 kB at most; a list of names that needs more is in several, as Keras has it."""
    model, twin = (
        cyrnn.Sequential([Input((3,)), *(Dense(2, name=letter * 20_000) for letter in "abcde")]) for _ in range(2)
    )
    save_model(model, tmp_path / "m.h5")
    load_weights(twin, tmp_path / "m.h5")
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="a name of .* bytes is longer than a .h5 file can hold: save a .keras"):
        save_model(cyrnn.Sequential([Input((3,)), Dense(2, name="c" * 70_000)]), tmp_path / "n.h5")


def test_names_as_long_as_a_reference_to_text_are_text(tmp_path):
    """HDF5 refers with 16 bytes to a text of any length."""
    model = cyrnn.Sequential([Input((3,)), Dense(2, name="sixteen_letters_")])
    save_model(model, tmp_path / "m.h5")
    assert [layer.name for layer in load_model(tmp_path / "m.h5").layers] == ["sixteen_letters_"]


@pytest.mark.parametrize("version", ["3.15.1", "3.16.0"])
def test_what_happens_to_masks_is_kept(tmp_path, version):
    """Recurrent layers of Keras 3.16 pass no masks on; a file says so by its version alone."""
    made = cyrnn.Sequential(
        [Input((4,)), Embedding(5, 3, mask_zero=True), SimpleRNN(2, return_sequences=True), SimpleRNN(2)]
    )
    config = {**json.loads(made.to_json()), "keras_version": version}
    source = cyrnn.from_json(json.dumps(config))
    source.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert {layer.supports_masking for layer in loaded.layers[1:]} == {version == "3.15.1"}
    source.layers[1].supports_masking ^= True
    with pytest.raises(ValueError, match="some recurrent layers pass masks on"):
        source.save(tmp_path / "other.keras")


def test_a_shared_layer_is_written_once(tmp_path):
    shared = Dense(3)
    model = cyrnn.Sequential([Input((3,)), cyrnn.Sequential([shared], name="a"), cyrnn.Sequential([shared], name="b")])
    save_weights(model, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as arrays:
        assert list(arrays) == ["sequential/dense/kernel", "sequential/dense/bias"]
    expected = model(np.ones((1, 3), "f4"))
    shared.set_weights([np.zeros((3, 3)), np.zeros(3)])
    load_weights(model, tmp_path / "m.npz")
    np.testing.assert_array_equal(model(np.ones((1, 3), "f4")), expected)
