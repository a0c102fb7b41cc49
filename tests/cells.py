"""A recurrent cell of the tests alone, of two states and two sums: in C++ for the engine, and in NumPy."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import cyrnn

HEADERS = Path(cyrnn.__file__).parent / "engine"
SOURCE = Path(__file__).parent / "native" / "two_states.cpp"
CXX = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
GATES = STATES = 2
NAME = b"cyrnn.engine.Cell"  # which its capsules point to


def two_states(folder):
    """The cell in a capsule, compiled in `folder`."""
    if not (HEADERS / "contract.hpp").exists():
        pytest.skip("the engine's headers are in the sources of cyrnn, and not in the installed package")
    if CXX is None:
        pytest.skip("there is no C++ compiler here")
    library = folder / ("two_states.dll" if os.name == "nt" else "two_states.so")
    command = [*CXX.split(), "-std=c++17", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", f"-I{HEADERS}"]
    subprocess.run([*command, str(SOURCE), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).two_states
    function.restype = ctypes.c_void_p
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(function(), NAME, None)


def weights(rng, features, units, dtype):
    """A kernel, a recurrent kernel and a bias of the cell: the columns of the first gate, and then of the second."""
    kernel = rng.standard_normal((features, GATES * units)) / max(1, features) ** 0.5
    recurrent_kernel = rng.standard_normal((units, GATES * units)) / units**0.5
    return [array.astype(dtype) for array in (kernel, recurrent_kernel, rng.standard_normal(GATES * units))]


def bent(z):
    return z / (1 + np.abs(z))


def loop(x, kernel, recurrent_kernel, bias, mask=None, states=None, zero_output_for_mask=False, dropout=(1, 1)):
    """All outputs (batch, timesteps, units), and both states after the last timestep (batch, units), in float64.

    `dropout` are the factors of the inputs and of h.
    """
    x = np.asarray(x, np.float64)
    batch, timesteps, _ = x.shape
    units = len(recurrent_kernel)
    h, c = np.zeros((2, batch, units)) if states is None else np.asarray(states, np.float64)
    output, outputs = np.zeros_like(h), np.zeros((batch, timesteps, units))
    for t in range(timesteps):
        sums = (x[:, t] * dropout[0]) @ np.asarray(kernel, np.float64)
        sums = sums + (h * dropout[1]) @ np.asarray(recurrent_kernel, np.float64) + (0 if bias is None else bias)
        f = 0.5 + bent(sums[:, :units]) / 2
        next_c = f * c + (1 - f) * bent(sums[:, units:])
        next_h = f * bent(2 * next_c)
        live = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        h, c = np.where(live, next_h, h), np.where(live, next_c, c)
        output = np.where(live, next_h, 0 if zero_output_for_mask else output)
        outputs[:, t] = output
    return outputs, h, c
