"""HDF5 files that were repacked, in chunks, shuffled and compressed: read within the bounds of all files."""

import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import cli
from cyrnn.layers import Dense, Embedding, Input, SimpleRNN
from cyrnn.saving import ModelFileError, Reason, load_model
from cyrnn.saving.keras.hdf5 import File

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
FORMS = {
    "chunks": {},
    "gzip": {"compression": "gzip"},
    "gzip 9": {"compression": "gzip", "compression_opts": 9},
    "shuffle": {"shuffle": True},
    "both": {"shuffle": True, "compression": "gzip"},
}


def written(path, **options):
    """The bytes of a file of one dataset, x."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", **options)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((1,), (1,)),
        ((7,), (3,)),
        ((5, 9), (5, 9)),
        ((5, 9), (2, 4)),
        ((6, 4), (1, 1)),
        ((3, 4, 5), (2, 4, 3)),
        ((130, 70), (4, 5)),
        ((2, 0), True),
        ((33, 65), True),
    ],
)
def test_arrays(tmp_path, shape, chunks, form):
    for dtype in ("f4", "f8", "f2", ">f4", "i4", "u1"):
        values = (100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
        if values.size == 0:
            content = written(
                tmp_path / "x.h5", data=values, maxshape=(None,) * len(shape), chunks=(2, 2), **FORMS[form]
            )
        else:
            content = written(tmp_path / "x.h5", data=values, chunks=chunks, **FORMS[form])
        found = File(content).root.get("x").read()
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def test_chunks_that_are_larger_than_the_array_and_filters_that_were_left_out(tmp_path):
    values = np.random.default_rng(0).standard_normal((5, 3)).astype("f4")
    content = written(tmp_path / "x.h5", data=values, chunks=(8, 4), maxshape=(None, None), compression="gzip")
    np.testing.assert_array_equal(File(content).root.get("x").read(), values)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (4, 3), "f4", chunks=(2, 3), shuffle=True, compression="gzip")
        dataset[:2] = values[:2]
        dataset.id.write_direct_chunk((2, 0), values[2:4].tobytes(), filter_mask=3)  # neither of the two filters
    np.testing.assert_array_equal(File((tmp_path / "x.h5").read_bytes()).root.get("x").read(), values[:4])


def repacked(source, target):
    """A copy whose arrays are shuffled and compressed; with its attributes."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(name, node):
            if isinstance(node, h5py.Dataset) and node.ndim:
                made = new.create_dataset(name, data=node[()], compression="gzip", shuffle=True)
            elif isinstance(node, h5py.Dataset):
                made = new.create_dataset(name, data=node[()])
            else:
                made = new.require_group(name)
            for key, value in node.attrs.items():
                made.attrs[key] = value

        for key, value in old.attrs.items():
            new.attrs[key] = value
        old.visititems(copy)


def model():
    return cyrnn.Sequential([Input((None,), dtype="int32"), Embedding(90, 8), SimpleRNN(16), Dense(2)])


def test_files_of_models_and_weights(tmp_path):
    first, x = model(), np.arange(12).reshape(2, 6)
    first.compile("adam", "mse")
    first.fit(x, np.zeros((2, 2)), verbose=0)
    first.save(tmp_path / "m.h5")
    first.save_weights(tmp_path / "m.weights.h5")
    first.save(tmp_path / "m.keras")
    for name in ("m.h5", "m.weights.h5"):
        repacked(tmp_path / name, tmp_path / f"small.{name}")
    np.testing.assert_array_equal(load_model(tmp_path / "small.m.h5")(x), first(x))
    second = model()
    second.load_weights(tmp_path / "small.m.weights.h5")
    np.testing.assert_array_equal(second(x), first(x))
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "small.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".h5"):
                (tmp_path / "inner.h5").write_bytes(content)
                repacked(tmp_path / "inner.h5", tmp_path / "small.h5")
                content = (tmp_path / "small.h5").read_bytes()
            new.writestr(name, content)
    again = load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(again(x), first(x))
    first.fit(x, np.zeros((2, 2)), verbose=0, shuffle=False)
    again.fit(x, np.zeros((2, 2)), verbose=0, shuffle=False)
    np.testing.assert_array_equal(again(x), first(x))


# ---------------------------------------------------------------- files that are made to hurt


def refused(content, words, most=64 << 20):
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=words) as caught:
            File(content).root.get("x").read()
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    return caught.value


def test_a_bomb(tmp_path):
    """200 MB of zeros in 200 kB."""
    content = written(tmp_path / "x.h5", data=np.zeros(50_000_000, "f4"), compression="gzip", compression_opts=9)
    assert len(content) < 1 << 20
    error = refused(content, "compressed too well.*load the model in Keras")
    assert error.reason is Reason.TOO_LARGE


