"""The time of one step, from Python and from C, in nanoseconds: `python benchmarks/stepping.py`.

`--cell lstm` steps an LSTM. `--threads 2` steps with so many threads; a row of wide layers alone uses more than one.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import cyrnn

LOOP = """
#include <cyrnn.h>
void steps(const cyrnn_api *cyrnn, cyrnn_runner *runner, const float *x, float *out, long count) {
    for (long i = 0; i < count; ++i) cyrnn->step_f32(runner, x, out);
}
"""
SHAPES = [(1, 8, 4), (1, 8, 32), (1, 32, 64), (1, 64, 128), (1, 128, 256), (8, 8, 32)]  # batch, features, units
LAYERS = {"simplernn": cyrnn.layers.SimpleRNN, "lstm": cyrnn.layers.LSTM, "gru": cyrnn.layers.GRU}
ROUNDS, CALLS = 31, 2000


def c_loop() -> ctypes.CDLL | None:
    """A loop of steps in C, or None if it cannot be compiled."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "steps.c", Path(folder) / "steps.so"
        source.write_text(LOOP)
        command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", f"-I{cyrnn.get_include()}"]
        try:
            subprocess.run([*command, str(source), "-o", str(library)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no C loop: {error}", file=sys.stderr)
            return None
        return ctypes.CDLL(str(library))


def nanoseconds(run: object) -> float:
    samples = []
    for _ in range(ROUNDS):
        began = perf_counter()
        run()  # type: ignore[operator]
        samples.append((perf_counter() - began) / CALLS)
    return statistics.median(samples) * 1e9


class Streams:
    """What is stepped: its stepper, and one call that does the same."""

    def __init__(self, kind: str, threads: int, batch: int, features: int, units: int, dense: bool) -> None:
        rnn = LAYERS[kind](units)
        layer = cyrnn.Sequential([rnn, cyrnn.layers.Dense(units)]) if dense else rnn
        layer.build((batch, None, features))
        self.stepper = layer.stepper(batch, threads=threads)
        self.x, self.out = np.ones((batch, features), np.float32), np.empty((batch, units), np.float32)
        self.cell, self.state = None if dense else rnn.cell, rnn.cell.get_initial_state(batch)

    def from_python(self) -> None:
        step, x, out = self.stepper.step, self.x, self.out
        for _ in range(CALLS):
            step(x, out=out)

    def of_cell(self) -> None:
        cell, x, state = self.cell, self.x, self.state
        for _ in range(CALLS):
            cell(x, state)

    def from_c(self, library: ctypes.CDLL) -> None:
        pointers = (cyrnn.capi.api_address, self.stepper.address, self.x.ctypes.data, self.out.ctypes.data)
        library.steps(*map(ctypes.c_void_p, pointers), ctypes.c_long(CALLS))


def _print_steps(kind: str, threads: int, library: ctypes.CDLL | None) -> None:
    print(f"\n{kind}, {threads} thread{'s' if threads > 1 else ''}")
    print(f"{'batch, features, units':<32} {'step(x, out=out)':>18} {'cell(x, states)':>16} {'from C':>10}   ns")
    for *shape, dense in [*((*shape, False) for shape in SHAPES), (*SHAPES[1], True)]:
        streams = Streams(kind, threads, *shape, dense)
        python = nanoseconds(streams.from_python)
        cell = float("nan") if dense else nanoseconds(streams.of_cell)
        compiled = nanoseconds(lambda s=streams: s.from_c(library)) if library else float("nan")
        name = ", ".join(map(str, shape)) + (", with a Dense" if dense else "")
        print(f"{name:<32} {python:>18.0f} {cell:>16.0f} {compiled:>10.0f}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/stepping.py", description=__doc__)
    parser.add_argument("--cell", type=str.lower, choices=LAYERS, default="simplernn", help="default: simplernn")
    parser.add_argument("--threads", type=_positive, nargs="+", default=[1], metavar="N", help="default: 1")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # before SciPy's BLAS is loaded
        os.environ.pop(name, None)
    library = c_loop()
    facts = cyrnn.show_config("dicts")
    print(f"cyrnn {facts['cyrnn']}, {facts['engine']} engine, {facts['instruction_set']}")
    for threads in arguments.threads:
        _print_steps(arguments.cell, threads, library)
    return 0


if __name__ == "__main__":
    sys.exit(main())
