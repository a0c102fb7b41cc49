"""``cyrnn convert IN OUT``: models from one kind of file into another, one or many."""

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cyrnn.cli.checks import check_overwrites
from cyrnn.cli.errors import during, report
from cyrnn.cli.text import printable
from cyrnn.layers.base.layer import Layer
from cyrnn.saving import interchange
from cyrnn.saving.atomic import checked_target
from cyrnn.saving.errors import refusals_located
from cyrnn.saving.file_format import Format
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.registry import ends_of
from cyrnn.saving.weight_files import load_weights


def run(options: argparse.Namespace) -> int:
    if options.to is None:
        source, output = options.files
        _convert_one(options, source, output)
        return 0
    pairs = _pairs(options)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    worst = 0
    for source, output in pairs:
        try:
            _convert_one(options, source, output)
        except Exception as error:  # of this file; the others are converted nevertheless
            text, code = report(error)
            print(f"cyrnn convert: {text}", file=sys.stderr)
            worst = max(worst, code)
    return worst


def _pairs(options: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Each file, and the one that is made of it. Raises ValueError where two would be one."""
    end = f".{options.to.removeprefix('.')}"
    _format_for(f"model{end}", f"--to {options.to}")
    found: dict[Path, Path] = {}
    for source in options.files:
        folder = source.parent if options.folder is None else options.folder
        output = folder / f"{_stem(source)}{end}"
        if output in found:
            raise ValueError(f"{found[output]} and {source} would both become {output}: convert them one by one")
        found[output] = source
    return [(source, output) for output, source in found.items()]


def _stem(path: Path) -> str:
    """The name of a file without the end that says its format."""
    ends = sorted(ends_of(interchange.FORMATS), key=len, reverse=True)
    return path.name.removesuffix(next((end for end in ends if path.name.endswith(end)), path.suffix))


def _format_for(name: str, given: str) -> Format:
    """The format of a file to be written. Raises ValueError, which says what was given, for other ends."""
    target = next((form for form in interchange.WRITTEN if name.endswith(form.ends)), None)
    if target is None:
        raise ValueError(f"{given} must end in one of {', '.join(ends_of(interchange.WRITTEN))}")
    return target


def _convert_one(options: argparse.Namespace, path: Path, output: Path) -> None:
    target = _format_for(output.name, str(output))
    for_writing = _given(options, ["masks"], target, output)
    read = {"the file to convert": path} | ({} if options.model is None else {"the model": options.model})
    check_overwrites(output, read)
    checked_target(output)
    with during(f"reading {path}"), opened(path) as file:
        layer = _layer(options, file)
    with during(f"writing {output}"), _naming_options():
        interchange.export(layer, output, target, **for_writing)
    print(f"{printable(output, 500)}: {type(layer).__name__}, {layer.count_params():,} parameters")


def _layer(options: argparse.Namespace, file: OpenFile) -> Layer:
    """What a file holds; or the model whose weights it holds, with these."""
    source = interchange.recognised(file)
    for_reading = _given(options, ["nonlinearity"], source, file.path)
    if options.model is None:
        return interchange.load(file, source, **for_reading)
    if source.list_arrays is None:
        raise ValueError(f"--model is for files of weights, and {file.path} is none")
    model = interchange.load_model(options.model)
    with refusals_located(file.path):
        if source.fill is not None:
            source.fill(model, file)
        else:
            load_weights(model, file.path)
    return model


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Within the block, messages name the options of the command line, not the arguments of functions."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("masks='right-padded'", "--masks right-padded")) from error


def _given(options: argparse.Namespace, names: Iterable[str], form: Format, path: Path) -> dict[str, Any]:
    """Those of the options that were given. Raises ValueError if the format of the file at `path` has no such."""
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name in given.keys() - set(form.options):
        takers = " and ".join(other.name for other in interchange.FORMATS if name in other.options)
        raise ValueError(f"--{name} is for files of {takers}, and {path} is none")
    return given
