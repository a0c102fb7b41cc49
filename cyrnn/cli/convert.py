"""``cyrnn convert IN OUT``: a model from one kind of file into another."""

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cyrnn import saving
from cyrnn.cli.errors import during
from cyrnn.cli.outputs import check_target
from cyrnn.cli.text import printable
from cyrnn.layers import RNN, Bidirectional, Input, Layer
from cyrnn.models.sequential import Sequential
from cyrnn.saving.contents import arrays_in

_TORCH = re.compile(r"(.*?)(weight|bias)_(ih|hh)(_l\d+(_reverse)?)?", re.DOTALL)


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
    write = _writer(options.output)
    if options.masks is not None and options.output.suffix != ".onnx":
        raise ValueError(f"--masks is for .onnx files, and {options.output} is none")
    check_target(options.output, {"the file to convert": options.file})
    with during(f"reading {options.file}"):
        layer = _read(options.file, options.nonlinearity)
    with during(f"writing {options.output}"), _naming_options():
        write(layer, options.output, **({} if options.masks is None else {"masks": options.masks}))
    print(f"{printable(options.output, 500)}: {type(layer).__name__}, {layer.count_params():,} parameters")
    return 0


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Within the block, messages name the options of the command line, not the arguments of functions."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("masks='right-padded'", "--masks right-padded")) from error


def _writer(path: Path) -> Callable[..., None]:
    """What writes such a file, by the end of its name. Raises ValueError for other ends."""
    name = path.name
    writers: dict[str, Callable[..., None]]
    writers = {".weights.h5": saving.save_weights, ".npz": saving.save_weights, ".safetensors": saving.save_weights}
    writers |= {".keras": saving.save_model, ".c": saving.export_c, ".onnx": saving.export_onnx}
    found = next((write for end, write in writers.items() if name.endswith(end)), None)
    if found is None:
        raise ValueError(f"{path} must end in one of {', '.join(writers)}")
    return found


def _read(path: Path, nonlinearity: str | None) -> Layer:
    if path.suffix == ".onnx":
        layer: Layer = saving.from_onnx(path)
    else:
        arrays = arrays_in(path)
        if arrays is not None:
            return _read_torch(path, [array.name for array in arrays], nonlinearity)
        layer = saving.load_model(path)
    if nonlinearity is not None:
        raise ValueError(f"--nonlinearity is for files of torch, and {path} says itself what its activations are")
    return layer


def _read_torch(path: Path, names: list[str], nonlinearity: str | None) -> Layer:
    """The model of a torch RNN. Raises ValueError for other weights: they do not say of which model they are."""
    matches = [_TORCH.fullmatch(name) for name in names]
    prefixes = {match[1] for match in matches if match}
    if not prefixes or path.suffix != ".safetensors":
        raise ValueError(
            f"{path} holds weights without a model, which cannot be made of them: convert the model's file"
        )
    if len(prefixes) > 1 or not all(matches):
        others = [name for name, match in zip(names, matches, strict=True) if not match]
        lost = f"also {', '.join(others[:3])}" if others else f"RNNs called {', '.join(sorted(prefixes))}"
        raise ValueError(f"{path} holds {lost}, which would be lost: use cyrnn.saving.from_torch(path, prefix=...)")
    layer = saving.from_torch(path, nonlinearity or "tanh", prefix=prefixes.pop())
    if isinstance(layer, (RNN, Bidirectional)):  # a model of one layer, as files of models want it
        return Sequential([Input((None, layer.weights[0].shape[0]), dtype=layer.dtype), layer])
    return layer
