"""Work larger than memory: predict converts and computes a batch at a time."""

import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from helpers import ANSWERS_SIGINT, run_python

import cyrnn
from cyrnn.layers import RNN, Bidirectional, Dense, Embedding, SimpleRNN, UpSampling1D
from cyrnn.models.functional import Functional

LIMITED = """
import resource, sys
import numpy as np
import cyrnn
folder = sys.argv[1]
x = np.memmap(f"{folder}/x", "float64", "w+", shape=(80_000, 1, 4096))  # 2.6 GB: a hole, no disk is taken
x[-1] = 1
out = np.memmap(f"{folder}/y", "float32", "w+", shape=(80_000, 1, 1))
begin = cyrnn.Input((1, 4096))
model = cyrnn.Model(begin, cyrnn.layers.SimpleRNN(1, return_sequences=True)(begin))
model.predict(x[:64])
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + (300 << 20),) * 2)  # maps of files do not count
try:
    np.ones(400 << 20, "u1")
except MemoryError:
    print("limited")
assert model.predict(x, out=out) is out
assert not out[:-1].any() and np.array_equal(out[-1:], model(x[-1:])) and out[-1] != 0
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit that counts no maps of files is Linux'")
def test_gigabytes_in_bounded_memory(tmp_path):
    if sys.maxsize < 2**40 or shutil.disk_usage(tmp_path).free < 4 << 30:
        pytest.skip("needs 4 GB of disk and of address space")
    result = run_python(LIMITED, tmp_path)
    if "limited" not in result.stdout:
        pytest.skip("this kernel does not hold a process to its RLIMIT_DATA")


def peak(call):
    """The most bytes that NumPy and Python had at a time, beyond those before the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", ">f4", "u1", "bool"])
@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_no_input_is_converted_at_once(dtype, kind):
    x = np.broadcast_to(np.ones((), dtype), (200_000, 4, 64))[::-1]  # 51 million elements in one
    begin = cyrnn.Input((4, 64))
    rnn = SimpleRNN(1)
    model = cyrnn.Sequential([begin, rnn]) if kind == "sequential" else cyrnn.Model(begin, rnn(begin))
    assert peak(lambda: model.predict(x)) < 20 << 20


def test_arrays_of_other_orders():
    x = np.random.default_rng(0).standard_normal((3, 400, 50)).T  # (50, 400, 3)
    begin = cyrnn.Input((400, 3))
    model = cyrnn.Model(begin, SimpleRNN(2)(begin))
    for array in (x, x[::-2], x.astype(">f8"), np.asfortranarray(x)):
        np.testing.assert_allclose(model.predict(array, 7), model(np.array(array, "float32", order="C")), atol=1e-6)


WIDE = {
    "an embedding": lambda: cyrnn.Sequential([cyrnn.Input((50,)), Embedding(10, 512), SimpleRNN(1)]),
    "a sequence": lambda: cyrnn.Sequential([cyrnn.Input((50, 1)), SimpleRNN(512, return_sequences=True), SimpleRNN(1)]),
    "both directions": lambda: Bidirectional(SimpleRNN(256, return_sequences=True)),
    "repeated": lambda: cyrnn.Sequential([cyrnn.Input((50, 1)), UpSampling1D(512), SimpleRNN(1)]),
    "a graph": lambda: graph_that_is_wide(),
}


def graph_that_is_wide():
    begin = cyrnn.Input((50, 1))
    return cyrnn.Model(begin, SimpleRNN(1)(Dense(1)(SimpleRNN(512, return_sequences=True)(begin))))


