"""The time of a call while other processes keep the processors busy: `python benchmarks/foreign_load.py`.

Prints the medians with one thread and with all threads, and their ratio. More threads should never be much slower than
one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time

SHAPES = (
    (32, 10, 64, 128),
    (32, 100, 64, 128),
    (256, 50, 64, 128),
    (64, 50, 256, 512),
    (1, 1000, 128, 256),
    (1, 200, 512, 1024),
)


def spin() -> None:
    while True:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/foreign_load.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=101, help="default: 101")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)

    import numpy as np

    import cyrnn

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rng = np.random.default_rng(0)
    for load in (0, processors - 1, processors):
        others = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(load)]
        for other in others:
            other.start()
        time.sleep(0.5 if load else 0)
        print(f"{load} busy processes on {processors} processors")
        for batch, timesteps, features, units in SHAPES:
            layer = cyrnn.layers.SimpleRNN(units, return_sequences=True)
            x = rng.standard_normal((batch, timesteps, features), np.float32)
            times: dict[int, list[float]] = {1: [], processors: []}
            for _ in range(arguments.rounds):
                for count, measured in times.items():
                    cyrnn.set_num_threads(count)
                    began = time.perf_counter()
                    layer(x)
                    measured.append(time.perf_counter() - began)
            alone, together = (statistics.median(measured) * 1e6 for measured in times.values())
            shape = f"{batch}, {timesteps}, {features}, {units}"
            print(f"  {shape:<20} {alone:>9.0f} us alone {together:>9.0f} us together {together / alone:>6.2f}")
        for other in others:
            other.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
