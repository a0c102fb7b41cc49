"""``cyrnn info FILE``: what a file holds, and what of it cannot run here."""

import argparse
import json
from pathlib import Path

from cyrnn.cli.errors import during
from cyrnn.cli.text import print_table, printable
from cyrnn.layers.base.layer import Layer
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.model_files import model_from_file
from cyrnn.models.outline import Line, outline
from cyrnn.models.summary import ops_of
from cyrnn.saving import interchange
from cyrnn.saving.errors import ModelFileError, Reason, refusals_located
from cyrnn.saving.file_format import Format, ModelFile, StoredArray
from cyrnn.saving.opened import OpenFile, opened

_LONGEST_REASON = 1000  # characters
_MOST_REASONS = 100
_MOST_CUTS = 5


def run(options: argparse.Namespace) -> int:
    with during(f"reading {options.file}"):
        with opened(options.file) as file:
            form = interchange.recognised(file)
            held = _held(file, form)
            made = _made(options.file, held) if isinstance(held, ModelFile) else None
        if isinstance(held, ModelFile):
            return _print_stored(options.file, held, made)
        if isinstance(held, Layer):
            return _print_translated(options.file, form, held)
        if isinstance(held, ModelFileError):
            print(f"{printable(options.file, 500)}: {form.name}")
            return _print_reasons([str(held)])
        return _print_arrays(options.file, held)


def _held(file: OpenFile, form: Format) -> list[StoredArray] | ModelFile | Layer | ModelFileError:
    """What a file holds: arrays, a model of Keras that is not made yet, one that is translated, or why it cannot be."""
    if form.list_arrays is not None:
        return form.list_arrays(file)
    if form.read_model is not None:
        return form.read_model(file)
    try:
        with refusals_located(file.path):
            return interchange.load(file, form)
    except ModelFileError as error:
        if error.reason is not Reason.UNSUPPORTED:
            raise
        return error


def _print_arrays(path: Path, arrays: list[StoredArray]) -> int:
    print(f"{printable(path, 500)}: weights without a model")
    rows = [(a.name, a.shape_text, f"{a.size:,}" if a.refusal is None else "?", a.dtype) for a in arrays]
    print_table(("array", "shape", "elements", "dtype"), rows, numbers=("elements",))
    print(f"{sum(array.size for array in arrays):,} elements")
    return _print_reasons([f"{printable(a.name)}: {a.refusal}" for a in arrays if a.refusal is not None])


def _made(path: Path, stored: ModelFile) -> ModelOfLayers | ModelFileError:
    """The model of an open file of Keras, or why it cannot be made."""
    try:
        with refusals_located(path):
            return model_from_file(stored)
    except ModelFileError as error:
        return error


def _print_stored(path: Path, stored: ModelFile, made: ModelOfLayers | ModelFileError | None) -> int:
    """A model with its config, which is shown also where the model cannot be made."""
    model, problem = (None, made) if isinstance(made, ModelFileError) else (made, None)
    lines = outline(stored.config, model)
    if not lines and problem is not None:
        raise problem
    config = stored.config.get("config")
    name = model.name if model is not None else config.get("name", "?") if isinstance(config, dict) else "?"
    kind = stored.config.get("class_name") if model is None else type(model).__name__
    what = f"{printable(kind)} {printable(repr(name))}, in the format of Keras {stored.keras_version}"
    print(f"{printable(path, 500)}: {what}")
    _print_layers(lines)
    if model is not None:
        print(f"{model.count_params():,} parameters")
        _print_programs(model)
        return 0
    known = sum(line.parameters or 0 for line in lines)
    print(f"{known:,} parameters, without those of layers with a '?'")
    reasons = [line.refusal for line in lines if line.refusal is not None]
    return _print_reasons(reasons or [str(problem)])


def _print_translated(path: Path, form: Format, model: Layer) -> int:
    """A model of a format that is not Keras'."""
    print(f"{printable(path, 500)}: {type(model).__name__} {printable(repr(model.name))}, read from {form.name}")
    if isinstance(model, ModelOfLayers):
        _print_layers(outline(json.loads(model.to_json()), model))
    print(f"{model.count_params():,} parameters")
    _print_programs(model)
    return 0


def _print_programs(model: Layer) -> None:
    """What a call runs as: the engine's programs, and the layers that Python calls, each with the reason."""
    partition = model.known_partition() if isinstance(model, ModelOfLayers) else None
    if partition is None:
        return
    programs, cuts = partition.programs, dict(partition.cuts)
    print(f"runs as {len(programs)} program{'s' * (len(programs) != 1)} of {ops_of(programs)}")
    if cuts:
        shown = [f"{printable(name)} ({printable(reason)})" for name, reason in list(cuts.items())[:_MOST_CUTS]]
        more = f", and {len(cuts) - _MOST_CUTS:,} more" if len(cuts) > _MOST_CUTS else ""
        print(f"Python calls {', '.join(shown)}{more}")


def _print_layers(lines: list[Line]) -> None:
    head = ("layer", "class", "output shape", "parameters", "dtype", "connected to")
    print_table(head, [_row(line) for line in lines], numbers=("parameters",))


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
