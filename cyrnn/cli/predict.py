"""``cyrnn predict MODEL INPUT -o OUTPUT``: a model over the samples in a file, into a file."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cyrnn.cli.errors import during
from cyrnn.cli.inputs import read_inputs
from cyrnn.cli.outputs import Writer, check_target, checked_end
from cyrnn.cli.text import printable
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.models.functional import Functional
from cyrnn.models.model import ModelOfLayers
from cyrnn.saving.interchange import load_model

_SOON = 1.0  # seconds: shorter work needs no progress bar


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("predict", help="run a saved model on arrays")
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .keras, .h5 or .onnx file")
    parser.add_argument(
        "input", metavar="INPUT", type=Path, help=".npy, .npz (several inputs, by name) or .csv: samples along axis 0"
    )
    parser.add_argument("-o", "--output", metavar="OUTPUT", type=Path, required=True, help=".npy, .npz or .csv")
    parser.add_argument("--batch-size", metavar="N", type=int, help="samples at a time")
    parser.add_argument("--threads", metavar="N", type=int, help="at most so many threads")
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    check_target(options.output, {"the model": options.model, "the input": options.input})
    checked_end(options.output)
    with during(f"reading {options.model}"):
        model = load_model(options.model)
    with during(f"reading {options.input}"), _naming(options.input):
        given = read_inputs(options.input, _input_names(model), _shapes(model))
        arrays = model.predict_inputs(given)
    _check_shapes(options, model, arrays)
    writer = Writer(options.output, _output_names(model, [array.shape for array in arrays]))
    with (
        during(f"running {options.model} on {options.input} (fewer samples at a time, --batch-size, take less)"),
        writer,
    ):
        out = writer.arrays(*_results(model, arrays))
        result = model.predict(
            model.in_structure(arrays),
            options.batch_size,
            num_threads=options.threads,
            out=out,
            progress=_shown,
        )
        writer.write(result)
    messages = sys.stdout if options.output.is_file() else sys.stderr  # the output itself may be on stdout
    for line in writer.written:
        print(f"{printable(options.output, 500)}: {printable(line, 500)}", file=messages)
    return 0


def _input_names(model: ModelOfLayers) -> list[str]:
    return model.input_names if isinstance(model, Functional) else ["input"]


def _shapes(model: ModelOfLayers) -> list[Any]:
    return nest.leaves_of_shapes(model.input_shape)


def _check_shapes(options: argparse.Namespace, model: ModelOfLayers, arrays: list[Array]) -> None:
    """Raises ValueError that names the files; a graph has checked its own inputs."""
    if isinstance(model, Functional):
        return
    (expected,), shape = _shapes(model), arrays[0].shape
    pairs = zip(expected[1:], shape[1:], strict=False)
    if len(shape) != len(expected) or any(n not in (None, m) for n, m in pairs):
        raise ValueError(f"{options.input} must have shape {expected} as {options.model} says, got {shape}")


def _results(model: ModelOfLayers, arrays: list[Array]) -> tuple[Any, list[Any]]:
    """The shapes of the outputs in the model's structure, and their dtypes."""
    shapes = model.compute_output_shape(model.in_structure([array.shape for array in arrays]))
    return shapes, model.output_dtypes(len(nest.leaves_of_shapes(shapes)))


def _output_names(model: ModelOfLayers, shapes: list[Any]) -> list[str]:
    """For each output the name of the layer that it is from."""
    if isinstance(model, Functional):
        return model.output_names
    count = len(nest.leaves_of_shapes(model.compute_output_shape(model.in_structure(shapes))))
    return [model.layers[-1].name] * count


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Within the block, a message about the values begins with the file that they are from."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error


def _shown(batches: Iterable[int]) -> Iterable[int]:
    """The batches, with a progress bar at a terminal if they take long."""
    if not sys.stderr.isatty():
        return batches
    try:
        from tqdm import tqdm
    except ImportError:
        return _counted(batches)
    return tqdm(batches, unit="batch", delay=_SOON, leave=False)


def _counted(batches: Iterable[int]) -> Iterator[int]:
    """As `_shown` without tqdm: a line that says how much is done."""
    every = list(batches)
    begin = last = time.monotonic()
    try:
        for number, batch in enumerate(every):
            now = time.monotonic()
            if now - begin > _SOON and now - last > _SOON / 4:
                print(f"\r{100 * number // len(every):3} %", end="", file=sys.stderr, flush=True)
                last = now
            yield batch
    finally:
        if last > begin:
            print("\r     \r", end="", file=sys.stderr, flush=True)
