"""A file that is open for reading: its beginning, its bytes, the members of an archive. It is opened once."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cyrnn.saving.errors import ModelFileError, Reason, as_path, refusals_located
from cyrnn.saving.zipped import SIGNATURES, Members

_BEGINNING = 16  # bytes, of which no two formats have the same
_Made = TypeVar("_Made")


class OpenFile:
    """A regular file, of which no more is read than is asked for, and that once."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.beginning = file.read(_BEGINNING)
        self._file = file
        self._made: dict[Callable[[Any], Any], Any] = {}

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

    def parsed(self, parse: Callable[[bytes], _Made]) -> _Made:
        """``parse(content)``; the second time what it returned the first time."""
        return self._once(parse, lambda: parse(self.content))

    def once(self, make: Callable[["OpenFile"], _Made]) -> _Made:
        """``make(file)``; the second time what it returned the first time."""
        return self._once(make, lambda: make(self))

    def _once(self, key: Callable[[Any], Any], make: Callable[[], _Made]) -> _Made:
        if key not in self._made:
            self._made[key] = make()
        found: _Made = self._made[key]
        return found


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], otherwise: Reason | None = None) -> Iterator[OpenFile]:
    """The file at `path`, closed after the block; what its contents cause in the block is a ModelFileError.

    Raises ModelFileError for a pipe or device, OSError where there is no file, TypeError for what is no path.
    """
    place = as_path(path)
    with refusals_located(path, otherwise):
        if place.exists() and not (place.is_file() or place.is_dir()):
            raise ModelFileError("it is not a regular file", Reason.UNKNOWN_FORMAT)
        with place.open("rb") as file:
            yield OpenFile(place, file)
