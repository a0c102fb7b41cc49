"""Stacks with few rows, on one thread and on all threads: `python benchmarks/stacks.py`."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from time import perf_counter

import numpy as np

import cyrnn
from cyrnn.layers import RNN, Bidirectional, SimpleRNNCell

SHAPES = [(1, 400, 512, 2), (1, 1000, 256, 2), (1, 1000, 256, 3), (4, 500, 256, 4), (1, 5000, 128, 2), (1, 4000, 64, 3)]


def milliseconds(layer: object, x: np.ndarray, threads: int, calls: int) -> float:
    cyrnn.set_num_threads(threads)
    layer(x)  # type: ignore[operator]
    samples = []
    for _ in range(calls):
        began = perf_counter()
        layer(x)  # type: ignore[operator]
        samples.append(perf_counter() - began)
    return statistics.median(samples) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/stacks.py", description=__doc__)
    parser.add_argument("--calls", type=int, default=25, help="of each layer; default: 25")
    calls = parser.parse_args().calls
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # before SciPy's BLAS is loaded
        os.environ.pop(name, None)
    threads = cyrnn.get_num_threads()
    print(
        f"load average {os.getloadavg()[0]:.1f}; milliseconds on 1 thread and on {threads}, and how many times faster"
    )
    for batch, timesteps, units, layers in SHAPES:
        x = np.random.default_rng(0).standard_normal((batch, timesteps, units), dtype=np.float32)
        stack = RNN([SimpleRNNCell(units) for _ in range(layers)], return_sequences=True)
        for name, layer in (("stack", stack), ("both ways", Bidirectional(stack))):
            alone, together = (milliseconds(layer, x, count, calls) for count in (1, threads))
            shape = f"{batch}, {timesteps}, {units}, {layers} layers"
            print(f"{shape:<26} {name:<10} {alone:8.2f} {together:8.2f} {alone / together:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
