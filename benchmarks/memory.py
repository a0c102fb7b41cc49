"""Resident memory over many calls of small layers: `python benchmarks/memory.py`. It should stay constant.

The exit code is 1 if the memory grew by more than `--limit` after the first interval of an entry point.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 10, 8, 16


def resident_kib() -> int:
    """The resident size of this process; its peak on systems that do not report the current size."""
    import resource

    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() // 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def entry_points() -> dict[str, Callable[[], Any]]:
    """Calls without arguments, by the code that a user would write."""
    import cyrnn

    rng = np.random.default_rng(0)
    x = rng.random((BATCH, TIMESTEPS, FEATURES), np.float32)
    mask = rng.random((BATCH, TIMESTEPS)) < 0.7
    state = np.zeros((BATCH, UNITS), np.float32)

    rnn = cyrnn.layers.SimpleRNN(UNITS, return_sequences=True, return_state=True)
    cell = cyrnn.layers.SimpleRNNCell(UNITS)
    model = cyrnn.Sequential(
        [
            cyrnn.layers.Input((TIMESTEPS, FEATURES)),
            cyrnn.layers.SimpleRNN(UNITS),
            cyrnn.layers.Dense(3, activation="softmax"),
        ]
    )
    return {
        "rnn(x)": lambda: rnn(x),
        "rnn(x, mask=mask)": lambda: rnn(x, mask=mask),
        "rnn(x, initial_state=[state])": lambda: rnn(x, initial_state=[state]),
        "cell(x_t, [state])": lambda: cell(x[:, 0], [state]),
        "model.predict(x)": lambda: model.predict(x),
    }


def grown(name: str, call: Callable[[], Any], calls: int, intervals: int) -> int:
    """Print the resident size after each interval. Returns the growth after the first interval, in KiB."""
    print(f"{name}")
    sizes = []
    for i in range(1, intervals + 1):
        for _ in range(calls // intervals):
            call()
        sizes.append(resident_kib())
        print(f"  {i * (calls // intervals):>10,} calls  {sizes[-1]:>10,} KiB")
    return sizes[-1] - sizes[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/memory.py", description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000, help="of each entry point; default: 40,000")
    parser.add_argument("--intervals", type=int, default=8, help="default: 8")
    parser.add_argument("--limit", type=int, default=512, metavar="KIB", help="growth allowed; default: 512")
    arguments = parser.parse_args()
    growth = {name: grown(name, call, arguments.calls, arguments.intervals) for name, call in entry_points().items()}
    print("\ngrowth after the first interval:")
    for name, kib in growth.items():
        print(f"  {name:<32} {kib:>8,} KiB")
    return 1 if max(growth.values()) > arguments.limit else 0


if __name__ == "__main__":
    sys.exit(main())
