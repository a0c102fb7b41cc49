"""The .keras archive: a zip of config.json, metadata.json and model.weights.h5 (Keras 3, and 2 from 2.12 on)."""

import json
from dataclasses import dataclass
from typing import Any, BinaryIO

from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.zipped import Members

CONFIG, METADATA, WEIGHTS, PICKLED_WEIGHTS = "config.json", "metadata.json", "model.weights.h5", "model.weights.npz"
NAMES = frozenset((CONFIG, METADATA, WEIGHTS, PICKLED_WEIGHTS))
_MOST_JSON = 8 << 20  # bytes; a real config has some kilobytes per layer


@dataclass(frozen=True)
class Archive:
    """The members of a .keras file: parsed JSON, and the bytes of the HDF5 file with the weights."""

    config: dict[str, Any]
    metadata: dict[str, Any]
    weights: bytes


def read_archive(members: Members) -> Archive:
    """The contents of a .keras file. Raises ModelFileError if it is none of Keras."""
    for name in (CONFIG, METADATA):
        if name not in members.names:
            raise ModelFileError(f"the archive holds no {name!r}: it is not a .keras file of Keras")
        if members.size(name) > _MOST_JSON:
            raise _too_long(name, members.size(name))
    if WEIGHTS not in members.names and PICKLED_WEIGHTS in members.names:
        raise ModelFileError(
            f"{PICKLED_WEIGHTS!r} holds pickles, which are never run; save with {WEIGHTS!r}", Reason.CODE
        )
    return Archive(
        config=parsed(members.read(CONFIG), CONFIG),
        metadata=parsed(members.read(METADATA), METADATA),
        weights=members.read(WEIGHTS),
    )


def parsed(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises ModelFileError if `text` is none, or larger than a config can be."""
    if len(text) > _MOST_JSON:
        raise _too_long(what, len(text))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{what!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{what!r} must hold a JSON object, got {type(value).__name__}")
    return value


def _too_long(what: str, size: int) -> ModelFileError:
    return ModelFileError(f"{what!r} has {size} bytes, more than {_MOST_JSON}", Reason.TOO_LARGE)


def write_archive(file: BinaryIO, members: dict[str, bytes]) -> None:
    """Write an archive with these members, stored as they are, like Keras'."""
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
