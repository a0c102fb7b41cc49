"""Makes hdf5.zip and safetensors.zip: small files of all forms that the readers know, and files that fuzzing has found.

python make.py                               the forms alone, and what is in the archives already
python make.py KIND FILE ...                 and more files of a kind, such as those that guided_fuzzing.py keeps
"""

import io
import json
import struct
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).parent
LARGEST = 16_384  # bytes of a file


def hdf5(write, **options):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


def of_keras_3(file):
    for layer in ("dense", "lstm/cell"):
        for number, dtype in enumerate(("f4", "f8", "f2")):
            file[f"layers/{layer}/vars/{number}"] = np.arange(6, dtype=dtype).reshape(2, 3)


def of_keras_2(file):
    file.attrs["layer_names"] = [b"dense", b"lstm"]
    file.attrs["keras_version"] = "2.4.0"
    file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
    for layer in ("dense", "lstm"):
        group = file.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/kernel:0".encode()]
        group[f"{layer}/kernel:0"] = np.ones((2, 3), "f4")


def in_parts(file):
    file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"a"], [b"b"]
    file.create_group("a").attrs["weight_names0"] = ["kernel"]
    file["a/kernel"] = np.ones((2, 2), ">f4")
    file.create_group("b").attrs["weight_names"] = np.array([])


def in_chunks(**options):
    return lambda file: file.create_dataset(
        "layers/d/vars/0", data=np.arange(60.0).reshape(6, 10), chunks=(4, 3), **options
    )


def many(file):
    for number in range(40):
        file[f"layers/d{number}/vars/0"] = np.zeros(1, "f4")


def of_many_types(file):
    for number, dtype in enumerate(("i1", "u2", "<i4", ">i8", "bool", "c8", "S3")):
        file[f"layers/d/vars/{number}"] = np.zeros(2, dtype)
    file["layers/d/vars/text"] = "text"
    file["layers/d/vars/none"] = h5py.Empty("f4")
    narrow = file.create_dataset("layers/d/vars/narrow", data=np.zeros(2, "V2"))
    narrow.attrs["dtype"] = "bfloat16"
    file["layers/d/link"] = h5py.SoftLink("/layers/d/vars/0")
    file["layers/d/loop"] = file["layers"]


HDF5 = {
    "keras3": hdf5(of_keras_3),
    "keras2": hdf5(of_keras_2),
    "parts": hdf5(in_parts),
    "chunks": hdf5(in_chunks()),
    "gzip": hdf5(in_chunks(compression="gzip", shuffle=True)),
    "lzf": hdf5(in_chunks(compression="lzf")),
    "fletcher32": hdf5(in_chunks(fletcher32=True)),
    "many": hdf5(many),
    "types": hdf5(of_many_types),
    "latest": hdf5(of_keras_3, libver="latest"),
    "empty": hdf5(lambda file: None),
}


def safetensors(header, size):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


SAFETENSORS = {
    "empty": safetensors({}, 0),
    "one": safetensors({"a": tensor("F32", [2, 1], 0, 8)}, 8),
    "metadata": safetensors(
        {"__metadata__": {"format": "pt"}, "a": tensor("I8", [3], 0, 3), "b": tensor("F64", [], 3, 11)}, 11
    ),
    "types": safetensors(
        {"a": tensor("BF16", [2], 0, 4), "b": tensor("BOOL", [4], 4, 8), "c": tensor("U16", [0, 5], 8, 8)}, 8
    ),
    "gap": safetensors({"a": tensor("F32", [1], 4, 8)}, 8),
}


def write(kind, forms, more):
    path = FOLDER / f"{kind}.zip"
    files = {}
    if path.exists():
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    files |= forms | {name: content for name, content in more.items() if len(content) <= LARGEST}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), files[name], zipfile.ZIP_DEFLATED)


given = {path.name: path.read_bytes() for path in map(Path, sys.argv[2:])}
for kind, forms in {"hdf5": HDF5, "safetensors": SAFETENSORS}.items():
    write(kind, forms, given if sys.argv[1:2] == [kind] else {})
