"""What is wrong with a command and can be said before NumPy is imported: files that are not there, names that clash."""

import argparse
from collections.abc import Mapping
from pathlib import Path

STANDARD = Path("-")  # stands for the standard input, and for the standard output
_ENDS = (".npy", ".npz", ".csv")
_ZARR = ".zarr"


def info(options: argparse.Namespace) -> None:
    _check_there(options.file)


def predict(options: argparse.Namespace) -> None:
    of_zarr = are_of_zarr(options)  # which says itself where there is no array
    if not of_zarr:
        check_overwrites(options.output, {"the model": options.model, "the input": options.input})
        if options.format is None and options.output != STANDARD:
            checked_end(options.output)
    _check_there(options.model, *([] if of_zarr else [options.input]))


def convert(options: argparse.Namespace) -> None:
    if options.to is None and (len(options.files) != 2 or options.folder is not None):
        raise ValueError("convert takes a file and the name of the new one: IN OUT; or IN ... --to KIND [-d FOLDER]")
    if options.to is None:
        _check_there(options.files[0])
    if options.model is not None:
        _check_there(options.model)


def bench(options: argparse.Namespace) -> None:
    _check_there(options.model)


def _check_there(*paths: Path) -> None:
    """Raises OSError for what is not there; the kind and the contents are looked at when it is read."""
    for path in paths:
        if path != STANDARD:
            path.stat()


def are_of_zarr(options: argparse.Namespace) -> bool:
    """Whether a `predict` is about arrays of zarr. Raises ValueError where only half of it is."""
    ends = [path.suffix.lower() == _ZARR for path in (options.input, options.output)]
    if any(ends) and not all(ends):
        other = options.output if ends[0] else options.input
        raise ValueError(f"INPUT and OUTPUT must both be {_ZARR}, or none of them; {other} is not")
    if not any(ends) and (options.scheduler is not None or options.no_resume):
        given = "--scheduler" if options.scheduler is not None else "--no-resume"
        raise ValueError(f"{given} needs {_ZARR} arrays as INPUT and OUTPUT, got {options.input} and {options.output}")
    return all(ends)


def check_overwrites(path: Path, read: Mapping[str, Path]) -> None:
    """Raises ValueError if `path` is one of the files to be read, directly or by a link.

    `read` says what each of these files is, for the message. "-" is the standard input, or output.
    """
    if path == STANDARD:
        return
    for what, file in read.items():
        if path.exists() and file.exists() and path.samefile(file):
            link = "" if path.absolute() == file.absolute() else f", {file}, by a link"
            raise ValueError(f"{path} is {what}{link}: give another name")


def checked_end(path: Path) -> str:
    """The format of a file: ".npy", ".npz" or ".csv", by the end of its name. Raises ValueError for other ends."""
    end = path.suffix.lower() or ".npy"
    if end in _ENDS:
        return end
    if path.exists() and not path.is_file():  # a pipe or device has any name
        return ".npy"
    raise ValueError(f"{path} must end in one of {', '.join(_ENDS)}")
