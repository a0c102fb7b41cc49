"""``cyrnn info FILE``: what a file holds, and what of it cannot run here."""

import argparse
from pathlib import Path
from typing import Any

from cyrnn.cli.errors import during
from cyrnn.cli.text import print_table, printable
from cyrnn.models.model_files import ModelFile, model_from_file, read_model_file
from cyrnn.models.outline import Line, outline
from cyrnn.saving.contents import StoredArray, arrays_in
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.weight_files import refusals_located

_LONGEST_REASON = 1000  # characters
_MOST_REASONS = 100


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help="show what a file of a model or of weights holds")
    parser.add_argument("file", metavar="FILE", type=Path, help=".keras, .h5, .weights.h5, .npz or .safetensors")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    with during(f"reading {options.file}"):
        arrays = arrays_in(options.file)
        if arrays is not None:
            return _print_arrays(options.file, arrays)
        return _print_model(options.file, read_model_file(options.file))


def _print_arrays(path: Path, arrays: list[StoredArray]) -> int:
    print(f"{printable(path, 500)}: weights without a model")
    rows = [(a.name, a.shape_text, f"{a.size:,}" if a.refusal is None else "?", a.dtype) for a in arrays]
    print_table(("array", "shape", "elements", "dtype"), rows, numbers=("elements",))
    print(f"{sum(array.size for array in arrays):,} elements")
    return _print_reasons([f"{printable(a.name)}: {a.refusal}" for a in arrays if a.refusal is not None])


def _print_model(path: Path, file: ModelFile) -> int:
    model, problem = None, None
    try:
        with refusals_located(path):
            model = model_from_file(file)
    except ModelFileError as error:
        problem = error
    lines = outline(file, model)
    if not lines and problem is not None:
        raise problem
    config = file.config.get("config")
    name = model.name if model is not None else config.get("name", "?") if isinstance(config, dict) else "?"
    kind = printable(file.config.get("class_name") if model is None else type(model).__name__)
    print(f"{printable(path, 500)}: {kind} {printable(repr(name))}, saved by Keras {file.keras_version}")
    head = ("layer", "class", "output shape", "parameters", "dtype", "connected to")
    print_table(head, [_row(line) for line in lines], numbers=("parameters",))
    if model is not None:
        print(f"{model.count_params():,} parameters")
        return 0
    known = sum(line.parameters or 0 for line in lines)
    print(f"{known:,} parameters, without those of layers with a '?'")
    reasons = [line.refusal for line in lines if line.refusal is not None]
    return _print_reasons(reasons or [str(problem)])


def _row(line: Line) -> tuple[str, ...]:
    parameters = "?" if line.parameters is None else f"{line.parameters:,}"
    shape = "?" if line.shape is None else str(line.shape)
    return line.name, line.class_name, shape, parameters, line.dtype, ", ".join(line.inputs)


def _print_reasons(reasons: list[str]) -> int:
    """What cannot run here, a line each; the exit code."""
    for reason in reasons[:_MOST_REASONS]:
        print(f"cannot run here: {printable(' '.join(reason.split()), _LONGEST_REASON)}")
    if len(reasons) > _MOST_REASONS:
        print(f"... and {len(reasons) - _MOST_REASONS:,} more")
    return 1 if reasons else 0
