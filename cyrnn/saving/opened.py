"""A file that is open for reading: its beginning, its bytes, the members of an archive. It is opened once."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cyrnn.saving.errors import ModelFileError, Reason, refusals_located
from cyrnn.saving.zipped import SIGNATURES, Members

_BEGINNING = 16  # bytes, of which no two formats have the same
_Parsed = TypeVar("_Parsed")


class OpenFile:
    """A regular file, of which no more is read than is asked for, and that once."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.beginning = file.read(_BEGINNING)
        self._file = file
        self._parsed: dict[Callable[[bytes], Any], Any] = {}

    @functools.cached_property
    def content(self) -> bytes:
        """All bytes."""
        self._file.seek(0)
        return self._file.read()

    @property
    def is_zip(self) -> bool:
        """Whether it begins as zip archives do."""
        return self.beginning.startswith(SIGNATURES)

    @functools.cached_property
    def members(self) -> Members:
        """The members of a zip archive. Raises ModelFileError if it is none that is sound."""
        return Members(self._file, os.fstat(self._file.fileno()).st_size)

    def parsed(self, parse: Callable[[bytes], _Parsed]) -> _Parsed:
        """``parse(content)``; the second time what it returned the first time."""
        if parse not in self._parsed:
            self._parsed[parse] = parse(self.content)
        return self._parsed[parse]


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], otherwise: Reason | None = None) -> Iterator[OpenFile]:
    """The file at `path`, closed after the block; what its contents cause in the block is a ModelFileError.

    Raises ModelFileError for a pipe or device, OSError where there is no file.
    """
    place = Path(path)
    with refusals_located(path, otherwise):
        if place.exists() and not (place.is_file() or place.is_dir()):
            raise ModelFileError("it is not a regular file", Reason.UNKNOWN_FORMAT)
        with place.open("rb") as file:
            yield OpenFile(place, file)
