"""``cyrnn demo``: handwritten digits, read by a model that Keras trained, or learned here."""

import argparse
from pathlib import Path
from typing import Any

from cyrnn.demo.reading import run_demo
from cyrnn.demo.training import run_training


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("demo", help="classify handwritten digits with a bundled model, and time it")
    parser.add_argument("--train", action="store_true", help="train the model here, beside what Keras takes")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the training curve: .png, .svg, .pdf")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    if options.train:
        return run_training(options.plot)
    if options.plot is not None:
        raise ValueError("--plot draws the curve of a training: give --train too")
    return run_demo()
