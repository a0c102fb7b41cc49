"""`python -m benchmarks`: measure cyrnn and its peers in one run, and print tables of times.

The layer alone, SimpleRNN or what `--cell` says; with `--models` whole models; with `--training` the layer with its
gradients, and models over the sum of their layers; with `--fit` epochs of `fit`, and what a step of it costs; with
`--calls` kinds of calls of cyrnn, without peers.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from . import cases, report, runner, trainings

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
OF_GATES: list[runner.Shape] = [
    (1, 1, 8, 32),
    (1, 1, 32, 64),
    (1, 100, 32, 64),
    (1, 1000, 128, 256),
    (32, 10, 8, 4),
    (32, 100, 64, 128),
    (256, 50, 128, 256),
]
QUICK: list[runner.Shape] = [(32, 10, 8, 4), (1, 100, 32, 64), (32, 100, 64, 128)]
OF_MODELS: list[runner.Shape] = [(1, 10, 8, 32), (1, 100, 32, 64), (32, 100, 64, 128)]
OF_THE_FIRST_MODEL: list[runner.Shape] = [(1, 1, 8, 32), *OF_MODELS[:2], (32, 10, 8, 4), *OF_MODELS[2:]]
OF_TRAINING: list[runner.Shape] = [
    (8, 20, 4, 16),
    (32, 10, 8, 32),
    (1, 200, 32, 64),
    (32, 100, 64, 128),
    (128, 50, 64, 128),
    (64, 50, 128, 256),
]
OF_FIT: list[runner.Shape] = [(4096, 20, 8, 32), (2048, 50, 32, 64)]  # rows first
WITH_FIT = ("cyrnn", "torch", "keras", "keras-jax")  # contenders
WITH_GRADIENTS = ("cyrnn", "torch", "tensorflow-xla", "jax", "jax-unrolled")  # contenders
OF_THE_LAYER_ALONE = ("numpy",)
WHEN_NAMED = ("cyrnn-bfloat16", "openvino-default")  # contenders of another precision
OF_MODELS_ALONE = ("cyrnn-predict", "torch-traced", "keras", "keras-predict", "onnxruntime-bound", "jax-unrolled")
OF_FIT_ALONE = ("keras-jax",)


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
        description="Times a float32 SimpleRNN, LSTM or GRU that returns its whole sequence, in cyrnn and its peers.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--models", action="store_true", help="whole models in the place of the layer")
    what.add_argument("--training", action="store_true", help="the layer, the layer with its gradients, and models")
    what.add_argument("--fit", action="store_true", help="epochs of `fit`, and what a step of it costs")
    what.add_argument("--calls", action="store_true", help="kinds of calls of cyrnn: `calls.py`, see there")
    names = {name.lower(): name for name in cases.LAYERS}
    parser.add_argument(
        "--cell",
        type=lambda text: names.get(text.lower(), text),
        choices=cases.LAYERS,
        metavar="NAME",
        help=f"the layer alone, also with its gradients: one of {', '.join(cases.LAYERS)}; default: the first",
    )
    of_shapes = "batch,timesteps,features,units; of fit the first is all rows"
    parser.add_argument("--shapes", type=_shape, nargs="+", metavar="B,T,F,U", help=of_shapes)
    parser.add_argument("--threads", type=_positive, nargs="+", metavar="N", help="default: 1 2; of models and fit 1")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=runner.CONTENDERS,
        metavar="NAME",
        help=f"some of {', '.join(runner.CONTENDERS)}; default: all, but for {', '.join(WHEN_NAMED)}, and "
        f"{', '.join(OF_THE_LAYER_ALONE)} with models and {', '.join(OF_MODELS_ALONE)} without; "
        f"with gradients {', '.join(WITH_GRADIENTS)}; of fit {', '.join(WITH_FIT)}",
    )
    parser.add_argument("--rounds", type=_positive, help="default: 5; of models 3; of calls and steps of fit 75")
    parser.add_argument("--blas-core", metavar="NAME", help="OPENBLAS_CORETYPE for all; default: unset")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the ratios (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="three shapes, of models one, and two short rounds")
    parser.add_argument("--verbose", action="store_true", help="show what the contenders print")
    arguments = parser.parse_args()
    if arguments.cell and (arguments.models or arguments.fit or arguments.calls):
        parser.error("--cell is for the layer alone, and for --training")
    arguments.cell = arguments.cell or cases.LAYERS[0]
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


def _questions(arguments: argparse.Namespace) -> list[runner.Question]:
    if arguments.fit:
        shapes = arguments.shapes or (OF_FIT[:1] if arguments.quick else OF_FIT)
        return [runner.Question(name, shape) for name in trainings.TRAININGS for shape in shapes]
    if arguments.training:
        shapes = arguments.shapes or (OF_TRAINING[:1] if arguments.quick else OF_TRAINING)
        models = [arguments.cell, *(name for name, layer in cases.GRADIENTS.items() if layer == arguments.cell)]
        return [runner.Question(model, shape) for model in models for shape in shapes]
    if not arguments.models:
        default = SHAPES if arguments.cell == cases.LAYERS[0] else OF_GATES
        shapes = arguments.shapes or (QUICK if arguments.quick else default)
        return [runner.Question(arguments.cell, shape) for shape in shapes]
    questions = []
    for model in cases.MODELS:
        if model not in (*cases.LAYERS, *cases.GRADIENTS):
            default = OF_THE_FIRST_MODEL if not questions else OF_MODELS
            shapes = arguments.shapes or (OF_MODELS[:1] if arguments.quick else default)
            questions += [runner.Question(model, shape) for shape in shapes]
    return questions


def _contenders(arguments: argparse.Namespace) -> list[str]:
    if arguments.fit:
        return arguments.contenders or list(WITH_FIT)
    if arguments.training:
        return arguments.contenders or list(WITH_GRADIENTS)
    others = (*WHEN_NAMED, *OF_FIT_ALONE, *(OF_THE_LAYER_ALONE if arguments.models else OF_MODELS_ALONE))
    return arguments.contenders or [name for name in runner.CONTENDERS if name not in others]


def _alone(arguments: argparse.Namespace) -> int:
    """Run `calls.py`, or of gradients `wholes.py`, in a process that finds the installed cyrnn alone."""
    name = "wholes.py" if arguments.training else "calls.py"
    command = [sys.executable, "-P", str(Path(__file__).with_name(name))]
    command += ["--fit"] if arguments.fit else []
    command += ["--blas-core", arguments.blas_core] if arguments.blas_core else []
    command += ["--rounds", str(arguments.rounds)] if arguments.rounds else []
    return subprocess.run(command, env=runner.child_environment(1, arguments.blas_core)).returncode


def main() -> int:
    arguments = _arguments()
    if arguments.calls:
        return _alone(arguments)
    of_models = arguments.models or arguments.training or arguments.fit
    wanted = arguments.threads or ([1] if arguments.models or arguments.fit else [1, 2])
    thread_counts = [n for n in wanted if n <= runner.processors()]
    for skipped in sorted(set(wanted) - set(thread_counts)):
        print(f"{skipped} threads: skipped, this process may use only {runner.processors()} processor(s)")
    run = runner.measure(
        _questions(arguments),
        thread_counts,
        _contenders(arguments),
        rounds=arguments.rounds or (2 if arguments.quick else 3 if of_models else 5),
        seconds=0.05 if arguments.quick else 0.1 if of_models else 0.25,
        blas_core=arguments.blas_core,
        peak=not of_models,
        verbose=arguments.verbose,
        tell=_tell,
    )
    _tell("")
    print(report.as_text(run))
    if arguments.json:
        report.write_json(run, arguments.json)
    if arguments.plot and run.results:
        report.write_plot(run, arguments.plot)
    has_more = (arguments.fit or arguments.training) and report.OURS in _contenders(arguments)
    code = _alone(arguments) if has_more else 0
    return code or (0 if run.sound else 1)


if __name__ == "__main__":
    sys.exit(main())
