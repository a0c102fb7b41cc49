"""Consumers of the C interface, compiled and run: C, ctypes, cffi, extensions. See test_real_time.py too."""

import ctypes
import os
import re
import subprocess
import sysconfig
import weakref
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import engine
from cyrnn.layers import RNN, SimpleRNN, SimpleRNNCell

NATIVE = Path(__file__).parent / "native"
CC = os.environ.get("CC", "cc").split()
STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
C = cyrnn.capi.functions()
rng = np.random.default_rng(11)


def compiled(source, folder, *flags, suffix=".so", shared=True):
    """The path of a shared library made of a C file."""
    library = folder / (source.stem + suffix)
    kind = ["-shared", "-fPIC"] if shared else []
    subprocess.run([*CC, *STRICT, *kind, f"-I{cyrnn.get_include()}", *flags, source, "-o", library], check=True)
    return library


def built(layer, features=8):
    layer.build((None, None, features))
    return layer


def pointer(array):
    return array.ctypes.data


# ---------------------------------------------------------------- consumers


@pytest.mark.parametrize("standard", ["c99", "c11", "c++11", "c++20"])
def test_the_header_stands_alone(standard, tmp_path):
    source = tmp_path / ("header.c" if standard.startswith("c1") or standard == "c99" else "header.cpp")
    source.write_text(
        "#include <cyrnn.h>\n#include <cyrnn.h>\ncyrnn_info info; int main(void) { return info.dtype; }\n"
    )
    flags = [f"-std={standard}", *STRICT[1:], f"-I{cyrnn.get_include()}", "-fsyntax-only"]
    subprocess.run([*CC, *flags, source], check=True)


@pytest.mark.parametrize("cell", [lambda: SimpleRNNCell(32), lambda: [SimpleRNNCell(20), SimpleRNNCell(9)]])
def test_c_streams_in_threads_that_python_has_not_seen(cell, tmp_path):
    library = ctypes.CDLL(str(compiled(NATIVE / "threads.c", tmp_path, "-pthread")))
    rnn = built(RNN(cell(), return_sequences=True))
    x = rng.standard_normal((6, 101, 8)).astype("f")
    expected = np.concatenate([rnn(x[i : i + 1]) for i in range(6)])
    outputs = np.empty_like(expected)
    stepper = rnn.stepper()
    status = library.run_streams(
        ctypes.c_void_p(cyrnn.capi.api_address), ctypes.c_void_p(stepper.model_address), 6, ctypes.c_int64(101),
        ctypes.c_void_p(pointer(x)), ctypes.c_void_p(pointer(outputs)),
    )  # fmt: skip
    assert status == 0
    np.testing.assert_array_equal(outputs, expected)
    assert not np.any(stepper.state[0])  # its own stream has not moved


def test_a_c_extension_finds_table_and_runner_by_capsules(tmp_path, monkeypatch):
    compiled(NATIVE / "extension.c", tmp_path, f"-I{sysconfig.get_paths()['include']}")
    monkeypatch.syspath_prepend(tmp_path)
    import extension

    rnn = built(SimpleRNN(5, return_sequences=True))
    x, outputs = rng.standard_normal((1, 7, 8)).astype("f"), np.empty((7, 5), "f")
    stepper = rnn.stepper()
    for t in range(7):
        extension.step(stepper, x[0, t], outputs[t])
    np.testing.assert_array_equal(outputs, rnn(x)[0])
    with pytest.raises(AttributeError, match="__cyrnn_runner__"):
        extension.step(rnn, x[0, 0], outputs[0])
    model = built(cyrnn.Sequential([rnn]))
    for thing in (rnn, stepper, model):
        outputs[:] = 0
        extension.forward(thing, 7, x, outputs)
        np.testing.assert_array_equal(outputs, rnn(x)[0])
    with pytest.raises(ValueError, match="'simple_rnn_cell.*' has no stepper: an RNN has one"):
        extension.forward(rnn.cell, 7, x, outputs)
    with pytest.raises(ValueError, match="goes backwards"):
        extension.forward(built(SimpleRNN(5, go_backwards=True)), 7, x, outputs)
    with pytest.raises(RuntimeError, match="float32 function was called on a float64 model"):
        extension.step(built(SimpleRNN(5, dtype="float64")).stepper(), x[0, 0], outputs[0])


