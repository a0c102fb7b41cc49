"""``cyrnn demo``: handwritten digits, read by a model that Keras trained, or learned here."""

import argparse
from pathlib import Path

from cyrnn.cli.text import examples
from cyrnn.demo.reading import run_demo
from cyrnn.demo.training import run_training


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--train", action="store_true", help="train the model here, beside what Keras takes (default: read digits)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw the training curve: .png, .svg, .pdf (default: no plot)"
    )
    parser.epilog = examples("cyrnn demo", "cyrnn demo --train --plot curve.png")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    if options.train:
        return run_training(options.plot)
    if options.plot is not None:
        raise ValueError("--plot draws the curve of a training: give --train too")
    return run_demo()
