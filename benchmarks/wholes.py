"""Gradients of whole models, over the sum of their parts: `python benchmarks/wholes.py`, or the end of `--training`.

A part is a layer alone, forward and back, with the gradients of its inputs where the whole needs them. In each round
all calls of a table are timed in turn, in one process on one thread, and times are the minima over the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPES = [(8, 20, 4, 16), (32, 10, 8, 32), (32, 100, 64, 128)]  # batch, timesteps, features, units
VOCABULARY, RATE = 1000, 0.2
WITHIN = 1.15  # times the sum of the parts

Call = Callable[[], Any]
Rows = dict[str, tuple[Call, list[Call]]]  # by name the whole, and its parts


def both_ways(layer: Any, x: Any, dy: Any, inputs: bool, **options: Any) -> Call:
    """Forward and back through a layer or model."""

    def call() -> Any:
        _, pullback = layer.vjp(x, **options)
        return pullback(dy, inputs=inputs)

    return call


def rows_of(batch: int, timesteps: int, features: int, units: int) -> Rows:
    import numpy as np

    import cyrnn

    rng, layers = np.random.default_rng(0), cyrnn.layers
    x, d_x = rng.standard_normal((2, batch, timesteps, features), np.float32)
    h, dy = rng.standard_normal((2, batch, timesteps, units), np.float32)
    keep = np.arange(timesteps) < rng.integers(1, timesteps, (batch, 1), endpoint=True)
    ones, tokens = np.ones_like(keep), rng.integers(1, VOCABULARY, keep.shape) * keep
    of_dropout = {"dropout": RATE, "recurrent_dropout": RATE}
    rnn, second = (layers.SimpleRNN(units, return_sequences=True) for _ in range(2))
    # Two, as calls of a kind follow each other where a layer is used: one with a mask, and one without.
    dropping, masked = (layers.SimpleRNN(units, return_sequences=True, **of_dropout) for _ in range(2))
    table, masked_table = (layers.Embedding(VOCABULARY, features, mask_zero=zero) for zero in (False, True))
    two, looked_up = cyrnn.Sequential([rnn, second]), cyrnn.Sequential([table, rnn])
    whole = cyrnn.Sequential([masked_table, masked, second])
    plain = both_ways(rnn, x, dy, inputs=False)
    for layer, given in ((rnn, x), (dropping, x), (masked, x), (second, h), (whole, tokens), (looked_up, tokens)):
        layer(given)

    def draw() -> Any:
        return dropping.cell.draw_dropout_masks(batch, features)

    return {
        "a mask of ones": (both_ways(rnn, x, dy, inputs=False, mask=ones), [plain]),
        "a mask, padded on the right": (both_ways(rnn, x, dy, inputs=False, mask=keep), [plain]),
        "dropout": (both_ways(dropping, x, dy, inputs=False, training=True), [plain, draw]),
        "two layers": (both_ways(two, x, dy, inputs=False), [plain, both_ways(second, h, dy, inputs=True)]),
        "Embedding in front": (
            both_ways(looked_up, tokens, dy, inputs=False),
            [both_ways(table, tokens, d_x, inputs=False), both_ways(rnn, x, dy, inputs=True)],
        ),
        "all of these": (
            both_ways(whole, tokens, dy, inputs=False, training=True),
            [
                both_ways(masked_table, tokens, d_x, inputs=False),
                both_ways(masked, x, dy, inputs=True, mask=keep, training=True),
                both_ways(second, h, dy, inputs=True, mask=keep),
            ],
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/wholes.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=75, help="default: %(default)s")
    parser.add_argument("--blas-core", metavar="NAME", help="OPENBLAS_CORETYPE; default: unset, BLAS chooses")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # before NumPy's and SciPy's BLAS are loaded
        os.environ.pop(name, None)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if arguments.blas_core:
        os.environ["OPENBLAS_CORETYPE"] = arguments.blas_core
    spec = importlib.util.spec_from_file_location("calls", Path(__file__).with_name("calls.py"))
    assert spec is not None and spec.loader is not None
    calls = sys.modules["calls"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(calls)

    import cyrnn

    cyrnn.set_num_threads(1)
    for shape in SHAPES:
        found = rows_of(*shape)
        each = {name: whole for name, (whole, _) in found.items()}
        each |= {f"{name} {n}": part for name, (_, parts) in found.items() for n, part in enumerate(parts)}
        times, rows = calls.times_of(each, arguments.rounds), []
        for name, (_, parts) in found.items():
            total = sum(times[f"{name} {n}"] for n in range(len(parts)))
            columns = [f"{times[name] * 1e6:.1f}", f"{total * 1e6:.1f}", f"{times[name] / total:.2f}", f"{WITHIN:.2f}"]
            rows.append((name, *columns))
        title = f"Forward and gradients over the sum of the parts, (batch, timesteps, features, units) {shape}:"
        calls.table(title, ["whole, us", "parts, us", "whole / parts", "at most"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
