"""Zip archives from anywhere: every size is checked before it is believed, and nothing is written to disk.

An archive of n bytes is opened in time proportional to n, and its list of members takes at most 60 MB of memory. A
member that is read takes at most 4 n bytes and 4 MB, if its reader allows it no more.
"""

import contextlib
import io
import re
import shutil
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from cyrnn.saving.errors import ModelFileError, Reason

if TYPE_CHECKING:
    from zipfile import ZipInfo

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # the latter where there are no members
_LARGEST_LIST = 2 << 20  # bytes of the list of members, of which each takes 46 and its name, and 1 kB in memory
_MOST_EXPANSION = (
    4  # Keras stores its members uncompressed; deflated weights shrink a little, if half of them are zeros
)
_ALWAYS_ALLOWED = 4 << 20  # bytes: small members may be mostly zeros
_CHUNK = 1 << 20
_SHORTEST_HEADER = 30  # bytes before a member, without its name
_NO_MEMORY = "Error -4 "  # how zlib says that there is no memory left


class Members:
    """The files in an archive, which must stay open. `names` has each once; `stored_bytes` is the archive's size."""

    def __init__(self, file: BinaryIO, stored_bytes: int) -> None:
        import zipfile  # late: it costs a quarter of this package's import time

        careful = _Careful(file)
        with _damage_refused():
            self._archive = zipfile.ZipFile(cast(IO[bytes], careful))
        careful.most = stored_bytes
        self.stored_bytes = stored_bytes
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
        end = 0
        for info in sorted(self._infos.values(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise ModelFileError(f"{info.filename!r} overlaps another member of the archive")
            end = info.header_offset + _SHORTEST_HEADER + info.compress_size

    @property
    def names(self) -> list[str]:
        return list(self._infos)

    def size(self, name: str) -> int:
        """The bytes that a member has when it is unpacked."""
        return self._infos[name].file_size

    def read(self, name: str, most_expansion: int = _MOST_EXPANSION) -> bytes:
        """A member's bytes. Raises ModelFileError if there is none, or it expands to more times its stored size."""
        with self.opened(name) as member:
            size, packed = self.size(name), min(self._infos[name].compress_size, self.stored_bytes)
            if size > max(_ALWAYS_ALLOWED, most_expansion * packed):
                raise ModelFileError(
                    f"{name!r} would expand from {packed} to {size} bytes: store it uncompressed, as Keras does",
                    Reason.TOO_LARGE,
                )
            content = io.BytesIO()  # the bytes of which are not copied at the end
            shutil.copyfileobj(member, content, _CHUNK)
            return content.getvalue()

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A member, open for reading; the caller checks sizes. Raises ModelFileError if there is none."""
        if name not in self._infos:
            raise ModelFileError(f"the archive holds no {name!r}")
        with _damage_refused(), self._archive.open(self._infos[name]) as member:
            yield member


class _Careful:
    """An open file that does not read a list of members that is too long for any archive of Keras or NumPy."""

    def __init__(self, file: BinaryIO) -> None:
        self.most = _LARGEST_LIST  # bytes that are read at a time
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise ModelFileError(
                f"the archive's list of members has {size} bytes, more than {self.most}", Reason.TOO_LARGE
            )
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    """Within the block, what a damaged archive causes is a ModelFileError: it can raise almost anything."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:
        if str(error).startswith(_NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise ModelFileError(f"it is not a sound .keras file or .npz file, which are zip archives: {error}") from error
