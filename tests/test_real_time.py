"""Steps are fit for real time: neither allocations, nor locks, nor calls of the system, of layers and of models."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import run_python

NATIVE = Path(__file__).parent / "native"
CC = os.environ.get("CC", "cc").split()

WATCHED = """
import ctypes, sys, numpy as np, cyrnn
from cyrnn.layers import RNN, SimpleRNNCell
import program_models
watch, batch, what, times = ctypes.CDLL(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 20
made, activation, dtype = sys.argv[4:]
rng = np.random.default_rng(0)
if made.startswith("("):
    cells = [SimpleRNNCell(units, activation, dtype=dtype) for units in eval(made)]
    rnn = RNN(cells, return_sequences=True, dtype=dtype)
    rnn.build((None, None, 8))
    runner = rnn.stepper(batch)
else:
    runner = getattr(program_models, made)(rng, dtype=dtype).runner(batch)
arrays = [
    rng.random((batch, times, *port.shape)).astype(dtype) if port.kind == "number"
    else rng.integers(0, program_models.ROWS, (batch, times)) for port in runner.inputs
]
outputs = [np.full((batch, times, *port.shape), np.nan, dtype) for port in runner.outputs]
lengths = np.arange(batch) % (times + 1)
pointers = [(ctypes.c_void_p * len(given))(*[array.ctypes.data for array in given]) for given in (arrays, outputs)]
f, simple = cyrnn.capi.addresses(), len(arrays) == len(outputs) == 1
kind = ("_tokens" if runner.inputs[0].kind == "token" else "") + {"float32": "_f32", "float64": "_f64"}[dtype]


class Watched(ctypes.Structure):
    _fields_ = [("what", ctypes.c_int), *[(name, ctypes.c_void_p) for name in (
        "step", "forward", "step_all", "forward_all", "runner", "lengths", "inputs", "outputs")],
        ("times", ctypes.c_int64)]


watched = Watched(
    what, f["step" + kind] if simple else None, f["forward" + kind] if simple else None, f["step"], f["forward"],
    runner.address, None if made in ("classifier", "two_inputs") else lengths.ctypes.data,
    *map(ctypes.addressof, pointers), times,
)
killed = watch.signal_at_system_call(ctypes.byref(watched))  # first: the child's first step is under the filter
print(watch.allocations_and_locks(ctypes.byref(watched)), killed)
print(all(bool(np.isfinite(array).all()) for array in outputs))
"""


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "__libc_malloc"):
        pytest.skip("what is preloaded here wraps the allocator of Linux' glibc")
    source = NATIVE / "watch.c"
    folder = tmp_path_factory.mktemp("watch")
    library = folder / "watch.so"
    subprocess.run([*CC, "-shared", "-fPIC", "-O1", source, "-o", library, "-ldl", "-pthread"], check=True)
    return library


def watched(watch, batch, what, *arguments, **environment):
    """What the library has noticed."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    preloaded = {"LD_PRELOAD": str(watch), "CYRNN_ENGINE": "simd", "PYTHONPATH": path}
    return run_python(WATCHED, watch, batch, what, *arguments, **preloaded, **environment).stdout.split()


@pytest.mark.unsanitized(reason="preloads an allocator")
@pytest.mark.parametrize("isa", ["generic", None], ids=["generic", "widest"])
@pytest.mark.parametrize("cells", [(32,), (33, 300), (5, 7, 9)])
@pytest.mark.parametrize(
    ("batch", "activation", "dtype"),
    [(1, "tanh", "float32"), (4, "softmax", "float32"), (130, "sparsemax", "float64"), (1, "log_softmax", "float64")],
)
def test_step_and_forward_neither_allocate_nor_lock_nor_call_the_system(watch, batch, activation, dtype, cells, isa):
    environment = {"CYRNN_ISA": isa} if isa else {}
    assert watched(watch, batch, 0, cells, activation, dtype, **environment) == ["0", "0", "True"]


@pytest.mark.unsanitized(reason="preloads an allocator")
@pytest.mark.parametrize("isa", ["generic", None], ids=["generic", "widest"])
@pytest.mark.parametrize("model", ["classifier", "stack", "two_inputs"])
@pytest.mark.parametrize(("batch", "dtype"), [(1, "float32"), (130, "float64")])
def test_those_of_models_do_not_either(watch, batch, dtype, model, isa):
    environment = {"CYRNN_ISA": isa} if isa else {}
    assert watched(watch, batch, 0, model, "", dtype, **environment) == ["0", "0", "True"]


@pytest.mark.unsanitized(reason="preloads an allocator")
@pytest.mark.parametrize(
    ("what", "noticed"), [(1, "2 0"), (2, "1 0"), (3, "0 31")], ids=["allocation", "lock", "system"]
)
def test_what_must_not_happen_would_be_noticed(watch, what, noticed):
    assert watched(watch, 1, what, (4,), "tanh", "float32")[:2] == noticed.split()
