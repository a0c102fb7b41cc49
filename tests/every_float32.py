"""Activations at every float32, against float64: `python tests/every_float32.py`. About a minute for each of them.

Prints the largest error of each in ulp and absolutely, and fails if one is beyond both 4 ulp and 1e-7, or is NaN or
infinite elsewhere than it should. `tests/test_activations.py` checks a sample of the same.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np

from cyrnn.engine import plan

CHUNK = 1 << 22
WITHIN_ULP, WITHIN = 4, 1e-7


def _sigmoid(x: np.ndarray) -> np.ndarray:
    decay = np.exp(-np.abs(x))
    return np.where(x < 0, decay, 1) / (1 + decay)


TRUTH: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of float64
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu": lambda x: np.where(x < 0, 0, x),
    "exponential": np.exp,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}


def check(name: str, isa: str | None) -> bool:
    """One pass over all bit patterns."""
    worst_ulp, worst, wrong = 0.0, 0.0, 0
    for first in range(0, 1 << 32, CHUNK):
        x = np.arange(first, first + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)
        actual = x.copy()
        plan.activate(name, actual[None], None, isa)
        truth = TRUTH[name](x.astype(np.float64))
        rounded = truth.astype(np.float32)
        finite = np.isfinite(rounded)
        tiny = np.abs(truth) < np.finfo(np.float32).tiny  # denormals may be flushed to zero
        same_kind = np.isnan(actual) == np.isnan(truth)
        same_kind &= finite | np.isnan(truth) | (actual == rounded)
        error = np.abs(actual.astype(np.float64) - truth)[finite]
        ulp = np.where(tiny[finite], 0, error / np.spacing(np.abs(rounded[finite])).astype(np.float64))
        bad = (ulp > WITHIN_ULP) & (error > WITHIN)
        wrong += int(bad.sum()) + int((~same_kind).sum())
        small = error <= WITHIN  # where the absolute bound counts, ulp do not
        worst_ulp, worst = (
            max(worst_ulp, float(ulp[~small].max(initial=0))),
            max(worst, float(error[small].max(initial=0))),
        )
    print(
        f"{name:12} beyond 1e-7 at most {worst_ulp:.2f} ulp; otherwise at most {worst:.2e}; wrong: {wrong}", flush=True
    )
    return wrong == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/every_float32.py", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TRUTH), metavar="NAME", help=f"of {', '.join(TRUTH)}")
    parser.add_argument("--isa", help="generic, avx2 or avx512; default: the widest")
    arguments = parser.parse_args()
    with np.errstate(all="ignore"):
        sound = [check(name, arguments.isa) for name in arguments.names]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
