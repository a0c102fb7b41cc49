"""`python -m benchmarks`: measure cyrnn and its peers in one run, and print one table of times."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from . import report, runner

SHAPES: list[runner.Shape] = [
    (1, 1, 8, 32),
    (32, 10, 8, 4),
    (1, 100, 32, 64),
    (1, 1000, 128, 256),
    (8, 100, 64, 128),
    (32, 100, 64, 128),
    (256, 50, 64, 128),
    (256, 50, 128, 256),
    (64, 50, 256, 512),
    (64, 20, 512, 1024),
]
QUICK: list[runner.Shape] = [(32, 10, 8, 4), (1, 100, 32, 64), (32, 100, 64, 128)]


def _shape(text: str) -> runner.Shape:
    try:
        batch, timesteps, features, units = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected batch,timesteps,features,units, got {text!r}") from None
    if min(batch, timesteps, features, units) < 1:
        raise argparse.ArgumentTypeError(f"expected positive sizes, got {text!r}")
    return batch, timesteps, features, units


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Times a float32 tanh SimpleRNN that returns its whole sequence, in cyrnn and its peers.",
    )
    parser.add_argument("--shapes", type=_shape, nargs="+", metavar="B,T,F,U", help="batch,timesteps,features,units")
    parser.add_argument("--threads", type=_positive, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=runner.CONTENDERS,
        default=list(runner.CONTENDERS),
        metavar="NAME",
        help=f"some of {', '.join(runner.CONTENDERS)}; default: all",
    )
    parser.add_argument("--rounds", type=_positive, help="default: 5")
    parser.add_argument("--blas-core", metavar="NAME", help="OPENBLAS_CORETYPE for all; default: unset")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the ratios (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="three shapes, two short rounds")
    parser.add_argument("--verbose", action="store_true", help="show what the contenders print")
    arguments = parser.parse_args()
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib, which is not installed")
    for path in (arguments.json, arguments.plot):
        if path and (path.is_dir() or not path.resolve().parent.is_dir()):
            parser.error(f"cannot write to {path}")
    return arguments


def _tell(line: str) -> None:
    """Show progress on one line, which each call overwrites. Without a terminal it prints nothing."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def main() -> int:
    arguments = _arguments()
    thread_counts = [n for n in arguments.threads if n <= runner.processors()]
    for skipped in sorted(set(arguments.threads) - set(thread_counts)):
        print(f"{skipped} threads: skipped, this process may use only {runner.processors()} processor(s)")
    run = runner.measure(
        arguments.shapes or (QUICK if arguments.quick else SHAPES),
        thread_counts,
        arguments.contenders,
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        seconds=0.05 if arguments.quick else 0.25,
        blas_core=arguments.blas_core,
        verbose=arguments.verbose,
        tell=_tell,
    )
    _tell("")
    print(report.as_text(run))
    if arguments.json:
        report.write_json(run, arguments.json)
    if arguments.plot and run.results:
        report.write_plot(run, arguments.plot)
    return 0 if run.sound else 1


if __name__ == "__main__":
    sys.exit(main())
