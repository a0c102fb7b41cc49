"""What is wrong with a file: `ModelFileError`, and why, as a `Reason` that programs can match."""

import contextlib
import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyrnn import budget, objects

_LONGEST_MESSAGE = 1000  # characters; names in a file may have millions

# What the contents of a file may cause. A MemoryError is not among them: it says nothing of the file, whose sizes are
# checked before anything is allocated.
CAUSED_BY_CONTENTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Reason(enum.StrEnum):
    """Why a file is refused.

    Each is a `str` too: ``error.reason == "damaged"`` is the same as ``error.reason is Reason.DAMAGED``.

    Attributes
    ----------
    DAMAGED
        The file is cut off, contradicts itself, or was made to do harm. Another copy of it may be sound.
    UNSUPPORTED
        What was read is sound, and asks for what cyrnn does not have: a layer's option, an operator, a form of HDF5.
    UNKNOWN_FORMAT
        The file is of no kind that is read here, or is so damaged that it cannot be recognised.
    NOT_A_MODEL
        The file is of a known kind and holds no model, but weights alone or a single layer.
    UNKNOWN_CLASS
        The model has a class or function that is not built in: pass it in `custom_objects`.
    CODE
        The file holds code, such as a Lambda layer's or a pickle, which is never run.
    MISMATCH
        The weights do not fit the layer or model: their number, a name, a shape or a dtype.
    TOO_LARGE
        A part of the file, or what it would expand to, is larger than any sound file needs.
    """

    DAMAGED = "damaged"
    UNSUPPORTED = "unsupported"
    UNKNOWN_FORMAT = "unknown_format"
    NOT_A_MODEL = "not_a_model"
    UNKNOWN_CLASS = "unknown_class"
    CODE = "code"
    MISMATCH = "mismatch"
    TOO_LARGE = "too_large"


class ModelFileError(ValueError):
    """A file that is damaged, hostile, or holds what this package cannot run; the message says which and where.

    Parameters
    ----------
    message : str
        What is wrong, with the name of the layer, weight or part of the file.
    reason : Reason, optional
        The kind of fault, `Reason.DAMAGED` where it is not given.

    Attributes
    ----------
    reason : Reason
        The kind of fault, for programs: messages may change.

    Examples
    --------
    >>> try:  # doctest: +SKIP
    ...     model = cyrnn.saving.load_model("model.keras")
    ... except cyrnn.saving.ModelFileError as error:
    ...     if error.reason is not cyrnn.saving.Reason.UNKNOWN_CLASS:
    ...         raise
    ...     model = cyrnn.saving.load_model("model.keras", custom_objects=find_my_classes())
    """

    reason: Reason = Reason.DAMAGED

    def __init__(self, message: str = "", reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


def reason_of(error: BaseException, otherwise: Reason | None = None) -> Reason | None:
    """The reason that an error or one of its causes was given; `otherwise` where none was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModelFileError) and "reason" in vars(cause):
            return cause.reason
        if isinstance(cause, objects.CodeError):
            return Reason.CODE
        if isinstance(cause, objects.UnknownNameError):
            return Reason.UNKNOWN_CLASS
        if isinstance(cause, budget.TooLargeError):
            return Reason.TOO_LARGE
        cause = cause.__cause__
    return otherwise


@contextlib.contextmanager
def refusals_located(path: str | os.PathLike[str], otherwise: Reason | None = None) -> Iterator[None]:
    """Within the block, what a file's contents cause is a ModelFileError that names the file.

    `otherwise` is the reason where the error has none.
    """
    try:
        yield
    except CAUSED_BY_CONTENTS as error:
        text = str(error)[:_LONGEST_MESSAGE] or type(error).__name__
        name = os.fspath(path)
        located = text if text.startswith((f"{name}:", f"{name} ")) else f"{name}: {text}"
        raise ModelFileError(located, reason_of(error, otherwise)) from error


def as_path(path: Any) -> Path:
    """`path`; TypeError for what is none."""
    try:
        return Path(path)
    except TypeError:
        raise TypeError(f"path must be a str or path-like, the name of a file, got {type(path).__name__}") from None
