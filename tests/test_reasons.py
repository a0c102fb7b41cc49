"""`ModelFileError.reason`: what kind of fault a file has, for programs."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import ModelFileError, Reason, from_torch, load_model, load_weights, save_weights

FILES = Path(__file__).parent / "golden" / "files"
SOUND = FILES / "keras3.keras"


def small_model():
    return cyrnn.Sequential([Input((4, 2)), SimpleRNN(3), Dense(2)])


def archive(path, drop=(), **members):
    """A .keras file, with some of its members replaced or left out."""
    with zipfile.ZipFile(SOUND) as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        content = {name: sound.read(name) for name in sound.namelist() if name not in drop}
        for name, value in (content | members).items():
            new.writestr(name, value)
    return path


def config(change):
    """The config of the .keras file, with a layer changed."""
    with zipfile.ZipFile(SOUND) as sound:
        envelope = json.loads(sound.read("config.json"))
    last = envelope["config"]["layers"][-1]
    assert last["class_name"] == "Dense"
    change(last)
    return {"config.json": json.dumps(envelope)}


def changed(path, **values):
    return archive(path, **config(lambda entry: entry.update(values)))


def changed_config(path, **values):
    return archive(path, **config(lambda entry: entry["config"].update(values)))


def bytes_in(path, content):
    path.write_bytes(content)
    return path


def cut(path, source, keep):
    content = source.read_bytes()
    return bytes_in(path, content[: int(keep * len(content))])


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def tensors(path, header, data=b""):
    text = json.dumps(header).encode()
    return bytes_in(path, len(text).to_bytes(8, "little") + text + data)


def hdf5(path, change):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    path = path.with_name("w.weights.h5")
    save_weights(small_model(), path)
    with h5py.File(path, "r+") as file:
        change(file, h5py)
    return path


def compressed(file, h5py):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", data=np.zeros((3, 2), "f4"), compression="lzf")


def linked(file, h5py):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def of_text(file, h5py):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = "words"


def load_small(path):
    load_weights(small_model(), path)


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}}
ZERO = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

CASES = {
    "cut off": (load_model, lambda path: cut(path, SOUND, 0.7), Reason.DAMAGED),
    "cut off, hdf5": (load_model, lambda path: cut(path, FILES / "keras3.h5", 0.7), Reason.DAMAGED),
    "cut off, safetensors": (load_small, lambda path: cut(path, FILES / "torch.safetensors", 0.7), Reason.DAMAGED),
    "no JSON": (load_model, lambda path: archive(path, **{"config.json": b"{"}), Reason.DAMAGED),
    "no metadata": (load_model, lambda path: archive(path, drop=["metadata.json"]), Reason.DAMAGED),
    "no HDF5": (load_model, lambda path: archive(path, **{"model.weights.h5": b"words"}), Reason.DAMAGED),
    "no header": (load_small, lambda path: tensors(path, {"a": {**ZERO, "shape": [2]}}, bytes(4)), Reason.DAMAGED),
    "out of the archive": (load_model, lambda path: archive(path, **{"../x": b""}), Reason.DAMAGED),
    "an option": (load_model, lambda path: changed_config(path, quantum=3), Reason.UNSUPPORTED),
    "a number": (load_model, lambda path: changed_config(path, units=-3), Reason.UNSUPPORTED),
    "compressed": (load_small, lambda path: hdf5(path, compressed), Reason.UNSUPPORTED),
    "a link": (load_small, lambda path: hdf5(path, linked), Reason.UNSUPPORTED),
    "shards": (load_small, lambda path: bytes_in(path, b'{"weight_map": {}}'), Reason.UNSUPPORTED),
    "text": (load_model, lambda path: bytes_in(path, b"words"), Reason.UNKNOWN_FORMAT),
    "text, weights": (load_small, lambda path: bytes_in(path, b"words"), Reason.UNKNOWN_FORMAT),
    "nothing": (load_model, lambda path: bytes_in(path, b""), Reason.UNKNOWN_FORMAT),
    "a pickle": (from_torch, lambda path: bytes_in(path, pickle.dumps([1])), Reason.UNKNOWN_FORMAT),
    "a device": (load_model, lambda path: Path("/dev/null"), Reason.UNKNOWN_FORMAT),
    "weights": (load_model, lambda path: FILES / "keras3.weights.h5", Reason.NOT_A_MODEL),
    "arrays": (load_model, lambda path: npz(path, a=np.zeros(1)), Reason.NOT_A_MODEL),
    "a layer": (
        load_model,
        lambda path: archive(path, **{"config.json": Dense(3).to_json()}),
        Reason.NOT_A_MODEL,
    ),
    "a class": (
        load_model,
        lambda path: changed(path, class_name="Mine", registered_name="p>Mine", module=None),
        Reason.UNKNOWN_CLASS,
    ),
    "a function": (load_model, lambda path: changed_config(path, activation="mine"), Reason.UNKNOWN_CLASS),
    "a registered function": (
        load_model,
        lambda path: changed_config(
            path, activation={"class_name": "function", "config": "mine", "registered_name": "p>mine"}
        ),
        Reason.UNKNOWN_CLASS,
    ),
    "a lambda": (load_model, lambda path: changed_config(path, activation=LAMBDA), Reason.CODE),
    "a Lambda": (load_model, lambda path: changed(path, class_name="Lambda"), Reason.CODE),
    "pickled weights": (
        load_model,
        lambda path: archive(path, drop=["model.weights.h5"], **{"model.weights.npz": b"PK"}),
        Reason.CODE,
    ),
    "objects": (
        load_small,
        lambda path: npz(path, **{f"arr_{i}": np.full(shape, None) for i, shape in enumerate(SHAPES)}),
        Reason.CODE,
    ),
    "names": (load_small, lambda path: npz(path, a=np.zeros(1)), Reason.MISMATCH),
    "a count": (load_small, lambda path: npz(path, arr_0=np.zeros(1)), Reason.MISMATCH),
    "shapes": (
        load_small,
        lambda path: npz(path, **{f"arr_{i}": np.zeros(1) for i in range(5)}),
        Reason.MISMATCH,
    ),
    "integers": (
        load_small,
        lambda path: npz(path, **{f"arr_{i}": np.zeros(shape, int) for i, shape in enumerate(SHAPES)}),
        Reason.MISMATCH,
    ),
    "booleans": (
        load_small,
        lambda path: npz(path, **{f"arr_{i}": np.zeros(shape, bool) for i, shape in enumerate(SHAPES)}),
        Reason.MISMATCH,
    ),
    "other weights": (load_small, lambda path: SOUND, Reason.MISMATCH),
    "other weights, Keras 2": (load_small, lambda path: FILES / "keras2_weights.h5", Reason.MISMATCH),
    "a text for a weight": (load_small, lambda path: hdf5(path, of_text), Reason.MISMATCH),
    "a wider layer": (load_model, lambda path: changed_config(path, units=7), Reason.MISMATCH),
    "a bomb": (load_model, lambda path: archive(path, **{"config.json": b" " * 5_000_000}), Reason.TOO_LARGE),
    "a long config": (load_model, lambda path: archive(path, **{"config.json": b" " * 9_000_000}), Reason.TOO_LARGE),
    "a long header": (load_small, lambda path: tensors(path, {"a": "x" * (17 << 20)}), Reason.TOO_LARGE),
}
SHAPES = [(2, 3), (3, 3), (3,), (3, 2), (2,)]


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_refused_says_why(tmp_path, name):
    load, make, reason = CASES[name]
    path = make(tmp_path / "file.npz")
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert caught.value.reason is reason, caught.value
    assert caught.value.reason == reason.value and isinstance(caught.value, ValueError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ModelFileError and again.reason is reason and str(again) == str(caught.value)


@pytest.mark.thread_unsafe(reason="changes the working directory")
def test_messages_begin_with_the_file(tmp_path, monkeypatch):
    """Also where its name is a word, or a letter, of the message."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "of", "config.json"):
        archive(Path(name), **{"config.json": b"{"})
        with pytest.raises(ModelFileError, match=rf"^{name}: 'config.json' is not JSON"):
            load_model(name)
        bytes_in(Path(name), b"words")
        with pytest.raises(ModelFileError, match=f"^{name}: it is none of"):
            load_small(name)
        with pytest.raises(ModelFileError, match=f"^{name} is neither"):
            load_model(name)


