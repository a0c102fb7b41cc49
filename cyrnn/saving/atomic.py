"""Files that appear whole or not at all."""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cyrnn.saving.errors import as_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".cyrnn-"  # how the names of files begin that are not whole yet


@contextlib.contextmanager
def written_at_once(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends; if it fails, what was there stays.

    That holds when the machine crashes, too: the new file is on the disk before it gets the name. A process that is
    killed leaves its unfinished file; the next that writes to `path` removes it. Links are followed, the mode of a file
    that is there is kept, and what is no regular file is written to as it is. Raises OSError where it cannot be
    written.
    """
    path = checked_target(path)
    if path.exists() and not path.is_file():
        buffer = io.BytesIO()  # a pipe has no position, which `numpy.save` asks for
        yield buffer
        path.write_bytes(buffer.getvalue())
        return
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    _remove_left(path)
    new, handle = _unfinished(path, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if mode is not None:
                new.chmod(mode)
            file.flush()
            _sync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _beginning(path: Path) -> str:
    """How the names of the unfinished files of `path` begin: of a fixed length, because `path` may have a long name."""
    import hashlib  # with OpenSSL, which takes long to load

    return f"{UNFINISHED}{hashlib.blake2s(os.fsencode(path.name), digest_size=6).hexdigest()}-"


def _unfinished(path: Path, mode: int) -> tuple[Path, int]:
    """A new file beside `path`, and its handle, which holds the file's lock until its writer closes it or is dead."""
    while True:
        new = path.with_name(f"{_beginning(path)}{os.urandom(8).hex()}")
        # The system applies the umask to a new file: Python could read it only by changing it, for all threads. Memory
        # maps ask for a file that can be read as well.
        handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if _locked(handle) and os.fstat(handle).st_nlink == 0:  # another writer saw it before it was locked
            os.close(handle)
            continue
        return new, handle


def _locked(handle: int) -> bool:
    """Whether this process alone holds the lock of a file now. Where files have no locks, it never does."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left(path: Path) -> None:
    """Remove unfinished files of `path` that killed processes left. Those under way are locked, or open on Windows."""
    beginning = _beginning(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for left in [Path(entry) for entry in entries if entry.name.startswith(beginning)]:
            with contextlib.suppress(OSError):
                if fcntl is None:
                    left.unlink()
                    continue
                handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if _locked(handle):
                        left.unlink()
                finally:
                    os.close(handle)


def _sync(handle: int) -> None:
    """Put a file on the disk, where its file system can."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can. If it fails, a crash may bring the old file back."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _sync(handle)
        finally:
            os.close(handle)


def checked_target(path: str | os.PathLike[str]) -> Path:
    """The file that writing to `path` writes: links are followed. Raises OSError where nothing can be written, and
    TypeError for what is no path."""
    path = as_path(path)
    if not path.exists() or path.is_file():  # what /dev/stdout leads to may have no name
        path = Path(os.path.realpath(path))
        if path.is_symlink():  # still
            raise OSError(f"cannot write to {path}: it is a link that leads to itself")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write to {path}: it is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write to {path}: there is no folder {path.parent}")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write to {path}: it is read-only")
    if not (path.exists() and not path.is_file()) and not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write to {path}: its folder is read-only")
    return path
