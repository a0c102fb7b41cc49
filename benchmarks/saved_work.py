"""Whether calls avoid work that they do not need: `python benchmarks/saved_work.py`.

Prints the time of each kind of call / the time of the plain call (a contiguous float32 array, no mask, the whole
sequence returned). The calls are timed in turn, on one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

SHAPE = (64, 100, 64, 128)  # batch, timesteps, features, units


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/saved_work.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="default: 21")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)

    import numpy as np

    import cyrnn

    cyrnn.set_num_threads(1)
    batch, timesteps, features, units = SHAPE
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, timesteps, features), np.float32)
    half_full = np.arange(timesteps) < rng.permutation(np.linspace(1, timesteps, batch).astype(int))[:, None]
    layers = {
        (sequences, backwards): cyrnn.layers.SimpleRNN(units, return_sequences=sequences, go_backwards=backwards)
        for sequences in (True, False)
        for backwards in (True, False)
    }
    plain, last, backwards = layers[True, False], layers[False, False], layers[True, True]
    wide, double = np.repeat(x, 2, axis=1), x.astype("float64")
    swapped = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    calls: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(x),
        f"mask, right-padded, {half_full.mean():.0%} kept": lambda: plain(x, mask=half_full),
        "mask, all kept": lambda: plain(x, mask=np.ones_like(half_full)),
        "return_sequences=False": lambda: last(x),
        "go_backwards=True": lambda: backwards(x),
        "every other timestep of an array": lambda: plain(wide[:, ::2]),
        "time first, swapped": lambda: plain(swapped),
        "float64 input": lambda: plain(double),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    reference = statistics.median(times["plain"])
    print(f"batch, timesteps, features, units: {SHAPE}; instruction set {cyrnn.engine.plan.isa()}")
    for name, measured in times.items():
        print(
            f"{name:<40} {statistics.median(measured) * 1e6:>9.0f} us {statistics.median(measured) / reference:>6.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
