"""``cyrnn convert IN OUT``: a model from one kind of file into another."""

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cyrnn.cli.errors import during
from cyrnn.cli.outputs import check_target
from cyrnn.cli.text import printable
from cyrnn.saving import interchange
from cyrnn.saving.file_format import Format
from cyrnn.saving.opened import opened
from cyrnn.saving.registry import ends_of


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("convert", help="write a model to another kind of file")
    parser.add_argument("file", metavar="IN", type=Path, help=".keras, .h5, .onnx, or torch's RNN in .safetensors")
    parser.add_argument(
        "output", metavar="OUT", type=Path, help=".keras, .onnx, .c; the weights alone: .weights.h5, .npz, .safetensors"
    )
    parser.add_argument("--masks", choices=("right-padded",), help="what ONNX may take for granted of masked data")
    parser.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of torch's RNN, whose files do not say it")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    target = next((form for form in interchange.WRITTEN if options.output.name.endswith(form.ends)), None)
    if target is None:
        raise ValueError(f"{options.output} must end in one of {', '.join(ends_of(interchange.WRITTEN))}")
    for_writing = _given(options, ["masks"], target, options.output)
    check_target(options.output, {"the file to convert": options.file})
    with during(f"reading {options.file}"), opened(options.file) as file:
        source = interchange.recognised(file)
        layer = interchange.load(file, source, **_given(options, ["nonlinearity"], source, options.file))
    with during(f"writing {options.output}"), _naming_options():
        interchange.export(layer, options.output, target, **for_writing)
    print(f"{printable(options.output, 500)}: {type(layer).__name__}, {layer.count_params():,} parameters")
    return 0


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
