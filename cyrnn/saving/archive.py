"""The .keras archive: a zip of config.json, metadata.json and model.weights.h5 (Keras 3).

A file is somebody's bytes: every size is checked before it is believed, and nothing is written to disk.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyrnn.saving.errors import ModelFileError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_MOST_JSON = 16 << 20  # bytes; a real config has some kilobytes per layer
_MOST_EXPANSION = 100  # Keras stores its members uncompressed; deflated weights shrink a little


@dataclass(frozen=True)
class Archive:
    """The members of a .keras file: parsed JSON, and the bytes of the HDF5 file with the weights."""

    config: dict[str, Any]
    metadata: dict[str, Any]
    weights: bytes
    stored_bytes: int  # of the file on disk

    @property
    def keras_version(self) -> str:
        version = str(self.metadata.get("keras_version"))
        return version if re.fullmatch(r"[0-9][\w.+-]{0,40}", version) else "unknown"


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """The contents of the file at `path`. Raises ModelFileError, or OSError where there is no such file."""
    import zipfile  # late: it costs a quarter of this package's import time
    import zlib

    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise ModelFileError(f"{os.fspath(path)} is not a regular file")
    with Path(path).open("rb") as file:
        stored = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, stored)
                return Archive(
                    config=_json(archive, members, "config.json"),
                    metadata=_json(archive, members, "metadata.json"),
                    weights=_bytes(archive, members, "model.weights.h5"),
                    stored_bytes=stored,
                )
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None
        except (
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
            EOFError,
            NotImplementedError,
            RuntimeError,
            zlib.error,
        ) as error:
            raise ModelFileError(f"{os.fspath(path)} is not a sound .keras file: {error}") from None


def _members(archive: "ZipFile", stored: int) -> "dict[str, ZipInfo]":
    members: dict[str, ZipInfo] = {}
    for info in archive.infolist():
        if info.file_size > _MOST_EXPANSION * max(1, min(info.compress_size, stored)):
            raise ModelFileError(f"{info.filename!r} would expand from {info.compress_size} to {info.file_size} bytes")
        if info.filename in members:
            raise ModelFileError(f"the archive holds {info.filename!r} twice")
        if info.compress_type not in (0, 8):  # stored, deflated
            raise ModelFileError(f"{info.filename!r} is compressed in a way that Keras does not use")
        members[info.filename] = info
    return members


def _bytes(archive: "ZipFile", members: "dict[str, ZipInfo]", name: str) -> bytes:
    info = members.get(name)
    if info is None:
        raise ModelFileError(f"the archive holds no {name!r}: it is not a .keras file of Keras 3")
    with archive.open(info) as member:
        return member.read(info.file_size)


def _json(archive: "ZipFile", members: "dict[str, ZipInfo]", name: str) -> dict[str, Any]:
    if name in members and members[name].file_size > _MOST_JSON:
        raise ModelFileError(f"{name!r} has {members[name].file_size} bytes, more than {_MOST_JSON}")
    try:
        parsed = json.loads(_bytes(archive, members, name))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{name!r} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ModelFileError(f"{name!r} must hold a JSON object, got {type(parsed).__name__}")
    return parsed
