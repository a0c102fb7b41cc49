"""Nothing is read or written beyond an array: the engine over arrays, and packed weights, between pages that fault.

CYRNN_GUARD_CASES says how many cases each engine runs; 2210 have all pairs of units and batch in both dtypes.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import DOTS, ISAS, TILES, run_python

pytestmark = pytest.mark.skipif(os.name == "nt", reason="this system has no mprotect")

TESTS = Path(__file__).parent
CASES = int(os.environ.get("CYRNN_GUARD_CASES", "130"))
# The last two are SciPy's BLAS with each of the products that the blas engine asks it for.
ENGINES = [
    *(("simd", isa, None) for isa in [*ISAS, *TILES, *DOTS]),
    ("blas", ISAS[0], "Haswell"),
    ("blas", ISAS[-1], "SkylakeX"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "isa", "core"), ENGINES)
def test_nothing_reaches_beyond_an_array(engine, isa, core, tmp_path):
    command = [sys.executable, "-P", str(TESTS / "guarded_run.py"), engine, isa, "0", str(CASES)]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, **({"OPENBLAS_CORETYPE": core} if core else {})}
    with (tmp_path / "cases").open("w") as cases:
        run = subprocess.run(command, env=environment, stdout=cases, stderr=subprocess.PIPE, text=True, timeout=3000)
    if core and run.returncode == -signal.SIGILL:
        pytest.skip(f"this machine's BLAS obeys, and the processor cannot run the kernels for {core}")
    last = (tmp_path / "cases").read_text().splitlines()[-1:]
    assert run.returncode == 0, f"exit code {run.returncode} in {last}\n{run.stderr[-3000:]}"
    assert last[0].startswith(("activation, case", "layer, case", "training, case")) and f"case {CASES - 1}:" in last[0]


TOUCHED = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from guard_pages import Fenced
place, what, offset = sys.argv[2], sys.argv[3], int(sys.argv[4])
values = None if what == "fill" else np.arange(7.0)
fenced = Fenced((7,), "f8", place, [-2], values)  # 104 bytes of memory, of which it begins at the 97th
byte = ctypes.c_char.from_address(fenced.array.ctypes.data - 96 + offset)
if what == "read":
    byte.value
else:
    byte.value = b"x"
if what == "fill":
    fenced.filled()
"""


@pytest.mark.parametrize(
    ("place", "what", "offset", "noticed"),
    [
        ("upper", "read", 103, None),
        ("upper", "read", 104, "fault"),
        ("upper", "fill", 103, None),
        ("upper", "fill", 104, "fault"),
        ("upper", "fill", -1, "pattern"),
        ("upper", "fill", 88, "pattern"),  # between two elements
        ("upper", "fill", 0, None),
        ("lower", "read", 0, None),
        ("lower", "read", -1, "fault"),
        ("lower", "fill", 0, None),
        ("lower", "fill", -1, "fault"),
        ("lower", "fill", 104, "pattern"),
        ("lower", "write to values", 0, "fault"),
    ],
)
def test_what_reaches_beyond_an_array_is_noticed(place, what, offset, noticed):
    run = run_python(TOUCHED, TESTS, place, what, offset, check=False)
    if noticed == "fault":
        assert run.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
    else:
        assert run.returncode == (1 if noticed else 0)
        assert ("bytes beside an array that was to be filled have changed" in run.stderr) == bool(noticed)


KEPT = """
import sys
from pathlib import Path
import numpy as np
from cyrnn.engine.plan import Plan

def count(flags):
    return sum(f" {flags} 00000000 00:00 0" in line for line in Path("/proc/self/maps").read_text().splitlines())

K, B = np.ones((5, 5), "f4"), np.ones(5, "f4")
Plan(K, K, B, "tanh", engine=sys.argv[1])
sealed, forbidden = count("r--p"), count("---p")
plans = [Plan(K, K, B, "tanh", engine=sys.argv[1]) for _ in range(10)]  # each keeps two arrays or three
guarded = count("r--p") - sealed >= 20 and count("---p") - forbidden >= 20
del plans
print(guarded, count("r--p") == sealed)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system has no /proc")
@pytest.mark.parametrize("place", ["lower", "upper", ""])
@pytest.mark.parametrize("engine", ["simd", "blas"])
def test_packed_weights_lie_between_pages_that_fault_where_it_is_asked_for(engine, place):
    assert run_python(KEPT, engine, CYRNN_GUARD_PAGES=place).stdout.split() == [str(bool(place)), "True"]


def test_another_place_is_refused():
    run = run_python(
        "import cyrnn, numpy; cyrnn.layers.SimpleRNN(1)(numpy.zeros((1, 1, 1)))", check=False, CYRNN_GUARD_PAGES="above"
    )
    assert "CYRNN_GUARD_PAGES must be 'lower' or 'upper', or not set on Windows, got 'above'" in run.stderr
