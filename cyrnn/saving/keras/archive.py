"""The .keras archive: a zip of config.json, metadata.json and model.weights.h5 (Keras 3, and 2 from 2.12 on)."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from cyrnn.budget import TooLargeError
from cyrnn.saving import json_text
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.zipped import Members

CONFIG, METADATA, WEIGHTS, PICKLED_WEIGHTS = "config.json", "metadata.json", "model.weights.h5", "model.weights.npz"
NAMES = frozenset((CONFIG, METADATA, WEIGHTS, PICKLED_WEIGHTS))
_MOST_JSON = 8 << 20  # bytes; a real config has some kilobytes per layer
_MOST_EXPANSION = 100  # a config may be compressed to a thirtieth of its size
_MOST_MEMORY = 24 << 20  # bytes that parsed JSON may take, beside six times the file's size


@dataclass(frozen=True)
class Archive:
    """The members of a .keras file: parsed JSON, and the bytes of the HDF5 file with the weights.

    `stored_bytes` is the size of the archive.
    """

    config: dict[str, Any]
    metadata: dict[str, Any]
    weights: bytes
    stored_bytes: int


def read_archive(members: Members) -> Archive:
    """The contents of a .keras file. Raises ModelFileError if it is none of Keras.

    Reading takes time proportional to the size of the archive, up to 8 MB of JSON in each member aside, which may be
    compressed; and at most 8 times its size and 100 MB of memory, the model included.
    """
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
        config=parsed(members.read(CONFIG, _MOST_EXPANSION), CONFIG, members.stored_bytes),
        metadata=parsed(members.read(METADATA, _MOST_EXPANSION), METADATA, members.stored_bytes),
        weights=members.read(WEIGHTS),
        stored_bytes=members.stored_bytes,
    )


def parsed(text: str | bytes, what: str, file_size: int) -> dict[str, Any]:
    """A JSON object from a file of some size. Raises ModelFileError if `text` is none, or larger than configs are."""
    if len(text) > _MOST_JSON:
        raise _too_long(what, len(text))
    try:
        value = json_text.parsed(text, _MOST_MEMORY + 6 * file_size)
    except TooLargeError as error:
        raise ModelFileError(f"{what!r} is not JSON of the size of a config: {error}", Reason.TOO_LARGE) from None
    except ValueError as error:
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
