"""The thread contract: same bits for any number of threads, many callers at once, fork, interruption, settings."""

import os
import signal
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import pairs, run_python

import cyrnn
from cyrnn.engine import threads
from cyrnn.engine.program import Program
from cyrnn.layers import RNN, SimpleRNN, SimpleRNNCell
from cyrnn.saving.atomic import written_at_once


@pytest.fixture(autouse=True)
def default_threads():
    yield
    cyrnn.set_num_threads(None)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL always")
def test_no_module_brings_the_gil_back():
    modules = "cyrnn.engine.training, cyrnn.engine.runner, cyrnn.engine.engine_blas"  # which import all the others
    code = f"import sys, {modules}; print(sys._is_gil_enabled())"
    assert run_python(code).stdout == "False\n"


@pytest.fixture(params=["simd", "blas"])
def engine(request, monkeypatch):
    """Every layer made in the test runs on this engine."""
    monkeypatch.setenv("CYRNN_ENGINE", request.param)
    return request.param


def layer_and_input(batch, timesteps, features, units, dtype="float32", **options):
    layer = SimpleRNN(units, dtype=dtype, return_sequences=True, **options)
    x = np.random.default_rng(0).standard_normal((batch, timesteps, features)).astype(dtype)
    layer.build(x.shape)
    return layer, x


SHAPES = [(1, 40, 64, 256), (3, 50, 64, 256), (15, 20, 33, 65), (16, 20, 33, 65), (65, 40, 32, 64), (300, 20, 16, 64)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_number_of_threads_does_not_change_a_bit(shape, dtype, engine):
    layer, x = layer_and_input(*shape, dtype)
    results = []
    for count in (1, 2, 3, 8):
        cyrnn.set_num_threads(count)
        results.append(layer(x))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(
    ("widths", "batch", "dtype"),
    pairs([(8, 32), (1, 1), (33, 65), (400, 24), (64, 128)], [1, 2, 15, 16, 37, 64, 130], ["float32", "float64"]),
)
def test_stepping_gives_the_bits_of_the_whole_sequence(widths, batch, dtype, engine):
    features, units = widths
    layer, x = layer_and_input(batch, 5, features, units, dtype)
    outputs = layer(x)
    state = np.zeros((batch, units), dtype)
    for t in range(5):
        state, _ = layer.cell(x[:, t], state)
        np.testing.assert_array_equal(state, outputs[:, t])


def test_eight_threads_on_one_layer(engine):
    layer, x = layer_and_input(96, 20, 32, 64)
    small = x[:3, :4].copy()
    expected, expected_small = layer(x), layer(small)
    start = threading.Barrier(8)

    def work(index):
        start.wait()
        same = True
        for _ in range(30):
            same &= np.array_equal(layer(x), expected) if index % 2 else np.array_equal(layer(small), expected_small)
        return same

    cyrnn.set_num_threads(3)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_eight_threads_build_a_layer_once():
    x = np.ones((2, 3, 4), "float32")
    for _ in range(20):
        layer = RNN(SimpleRNNCell(5))
        start = threading.Barrier(8)

        def call(_, layer=layer, start=start):
            start.wait()
            return layer(x)

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(call, range(8)))
        for result in results:
            np.testing.assert_array_equal(result, results[0])


def test_weights_may_be_replaced_while_others_call(engine):
    """Each call sees either all of the old weights or all of the new ones."""
    layer, x = layer_and_input(40, 10, 8, 16)
    sets = [layer.get_weights(), [-w for w in layer.get_weights()]]
    expected = []
    for weights in sets:
        layer.set_weights(weights)
        expected.append(layer(x))
    stop = threading.Event()

    def call():
        mixed = 0
        while not stop.is_set():
            y = layer(x)
            mixed += not any(np.array_equal(y, e) for e in expected)
        return mixed

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call) for _ in range(4)]
        for i in range(300):
            layer.set_weights(sets[i % 2])
        stop.set()
        assert sum(c.result() for c in calls) == 0


class Scaling(cyrnn.layers.Layer):
    """Keeps its weight in an attribute, which follows `set_weights`."""

    def build(self, input_shape):
        self.scale = self.add_weight((4,), "ones")

    def call(self, inputs):
        return inputs * self.scale


def in_threads(work):
    """What work(index) returns in eight threads, which begin together and change places as often as they can."""
    start, before = threading.Barrier(8), sys.getswitchinterval()

    def begin(index):
        start.wait()
        return work(index)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(begin, range(8)))
    finally:
        sys.setswitchinterval(before)


def test_a_weights_attribute_is_the_weight_whoever_set_it_last():
    layer = Scaling()
    layer.build((None, 4))
    ways = [lambda value: layer.set_weights([value]), lambda value: setattr(layer, "scale", value)]
    for _ in range(20):
        in_threads(lambda index: [ways[i % 2](np.full(4, index * 100 + i)) for i in range(20)])
        assert layer.scale is layer.weights[0]


