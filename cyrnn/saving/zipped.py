"""Zip archives from anywhere: every size is checked before it is believed, and nothing is written to disk."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from cyrnn.saving.errors import ModelFileError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_MOST_EXPANSION = 100  # Keras stores its members uncompressed; deflated weights shrink a little
_ALWAYS_ALLOWED = 1 << 20  # bytes: small members may be mostly zeros


class Members:
    """The files in an archive. `names` has each once."""

    def __init__(self, archive: "ZipFile", stored_bytes: int) -> None:
        self._archive = archive
        self._stored_bytes = stored_bytes
        self._infos: dict[str, ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename
            if name in self._infos:
                raise ModelFileError(f"the archive holds {name!r} twice")
            if info.compress_type not in (0, 8):  # stored, deflated
                raise ModelFileError(f"{name!r} is compressed in a way that Keras does not use")
            if re.match(r"/|\\|\w:", name) or ".." in re.split(r"[/\\]", name):
                raise ModelFileError(f"{name!r} leads out of the archive")
            self._infos[name] = info

    @property
    def names(self) -> list[str]:
        return list(self._infos)

    def size(self, name: str) -> int:
        """The bytes that a member has when it is unpacked."""
        return self._infos[name].file_size

    def read(self, name: str) -> bytes:
        """A member's bytes. Raises ModelFileError if there is none, or it expands as no weights do."""
        with self.opened(name) as member:
            size, packed = self.size(name), min(self._infos[name].compress_size, self._stored_bytes)
            if size > max(_ALWAYS_ALLOWED, _MOST_EXPANSION * packed):
                raise ModelFileError(f"{name!r} would expand from {packed} to {size} bytes")
            return member.read(size)

    def opened(self, name: str) -> IO[bytes]:
        """A member, open for reading: whoever reads sees to the size. Raises ModelFileError if there is none."""
        if name not in self._infos:
            raise ModelFileError(f"the archive holds no {name!r}")
        return self._archive.open(self._infos[name])


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], what: str) -> Iterator[Members]:
    """The members of the archive at `path`. What is wrong with it, or found wrong in the block, is a ModelFileError."""
    import zipfile  # late: it costs a quarter of this package's import time

    with regular_file(path) as file:
        stored = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                yield Members(archive, stored)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None
        except Exception as error:  # a damaged archive can raise almost anything
            raise ModelFileError(f"{os.fspath(path)} is not a sound {what}: {error}") from None


def regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, open for reading. Raises ModelFileError for a pipe or device, OSError where there is none."""
    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise ModelFileError(f"{os.fspath(path)} is not a regular file")
    return Path(path).open("rb")
