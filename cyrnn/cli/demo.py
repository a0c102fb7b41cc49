"""``cyrnn demo``: handwritten digits, read by a model that Keras trained, or learned here."""

import argparse

from cyrnn.demo.reading import run_demo
from cyrnn.demo.training import run_training


def run(options: argparse.Namespace) -> int:
    if options.train:
        return run_training(options.plot)
    if options.plot is not None:
        raise ValueError("--plot draws the curve of a training: give --train too")
    return run_demo()