@pytest.mark.skipif(os.name != "posix", reason="this system has no modes of files")
def test_writing_a_file_leaves_the_umask_of_all_threads_alone(tmp_path):
    before = os.umask(0o027)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "umask", None)  # not even for a moment
            with written_at_once(tmp_path / "file") as file:
                file.write(b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_layers_made_in_threads_have_names_of_their_own():
    kind = type("Scaling2", (Scaling,), {})
    names = [name for made in in_threads(lambda _: [kind().name for _ in range(100)]) for name in made]
    assert sorted(names) == sorted(["scaling2", *(f"scaling2_{n}" for n in range(1, 800))])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_long_call_answers_an_interrupt_and_the_layer_works_on(engine):
    class Interrupted(Exception):
        pass

    def handler(*_):
        raise Interrupted

    layer, x = layer_and_input(64, 1, 64, 256, stateful=True)
    layer(x)
    before = [state.copy() for state in layer.states]
    long = np.broadcast_to(x, (64, 200_000, 64))  # far more than half a minute of work
    layer.return_sequences = False
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(Interrupted):
            layer(long)
        assert time.monotonic() - start < 20
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    np.testing.assert_array_equal(layer.states, before)
    assert np.isfinite(layer(x)).all()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("idle", [slice(0, 4), slice(4, 8)])
def test_a_call_answers_an_interrupt_while_only_others_have_work(idle):
    class Interrupted(Exception):
        pass

    def handler(*_):
        raise Interrupted

    layer, x = layer_and_input(8, 1, 64, 256)
    layer.return_sequences = False
    cyrnn.set_num_threads(2)
    keep = np.ones((8, 1), bool)
    keep[idle] = False
    timesteps = 12_000_000  # half a minute for the rows that are kept, and nothing to do for the others
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        start = time.monotonic()
        with pytest.raises(Interrupted):
            layer(np.broadcast_to(x, (8, timesteps, 64)), mask=np.broadcast_to(keep, (8, timesteps)))
        assert time.monotonic() - start < 15
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files that shrink fault in this way on Linux")
@pytest.mark.unsanitized(reason="its fault would be a finding")
def test_a_fault_in_a_worker_is_reported(tmp_path):
    """Only the last row faults, so one thread alone does: a second one would end the process during the report."""
    code = """
import sys, numpy as np, cyrnn
cyrnn.set_num_threads(4)
x = np.lib.format.open_memmap(sys.argv[1], "w+", "float32", (64, 500, 64))
layer = cyrnn.layers.SimpleRNN(256)
layer.build(x.shape)
open(sys.argv[1], "r+").truncate(x.nbytes - x[0].nbytes)
layer(x)
"""
    result = run_python(code, tmp_path / "x.npy", check=False, PYTHONFAULTHANDLER="1")
    assert result.returncode == -signal.SIGBUS
    assert "Bus error" in result.stderr


def test_the_interpreter_may_end_during_a_call_of_a_daemon_thread():
    code = """
import threading, time
import numpy as np
import cyrnn
from cyrnn import layers
from cyrnn.engine.program import Program
cyrnn.set_num_threads(2)
layer = cyrnn.layers.SimpleRNN(256)
x = np.zeros((64, 1, 64), "f4")
layer(x)
long = np.broadcast_to(x, (64, 3000, 64))
threading.Thread(target=lambda: [layer(long) for _ in range(100)], daemon=True).start()
time.sleep(0.4)
"""
    run_python(code, MALLOC_MMAP_THRESHOLD_="65536")  # what is freed too early is unmapped, and its use is seen


def test_other_threads_run_python_during_a_call():
    """The GIL is released: a Python thread counts on while the engine works."""
    layer, x = layer_and_input(64, 100, 64, 256)
    cyrnn.set_num_threads(1)
    counted = []
    done = threading.Event()

    def call():
        for _ in range(10):
            layer(x)
        done.set()

    worker = threading.Thread(target=call)
    worker.start()
    while not done.is_set():
        counted.append(len(counted))
    worker.join()
    assert len(counted) > 1000


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("timesteps", [1, 200_000])
def test_a_long_call_of_activations_answers_an_interrupt(timesteps):
    class Interrupted(Exception):
        pass

    def handler(*_):
        raise Interrupted

    program = Program("float32")
    view = program.input("number", program.timeline(), 256)
    for _ in range(40):
        before, view = view, program.buffer_like(view)
        program.activation("softmax", before, view, 256)
    program.output(view)
    program.finish()
    rows = 200_000 // timesteps
    x, out = np.broadcast_to(np.float32(1), (rows, timesteps, 256)), np.zeros((rows, timesteps, 256), "f4")
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            program.run((), (x,), 0, 1, (out,))
            time.sleep(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert not out[-1, -1].any()  # so far it has not come


def test_blas_keeps_its_own_number_of_threads():
    """BLAS is held to one thread during a call, and gets back what it had."""
    code = """
import ctypes
import numpy as np
import os
os.environ["CYRNN_ENGINE"] = "blas"
import cyrnn
from cyrnn import layers
from cyrnn.engine.program import Program
from scipy.linalg import cython_blas
layer = cyrnn.layers.SimpleRNN(16)
x = np.ones((64, 5, 8), "float32")
layer(x)
library = ctypes.CDLL(cython_blas.__file__)
get = next((getattr(library, n) for n in ("scipy_openblas_get_num_threads", "openblas_get_num_threads",
            "scipy_openblas_get_num_threads64_") if hasattr(library, n)), None)
put = next((getattr(library, n) for n in ("scipy_openblas_set_num_threads", "openblas_set_num_threads",
            "scipy_openblas_set_num_threads64_") if hasattr(library, n)), None)
if get is not None:
    put(2)
    layer(x)
    assert get() == 2, get()
"""
    run_python(code)


# ---------------------------------------------------------------- settings


def asked_in_a_new_process(environment):
    run = run_python("import cyrnn; print(cyrnn.get_num_threads())", check=False, **environment)
    return run.stdout.strip() or run.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, str(threads.usable_cpus())),
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "3,2"}, "3"),
        ({"CYRNN_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, "5"),
        ({"OMP_NUM_THREADS": "nonsense"}, str(threads.usable_cpus())),
        ({"OMP_NUM_THREADS": "99999999999"}, str(threads.usable_cpus())),
        ({"OMP_NUM_THREADS": "²"}, str(threads.usable_cpus())),
        ({"CYRNN_NUM_THREADS": "0"}, "ValueError: CYRNN_NUM_THREADS must be between 1 and 1024, got '0'"),
    ],
)
def test_the_environment_sets_the_default(environment, expected):
    assert asked_in_a_new_process(environment) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_bounds_the_default():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); import cyrnn; print(cyrnn.get_num_threads())"
    assert run_python(code).stdout.strip() == "1"


