"""What Dask adds to `predict`, by the work in a chunk: `python benchmarks/dask_overhead.py`.

A cluster of one process with one thread computes all chunks of a Dask array that lies there; beside it, in turn, this
process computes the same chunks with `predict` on one thread. The ratio is of the least times of some rounds.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import dask.array as da
import distributed
import numpy as np

import cyrnn
import cyrnn.dask
from cyrnn import layers

TIMESTEPS, FEATURES, CHUNKS = 50, 16, 20


def seconds(run) -> float:
    began = perf_counter()
    run()
    return perf_counter() - began


def rows_for(model, milliseconds: float) -> int:
    """How many samples take so long on one thread."""
    x = np.ones((512, TIMESTEPS, FEATURES), np.float32)
    model.predict(x, num_threads=1)
    each = min(seconds(lambda: model.predict(x, num_threads=1)) for _ in range(25)) / len(x)
    return max(1, round(milliseconds / 1000 / each))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/dask_overhead.py", description=__doc__)
    parser.add_argument("--milliseconds", type=float, nargs="+", default=[10, 50, 200], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    arguments = parser.parse_args()
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), layers.LSTM(64), layers.Dense(1)])
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        distributed.Client(cluster) as client,
    ):
        print(f"{'ms a chunk':>10} {'samples':>8} {'predict s':>10} {'Dask s':>8} {'ratio':>6}")
        for milliseconds in arguments.milliseconds:
            rows = rows_for(model, milliseconds)
            chunks = [np.ones((rows, TIMESTEPS, FEATURES), np.float32) for _ in range(CHUNKS)]  # in no cache yet
            x = da.ones((rows * CHUNKS, TIMESTEPS, FEATURES), dtype="f4", chunks=(rows, TIMESTEPS, FEATURES)).persist()
            distributed.wait(x)

            def local(chunks=chunks) -> None:
                for chunk in chunks:
                    model.predict(chunk, num_threads=1)

            def on_dask(x=x) -> None:
                client.compute(cyrnn.dask.predict(model, x)).result()

            found = [(seconds(local), seconds(on_dask)) for _ in range(arguments.rounds)]
            here, there = (min(times) for times in zip(*found, strict=True))
            print(f"{1000 * here / CHUNKS:10.1f} {rows:8} {here:10.3f} {there:8.3f} {there / here:6.2f}")


if __name__ == "__main__":
    main()