def test_every_reason_is_given():
    assert {reason for _, _, reason in CASES.values()} == set(Reason)
    assert all(reason.name in Reason.__doc__ for reason in Reason)


def test_a_class_that_is_passed_is_no_longer_unknown(tmp_path):
    """What a program does with the reason."""
    path = changed_config(tmp_path / "m.keras", activation="mine")
    try:
        load_model(path)
    except ModelFileError as error:
        match error.reason:
            case Reason.UNKNOWN_CLASS:
                model = load_model(path, custom_objects={"mine": np.tanh})
    assert model.layers[-1].get_config()["units"] == model.output_shape[-1]


def test_reasons_of_onnx_files(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    path = tmp_path / "m.onnx"
    cyrnn.saving.export_onnx(small_model(), path)
    proto = onnx.load(path)
    next(node for node in proto.graph.node if node.op_type == "RNN").op_type = "LSTM"
    for make, reason in (
        (lambda: path.write_bytes(proto.SerializeToString()), Reason.UNSUPPORTED),
        (lambda: path.write_bytes(b"words"), Reason.DAMAGED),
        (lambda: path.write_bytes(b""), Reason.DAMAGED),
    ):
        make()
        with pytest.raises(ModelFileError) as caught:
            cyrnn.saving.from_onnx(path)
        assert caught.value.reason is reason, caught.value
    with pytest.raises(ModelFileError) as caught:
        cyrnn.saving.from_onnx(proto)
    assert caught.value.reason is Reason.UNSUPPORTED
