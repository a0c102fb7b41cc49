"""Files that are made to hurt: each gets one clear error, in little time and memory, and changes nothing."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import ModelFileError, load_model, load_weights, save_model, save_weights
from cyrnn.saving.keras.hdf5_messages import dataspace
from cyrnn.saving.safetensors import SafeTensors

FILES = Path(__file__).parent / "golden" / "files"
KERNEL = "layers/dense/vars/0"


def model():
    return cyrnn.Sequential([Input((5, 3)), SimpleRNN(4), Dense(2)])


def refused(load, words, most=32 << 20):
    """`load` raises a ModelFileError with these words, and never holds more than `most` bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=words) as caught:
            load()
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value)


def weights_refused(path, words, target=None):
    target = target or model()
    before = target.weights
    refused(lambda: load_weights(target, path), words)
    assert all(a is b for a, b in zip(before, target.weights, strict=True))


def edited(path, edit):
    save_weights(model(), path)
    with h5py.File(path, "r+") as file:
        kept = file[KERNEL][()]
        edit(file, path.parent, kept)
    return path


def replaced(*arguments, **options):
    """An edit that puts another dataset in the place of the kernel."""

    def edit(file, folder, kept):
        del file[KERNEL]
        file.create_dataset(KERNEL, *arguments, **{key: v(folder) if callable(v) else v for key, v in options.items()})

    return edit


def linked(link):
    def edit(file, folder, kept):
        del file[KERNEL]
        file[KERNEL] = link(folder)

    return edit


def virtual(file, folder, kept):
    del file[KERNEL]
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (4, 2))
    file.create_virtual_dataset(KERNEL, layout)


def many_attributes(file, folder, kept):
    for number in range(200):
        file[KERNEL].attrs[f"name{number}"] = "x" * 100
    del file[KERNEL]


def group_for_dataset(file, folder, kept):
    del file[KERNEL]
    file.create_group(KERNEL)


def dataset_for_group(file, folder, kept):
    del file["layers/dense/vars"]
    file["layers/dense/vars"] = kept


EDITS = {
    "soft link": (linked(lambda folder: h5py.SoftLink("/layers/dense/vars/1")), "link to elsewhere"),
    "external link": (linked(lambda folder: h5py.ExternalLink(folder / "other.h5", "/x")), "external links"),
    "external storage": (
        replaced((4, 2), "f4", external=lambda folder: [(os.fspath(folder / "raw"), 0, 32)]),
        "outside of the file",
    ),
    "virtual": (virtual, "virtual"),
    "another shape": (replaced((2, 4), "f4"), r"'kernel' of layer.*\(4, 2\).*\(2, 4\)"),
    "more axes": (replaced((4, 2, 1), "f4"), r"\(4, 2, 1\)"),
    "a scalar": (replaced((), "f4"), r"\(4, 2\).*\(\)"),
    "no shape": (replaced(dtype="f4", data=h5py.Empty("f4")), r"\(4, 2\).*\(0,\)"),
    "never written": (replaced((4, 2), "f4", fillvalue=3.0), "are stored, shape|outside of it"),
    "objects": (replaced((4, 2), h5py.string_dtype()), "float type"),
    "references": (replaced((4, 2), h5py.ref_dtype), "float type"),
    "integers": (replaced(data=np.zeros((4, 2), "i4")), "must be of a float type, the file has int32"),
    "booleans": (replaced(data=np.zeros((4, 2), bool)), "float type"),
    "complex": (replaced((4, 2), "c8"), "float type"),
    "compressed by lzf": (replaced(data=np.zeros((4, 2), "f4"), compression="lzf"), "filter lzf: load.*and save it"),
    "checked": (replaced(data=np.zeros((4, 2), "f4"), fletcher32=True), "filter fletcher32: load.*and save it"),
    "chunks never written": (replaced((4, 2), "f4", chunks=(1, 2)), "0 chunks.*takes 4|outside of it"),
    "a group for a dataset": (group_for_dataset, "not a dataset"),
    "a dataset for a group": (dataset_for_group, "holds no 'layers/dense/vars'"),
    "one weight more": (lambda file, *_: file.create_dataset("layers/dense/vars/2", (1,), "f4"), "2 weights.*holds 3"),
    "one weight less": (lambda file, *_: file.pop(KERNEL), "2 weights.*holds 1"),
    "another name": (lambda file, *_: file.move(KERNEL, "layers/dense/vars/7"), "holds no '0'"),
    "enormous attributes": (many_attributes, "holds 1"),
}


