"""Which engine is faster for each shape: `python benchmarks/engines.py [--isa avx2] [--blas-core Haswell]`.

Prints the time of the blas engine / the time of the simd engine, on one thread, for whole sequences, float32 and tanh.
One process times both in turn. The choice of `auto` is based on these ratios (cyrnn/engine/choice.py).
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable

BATCHES = (1, 3, 8, 32, 128)
UNITS = (4, 16, 33, 64, 128, 256, 512)
TIMESTEPS = 20


def seconds(call: Callable[[], object], least: float = 0.01) -> float:
    """The median time of a call, over rounds of at least `least` seconds."""
    times = []
    for _ in range(3):
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < least:
            call()
            count += 1
        times.append((time.perf_counter() - began) / count)
    return statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/engines.py", description=__doc__)
    parser.add_argument("--isa", help="generic, avx2 or avx512; default: the widest")
    parser.add_argument("--blas-core", metavar="NAME", help="OPENBLAS_CORETYPE; default: unset, BLAS chooses")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    if arguments.blas_core:
        os.environ["OPENBLAS_CORETYPE"] = arguments.blas_core

    import numpy as np  # after the environment is set

    from cyrnn.engine import engine_blas, plan
    from cyrnn.engine.program import Program

    print(f"simd: {arguments.isa or plan.isa()}; blas: {engine_blas.version}, core {engine_blas.core}")
    print("batch \\ units" + "".join(f"{units:>8}" for units in UNITS))
    rng = np.random.default_rng(0)
    for batch in BATCHES:
        ratios = []
        for units in UNITS:
            features = max(2, units // 2)
            kernel = rng.standard_normal((features, units), np.float32) / features
            recurrent_kernel = rng.standard_normal((units, units), np.float32) / units
            x = rng.standard_normal((batch, TIMESTEPS, features), np.float32)
            program = Program("float32")
            timeline = program.timeline()
            outputs = program.buffer(timeline, units)
            program.recurrent(program.slot(), program.input("number", timeline, features), outputs=outputs)
            program.output(outputs)
            program.finish()
            calls = []
            for engine in ("blas", "simd"):
                slot = plan.Slot({})
                slot.pack(slot.values, plan.Plan(kernel, recurrent_kernel, None, "tanh", arguments.isa, engine))
                calls.append(functools.partial(program.run, (slot,), (x,), num_threads=1))
            blas, simd = map(seconds, calls)
            ratios.append(blas / simd)
        print(f"{batch:>13}" + "".join(f"{ratio:>8.2f}" for ratio in ratios), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