@pytest.mark.parametrize("case", WIDE)
def test_what_is_between_the_layers_counts_for_the_size_of_a_batch(case):
    model, samples = WIDE[case](), 400
    x = np.zeros((samples, 50) if case == "an embedding" else (samples, 50, 1), "float32")
    model(x[:2])
    sizes = []

    def note(batches):
        sizes.append(batches.step)
        return batches

    y = model.predict(x, progress=note)
    assert sizes == [(1 << 20) // (50 * 512)]
    np.testing.assert_allclose(y, model(x), atol=1e-6)


def test_results_in_memory_maps_of_the_models_structure(tmp_path):
    begin = cyrnn.Input((5, 2))
    output, state = SimpleRNN(3, return_state=True)(begin)
    model = Functional(begin, {"b": [output], "a": Dense(4)(state)})
    x = np.random.default_rng(0).standard_normal((9, 5, 2))
    out = {
        "a": np.memmap(tmp_path / "a", "float32", "w+", shape=(9, 4)),
        "b": [np.memmap(tmp_path / "b", "float32", "w+", shape=(9, 3))],
    }
    result = model.predict(x, 4, out=out)
    assert result["a"] is out["a"] and result["b"][0] is out["b"][0]
    expected = model(x)
    np.testing.assert_allclose(np.fromfile(tmp_path / "a", "float32").reshape(9, 4), expected["a"], atol=1e-6)
    np.testing.assert_allclose(np.fromfile(tmp_path / "b", "float32").reshape(9, 3), expected["b"][0], atol=1e-6)


def test_results_of_a_stack_with_its_states():
    layer = RNN([cyrnn.layers.SimpleRNNCell(3), cyrnn.layers.SimpleRNNCell(4)], return_state=True)
    x = np.random.default_rng(0).standard_normal((5, 6, 2))
    output, [below], [above] = layer(x)
    out = np.zeros((5, 4), "f4"), [np.zeros((5, 3), "f4")], [np.zeros((5, 4), "f4")]
    layer.predict(x, 2, out=out)
    for filled, expected in zip((out[0], out[1][0], out[2][0]), (output, below, above), strict=True):
        np.testing.assert_allclose(filled, expected, atol=1e-6)
    one = np.zeros((5, 4), "f4")
    with pytest.raises(ValueError, match="do not overlap"):
        layer.predict(x, out=(one, [np.zeros((5, 3), "f4")], [one]))


STOPPED = """
import sys, time
import numpy as np
import cyrnn
from cyrnn.layers import RNN, Dense, SimpleRNN

class Slow:  # walked in Python
    state_size = 1

    def call(self, x, states):
        time.sleep(0.01)
        return states[0], states

samples, timesteps = {shape}
layer = {layer}
x = np.broadcast_to(np.ones(1, "f4"), (samples, timesteps, 8))
layer(x[:1, :1])
print("ready", flush=True)
try:
    layer.predict(x, batch_size={batch_size}, num_threads=1)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize(
    ("layer", "shape", "batch_size"),
    [
        ("SimpleRNN(1024, recurrent_initializer='zeros')", (400, 3000), 400),  # within a batch
        ("SimpleRNN(8)", (50_000_000, 2), 1),  # between batches
        ("RNN(Slow())", (2, 100_000), 2),
        ("cyrnn.Sequential([Dense(2048), Dense(2048), SimpleRNN(1)])", (100_000, 100), 64),
    ],
)
def test_ctrl_c(layer, shape, batch_size):
    code = ANSWERS_SIGINT + STOPPED.format(layer=layer, shape=shape, batch_size=batch_size)
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "ready\n"
            time.sleep(0.3)
            run.send_signal(signal.SIGINT)
            assert run.communicate(timeout=20)[0] == "stopped\n"  # the work itself takes minutes
        finally:
            run.kill()


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("factors", [(31, 2), (2**10,), (2**10, 2**8)], ids=str)
@pytest.mark.parametrize("ends", ["pooling", "both ways"])
def test_what_no_memory_holds_is_a_memory_error(rows, factors, ends):
    """Also where the bytes are more than an address can count."""
    width = 2**20
    x = np.broadcast_to(np.ones((1, width), np.float32), (rows, width))
    growing = [cyrnn.layers.RepeatVector(2**31), *map(cyrnn.layers.UpSampling1D, factors)]
    last = cyrnn.layers.GlobalMaxPooling1D()
    if ends == "both ways":
        last = cyrnn.layers.Bidirectional(cyrnn.layers.SimpleRNN(1, kernel_initializer="zeros"))
    model = cyrnn.Sequential([cyrnn.Input((width,)), *growing, last])
    before = cyrnn.get_num_threads()
    try:
        for threads in (1, 4):
            cyrnn.set_num_threads(threads)
            with pytest.raises(MemoryError):
                model(x)
    finally:
        cyrnn.set_num_threads(before)