def test_cffi(tmp_path):
    cffi = pytest.importorskip("cffi", reason="cffi is not installed")
    rnn = built(SimpleRNN(5, return_sequences=True))
    x, outputs = rng.standard_normal((1, 7, 8)).astype("f"), np.empty((1, 7, 5), "f")
    ffi, stepper = cffi.FFI(), rnn.stepper()
    forward = ffi.cast("int (*)(void *, int64_t, float *, float *)", cyrnn.capi.addresses()["forward_f32"])
    runner = ffi.cast("void *", stepper.address)
    assert forward(runner, 7, ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", outputs)) == 0
    np.testing.assert_array_equal(outputs, rnn(x))


# ---------------------------------------------------------------- the functions, through ctypes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_forward_in_chunks_has_the_bits_of_a_call(dtype, batch):
    stack = [SimpleRNNCell(20, dtype=dtype), SimpleRNNCell(33, dtype=dtype), SimpleRNNCell(4, dtype=dtype)]
    rnn = built(RNN(stack, return_sequences=True, return_state=True, dtype=dtype))
    x = rng.standard_normal((batch, 77, 8)).astype(dtype)
    outputs, *states = rnn(x)
    stepper = rnn.stepper(batch)
    forward = C["forward_f32" if dtype == "float32" else "forward_f64"]
    for first, last in [(0, 1), (1, 40), (40, 40), (40, 77)]:
        part = np.ascontiguousarray(x[:, first:last])
        given = np.empty((batch, last - first, 4), dtype)
        assert forward(stepper.address, last - first, pointer(part), pointer(given)) == 0
        np.testing.assert_array_equal(given, outputs[:, first:last])
    for got, (expected,) in zip(stepper.state, states, strict=True):
        np.testing.assert_array_equal(got, expected)
    _, *states = rnn(x[:, :3], initial_state=states)
    begins = np.ascontiguousarray(x[:, :3])
    assert forward(stepper.address, 3, pointer(begins), None) == 0  # the states alone
    for got, (expected,) in zip(stepper.state, states, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("engine_name", ["simd", "blas"])
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_forward_refuses_outputs_that_share_memory_with_x(monkeypatch, engine_name, batch):
    monkeypatch.setenv("CYRNN_ENGINE", engine_name)
    rnn = built(RNN([SimpleRNNCell(20), SimpleRNNCell(8)], return_sequences=True))
    stepper, count = rnn.stepper(batch), batch * 7 * 8
    memory = rng.standard_normal(3 * count).astype("f")
    before, x = memory.copy(), memory[count : 2 * count]
    for first in (1, count - 8, count, count + 1, 2 * count - 1):
        status = C["forward_f32"](stepper.address, 7, pointer(x), pointer(memory[first:]))
        assert status_name(status) == "OVERLAP", first
    np.testing.assert_array_equal(memory, before)
    assert not any(state.any() for state in stepper.state)
    for first in (0, 2 * count):  # side by side
        stepper.reset()
        assert C["forward_f32"](stepper.address, 7, pointer(x), pointer(memory[first:])) == 0
        np.testing.assert_array_equal(memory[first:][:count].reshape(batch, 7, 8), rnn(x.reshape(batch, 7, 8)))


class Info(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("features", ctypes.c_int64),
        ("units", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("states", ctypes.c_int32),
        ("takes_lengths", ctypes.c_int32),
        ("real_time", ctypes.c_int32),
    ]


class Port(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("kind", ctypes.c_int32),
        ("timed", ctypes.c_int32),
        ("width", ctypes.c_int64),
        ("name", ctypes.c_char_p),
    ]


def port_of(model, what, index):
    """(kind, timed, width, name) of an input, an output or a state."""
    port = Port(struct_size=ctypes.sizeof(Port))
    assert C[f"{what}_info"](model, index, ctypes.addressof(port)) == 0
    assert port.struct_size == ctypes.sizeof(Port)
    return port.kind, port.timed, port.width, port.name.decode()


def test_info(monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", "simd")
    cells = [SimpleRNNCell(6, dtype="float64", name="lower"), SimpleRNNCell(5, dtype="float64", name="upper")]
    stepper = built(RNN(cells, dtype="float64", name="stack")).stepper(2)
    info, model = Info(struct_size=ctypes.sizeof(Info)), stepper.model_address
    assert C["model_info"](model, ctypes.addressof(info)) == 0
    assert (info.features, info.units, info.dtype, info.real_time) == (8, 5, 1, 1)
    assert (info.inputs, info.outputs, info.states, info.takes_lengths) == (1, 1, 2, 1)
    assert port_of(model, "input", 0) == (0, 1, 8, "sequences")
    assert port_of(model, "output", 0) == (0, 1, 5, "stack")
    assert [port_of(model, "state", i) for i in range(2)] == [(0, 1, 6, "lower"), (0, 1, 5, "upper")]
    batch = ctypes.c_int64()
    assert C["runner_batch"](stepper.address, ctypes.addressof(batch)) == 0
    assert batch.value == 2
    monkeypatch.setenv("CYRNN_ENGINE", "blas")
    stepper = built(SimpleRNN(4)).stepper()
    assert C["model_info"](stepper.model_address, ctypes.addressof(info)) == 0
    assert (info.dtype, info.states, info.real_time) == (0, 1, 0)


FULL = ctypes.sizeof(Info)


@pytest.mark.parametrize("size", [FULL, FULL + 1, 128, 1023])
def test_info_fills_what_it_knows_and_nothing_beyond(size):
    """A consumer that was compiled with a later header has a larger struct, and learns how much of it is filled."""
    stepper = built(SimpleRNN(4)).stepper()
    memory = (ctypes.c_uint8 * 8192)(*[0xAA] * 8192)
    info = Info.from_buffer(memory)
    info.struct_size = size
    assert C["model_info"](stepper.model_address, ctypes.addressof(memory)) == 0
    assert (info.struct_size, info.features, info.units, info.states, info.dtype) == (FULL, 8, 4, 1, 0)
    assert set(memory[FULL:]) == {0xAA}


@pytest.mark.parametrize("size", [0, 8, FULL - 4, FULL - 1, 1024, 4096, 2**32, 0xAAAAAAAAAAAAAAAA, 2**64 - 1])
def test_a_size_that_nobody_set_is_refused(size):
    stepper = built(SimpleRNN(4)).stepper()
    memory = (ctypes.c_uint8 * 8192)(*[0xAA] * 8192)
    Info.from_buffer(memory).struct_size = size
    before = bytes(memory)
    assert status_name(C["model_info"](stepper.model_address, ctypes.addressof(memory))) == "WRONG_STRUCT"
    assert bytes(memory) == before


STATUSES = {
    "WRONG_DTYPE": b"a float32 function was called on a float64 model, or the other way round",
    "NULL_ARGUMENT": b"an argument is NULL that may not be",
    "OUT_OF_RANGE": b"a batch, row, index, length or number of timesteps is out of range",
    "MEMORY_TOO_SMALL": b"the memory is smaller than runner_size says",
    "WRONG_STRUCT": b"struct_size is not set to the size of the struct",
    "OVERLAP": b"inputs and outputs share memory",
    "WRONG_PORTS": b"the model has other inputs or outputs than this function takes",
    "WRONG_TOKEN": b"a token is not in the model's table",
    "NO_MASK": b"the model takes no mask, and so no lengths",
}


def status_name(status):
    return {text: name for name, text in STATUSES.items()}[C["status_text"](status)]


def test_every_status_has_a_text():
    texts = [C["status_text"](status) for status in range(12)]
    assert len(set(texts)) == 12
    assert C["status_text"](-1) == C["status_text"](99) == b"not a status of cyrnn"


def test_wrong_calls_get_a_status():
    stepper = built(RNN([SimpleRNNCell(4), SimpleRNNCell(3)])).stepper(2)
    runner, model = stepper.address, stepper.model_address
    x, out = np.ones((2, 8), "f"), np.empty((2, 3), "f")
    size, made = ctypes.c_size_t(), ctypes.c_void_p()
    wrong = {
        "NULL_ARGUMENT": [
            ("step_f32", None, pointer(x), pointer(out)),
            ("step_f32", runner, None, pointer(out)),
            ("step_f32", runner, pointer(x), None),
            ("forward_f32", runner, 1, None, None),
            ("get_state_f32", runner, 0, 0, 2, None),
            ("runner_create", None, 1, None, 0, ctypes.addressof(made)),
            ("runner_create", model, 1, None, 0, None),
            ("runner_destroy", None),
            ("model_release", None),
            ("reset", None),
        ],
        "WRONG_DTYPE": [
            ("step_f64", runner, pointer(x), pointer(out)),
            ("forward_f64", runner, 1, pointer(x), pointer(out)),
            ("set_state_f64", runner, 0, 0, 2, None),
        ],
        "OUT_OF_RANGE": [
            ("forward_f32", runner, -1, pointer(x), pointer(out)),
            ("forward_f32", runner, 2**62, pointer(x), pointer(out)),
            ("get_state_f32", runner, 2, 0, 2, pointer(out)),
            ("get_state_f32", runner, -1, 0, 2, pointer(out)),
            ("set_state_f32", runner, 0, 1, 2, None),
            ("set_state_f32", runner, 0, -1, 1, None),
            ("set_state_f32", runner, 0, 0, 2**62, None),
            ("runner_size", model, 0, ctypes.addressof(size)),
            ("runner_size", model, 2**62, ctypes.addressof(size)),
        ],
        "MEMORY_TOO_SMALL": [("runner_create", model, 1, pointer(x), 64, ctypes.addressof(made))],
    }
    for name, calls in wrong.items():
        for function, *arguments in calls:
            assert status_name(C[function](*arguments)) == name, (function, arguments)
    assert not stepper.state[0].any()
    assert made.value is None


def test_states_of_rows():
    stepper = built(RNN([SimpleRNNCell(4), SimpleRNNCell(3)])).stepper(3)
    values = rng.standard_normal((2, 3)).astype("f")
    assert C["set_state_f32"](stepper.address, 1, 1, 2, pointer(values)) == 0
    np.testing.assert_array_equal(stepper.state[1], [[0, 0, 0], *values])
    got = np.empty((1, 3), "f")
    assert C["get_state_f32"](stepper.address, 1, 2, 1, pointer(got)) == 0
    np.testing.assert_array_equal(got, values[1:])
    assert C["set_state_f32"](stepper.address, 1, 2, 1, None) == 0
    np.testing.assert_array_equal(stepper.state[1], [[0, 0, 0], values[0], [0, 0, 0]])
    assert C["reset"](stepper.address) == 0
    assert not stepper.state[1].any()


def test_a_runner_outlives_the_stepper_whose_model_it_holds():
    rnn = built(SimpleRNN(5, return_sequences=True))
    x, made = rng.standard_normal((1, 9, 8)).astype("f"), ctypes.c_void_p()
    expected = rnn(x)
    stepper = rnn.stepper()
    size = ctypes.c_size_t()
    assert C["runner_size"](stepper.model_address, 1, ctypes.addressof(size)) == 0
    memory = np.full(size.value + 7, 255, np.uint8)
    start = pointer(memory) + 7  # wherever it begins
    assert C["runner_create"](stepper.model_address, 1, start, size.value, ctypes.addressof(made)) == 0
    assert start <= made.value < start + size.value
    del rnn, stepper
    outputs = np.empty_like(expected)
    assert C["forward_f32"](made, 9, pointer(x), pointer(outputs)) == 0
    np.testing.assert_array_equal(outputs, expected)
    assert C["runner_destroy"](made) == 0


@pytest.mark.unsanitized(reason="measures memory")
def test_runners_leave_no_memory_behind():
    made = ctypes.c_void_p()

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    if not Path("/proc/self/statm").exists():
        pytest.skip("this system has no /proc")
    for count in range(600):
        if count == 100:
            before = resident()
        layer = built(SimpleRNN(256, recurrent_initializer="zeros"))  # of about 70 pages
        stepper = layer.stepper(64)
        assert C["runner_create"](stepper.model_address, 64, None, 0, ctypes.addressof(made)) == 0
        assert C["runner_destroy"](made) == 0
    assert resident() - before < 3000  # pages; a model that is kept makes 35,000


def test_header_table_and_declarations_name_the_same_functions():
    header = (Path(cyrnn.get_include()) / "cyrnn.h").read_text()
    table = header[header.index("typedef struct cyrnn_api {") : header.index("} cyrnn_api;")]
    names = re.findall(r"\(\*(\w+)\)\(", table)
    assert list(C) == names
    declared = (Path(engine.__file__).parent / "capi.pxd").read_text()
    assert re.findall(r"\(\*(\w+)\)\(", declared) == names
    assert ctypes.c_size_t.from_address(cyrnn.capi.api_address).value == 16 + 8 * len(names)


@pytest.mark.parametrize("table", [cyrnn.capi.functions, cyrnn.capi.addresses])
def test_a_table_is_the_callers_own(table):
    names = list(table())
    given = table()
    given["step_f32"] = None
    given.clear()
    assert list(table()) == names and table()["step_f32"]


def test_a_function_of_the_table_is_the_callers_own():
    cyrnn.capi.functions()["status_text"].restype = ctypes.c_int
    assert cyrnn.capi.functions()["status_text"](0) == b"ok"


def test_capsules_own_what_they_hold():
    layer = built(SimpleRNN(4))
    capsules = [layer.stepper().__cyrnn_model__, layer.stepper().__cyrnn_runner__]
    gone = weakref.ref(stepper := layer.stepper())
    capsule = stepper.__cyrnn_runner__
    del stepper
    assert gone() is not None
    del capsule, capsules
    assert gone() is None
