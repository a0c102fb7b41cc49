"""Tables of numbers as text: a sample a line."""

import csv
import math
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from cyrnn.layers.base.arguments import Array

_ROWS_AT_A_TIME = 1024
_ENCODING = "utf-8-sig"
_FORMATS = {"f2": "%.5g", "f4": "%.9g", "f8": "%.17g"}  # enough digits for the same number when it is read again


def read_csv(path: Path) -> Array:
    """The numbers (rows, columns) in a file, as float64.

    Columns are separated by commas, tabs or semicolons. A first line without any number is a header; empty lines, and
    those that begin with "#", are left out. Raises ValueError with the number of the line that is wrong.
    """
    try:
        found = _read_at_once(path)
        found = _read_by_line(path) if found is None else found
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError is among them
        raise ValueError(f"{path}: {error}") from None
    if not found.size:
        raise ValueError(f"{path} holds no numbers")
    return found


def _opened(path: Path) -> TextIO:
    return path.open(encoding=_ENCODING, newline="")


def _read_at_once(path: Path) -> Array | None:
    """What `numpy.loadtxt` reads of a file whose first lines were looked at; None where it has to be read by line."""
    with _opened(path) as file:
        separator = _separator(file)
        header, width = _header(file, separator)
    options: dict[str, Any] = {"comments": None, "delimiter": separator, "skiprows": header, "quotechar": '"'}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file without numbers
            found = np.loadtxt(path.absolute(), np.float64, ndmin=2, encoding=_ENCODING, **options)
    except ValueError:  # it may be wrong, or of a form that is read by line: which, is seen there
        return None
    return found if found.size and width in (None, found.shape[1]) else None


def _header(file: TextIO, separator: str) -> tuple[int, int | None]:
    """How many lines there are before the first one with numbers, and the columns of the header, if there is one."""
    width, lines = None, 0
    for line in file:
        if _has_content(line):
            fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
            if width is not None or any(map(_is_number, fields)):
                break
            width = len(fields)
        lines += 1
    file.seek(0)
    return lines, width


def _read_by_line(path: Path) -> Array:
    numbers = array("d")
    width = None
    with _opened(path) as file:
        for line, fields in _lines(file):
            if width is None and not any(map(_is_number, fields)):
                width = len(fields)
                continue
            if width is not None and len(fields) != width:
                raise ValueError(f"line {line} has {len(fields)} columns, those before have {width}")
            width = len(fields)
            try:
                numbers.extend(map(float, fields))
            except ValueError:
                wrong = next(n for n, field in enumerate(fields) if not _is_number(field))
                raise ValueError(f"line {line}, column {wrong + 1}: {fields[wrong]!r:.50} is no number") from None
    return np.frombuffer(numbers, np.float64).reshape(-1, width or 1)


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The lines that are neither empty nor comments, with their numbers."""
    separator = _separator(file)
    reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
    for fields in reader:
        if fields and _has_content(separator.join(fields)):
            yield reader.line_num, fields


def _separator(file: TextIO) -> str:
    """What is between the columns of the first line."""
    begin = next((line for line in file if _has_content(line)), "")
    file.seek(0)
    return next((character for character in ",\t;" if character in begin), ",")


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def write_csv(file: IO[bytes], values: Array) -> None:
    """Write an array, a line for each of its rows, which are flattened."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    form = _FORMATS.get(rows.dtype.str[1:], "%d" if rows.dtype.kind in "iub" else "%.9g")
    for first in range(0, len(rows), _ROWS_AT_A_TIME):
        part = rows[first : first + _ROWS_AT_A_TIME]
        np.savetxt(file, part, form, delimiter=",")
