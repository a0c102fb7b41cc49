"""``cyrnn predict MODEL INPUT -o OUTPUT``: a model over the samples in a file, into a file."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn.cli import zarr_arrays
from cyrnn.cli.checks import STANDARD, are_of_zarr, checked_end
from cyrnn.cli.errors import during
from cyrnn.cli.inputs import as_file, kind_of, read_inputs
from cyrnn.cli.outputs import Writer
from cyrnn.cli.text import printable
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.models.functional import Functional
from cyrnn.models.model import ModelOfLayers
from cyrnn.saving.atomic import checked_target
from cyrnn.saving.interchange import load_model

_SOON = 1.0  # seconds: shorter work needs no progress bar
_NUMBERS_AT_A_TIME = 1 << 20  # that are searched for NaN


def run(options: argparse.Namespace) -> int:
    if are_of_zarr(options):
        return zarr_arrays.predict(options)
    if options.output != STANDARD:
        checked_target(options.output)
    end = (
        f".{options.format}" if options.format else None if options.output == STANDARD else checked_end(options.output)
    )
    with during(f"reading {options.model}"):
        model = load_model(options.model)
    with as_file(options.input) as path:
        with during(f"reading {options.input}"), _naming(path, options.input):
            given = read_inputs(path, _input_names(model), _shapes(model), options.series)
            arrays, end = model.predict_inputs(given), end or kind_of(path)
        _check_shapes(options, model, arrays)
        _note_single_timesteps(options, model, arrays)
        _check_terminal(options.output, end)
        return _written(options, model, arrays, end)


def _written(options: argparse.Namespace, model: ModelOfLayers, arrays: list[Array], end: str) -> int:
    """Run the model, and write what it returns."""
    writer = Writer(options.output, _output_names(model, [array.shape for array in arrays]), end, options.series)
    with (
        during(f"running {options.model} on {options.input} (fewer samples at a time, --batch-size, take less)"),
        writer,
    ):
        out = writer.arrays(*_results(model, arrays))
        result = model.predict(
            model.in_structure(arrays),
            options.batch_size,
            num_threads=options.threads,
            precision=options.precision,
            out=out,
            progress=_shown,
        )
        writer.write(result)
        _warn_of_nan(options.output, nest.leaves(result))
    if options.output != STANDARD:
        messages = sys.stdout if options.output.is_file() else sys.stderr  # the output itself may be on stdout
        for line in writer.written:
            print(f"{printable(options.output, 500)}: {printable(line, 500)}", file=messages)
    return 0


def _check_terminal(output: Path, end: str) -> None:
    """Raises ValueError where bytes that are no text would be written to a terminal."""
    if output == STANDARD and end != ".csv" and sys.stdout.isatty():
        raise ValueError(f"the output is a {end} file, which is no text for a terminal: give --format csv, or -o FILE")


def _note_single_timesteps(options: argparse.Namespace, model: ModelOfLayers, arrays: list[Array]) -> None:
    """Say how it was understood where the lines of a file, of which each made one timestep, may be a series."""
    (shape, *_), array = _shapes(model), arrays[0]
    is_text = options.input == STANDARD or options.input.suffix.lower() == ".csv"
    if is_text and not options.series and array.ndim == 3 and array.shape[1] == 1 < len(array) and shape[1] is None:
        said = f"{printable(options.input, 500)} is read as {len(array):,} samples of one timestep"
        print(f"cyrnn predict: {said}; if its lines are timesteps, say --series", file=sys.stderr)


def _warn_of_nan(path: Path, outputs: list[Any]) -> None:
    """Say on the standard error how many numbers of the outputs are NaN, if any are."""
    count = total = 0
    first: int | None = None
    for output in outputs:
        total += output.size
        each = max(1, _NUMBERS_AT_A_TIME // max(1, output[:1].size))
        for begin in range(0, len(output) if output.dtype.kind in "fV" else 0, each):
            wrong = np.isnan(output[begin : begin + each])
            if wrong.any():
                count += int(wrong.sum())
                rows = np.nonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0]
                first = begin + int(rows[0]) if first is None else min(first, begin + int(rows[0]))
    if count:
        print(
            f"cyrnn predict: warning: {count:,} of {total:,} numbers in {printable(path, 500)} are NaN, "
            f"the first in sample {first}, counted from 0",
            file=sys.stderr,
        )


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
def _naming(path: Path, given: Path) -> Iterator[None]:
    """Within the block, a message about the values begins with the file that they are from, as it was given."""
    try:
        yield
    except (ValueError, TypeError) as error:
        text, name = str(error), "the standard input" if given == STANDARD else str(given)
        if path != given:
            raise ValueError(text.replace(str(path), name)) from error
        raise error if name in text else ValueError(f"{name}: {text}") from error


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
