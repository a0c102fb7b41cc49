"""A sound file that does not fit into memory is a MemoryError: nothing is said against the file."""

import json
import sys

import pytest
from helpers import run_python

READING = """
import collections, gc, json, resource, sys, zipfile
from pathlib import Path

import h5py
import numpy as np

import cyrnn
from cyrnn import saving
from cyrnn.cli.inputs import read_inputs
from cyrnn.layers import Dense, Input, SimpleRNN

folder = Path(sys.argv[1])
zeros = {"kernel_initializer": "zeros"}
begin = Input((None, 800))
rnn = SimpleRNN(800, recurrent_initializer="zeros", name="rnn", **zeros)
model = cyrnn.Model(begin, Dense(800, name="dense", **zeros)(rnn(begin)))  # 7.7 MB
model.set_weights([np.random.default_rng(0).random(weight.shape) for weight in model.weights])
model.save(folder / "m.keras")
with zipfile.ZipFile(folder / "m.keras") as stored, zipfile.ZipFile(folder / "packed.keras", "w", 8) as packed:
    for name in stored.namelist():
        packed.writestr(name, stored.read(name))
for end in ("weights.h5", "npz", "safetensors"):
    model.save_weights(folder / f"w.{end}")
with h5py.File(folder / "m.h5", "w") as file:
    file.attrs["model_config"] = model.to_json()
    file.attrs["keras_version"] = "2.4.0"
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = ["rnn", "dense"]
    for layer in model.layers[1:]:
        names = [str(index) for index in range(len(layer.weights))]
        group.create_group(layer.name).attrs["weight_names"] = names
        for name, weight in zip(names, layer.weights):
            group[f"{layer.name}/{name}"] = weight
kernel, recurrent_kernel, bias = rnn.get_weights()
source = {"weight_ih_l0": kernel.T.copy(), "weight_hh_l0": recurrent_kernel.T.copy(), "bias_ih_l0": bias}
with (folder / "torch.safetensors").open("wb") as file:
    saving.safetensors.write_safetensors(file, source | {"bias_hh_l0": bias})
np.savez_compressed(folder / "x.npz", x=np.random.default_rng(0).random((10, 200, 800), "float32"))

cases = {
    "load_model .keras": lambda: saving.load_model(folder / "m.keras"),
    "load_model .keras, packed": lambda: saving.load_model(folder / "packed.keras"),
    "load_model .h5": lambda: saving.load_model(folder / "m.h5"),
    "load_weights .weights.h5": lambda: saving.load_weights(model, folder / "w.weights.h5"),
    "load_weights .npz": lambda: saving.load_weights(model, folder / "w.npz"),
    "load_weights .safetensors": lambda: saving.load_weights(model, folder / "w.safetensors"),
    "from_torch": lambda: saving.from_torch(folder / "torch.safetensors"),
    "from_json": lambda: cyrnn.from_json(model.to_json()),
    "predict's inputs": lambda: read_inputs(folder / "x.npz", ["x"], [(None, None, 800)]),
}
try:
    saving.export_onnx(model, folder / "m.onnx")
    cases["from_onnx"] = lambda: saving.from_onnx(folder / "m.onnx")
except ImportError:
    pass


def limit(more):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY if more is None else used + more, -1))


results = collections.defaultdict(list)
for name, case in cases.items():
    case()  # so that nothing is left to import
    for more in [*range(0, 8 << 20, 1 << 20), *range(8 << 20, 64 << 20, 8 << 20), 200 << 20]:
        gc.collect()
        limit(more)
        try:
            case()
            results[name].append("read")
        except MemoryError:
            results[name].append("MemoryError")
        except BaseException as error:
            limit(None)
            results[name].append(f"{more} more bytes: {error!r:.300}")
        finally:
            limit(None)
print(json.dumps(results))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of the address space is Linux'")
def test_running_out_of_memory_is_no_fault_of_the_file(tmp_path):
    # Without the threshold, the C library would answer from what it has kept of earlier arrays.
    results = json.loads(run_python(READING, tmp_path, MALLOC_MMAP_THRESHOLD_="65536").stdout)
    assert len(results) >= 9
    for name, ends in results.items():
        assert set(ends) == {"read", "MemoryError"}, (name, ends)
        assert ends[-1] == "read"
