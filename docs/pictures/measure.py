"""Measure what `draw.py` draws, and store it beside this script: ``python -m docs.pictures.measure PICTURE ...``.

It runs at the root of a checkout, in an environment with cyrnn and, for the latency, the packages of its peers
(``pip install onnx onnxruntime ai-edge-litert tensorflow-cpu``). Each picture takes less than a minute on one thread.
"""

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import cyrnn
from benchmarks.cases import make_case
from benchmarks.machine import measure_peak
from benchmarks.runner import machine_facts
from cyrnn.timing.latency import PERCENTILES, in_turn

HERE = Path(__file__).parent
SECONDS = 8.0  # of calls, for each contender
MODEL, SHAPE = "SimpleRNN, Dense", (1, 100, 32, 64)  # batch, timesteps, features, units
CONTENDERS = {"cyrnn": "cyrnn_", "LiteRT": "tflite_", "ONNX Runtime": "onnxruntime_"}
PACKAGES = {"cyrnn": "cyrnn", "LiteRT": "ai-edge-litert", "ONNX Runtime": "onnxruntime"}
SHARES = np.logspace(0, -3, 61)  # of the calls that are slower than a time
UNITS = (8, 16, 32, 64, 128, 256, 512)
BATCHES = (1, 8, 64)


def facts() -> dict[str, Any]:
    """Where and when, for the end of a picture."""
    found = machine_facts(None)
    return {
        "machine": next((value for name, value in found.items() if "processor" in name.lower()), platform.machine()),
        "instruction_set": cyrnn.show_config("dicts")["instruction_set"],
        "python": platform.python_version(),
        "date": str(date.today()),
        "threads": 1,
    }


def latency() -> dict[str, Any]:
    """The times of calls of one model, by cyrnn and its peers in turn: quantiles of them, and the percentiles."""
    case = make_case(MODEL, SHAPE)
    calls: dict[str, Callable[[], Any]] = {}
    versions = {}
    for name, file in CONTENDERS.items():
        contender = importlib.import_module(f"benchmarks.contenders.{file}")
        contender.hold(1)
        calls[name] = contender.bind(case, "call")
        assert np.allclose(calls[name](), case.expected(), atol=1e-4), name
        versions[name] = cyrnn.__version__ if name == "cyrnn" else version(PACKAGES[name])
    times = in_turn(calls, SECONDS)
    return {
        "what": f"{MODEL}: batch {SHAPE[0]}, {SHAPE[1]} timesteps, {SHAPE[2]} features, {SHAPE[3]} units",
        "versions": versions,
        "shares": [round(float(share), 5) for share in SHARES],
        "microseconds": {
            name: {
                "calls": len(found),
                "percentiles": {str(q): round(float(np.percentile(found, q)) * 1e6, 2) for q in PERCENTILES},
                "slowest": [round(float(t) * 1e6, 2) for t in np.quantile(found, 1 - SHARES)],
            }
            for name, found in times.items()
        },
    }


def limits() -> dict[str, Any]:
    """The products of a layer in a second, over the multiply-adds that one core does at most."""
    peak = max(measure_peak().gigaflops.values())
    cyrnn.set_num_threads(1)
    shares: dict[str, dict[str, list[float]]] = {}
    for layer, gates in (("SimpleRNN", 1), ("LSTM", 4)):
        for batch in BATCHES:
            for units in UNITS:
                timesteps = max(4, min(50, 20_000_000 // (batch * units * units * gates)))
                rnn = getattr(cyrnn.layers, layer)(units)
                x = np.random.default_rng(0).standard_normal((batch, timesteps, units)).astype(np.float32)
                best = min(in_turn({"": lambda rnn=rnn, x=x: rnn(x)}, 0.3)[""])  # type: ignore[misc]
                operations = 2.0 * batch * timesteps * 2 * units * units * gates
                shares.setdefault(layer, {}).setdefault(str(batch), []).append(round(operations / best / 1e9 / peak, 4))
    return {"what": "50 timesteps or fewer, as many features as units", "gigaflops": round(peak, 1), "units": UNITS,
            "shares": shares}  # fmt: skip


def training() -> dict[str, Any]:
    """The adding machine of the examples learns: its right sums after each epoch, and the seconds of each."""
    example = (HERE.parents[1] / "examples" / "adding.py").read_text()
    space: dict[str, Any] = {}
    exec(example.partition("class UntilItAdds")[0], space)
    model, right = space["model"], space["right"]
    seconds, losses, shares = [], [], []
    cyrnn.set_num_threads(1)
    for _ in range(60):
        begun = perf_counter()
        history = model.fit(space["x"], space["y"], batch_size=64, epochs=1, verbose=0)
        seconds.append(round(perf_counter() - begun, 4))
        losses.append(round(history.history["loss"][0], 5))
        shares.append(round(float(right(space["x_new"], space["y_new"])), 4))
        if shares[-1] >= 0.99:
            break
    return {
        "what": "examples/adding.py: two LSTM layers of 96 units, 9,000 sums an epoch, batches of 64",
        "seconds_of_epochs": seconds,
        "losses": losses,
        "right": shares,
    }


if __name__ == "__main__":
    pictures = {"latency": latency, "limits": limits, "training": training}
    for name in sys.argv[1:] or pictures:
        stored = {"command": f"python -m docs.pictures.measure {name}", **facts(), **pictures[name]()}
        (HERE / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")
