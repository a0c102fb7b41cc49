"""How much common kinds of calls cost more than the plain call: `python benchmarks/calls.py`.

The unit is a step of NumPy, ``np.tanh(a @ w + b)`` with a (1, 40) and w (40, 32), timed in the same run. So results
from different machines can be compared. All calls run on one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

SHAPE = (1, 1, 8, 32)  # batch, timesteps, features, units


def calls_of(batch: int, timesteps: int, features: int, units: int) -> dict[str, Callable[[], Any]]:
    """The calls by name, the plain call first. Each layer has its own weights, of the same sizes."""
    import numpy as np

    import cyrnn
    from cyrnn.layers import RNN, Bidirectional, Dense, Input, SimpleRNN, SimpleRNNCell

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, timesteps, features), np.float32)
    mask, state, double = np.ones((batch, timesteps), bool), np.zeros((batch, units), np.float32), x.astype("float64")

    def built(layer: Any) -> Any:
        layer.build((batch, timesteps, features))
        return layer

    def graph() -> Any:
        inputs = Input((timesteps, features))
        return cyrnn.Model(inputs, Dense(1)(SimpleRNN(units)(inputs)))

    plain, returns_state = built(SimpleRNN(units)), built(SimpleRNN(units, return_state=True))
    stateful, of_cell = built(SimpleRNN(units, stateful=True)), built(RNN([SimpleRNNCell(units)]))
    both = built(Bidirectional(SimpleRNN(units)))
    sequential = cyrnn.Sequential([Input((timesteps, features)), SimpleRNN(units), Dense(1)])
    functional = graph()
    return {
        "layer(x)": lambda: plain(x),
        "layer(x, mask=mask)": lambda: plain(x, mask=mask),
        "return_state=True": lambda: returns_state(x),
        "stateful=True": lambda: stateful(x),
        "layer(x, initial_state=h)": lambda: plain(x, initial_state=state),
        "float64 input": lambda: plain(double),
        "RNN([cell])": lambda: of_cell(x),
        "Sequential with a Dense": lambda: sequential(x),
        "Model with a Dense": lambda: functional(x),
        "Sequential.predict": lambda: sequential.predict(x),
        "Bidirectional": lambda: both(x),
    }


def microseconds(call: Callable[[], Any], repeats: int) -> float:
    """The mean time of a call, over `repeats` calls."""
    began = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - began) / repeats * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/calls.py", description=__doc__)
    parser.add_argument("--shape", default=",".join(map(str, SHAPE)), metavar="B,T,F,U", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # before SciPy's BLAS is loaded
        os.environ.pop(name, None)
    shape = tuple(map(int, arguments.shape.split(",")))

    import numpy as np

    import cyrnn
    from cyrnn.engine import plan

    cyrnn.set_num_threads(1)
    a, w, b = np.ones((1, 40), np.float32), np.full((40, 32), 0.01, np.float32), np.zeros(32, np.float32)
    calls: dict[str, Callable[[], Any]] = {"np.tanh(a @ w + b)": lambda: np.tanh(a @ w + b), **calls_of(*shape)}
    repeats = {name: max(1, int(2000 / microseconds(call, 5))) for name, call in calls.items()}  # about 2 ms a sample
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times[name].append(microseconds(call, repeats[name]))
    unit, *_ = (statistics.median(measured) for measured in times.values())
    first = statistics.median(times["layer(x)"])
    print(f"batch, timesteps, features, units: {shape}; instruction set {plan.isa()}; NumPy {np.__version__}")
    print(f"{'':<28} {'us':>8} {'units':>8} {'over layer(x), units':>22}")
    for name, measured in times.items():
        median = statistics.median(measured)
        over = "" if name in ("layer(x)", "np.tanh(a @ w + b)") else f"{(median - first) / unit:.2f}"
        print(f"{name:<28} {median:>8.2f} {median / unit:>8.2f} {over:>22}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
