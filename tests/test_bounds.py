"""What reading a file may take at most: time proportional to its size, and 8 times its size and 100 MB of memory.

Each file here is made to take as much as it can, and is read in a process of its own, a fork of one that has imported
what readers need. Files that took no bound took minutes, or gigabytes.
"""

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import hdf5_by_hand as hdf5
import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import save_model, save_weights

MEGABYTE = 1 << 20
LONGEST = 100  # seconds for a case, which takes up to five alone on a machine; without bounds it is minutes to days

READER = """
import json, os, signal, sys, warnings
import cyrnn
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import ModelFileError, load_model, load_weights
from cyrnn.saving import interchange, opened

def listed(path):
    with opened.opened(path) as file:
        form = interchange.recognised(file)
        if form.list_arrays is None:
            raise ModelFileError("it holds a model, or what has to be translated")
        form.list_arrays(file)

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def read(path):
    before, loaded, refusals = peak(), 0, []
    for load in (load_model, lambda path: load_weights(model, path), listed):
        try:
            load(path)
            loaded += 1
        except ModelFileError as error:
            refusals.append(str(error))
    return {"loaded": loaded, "taken": peak() - before, "refusals": refusals}

warnings.simplefilter("ignore")
model = cyrnn.Sequential([Input((5, 3)), SimpleRNN(4), Dense(2)])
for sound in sys.argv[2:]:  # what is imported and kept the first time is not the file's
    load_model(sound) if sound.endswith((".keras", ".h5")) else load_weights(model, sound)
for line in sys.stdin:
    child = os.fork()
    if not child:
        signal.alarm(int(sys.argv[1]))  # which ends it
        print(json.dumps(read(line[:-1])), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(json.dumps({"died of": status}), flush=True)
"""


def model():
    return cyrnn.Sequential([Input((5, 3)), SimpleRNN(4), Dense(2)])


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A process that reads each file whose path it gets, in a fork, and says what that took."""
    folder = tmp_path_factory.mktemp("sound")
    save_model(model(), folder / "sound.keras")
    save_weights(model(), folder / "sound.npz")
    save_weights(model(), folder / "sound.safetensors")
    command = [sys.executable, "-P", "-W", "ignore", "-c", READER, str(LONGEST), *sorted(map(str, folder.iterdir()))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def read_in_bounds(path, reader):
    """Read a file in every way, within its bounds; returns in how many ways it can be."""
    print(path, file=reader.stdin, flush=True)
    found = json.loads(reader.stdout.readline())
    assert "died of" not in found, found
    print(path.name, path.stat().st_size >> 10, "kB:", found["taken"] >> 20, "MB", *found["refusals"])
    assert found["taken"] < 8 * path.stat().st_size + 100 * MEGABYTE
    assert all(len(refusal) < 3000 for refusal in found["refusals"])
    return found["loaded"]


# ---------------------------------------------------------------- HDF5


def names_in_many_leaves(count):
    """A sound group of many names, whose tree has as many levels as HDF5's own would have."""
    file = hdf5.Builder()
    dataset = file.dataset(np.zeros((2, 2)))
    return file.finished(file.group({f"n{number:06}": dataset for number in range(count)}))


def one_leaf_for_each_name(count):
    """A tree of many leaves with one name each."""
    file = hdf5.Builder()
    dataset = file.dataset(np.zeros((2, 2)))
    heap, offsets = file.names([f"{number:x}" for number in range(count)])
    leaves = [file.add(struct.pack("<4sBxHQQII16x", b"SNOD", 1, 1, at, dataset, 0, 0)) for at in offsets]
    head = struct.pack("<4sBBHQQ", b"TREE", 0, 0, count, hdf5.UNDEFINED, hdf5.UNDEFINED)
    tree = file.add(head + b"".join(struct.pack("<QQ", 0, leaf) for leaf in leaves))
    return file.finished(file.header(hdf5.message(hdf5.SYMBOL_TABLE, struct.pack("<QQ", tree, heap))))


def trees_that_share_their_children(levels):
    """255 levels of nodes, each with 32 times the one below it for children."""
    file = hdf5.Builder()
    heap, _ = file.names(["a"])
    tree = file.tree([file.leaf([])])
    for level in range(1, levels):
        tree = file.tree([tree] * 32, level)
    return file.finished(file.header(hdf5.message(hdf5.SYMBOL_TABLE, struct.pack("<QQ", tree, heap))))