@pytest.mark.parametrize("case", EDITS)
def test_hdf5(tmp_path, case):
    edit, words = EDITS[case]
    (tmp_path / "raw").write_bytes(bytes(32))
    weights_refused(edited(tmp_path / "m.weights.h5", edit), words)


@pytest.mark.parametrize("libver", ["v108", "latest"])
def test_newer_forms_of_hdf5(tmp_path, libver):
    with h5py.File(tmp_path / "m.weights.h5", "w", libver=libver) as file:
        file["layers/dense/vars/0"] = np.zeros((4, 2))
    weights_refused(tmp_path / "m.weights.h5", "of a form of HDF5 that Keras does not write")


def test_user_blocks(tmp_path):
    """HDF5 may begin later in the file; what is before it may look like another file."""
    for begin in (b"", b"PK\x03\x04", b"\x10\0\0\0\0\0\0\0{"):
        with h5py.File(tmp_path / "m.weights.h5", "w", userblock_size=512) as file:
            file["layers/dense/vars/0"] = np.zeros((4, 2))
        content = (tmp_path / "m.weights.h5").read_bytes()
        (tmp_path / "m.weights.h5").write_bytes(begin + content[len(begin) :])
        weights_refused(tmp_path / "m.weights.h5", "none of|not a sound|not sound")


def test_groups_that_contain_themselves(tmp_path):
    def edit(file, folder, kept):
        file["layers/dense/loop"] = file["layers"]
        file["layers/dense/vars/0/"[:-3] + "/loop"] = file["layers"]

    weights_refused(edited(tmp_path / "m.weights.h5", edit), "2 weights.*holds 3")


def changed_at(path, found, change):
    """The file with the bytes after the first `found` changed."""
    content = bytearray(path.read_bytes())
    at = content.index(found)
    change(content, at)
    path.write_bytes(content)
    return path


def put(offset, form, *values):
    return lambda content, at: struct.pack_into(form, content, at + offset, *values)


def its_own_child(content, at):
    """A node of a group's tree that contains itself."""
    content[at + 5] = 1
    struct.pack_into("<Q", content, at + 32, at)


@pytest.mark.parametrize(
    ("found", "change", "words"),
    [
        (b"\x89HDF", put(8, "<B", 3), "superblock 3"),
        (b"\x89HDF", put(13, "<B", 4), "form of HDF5"),
        (b"\x89HDF", put(24, "<Q", 512), "cut off"),
        (b"\x89HDF", put(40, "<Q", 2**40), "cut off"),
        (b"\x89HDF", put(64, "<Q", 2**63), "outside of it"),
        (b"\x89HDF", put(64, "<Q", 0), "object headers"),
        (b"TREE", put(4, "<B", 1), "group is not where"),
        (b"TREE", put(6, "<H", 65535), "damaged"),
        (b"TREE", put(32, "<Q", 2**62), "outside of it"),
        (b"TREE", its_own_child, "damaged"),
        (b"HEAP", put(8, "<Q", 2**60), "outside of it"),
        (b"HEAP", put(24, "<Q", 2**64 - 1), "outside of it"),
        (b"SNOD", put(6, "<H", 60000), "damaged|outside"),
        (b"SNOD", put(8, "<Q", 2**50), "name in a group"),
        (b"SNOD", put(8, "<Q", 0), "name in a group"),  # an empty one
        (b"SNOD", put(16, "<Q", 2**64 - 1), "link to elsewhere"),
    ],
)
def test_hdf5_bytes(tmp_path, found, change, words):
    save_weights(model(), tmp_path / "m.weights.h5")
    weights_refused(changed_at(tmp_path / "m.weights.h5", found, change), words)


