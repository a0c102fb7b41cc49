"""The arguments of all commands. Nothing that takes long is imported, so help and wrong calls are answered at once."""

import argparse
import contextlib
from pathlib import Path

from cyrnn.cli.text import examples
from cyrnn.engine.precision import PRECISIONS


def demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train", action="store_true", help="train the model here, beside what Keras takes (default: read digits)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw the training curve: .png, .svg, .pdf (default: no plot)"
    )
    parser.epilog = examples("cyrnn demo", "cyrnn demo --train --plot curve.png")


def info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help=".keras, .h5, .onnx, .weights.h5, .npz or .safetensors")
    parser.epilog = examples("cyrnn info model.keras", "cyrnn info model.onnx || echo it does not run here")


def predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .keras, .h5 or .onnx file")
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=Path,
        help=".npy, .npz (several inputs, by name), .csv or .zarr: samples along axis 0; - reads the standard input",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        type=Path,
        required=True,
        help=".npy, .npz, .csv or .zarr; - writes to the standard output, in the format of the input",
    )
    parser.add_argument(
        "--format", choices=("npy", "npz", "csv"), help="of OUTPUT (default: what the end of its name says)"
    )
    parser.add_argument(
        "--series",
        action="store_true",
        help="the lines of a .csv are the timesteps of one sequence (default: samples), in the output too",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, help="samples at a time (default: as many as fit)")
    parser.add_argument("--threads", metavar="N", type=int, help="at most so many threads (default: all processors)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of products: bfloat16 is for CPUs that multiply it (AMX, AVX512-BF16), and off by a hundredth or so "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="for .zarr: the Dask scheduler whose workers compute, as tcp://host:8786 (default: this process computes)",
    )
    parser.add_argument(
        "--no-resume", action="store_true", help="for .zarr: begin anew (default: do what is left of an OUTPUT)"
    )
    parser.epilog = examples(
        "cyrnn predict model.keras input.npy -o output.npy",
        "cat series.csv | cyrnn predict model.onnx - --series -o - > output.csv",
    )


def convert(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cyrnn convert [options] IN OUT\n       cyrnn convert [options] IN [IN ...] --to KIND [-d FOLDER]"
    parser.add_argument(
        "files",
        metavar="IN",
        nargs="+",
        type=Path,
        help=".keras, .h5, .onnx, or torch's RNN in .safetensors; with --model also .weights.h5, .npz, .safetensors, "
        "and the .torch.safetensors that convert writes",
    )
    parser.add_argument(
        "--to",
        metavar="KIND",
        help="the end of OUT: keras, h5, onnx, c; of the weights alone: weights.h5, npz, safetensors, "
        "torch.safetensors with torch's names "
        "(default: that of the name OUT, which is given last)",
    )
    parser.add_argument(
        "-d", "--folder", metavar="FOLDER", type=Path, help="where files of --to are put (default: beside each IN)"
    )
    parser.add_argument(
        "--model", metavar="FILE", type=Path, help="the model whose weights IN has, if it has no model (default: none)"
    )
    parser.add_argument(
        "--masks", choices=("right-padded",), help="what ONNX may take for granted of masked data (default: nothing)"
    )
    parser.add_argument(
        "--nonlinearity",
        choices=("tanh", "relu"),
        help="of torch's RNN, whose files do not say it (default: tanh)",
    )
    parser.epilog = examples("cyrnn convert model.h5 model.keras", "cyrnn convert *.h5 --to keras -d out/")


def bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .keras, .h5 or .onnx file")
    parser.add_argument(
        "--batch", metavar="N,...", type=_counts, default=[1, 32], help="samples of a call (default: 1,32)"
    )
    parser.add_argument(
        "--threads", metavar="N,...", type=_counts, default=None, help="threads (default: 1, and all processors)"
    )
    parser.add_argument(
        "--timesteps", metavar="N", type=_count, default=100, help="of inputs of any length (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=_seconds, default=1.0, help="for each line of the table (default: %(default)s)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw the distribution: .png, .svg, .pdf (default: no plot)"
    )
    parser.epilog = examples(
        "cyrnn bench model.keras", "cyrnn bench model.onnx --batch 1,32 --threads 1,2 --plot latency.png"
    )


def config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs (default: a line each)")
    parser.epilog = examples("cyrnn config", "cyrnn config --json | jq .threads")


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(map(_count, text.split(","))))
