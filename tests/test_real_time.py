"""Steps are fit for real time: neither allocations, nor locks, nor calls of the system, of layers and of models."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import run_python

NATIVE = Path(__file__).parent / "native"
CC = os.environ.get("CC", "cc").split()

WATCHED = """
import ctypes, json, os, sys, numpy as np, cyrnn
from cyrnn.layers import RNN, SimpleRNNCell
import program_models
watch = ctypes.CDLL(sys.argv[1])


class Watched(ctypes.Structure):
    _fields_ = [("what", ctypes.c_int), *[(name, ctypes.c_void_p) for name in (
        "step", "forward", "step_all", "forward_all", "runner", "lengths", "inputs", "outputs")],
        ("times", ctypes.c_int64)]


def noticed(what, batch, made, activation, dtype):
    rng, times = np.random.default_rng(0), 20
    if isinstance(made, list):
        cells = [SimpleRNNCell(units, activation, dtype=dtype) for units in made]
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
    watched = Watched(
        what, f["step" + kind] if simple else None, f["forward" + kind] if simple else None, f["step"], f["forward"],
        runner.address, None if made in ("classifier", "two_inputs") else lengths.ctypes.data,
        *map(ctypes.addressof, pointers), times,
    )
    killed = watch.signal_at_system_call(ctypes.byref(watched))  # first: the child's first step is under the filter
    done = watch.allocations_and_locks(ctypes.byref(watched))
    return done, killed, all(bool(np.isfinite(array).all()) for array in outputs)


for case in json.loads(sys.argv[2]):
    child = os.fork()  # for each case a process that has taken no step yet
    if not child:
        print(json.dumps(noticed(*case)), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, case
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


def watched(watch, cases, **environment):
    """What the library has noticed in each case: what is done on purpose, batch, units or model, activation, dtype."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    preloaded = {"LD_PRELOAD": str(watch), "CYRNN_ENGINE": "simd", "PYTHONPATH": path}
    printed = run_python(WATCHED, watch, json.dumps(cases), **preloaded, **environment).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.unsanitized(reason="preloads an allocator")
@pytest.mark.parametrize("isa", [pytest.param("generic", marks=pytest.mark.slow), None], ids=["generic", "widest"])
def test_step_and_forward_neither_allocate_nor_lock_nor_call_the_system(watch, isa):
    kinds = [
        (1, "tanh", "float32"),
        (4, "softmax", "float32"),
        (130, "sparsemax", "float64"),
        (1, "log_softmax", "float64"),
    ]
    of_cells = [
        (0, batch, units, activation, dtype)
        for units in ([32], [33, 300], [5, 7, 9])
        for batch, activation, dtype in kinds
    ]
    of_models = [
        (0, batch, model, "", dtype)
        for model in ("classifier", "stack", "two_inputs")
        for batch, dtype in ((1, "float32"), (130, "float64"))
    ]
    cases = of_cells + of_models
    found = watched(watch, cases, **({"CYRNN_ISA": isa} if isa else {}))
    assert [(case, result) for case, result in zip(cases, found, strict=True) if result != [0, 0, True]] == []


@pytest.mark.unsanitized(reason="preloads an allocator")
@pytest.mark.parametrize(
    ("what", "noticed"), [(1, [2, 0]), (2, [1, 0]), (3, [0, 31])], ids=["allocation", "lock", "system"]
)
def test_what_must_not_happen_would_be_noticed(watch, what, noticed):
    [found] = watched(watch, [(what, 1, [4], "tanh", "float32")])
    assert found[:2] == noticed