def test_one_dataset_for_many_layers(tmp_path):
    """A small file with the weights of a large model."""
    layers = 400
    target = cyrnn.Sequential([Input((128,)), *(Dense(128, use_bias=False) for _ in range(layers))])
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        kernel = file.create_dataset("kernel", data=np.zeros((128, 128), "f4"))
        for number in range(layers):
            file[f"layers/dense_{number}/vars/0" if number else "layers/dense/vars/0"] = kernel
    weights_refused(tmp_path / "m.weights.h5", "parts overlap", target)


@pytest.mark.parametrize("names", ["layer_names", "weight_names"])
def test_one_long_string_many_times(tmp_path, names):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("dense")
        file.attrs["layer_names"], group.attrs["weight_names"] = ["dense"], ["kernel", "bias"]
        of = file if names == "layer_names" else group
        of.attrs[names] = ["x" * 100_000, *("y" for _ in range(3000))]
    content = (tmp_path / "m.h5").read_bytes()
    first = content.index(struct.pack("<I", 100_000))
    (tmp_path / "m.h5").write_bytes(content[:first] + content[first : first + 16] * 3001 + content[first + 16 * 3001 :])
    weights_refused(tmp_path / "m.h5", "parts overlap")


def test_many_names_for_one_layer(tmp_path):
    """Lists of names in ten thousand parts, each asked for again by every layer."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("d")
        group.attrs["weight_names"] = np.full(60_000, b"x")
        for number in range(10):
            file.attrs[f"layer_names{number}"] = np.full(6_000, b"d")
    weights_refused(tmp_path / "m.h5", "parts overlap")


def legacy(path, change):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["simple_rnn", "dense"]
        for layer in model().layers:
            group = file.create_group("dense" if isinstance(layer, Dense) else "simple_rnn")
            group.attrs["weight_names"] = [f"w{number}" for number in range(len(layer.weights))]
            for number, value in enumerate(layer.weights):
                group[f"w{number}"] = value
        change(file)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.__setitem__("layer_names", ["dense"]), "2 layers with weights, the file has 1"),
        (lambda file: file.attrs.__setitem__("layer_names", ["dense", "simple_rnn"]), "3 weights.*holds 2"),
        (lambda file: file.attrs.__setitem__("layer_names", ["simple_rnn", "gone"]), "'gone'"),
        (lambda file: file.attrs.__setitem__("layer_names", "dense"), "lists of names"),
        (lambda file: file.attrs.__setitem__("layer_names", [1, 2]), "must be text"),
        (lambda file: file["dense"].attrs.__setitem__("weight_names", [b"\xff", b"w1"]), "UTF-8"),
        (lambda file: file["dense"].attrs.__setitem__("weight_names", ["../simple_rnn/w0", "w1"]), "holds no"),
        (lambda file: file["dense"].attrs.__setitem__("weight_names", ["/simple_rnn/w0", "w1"]), "holds no"),
        (lambda file: file["dense"].attrs.__setitem__("weight_names", ["w1", "w0"]), r"\(4, 2\).*\(2,\)"),
        (lambda file: file.create_group("model_weights").attrs.__setitem__("layer_names", ["x"]), "'x'"),
    ],
)
def test_legacy_hdf5(tmp_path, change, words):
    load_weights(model(), legacy(tmp_path / "sound.h5", lambda file: None))
    weights_refused(legacy(tmp_path / "m.h5", change), words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object"),
        (b'{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}', "Lambda"),
        (b'{"class_name": "Sequential", "config": []}', "before it was built|no layers|layers"),
        (np.arange(3), "must be text"),
        (b" " * (9 << 20), "bytes, more than"),
    ],
)
def test_configs_in_hdf5(tmp_path, config, words):
    path = legacy(tmp_path / "m.h5", lambda file: file.attrs.__setitem__("model_config", config))
    refused(lambda: load_model(path), words, most=64 << 20)


def test_weights_without_a_model(tmp_path):
    refused(lambda: load_model(legacy(tmp_path / "m.h5", lambda file: None)), "use load_weights")
    refused(lambda: load_model(FILES / "keras3.weights.h5"), "use load_weights")


# ---------------------------------------------------------------- .npz


def npz(path, change):
    save_weights(model(), path)
    with np.load(path) as arrays:
        members = {name: npy(array) for name, array in arrays.items()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name if name.startswith("/") else f"{name}.npy", content)
    return path


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("never_made",)


def header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def with_kernel(content):
    return lambda members: members.update({"dense/kernel": content})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_kernel(npy(np.full((4, 2), Evil()))), "of numbers"),
        (with_kernel(pickle.dumps(Evil())), "sound .npy"),
        (with_kernel(npy(np.zeros((4, 2), "i4"))), "float type"),
        (with_kernel(npy(np.zeros((2, 4), "f4"))), r"\(4, 2\).*\(2, 4\)"),
        (with_kernel(npy(np.zeros((4, 2), "f4"))[:-1]), "has 31 bytes"),
        (with_kernel(npy(np.zeros((4, 2), "f4")) + b"x"), "has 33 bytes"),
        (with_kernel(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 2), }")), "4000000000"),
        (with_kernel(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -2), }")), "negative|sound"),
        (with_kernel(header("__import__('os').mkdir('never_made')")), "sound .npy"),
        (with_kernel(header("(" * 9000)), "sound .npy"),
        (with_kernel(b""), "sound .npy"),
        (lambda members: members.pop("dense/bias"), "dense/bias"),
        (lambda members: members.update({"other": npy(np.zeros(3))}), "other"),
        (lambda members: members.update({"/etc/passwd": b""}), "out of the archive"),
        (lambda members: members.update({"../x": b""}), "out of the archive"),
        (with_kernel(npy(np.zeros((4_000_000, 2), "f4"))), r"\(4, 2\).*\(4000000, 2\)"),
        (
            with_kernel(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }") + bytes(9**8)),
            "has 43046721",
        ),
    ],
)
def test_npz(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    weights_refused(npz(tmp_path / "m.npz", change), words)
    assert not Path("never_made").exists()


# ---------------------------------------------------------------- .safetensors


def tensors(path, change):
    save_weights(model(), path)
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + size])
    changed = change(entries)
    text = changed if isinstance(changed, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    return path


def with_entry(**values):
    return lambda entries: entries["dense/kernel"].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_entry(data_offsets=[0, 32]), "overlaps"),
        (with_entry(data_offsets=[10**9, 10**9 + 32]), "overlaps|outside"),
        (with_entry(data_offsets=[32, 0]), "not described"),
        (with_entry(data_offsets=[0.0, 32.0]), "not described"),
        (with_entry(data_offsets=[-32, 0]), "not described"),
        (with_entry(shape=[4, 3]), "not described"),
        (with_entry(shape=[2, 4]), r"\(4, 2\).*\(2, 4\)"),
        (with_entry(shape=[2**62, 2**62, 0]), "not described"),
        (with_entry(shape=[float("nan"), 2]), "not described"),
        (with_entry(shape=None), "not described"),
        (with_entry(dtype="I32"), "float type"),
        (with_entry(dtype="BOOL", shape=[4, 8]), r"\(4, 2\).*\(4, 8\)"),
        (with_entry(dtype="OBJECT"), "not described"),
        (lambda entries: entries.update({"more": 3}), "not described"),
        (lambda entries: entries.pop("dense/bias"), "belong|overlap"),
        (lambda entries: b"{" * 100_000, "header"),
        (lambda entries: b'{"a": 1, "a": 2}', "twice"),
        (lambda entries: b'{"\xff": 1}', "header"),
    ],
)
def test_safetensors(tmp_path, change, words):
    weights_refused(tensors(tmp_path / "m.safetensors", change), words)


@pytest.mark.parametrize("size", [2**64 - 1, 2**40, 10_000, 106])
def test_safetensors_with_huge_headers(tmp_path, size):
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", size) + b'{"a":' + b" " * 100)
    weights_refused(tmp_path / "m.safetensors", "its header would have")


# ---------------------------------------------------------------- archives and other files


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "C:\\evil", "assets/../../evil", "..\\evil"])
def test_members_that_lead_out_of_the_archive(tmp_path, name):
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr(name, b"x")
    refused(lambda: load_model(tmp_path / "m.keras"), "leads out of the archive")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_are_compressed_in_other_ways(tmp_path, method):
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("more", b"x", compress_type=method)
    refused(lambda: load_model(tmp_path / "m.keras"), "'more' is compressed in a way that Keras does not use")


def test_members_that_overlap(tmp_path):
    """Two entries of the list of members with one place in the file."""
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        info = archive.getinfo("config.json")
        other = zipfile.ZipInfo("other.json")
        for name in ("header_offset", "compress_size", "file_size", "CRC"):
            setattr(other, name, getattr(info, name))
        archive.filelist.append(other)
        archive._didModify = True
    refused(lambda: load_model(tmp_path / "m.keras"), "overlaps another member of the archive")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_there_twice(tmp_path):
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("config.json", archive.read("config.json"))
    refused(lambda: load_model(tmp_path / "m.keras"), "the archive holds 'config.json' twice")


def test_a_list_of_members_that_is_too_long(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:0100}", b"")
    refused(lambda: load_model(tmp_path / "m.keras"), "the archive's list of members has .* bytes, more than 2097152")


def test_an_archive_without_weights(tmp_path):
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive, zipfile.ZipFile(tmp_path / "n.keras", "w") as other:
        other.writestr("config.json", archive.read("config.json"))
    refused(lambda: load_model(tmp_path / "n.keras"), "the archive holds no 'm.*'")


def test_pickled_weights_of_keras(tmp_path):
    save_model(model(), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive, zipfile.ZipFile(tmp_path / "n.keras", "w") as other:
        for name in ("config.json", "metadata.json"):
            other.writestr(name, archive.read(name))
        other.writestr("model.weights.npz", npy(np.full(1, {"0": 1}, object)))
    refused(lambda: load_model(tmp_path / "n.keras"), "pickles, which are never run")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"{}", b"\x80\x04\x95", b"\0" * 100])
def test_what_is_no_file_of_weights(tmp_path, content):
    (tmp_path / "m.weights.h5").write_bytes(content)
    weights_refused(tmp_path / "m.weights.h5", "none of|cut off|not a sound|damaged|shards")
    refused(lambda: load_model(tmp_path / "m.weights.h5"), "neither|cut off|not a sound|damaged")


def test_files_that_are_not_there(tmp_path):
    for load in (load_model, lambda path: load_weights(model(), path)):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "m.keras")
        with pytest.raises(OSError, match="directory"):
            load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: load_model(tmp_path / "pipe"), "not a regular file")


def test_a_header_of_an_array_that_grows_to_gigabytes(tmp_path):
    header = b"\x93NUMPY\x02\x00" + (64 << 20).to_bytes(4, "little") + bytes(64 << 20)
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header)
    layer = cyrnn.layers.SimpleRNN(2)
    layer.build((None, None, 3))
    del header
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            cyrnn.saving.load_weights(layer, tmp_path / "w.npz")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


LARGE_BESIDE_NONE = [(0, 2**62), (2**62, 0, 2**40), (0, 2**31, 2**31)]  # no elements, and yet no array of NumPy


@pytest.mark.parametrize("shape", LARGE_BESIDE_NONE, ids=str)
def test_shapes_that_no_array_can_have(shape):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    with pytest.raises(ModelFileError, match="'a'"):
        SafeTensors(struct.pack("<Q", len(header)) + header).read("a")
    with pytest.raises(ModelFileError, match="no array can have the shape"):
        dataspace(struct.pack(f"<BBBB{len(shape)}Q", 2, len(shape), 0, 1, *shape))
