"""A vocabulary: tokens and their indices, how it is checked, and how it is a text."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.config import UnnamedOptions

MOST_IN_A_CONFIG = 500_000  # tokens; each takes about 160 bytes
_MOST_REPEATED = 5  # that are shown


class VocabularyOptions(UnnamedOptions, total=False):
    """Arguments of layers with a vocabulary, which configs have."""

    vocabulary_size: int | None
    has_input_vocabulary: bool


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their indices. It is replaced as a whole, never changed.

    Parameters
    ----------
    tokens : list of str or int
        Without masks and what stands for unknown ones.
    start : int
        The index of the first token.
    idf_weights : array, optional
        A weight for each index, those before `start` included.
    """

    tokens: list[Any]
    start: int
    idf_weights: Array | None = None
    indices: Mapping[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", {token: self.start + n for n, token in enumerate(self.tokens)})

    def __len__(self) -> int:
        return self.start + len(self.tokens)


def checked_tokens(name: str, given: Iterable[Any], kind: type) -> list[Any]:
    """Tokens as a list of strings or integers. Raises ValueError for none, and for others."""
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    if not values:
        raise ValueError(f"{name} must hold at least one token")
    found = [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]
    if kind is int:
        found = [int(value) if hasattr(value, "__index__") and type(value) is not bool else value for value in found]
    else:
        found = [str(value) if isinstance(value, str) else value for value in found]  # NumPy's are others
    for value in found:
        if type(value) is not kind or (isinstance(value, int) and not -(2**63) <= value < 2**63):
            raise ValueError(f"{name} must hold {'texts' if kind is str else 'integers of int64'}, got {shown(value)}")
    return found


def checked_vocabulary(
    name: str,
    given: Sequence[Any],
    special: Sequence[Any],
    *,
    reserved: Iterable[Any],
    most: int | None,
    idf_weights: Any,
    padded_to: int | None,
) -> Vocabulary:
    """The vocabulary of these tokens, which may begin with the special ones.

    Parameters
    ----------
    name : str
        That of the layer.
    given : sequence of str or int
        Tokens, as `checked_tokens` returns them.
    special : sequence
        The mask token and those for unknown tokens, which have the first indices.
    reserved : iterable
        What must not be among the other tokens.
    most : int, optional
        How many indices there may be.
    idf_weights : array, optional
        A weight for each of `given`.
    padded_to : int, optional
        The number of categories, which weights of 0 are added for.

    Raises
    ------
    ValueError
        For tokens that come twice, are reserved or too many, and for weights that do not fit.
    """
    start = len(special)
    has_special = list(given[:start]) == list(special)
    tokens = list(given[start:]) if has_special else list(given)
    if len(set(tokens)) < len(tokens):
        repeated = [token for token, count in Counter(tokens).items() if count > 1][:_MOST_REPEATED]
        raise ValueError(f"the vocabulary of {name!r} must have each token once, it repeats {shown(repeated)}")
    for token in reserved:
        if token is not None and token in tokens:
            raise ValueError(
                f"the vocabulary of {name!r} has the reserved token {shown(token)} at place {tokens.index(token)}: "
                f"leave it out, or begin with {list(special)!r:.200}"
            )
    if most is not None and start + len(tokens) > most:
        raise ValueError(f"the vocabulary of {name!r} must have at most max_tokens {most}, got {start + len(tokens)}")
    return Vocabulary(tokens, start, _padded(name, idf_weights, given, 0 if has_special else start, padded_to))


def _padded(name: str, weights: Any, given: Sequence[Any], front: int, padded_to: int | None) -> Array | None:
    if weights is None:
        return None
    array = np.asarray(weights, np.float64)
    if array.shape != (len(given),):
        raise ValueError(f"idf_weights of {name!r} must be {len(given)} numbers, one for each token, got {array.shape}")
    back = 0 if padded_to is None else padded_to - front - len(array)
    parts = [np.full(front, array.mean()), array, np.zeros(max(0, back))]
    return np.concatenate(parts).astype(np.float32)


def tokens_in(path: str) -> list[str]:
    """The lines of a text file in UTF-8."""
    lines = Path(path).read_text("utf-8").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines


def as_text(name: str, tokens: Sequence[Any]) -> bytes:
    """Tokens as lines, as Keras' files have them. Raises ValueError for a token that is no line."""
    lines = [str(token) for token in tokens]
    bad = next((line for line in lines if line and line.splitlines() != [line]), None)
    if bad is not None:
        raise ValueError(f"the vocabulary of {name!r} has a token that is not one line: {shown(bad)}")
    if len(lines) > 1 and not lines[-1]:
        raise ValueError(f"the vocabulary of {name!r} ends with an empty token, which files of Keras do not keep")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def from_text(content: bytes, most: int) -> list[str]:
    """The lines that `as_text` or Keras has written. Raises ValueError for what is no such text, or has too many."""
    try:
        lines = content.decode("utf-8", "strict").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from None
    if len(lines) > most:
        raise ValueError(f"it has {len(lines)} lines, more than {most}")
    while lines and not lines[-1]:
        lines.pop()
    return lines