def ends_of_one_long_name(length):
    """Names that are the ends of one long text: each is another, and all are long."""
    file = hdf5.Builder()
    dataset = file.dataset(np.zeros((2, 2)))
    heap = file.heap(b"\0" * 8 + b"x" * length + b"\0")
    leaves = [file.leaf([(8 + 8 * first + at, dataset) for at in range(8)]) for first in range(length // 400)]
    parts = [file.tree(leaves[first : first + 32]) for first in range(0, len(leaves), 32)]
    head = struct.pack("<4sBBHQQ", b"TREE", 0, 1, len(parts), hdf5.UNDEFINED, hdf5.UNDEFINED)
    tree = file.add(head + b"".join(struct.pack("<QQ", 0, part) for part in parts))
    return file.finished(file.header(hdf5.message(hdf5.SYMBOL_TABLE, struct.pack("<QQ", tree, heap))))


def groups_with_one_heap(count):
    """Many groups whose names lie in one long heap."""
    file = hdf5.Builder()
    dataset = file.dataset(np.zeros((2, 2)))
    heap = file.heap(b"\0" * 8 + b"\0".join(b"n%06d" % number for number in range(count)) + b"\0")
    groups = {}
    for number in range(count // 100):
        tree = file.tree([file.leaf([(8 + 8 * (100 * number), dataset)])])
        groups[f"g{number}"] = file.header(hdf5.message(hdf5.SYMBOL_TABLE, struct.pack("<QQ", tree, heap)))
    return file.finished(file.group(groups))


def headers_within_each_other(count):
    """Object headers eight bytes after each other, each with all the messages to the end."""
    file = hdf5.Builder()
    block = struct.pack("<BBHII4x", 1, 0, 60_000, 1, 8 * count)
    first = file.add(block[:8] * count)
    links = {f"n{number:06}": first + 8 * number for number in range(count)}
    return file.finished(file.group(links))


def continuations_in_a_circle(count):
    """A block of a header that continues in itself, for many headers."""
    file = hdf5.Builder()
    at = file.size
    file.add(hdf5.continuation(at, 24) + bytes(8))
    links = {f"n{number:06}": file.header(hdf5.continuation(at, 24), count=65_000) for number in range(count)}
    return file.finished(file.group(links))


def one_block_of_attributes_for_many(count):
    """Groups whose headers continue in one block: thousands of small attributes, which each has then."""
    file = hdf5.Builder()
    block = b"".join(hdf5.texts(f"a{number:05}", b"x") for number in range(1000))
    at = file.add(block)
    dataset = file.dataset(np.zeros((2, 2)))
    links = {f"n{number:06}": file.header(hdf5.continuation(at, len(block)), count=1001) for number in range(count)}
    return file.finished(file.group({"layers": file.group(links), "d": dataset}))


def one_list_of_names_for_many(count):
    """A list of names that thousands of groups have for their weights."""
    file = hdf5.Builder()
    names = hdf5.texts("weight_names", [b"xy"] * 30_000)
    at = file.add(names)
    heap, _ = file.names([])
    empty = hdf5.message(hdf5.SYMBOL_TABLE, struct.pack("<QQ", file.tree([]), heap))
    links = {f"n{number:06}": file.header(empty, hdf5.continuation(at, len(names)), count=3) for number in range(count)}
    layers = hdf5.texts("layer_names", [name.encode() for name in links][:7000])
    return file.finished(file.group(links, layers))


def heaps_within_each_other(count):
    """Heaps of strings, each of which is a string of the one before it, and has all that come after it too."""
    file = hdf5.Builder()
    begin, size = file.size, 32 * count
    heaps = [begin + 32 * number for number in range(count)]
    file.add(
        b"".join(
            struct.pack("<4sB3xQHH4xQ", b"GCOL", 1, begin + size - heap, 1 + number % 60_000, 1, 16)
            for number, heap in enumerate(heaps)
        )
    )
    places = [(1, heap, 1 + number) for number, heap in enumerate(heaps[:4000])]
    return file.finished(file.group({}, hdf5.long_texts("model_config", places)))


def one_dataset_by_many_names(count):
    """A dataset of half the file that all the model's weights are, and a thousand others."""
    file = hdf5.Builder()
    dataset = file.dataset(np.zeros((count, 8)))
    names = {f"dense_{number}" if number else "dense": None for number in range(1000)}
    layers = {name: file.group({"vars": file.group({"0": dataset, "1": dataset})}) for name in names}
    return file.finished(file.group({"layers": file.group(layers)}))


def a_config_in_the_attributes(config):
    file = hdf5.Builder()
    heap = file.strings([config])
    weights = file.group({}, hdf5.texts("layer_names", [b"x"]))
    return file.finished(
        file.group({"model_weights": weights}, hdf5.long_texts("model_config", (len(config), heap, 1)))
    )


def paths_of_many_parts(length):
    """A group that holds itself, and names of weights that go around in it."""
    root = 0
    for _ in range(2):  # the address of the group is known the second time
        file = hdf5.Builder()
        heap = file.strings([b"a/" * (length // 2) + b"a"])
        names = hdf5.long_texts("weight_names", [(length, heap, 1)] * 3)
        root = file.group({"a": root}, hdf5.texts("layer_names", [b"a", b"a"]), names)
    return file.finished(root)


HDF5 = {  # with the number of ways in which each can be read
    "names in many leaves": (lambda: names_in_many_leaves(40_000), 1),
    "one leaf for each name": (lambda: one_leaf_for_each_name(60_000), 1),
    "trees that share their children": (lambda: trees_that_share_their_children(255), 0),
    "ends of one long name": (lambda: ends_of_one_long_name(2 * MEGABYTE), 0),
    "groups with one heap": (lambda: groups_with_one_heap(200_000), 0),
    "headers within each other": (lambda: headers_within_each_other(40_000), 0),
    "continuations in a circle": (lambda: continuations_in_a_circle(20_000), 0),
    "one block of attributes for many": (lambda: one_block_of_attributes_for_many(20_000), 0),
    "one list of names for many": (lambda: one_list_of_names_for_many(20_000), 0),
    "heaps within each other": (lambda: heaps_within_each_other(40_000), 0),
    "one dataset by many names": (lambda: one_dataset_by_many_names(200_000), 1),
    "paths of many parts": (lambda: paths_of_many_parts(MEGABYTE), 1),
    "a config of braces": (lambda: a_config_in_the_attributes(braces(8 * MEGABYTE)), 0),
    "a config of layers": (lambda: a_config_in_the_attributes(layers(8 * MEGABYTE)), 0),
    "a config that is too long": (lambda: a_config_in_the_attributes(long_text(20 * MEGABYTE)), 0),
    "a config of wide characters": (lambda: a_config_in_the_attributes(long_text(8 * MEGABYTE - 100)), 0),
}


def braces(size):
    """JSON that takes 25 times its size when it is parsed."""
    return b'{"class_name":"Sequential","config":[' + b"{}," * ((size - 100) // 3) + b"{}]}"


def layers(size):
    """JSON of as many layers as go into it."""
    one = b'{"class_name":"ReLU","config":{}},'
    begin = b'{"class_name":"Sequential","config":[{"class_name":"InputLayer","config":{"batch_shape":[null,3]}},'
    return begin + one * ((size - 200) // len(one)) + one[:-1] + b"]}"


def long_text(size):
    """JSON of one text, whose characters take four bytes each in memory."""
    return '{"class_name":"\U0001f600'.encode() + b"x" * (size - 30) + b'"}'


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is measured in /proc"),
]


@pytest.mark.parametrize("case", HDF5)
def test_hdf5(tmp_path, reader, case):
    make, ways = HDF5[case]
    (tmp_path / "w.h5").write_bytes(make())
    assert read_in_bounds(tmp_path / "w.h5", reader) == ways


# ---------------------------------------------------------------- archives

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def archive(members, compression=STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=9) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return file.getvalue()


def keras(config=None, weights=b"", compression=DEFLATED):
    """A .keras file of the model, with another config, or other weights."""
    config = model().to_json().encode() if config is None else config
    metadata = b'{"keras_version": "3.10.0"}'
    members = {"config.json": config, "metadata.json": metadata, "model.weights.h5": weights}
    return archive(members, compression)


def one_member_by_many_names(count, content):
    """An archive whose list of members names one of them again and again."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("a.npy", content)
        first = written.filelist[0]
        for number in range(count):
            other = zipfile.ZipInfo(f"{number:05}.npy")
            for part in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, part, getattr(first, part))
            written.filelist.append(other)
        written._didModify = True
    return file.getvalue()


def npy(header, data=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


ZEROS = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", bytes(16))
LONG = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 900 + "), }", bytes(4))
WIDE = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 1900 + ", ), }", bytes(4))
ARCHIVES = {
    "a config of braces": ("keras", lambda: keras(braces(8 * MEGABYTE)), 0),
    "a config of braces, stored": ("keras", lambda: keras(braces(8 * MEGABYTE), compression=STORED), 0),
    "a config of layers": ("keras", lambda: keras(layers(8 * MEGABYTE)), 0),
    "a config of layers, stored": ("keras", lambda: keras(layers(8 * MEGABYTE), compression=STORED), 0),
    "as many layers as there may be": ("keras", lambda: keras(layers(19_000 * 34)), 0),
    "a config of wide characters": ("keras", lambda: keras(long_text(8 * MEGABYTE)), 0),
    "weights of zeros": ("keras", lambda: keras(weights=bytes(300 * MEGABYTE)), 0),
    "weights of names": ("keras", lambda: keras(weights=names_in_many_leaves(60_000)), 0),
    "weights of one list of names": ("keras", lambda: keras(weights=one_list_of_names_for_many(20_000)), 0),
    "weights of many attributes": ("keras", lambda: keras(weights=one_block_of_attributes_for_many(30_000)), 0),
    "a list of many members": ("npz", lambda: archive({f"{n}.npy": b"" for n in range(37_000)}), 0),
    "a list of too many members": ("npz", lambda: archive({f"{n}.npy": b"" for n in range(150_000)}), 0),
    "sound members": ("npz", lambda: archive({f"{n}.npy": ZEROS for n in range(20_000)}), 1),
    "one member by many names": ("npz", lambda: one_member_by_many_names(30_000, LONG), 0),
    "long headers": ("npz", lambda: archive({f"{n}.npy": LONG for n in range(20_000)}, DEFLATED), 0),
    "large numbers in headers": ("npz", lambda: archive({f"{n}.npy": WIDE for n in range(20_000)}, DEFLATED), 0),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(tmp_path, reader, case):
    end, make, ways = ARCHIVES[case]
    (tmp_path / f"w.{end}").write_bytes(make())
    assert read_in_bounds(tmp_path / f"w.{end}", reader) == ways


# ---------------------------------------------------------------- .safetensors


def tensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def described(count):
    """The header of as many arrays without elements."""
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return b"{" + b",".join(entry % number for number in range(count)) + b"}"


def shaped(lengths):
    return b'{"a":{"dtype":"F32","shape":[' + b",".join(lengths) + b'],"data_offsets":[0,4]}}'


SAFETENSORS = {
    "braces": (lambda: tensors(b'{"a":[' + b"{}," * (5 * MEGABYTE) + b"{}]}"), 0),
    "brackets in each other": (lambda: tensors(b'{"a":' + b"[" * (15 * MEGABYTE)), 0),
    "pairs": (lambda: tensors(b'{"__metadata__":{' + b'"a":"b",' * (1900 * 1024) + b'"c":"d"}}'), 0),
    "many arrays": (lambda: tensors(described(50_000)), 1),
    "as many arrays as go in": (lambda: tensors(described(290_000)), 0),
    "a shape of large numbers": (lambda: tensors(shaped([b"9" * 18] * 800_000), bytes(4)), 0),
    "a shape of larger numbers": (lambda: tensors(shaped([b"9" * 390] * 40_000), bytes(4)), 0),
    "a shape of largest numbers": (lambda: tensors(shaped([b"9" * 4300] * 3_700), bytes(4)), 0),
    "one large number": (lambda: tensors(shaped([b"9" * (15 * MEGABYTE)]), bytes(4)), 0),
    "one long float": (lambda: tensors(shaped([b"0." + b"9" * (15 * MEGABYTE)]), bytes(4)), 0),
    "a shape of many ones": (lambda: tensors(shaped([b"1"] * (7 * MEGABYTE)), bytes(4)), 0),
    "wide characters": (lambda: tensors('{"\U0001f600'.encode() + b"x" * (15 * MEGABYTE) + b'":1}'), 0),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(tmp_path, reader, case):
    make, ways = SAFETENSORS[case]
    (tmp_path / "w.safetensors").write_bytes(make())
    assert read_in_bounds(tmp_path / "w.safetensors", reader) == ways