@pytest.mark.thread_unsafe(reason="changes what the system says of itself")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 2),
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 4),
        ({"/sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, 4),
    ],
)
def test_quotas_of_containers_bound_the_default(monkeypatch, files, expected):
    def read_text(path):
        if path.as_posix() not in files:
            raise FileNotFoundError(path)
        return files[path.as_posix()]

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # a system that says how many there are at most
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert threads.usable_cpus() == expected


def test_set_num_threads_and_back():
    default = cyrnn.get_num_threads()
    cyrnn.set_num_threads(7)
    assert cyrnn.get_num_threads() == 7
    with threads.using(2):
        assert cyrnn.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:  # of this thread alone
            assert pool.submit(cyrnn.get_num_threads).result() == 7
    assert cyrnn.get_num_threads() == 7
    cyrnn.set_num_threads(None)
    assert cyrnn.get_num_threads() == default


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_threads_is_refused(n, error):
    with pytest.raises(error, match="n must be"):
        cyrnn.set_num_threads(n)


def test_importing_starts_no_thread_and_no_scipy():
    code = """
import sys, threading
import cyrnn
from cyrnn import layers
from cyrnn.engine.program import Program
if cyrnn.engine.plan.engine() == "simd":  # it needs no BLAS, so neither does a layer
    import numpy as np
    cyrnn.layers.SimpleRNN(3)(np.zeros((2, 4, 5), "f4"))
assert "scipy" not in sys.modules and "h5py" not in sys.modules, sorted(sys.modules)
import os
if os.path.isdir("/proc/self/task"):
    import numpy
    assert len(os.listdir("/proc/self/task")) <= int(sys.argv[1]), os.listdir("/proc/self/task")
"""
    count = "import os, numpy; print(len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0)"
    run_python(code, run_python(count).stdout.strip())


def test_tokens_that_another_thread_writes_during_a_call_are_not_looked_up():
    """They are checked before: where the call finds others then, it reads nothing outside the table."""
    code = """
import threading
import numpy as np
import cyrnn
from cyrnn import layers
model = cyrnn.Sequential([layers.Embedding(10, 64), layers.SimpleRNN(64)])
tokens = np.zeros((64, 400), np.int64)
model(tokens)
done = threading.Event()
def write():
    while not done.is_set():
        tokens[...] = 1 << 40
        tokens[...] = 0
writer = threading.Thread(target=write)
writer.start()
for _ in range(200):
    try:
        model(tokens)
    except (ValueError, IndexError):  # they were checked at such a moment
        pass
done.set()
writer.join()
"""
    run_python(code)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the least stack of a thread differs")
def test_a_thread_with_a_small_stack_calls():
    code = """
import threading
import numpy as np
import cyrnn
x = np.ones((1, 1, 8), "f4")
layer = cyrnn.layers.SimpleRNN(32)
model = cyrnn.Sequential([layer, cyrnn.layers.Dense(3)])
called = [layer(x), model(x), layer(x), model(x)]
threading.stack_size(64 << 10)
thread = threading.Thread(target=lambda: called.extend((layer(x), model(x))))
thread.start()
thread.join()
assert len(called) == 6
"""
    run_python(code)
