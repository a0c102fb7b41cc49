"""What several test files use."""

import itertools
import math
import os
import subprocess
import sys

import numpy as np

from cyrnn.engine import plan


def runnable_isas(*names):
    """The instruction sets whose code this machine can run."""
    isas = []
    for isa in names:
        try:
            plan.activate("linear", np.zeros((1, 1), "f4"), None, isa)
        except ValueError:
            continue
        isas.append(isa)
    return isas


ISAS = runnable_isas("generic", "avx2", "avx512")
TILES = runnable_isas("amx", "amx-emulated")  # with matrix tiles
DOTS = runnable_isas("avx512-bf16")  # with products of pairs of bfloat16; float32 is that of avx512
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


def pairs(*axes):
    """Cases of a test over several axes: each value stands beside each value of every other axis at least once.

    With CYRNN_WHOLE_GRIDS=1 in the environment all cases.
    """
    if os.environ.get("CYRNN_WHOLE_GRIDS"):
        return list(itertools.product(*axes))
    places, met, found = list(itertools.product(*(range(len(axis)) for axis in axes))), set(), []
    for wanted in range(math.comb(len(axes), 2), 0, -1):  # first the cases in which most is new
        for place in places:
            new = set(itertools.combinations(enumerate(place), 2)) - met
            if len(new) >= wanted:
                met |= new
                found.append(tuple(axis[number] for axis, number in zip(axes, place, strict=True)))
    return found


def weights(rng, features, units, dtype="float32", bias=True):
    """A kernel, a recurrent kernel of spectral radius about one, and a bias."""
    kernel = rng.standard_normal((features, units)) / max(1, features) ** 0.5
    recurrent_kernel = rng.standard_normal((units, units)) / max(1, units) ** 0.5
    arrays = [kernel, recurrent_kernel, *([rng.standard_normal(units)] if bias else [])]
    return [array.astype(dtype) for array in arrays]


def assert_close(actual, expected, dtype=None):
    """Equal within the tolerance of the dtype, scaled by max(1, |expected|); NaN and infinity at the same places."""
    tolerance = TOLERANCE[np.dtype(dtype or actual.dtype).name]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def samples(dtype):
    """Arguments of activations: all magnitudes, and many values where functions bend."""
    rng = np.random.default_rng(0)
    wide = np.geomspace(1e-30, 80, 3000)
    near = np.concatenate([rng.uniform(-12, 12, 20_000), rng.normal(0, 0.1, 3000)])
    breaks = np.array([0, 0.5, 1, 2.5, 3, 6, 20, 50, 88, 100, 300, 1e4, 1e10, 1e30])
    return np.concatenate([wide, -wide, near, breaks, -breaks]).astype(dtype)


def errors(actual, truth):
    """Distances to the truth: in ulp of the dtype, or in units of the absolute bound where that is wider."""
    absolute = {"float32": 1e-7 / 4, "float64": 1e-15 / 8}[actual.dtype.name]
    rounded = truth.astype(actual.dtype)
    ulp = np.maximum(np.abs(np.spacing(np.abs(rounded))).astype("f8"), absolute)
    return np.where(rounded == actual, 0, np.abs(actual - truth) / ulp)


# Begins the code of a process that a test interrupts: children of a test run that ignores SIGINT (nohup) ignore it too.
ANSWERS_SIGINT = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


def run_python(code, *arguments, check=True, timeout=120, **environment):
    """Run code in a new interpreter that does not look for modules in the working directory (a source checkout)."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CYRNN_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env={**kept, **environment}, capture_output=True, text=True, timeout=timeout, check=check
    )


class Rows:
    """Rows that are read by slices only, each less than a share of all; it notes them, and refuses to be read whole."""

    def __init__(self, array, chunk=None, share=1):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read, self._most = [], len(array) // share
        if chunk:
            self.chunks = (chunk, *array.shape[1:])

    def __getitem__(self, rows):
        assert isinstance(rows, slice) and rows.step is None
        part = self._array[rows]
        assert len(part) < self._most, "it was read whole"
        self.read.append((rows.start, rows.stop))
        return part

    def __array__(self, *args, **kwargs):
        raise AssertionError("it was read whole")

    def rows_read(self):
        return sum(last - first for first, last in self.read)
