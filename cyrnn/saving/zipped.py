"""Zip archives from anywhere: every size is checked before it is believed, and nothing is written to disk."""

import contextlib
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, BinaryIO

from cyrnn.saving.errors import ModelFileError, Reason

if TYPE_CHECKING:
    from zipfile import ZipInfo

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # the latter where there are no members
_MOST_EXPANSION = 100  # Keras stores its members uncompressed; deflated weights shrink a little
_ALWAYS_ALLOWED = 1 << 20  # bytes: small members may be mostly zeros


class Members:
    """The files in an archive, which must stay open. `names` has each once."""

    def __init__(self, file: BinaryIO, stored_bytes: int) -> None:
        import zipfile  # late: it costs a quarter of this package's import time

        with _damage_refused():
            self._archive = zipfile.ZipFile(file)
        self._stored_bytes = stored_bytes
        self._infos: dict[str, ZipInfo] = {}
        for info in self._archive.infolist():
            name = info.filename
            if name in self._infos:
                raise ModelFileError(f"the archive holds {name!r} twice")
            if info.compress_type not in (0, 8):  # stored, deflated
                raise ModelFileError(f"{name!r} is compressed in a way that Keras does not use", Reason.UNSUPPORTED)
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
                raise ModelFileError(f"{name!r} would expand from {packed} to {size} bytes", Reason.TOO_LARGE)
            return member.read(size)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A member, open for reading; the caller checks sizes. Raises ModelFileError if there is none."""
        if name not in self._infos:
            raise ModelFileError(f"the archive holds no {name!r}")
        with _damage_refused(), self._archive.open(self._infos[name]) as member:
            yield member


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    """Within the block, what a damaged archive causes is a ModelFileError: it can raise almost anything."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:
        raise ModelFileError(f"it is not a sound .keras file or .npz file, which are zip archives: {error}") from error