def test_a_bomb_within_a_chunk(tmp_path):
    values = np.random.default_rng(0).standard_normal(1000).astype("f4")
    content = written(tmp_path / "x.h5", data=values, chunks=(1000,), compression="gzip")
    bomb, at = zlib.compress(bytes(100_000_000), 9)[:2000], content.index(zlib.compress(values.tobytes(), 4)[:20])
    assert len(bomb) <= 2000
    refused(content[:at] + bomb + content[at + len(bomb) :], "more or less than the 4000 bytes", most=1 << 20)


def tree_of(content):
    """Where the list of chunks is."""
    return next(at for at in range(len(content)) if content[at : at + 5] == b"TREE\x01")


def put(content, offset, form, *values):
    changed = bytearray(content)
    struct.pack_into(form, changed, tree_of(content) + offset, *values)
    return bytes(changed)


KEY = 8 + 8 * 2  # bytes of a key in a list of chunks of one axis, without the address behind it


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: put(content, 24 + KEY + 8 + 8, "<Q", 0), "chunk at .0,., twice"),
        (lambda content: put(content, 24 + 8, "<Q", 3), "chunk at .3,., twice or where none can be"),
        (lambda content: put(content, 24 + 8, "<Q", 1 << 60), "chunk at"),
        (lambda content: put(content, 24 + 8, "<Q", 400), "chunk at .400,., twice or where none can be"),
        (lambda content: put(content, 24 + 8, "<Q", 100 << 40), "chunk at"),
        (lambda content: put(content, 24, "<I", 1 << 31), "outside of it"),
        (lambda content: put(content, 24, "<I", 5), "a chunk is damaged|more or less"),
        (lambda content: put(content, 24 + KEY, "<Q", 1 << 50), "outside of it"),
        (lambda content: put(content, 24 + 4, "<I", 1), r"a chunk holds \d+ bytes"),
        (lambda content: put(content, 6, "<H", 3), "3 chunks.*takes 4"),
        (lambda content: put(content, 6, "<H", 65535), "outside of it"),
        (lambda content: put(content, 5, "<B", 1), "list of chunks is not where|damaged"),
        (lambda content: put(content, 4, "<B", 0), "list of chunks is not where"),
    ],
)
def test_lists_of_chunks_that_lie(tmp_path, change, words):
    values = np.random.default_rng(0).standard_normal(400).astype("f4")
    refused(change(written(tmp_path / "x.h5", data=values, chunks=(100,), compression="gzip")), words, most=1 << 20)


def test_a_list_that_contains_itself(tmp_path):
    content = written(tmp_path / "x.h5", data=np.ones(400, "f4"), chunks=(100,))
    content = put(put(content, 5, "<B", 200), 24 + KEY, "<Q", tree_of(content))
    refused(content, "list of chunks is not where", most=1 << 20)


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 3}])
def test_other_filters_are_named_with_the_cure(tmp_path, options):
    content = written(tmp_path / "x.h5", data=np.ones((40, 4), "f4"), chunks=(10, 4), **options)
    error = refused(content, r"HDF5 filter (lzf|fletcher32|scaleoffset): load the model in Keras.*and save it again")
    assert error.reason is Reason.UNSUPPORTED


SHUFFLE = struct.pack("<HH", 2, 8)  # its number, and the length of its name in the list of filters


@pytest.mark.parametrize(
    ("number", "name"),
    [
        *((3, "fletcher32"), (4, "szip"), (5, "nbit"), (6, "scaleoffset")),
        *((307, "number 307"), (32000, "lzf"), (32001, "blosc"), (32015, "zstd")),
    ],
)
def test_filters_have_the_names_that_are_registered_for_their_numbers(tmp_path, number, name):
    content = written(tmp_path / "x.h5", data=np.ones((40, 4), "f4"), chunks=(10, 4), shuffle=True)
    assert content.count(SHUFFLE) == 1
    error = refused(content.replace(SHUFFLE, struct.pack("<HH", number, 8)), f"HDF5 filter {name}: ")
    assert error.reason is Reason.UNSUPPORTED


def test_bytes_that_are_shuffled_for_elements_of_another_size(tmp_path):
    content = written(tmp_path / "x.h5", data=np.ones((40, 4), "f4"), chunks=(10, 4), shuffle=True)
    of_size = b"shuffle\0" + struct.pack("<I", 4)
    assert content.count(of_size) == 1
    refused(content.replace(of_size, b"shuffle\0" + struct.pack("<I", 8)), "shuffled for elements of another size")


def test_info_shows_compressed_weights(tmp_path, capsys):
    model().save_weights(tmp_path / "m.weights.h5")
    repacked(tmp_path / "m.weights.h5", tmp_path / "small.weights.h5")
    assert cli.main(["info", str(Path(tmp_path / "small.weights.h5"))]) == 0
    assert "layers/dense/vars/0" in capsys.readouterr().out
