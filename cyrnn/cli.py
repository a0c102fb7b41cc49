"""The command line: ``cyrnn demo | predict | info | config``. A wrong call gets one line and exit code 2."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import cyrnn
from cyrnn.demo import run_demo
from cyrnn.layers.base import Layer
from cyrnn.saving import load_model
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.model import model_from_file, read_model_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except Exception as error:  # whatever it is, a person at a terminal gets one line
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"cyrnn {options.command}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"cyrnn {options.command}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cyrnn", description="Keras' SimpleRNN family on the CPU.")
    parser.add_argument("--version", action="version", version=f"cyrnn {cyrnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="classify handwritten digits with a bundled model, and time it")
    demo.set_defaults(run=lambda options: run_demo())

    predict = commands.add_parser("predict", help="run a saved model on an array")
    predict.add_argument("model", metavar="MODEL", type=Path, help="a .keras or .h5 file")
    predict.add_argument("input", metavar="INPUT", type=Path, help="a .npy file: the samples along axis 0")
    predict.add_argument("-o", "--output", metavar="OUTPUT", type=Path, required=True, help="the .npy file to write")
    predict.add_argument("--batch-size", metavar="N", type=int, help="samples at a time")
    predict.add_argument("--threads", metavar="N", type=int, help="at most so many threads")
    predict.set_defaults(run=_predict)

    info = commands.add_parser("info", help="show what a model file holds")
    info.add_argument("file", metavar="FILE", type=Path, help="a .keras or .h5 file")
    info.set_defaults(run=_info)

    config = commands.add_parser("config", help="show what this machine and this build use")
    config.set_defaults(run=_config)
    return parser


def _predict(options: argparse.Namespace) -> int:
    model = load_model(options.model)
    if options.input.exists() and not options.input.is_file():
        raise ValueError(f"{options.input} is not a regular file")
    try:
        x = np.load(options.input, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"{options.input} is not a .npy file of numbers: {error}") from None
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{options.input} is not a .npy file: it is an archive of several arrays")
    expected = model.input_shape or ()
    if len(x.shape) != len(expected) or any(n not in (None, m) for n, m in zip(expected[1:], x.shape[1:], strict=True)):
        raise ValueError(f"{options.input} must have shape {expected} as {options.model} says, got {x.shape}")
    y = model.predict(x, options.batch_size, num_threads=options.threads)
    if not isinstance(y, np.ndarray):
        raise ValueError(f"{options.model} has several outputs, which one .npy file cannot hold: call it from Python")
    with written_at_once(options.output) as file:
        np.save(file, y)
    print(f"{options.output}: {y.shape} {y.dtype}")
    return 0


def _info(options: argparse.Namespace) -> int:
    file = read_model_file(options.file)
    model = model_from_file(file)
    print(f"{options.file}: {type(model).__name__} {model.name!r}, saved by Keras {file.keras_version}")
    shape = model.input_shape or ()
    rows = [("layer", "class", "output shape", "parameters", "dtype"), ("input", "Input", str(shape), "0", "")]
    rows += [_row(layer, shape) for layer, shape in zip(model.layers, model.shapes_behind_layers(), strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for name, cls, shape_text, parameters, dtype in rows:
        print(
            f"  {name:<{widths[0]}}  {cls:<{widths[1]}}  {shape_text:<{widths[2]}}  {parameters:>{widths[3]}}  {dtype}"
        )
    print(f"{model.count_params():,} parameters")
    return 0


def _row(layer: Layer, shape: object) -> tuple[str, str, str, str, str]:
    return layer.name, type(layer).__name__, str(shape), f"{layer.count_params():,}", layer.dtype_policy.name


def _config(options: argparse.Namespace) -> int:
    cyrnn.show_config()
    return 0
