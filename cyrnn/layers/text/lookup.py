"""The base of StringLookup and IntegerLookup: tokens as indices in a vocabulary, and back. Reference: Keras 3."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from cyrnn.arrays import shown
from cyrnn.dtypes import TEXT
from cyrnn.layers.around.core import checked_size
from cyrnn.layers.base.arguments import Array, Shape, is_size
from cyrnn.layers.text.categorical import Categorical
from cyrnn.layers.text.encoding import checked_mode, counted, encoded, encoded_shape, refuse_sparse
from cyrnn.layers.text.hashing import checked_salt, hash_of
from cyrnn.layers.text.vocabulary import (
    MOST_IN_A_CONFIG,
    Vocabulary,
    as_text,
    checked_tokens,
    checked_vocabulary,
    from_text,
    tokens_in,
)

_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
_NONE = -1  # an index that no category has


class Lookup(Categorical):
    """Base: a layer with a vocabulary."""

    of: ClassVar[type] = str  # what tokens are

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        pad_to_max_tokens: bool,
        sparse: bool,
        oov_method: str,
        salt: Any,
        **kwargs: Any,
    ) -> None:
        refuse_sparse(sparse)
        known_size = kwargs.pop("vocabulary_size", None)
        kwargs.pop("has_input_vocabulary", None)
        kwargs.pop("dtype", None)  # as Keras does: it follows from the tokens
        super().__init__(**kwargs)
        if max_tokens is not None and not is_size(max_tokens, 2):
            raise ValueError(f"max_tokens must be None or an integer above 1, got {shown(max_tokens)}")
        if not is_size(num_oov_indices):
            raise ValueError(f"num_oov_indices must be an integer of at least 0, got {shown(num_oov_indices)}")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError("pad_to_max_tokens=True needs max_tokens")
        self.output_mode = checked_mode(output_mode, _MODES)
        self.invert = bool(invert)
        if self.invert and self.output_mode != "int":
            raise ValueError(f"output_mode must be 'int' with invert=True, got {output_mode!r}")
        if oov_method not in ("floormod", "farmhash"):
            raise ValueError(f"oov_method must be 'floormod' or 'farmhash', got {shown(oov_method)}")
        self.salt = checked_salt(salt)
        if self.salt is not None and self.of is int and oov_method != "farmhash":
            raise ValueError("salt needs oov_method='farmhash'")
        self.max_tokens, self.num_oov_indices = max_tokens, num_oov_indices
        self.mask_token, self.oov_token = self._token("mask_token", mask_token), self._token("oov_token", oov_token)
        self.pad_to_max_tokens, self.oov_method = bool(pad_to_max_tokens), oov_method
        self.known_size = None if known_size is None else checked_size("vocabulary_size", known_size)
        self.given_vocabulary: list[Any] | None = None  # which configs hold; what `adapt` finds is in files beside
        self.given_weights: list[float] | None = None
        self._vocabulary: Vocabulary | None = None
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(f"idf_weights must only be given with output_mode 'tf_idf', not {self.output_mode!r}")
        if vocabulary is not None:
            from_a_path = isinstance(vocabulary, str)
            self.set_vocabulary(vocabulary, idf_weights)
            if not from_a_path:
                self._note_given(vocabulary, idf_weights)

    def _token(self, name: str, token: Any) -> Any:
        return None if token is None else checked_tokens(name, [token], self.of)[0]

    # ------------------------------------------------------------ vocabulary

    @property
    def special_tokens(self) -> list[Any]:
        """The mask token and those for unknown tokens, which have the first indices."""
        mask = [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []
        return [*mask, *[self.oov_token] * self.num_oov_indices]

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the vocabulary.

        Parameters
        ----------
        vocabulary : sequence of tokens, or str
            The tokens in the order of their indices, which may begin with the special ones; or the path of a text file
            with a token in each line. A config or model file must hold the tokens: paths in it are refused.
        idf_weights : sequence of float, optional
            With "tf_idf", a weight for each token.

        Raises
        ------
        ValueError
            For tokens that come twice, and too many or none of them.
        OSError
            If the file cannot be read.
        """
        tokens = self._checked_tokens(tokens_in(vocabulary) if isinstance(vocabulary, str) else vocabulary)
        if (idf_weights is None) == (self.output_mode == "tf_idf"):
            raise ValueError(
                f"idf_weights must be given with output_mode 'tf_idf' and no other; the mode of {self.name!r} is "
                f"{self.output_mode!r}"
            )
        self._replace(tokens, idf_weights)
        if self.given_vocabulary is not None:
            self._note_given(tokens, idf_weights)

    def _checked_tokens(self, given: Any) -> list[Any]:
        if self.of is int and isinstance(given, list):
            given = [int(token) if isinstance(token, str) and _is_integer(token) else token for token in given]
        return checked_tokens(f"the vocabulary of {self.name!r}", given, self.of)

    def _note_given(self, vocabulary: Any, idf_weights: Any) -> None:
        self.given_vocabulary = self._checked_tokens(vocabulary)
        self.given_weights = None if idf_weights is None else [float(weight) for weight in idf_weights]

    def _replace(self, tokens: list[Any], idf_weights: Any) -> None:
        made = checked_vocabulary(
            self.name,
            tokens,
            self.special_tokens,
            reserved=[self.mask_token, *([self.oov_token] if self.invert else [])],
            most=self.max_tokens,
            idf_weights=idf_weights,
            padded_to=self.max_tokens if self.pad_to_max_tokens else None,
        )
        fixed = self.output_mode != "int" and not self.pad_to_max_tokens
        if fixed and self.known_size not in (None, len(made)):
            raise ValueError(
                f"the vocabulary of {self.name!r} must keep its size with output_mode {self.output_mode!r}: "
                f"it had {self.known_size} indices, and would have {len(made)}"
            )
        self._vocabulary, self.known_size = made, len(made)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary. Raises ValueError if there is none yet."""
        if self._vocabulary is None:
            raise ValueError(f"layer {self.name!r} has no vocabulary yet: give it one, or call `adapt`")
        return self._vocabulary

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their indices.

        Parameters
        ----------
        include_special_tokens : bool
            Whether those for masks and unknown tokens are among them.

        Returns
        -------
        list of str or int
        """
        tokens = [] if self._vocabulary is None else self._vocabulary.tokens
        return [*(self.special_tokens if include_special_tokens else []), *tokens]

    def vocabulary_size(self) -> int:
        """How many indices there are, those for masks and unknown tokens included.

        Returns
        -------
        int
        """
        return len(self.special_tokens) if self._vocabulary is None else len(self._vocabulary)

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Make a vocabulary of data: the tokens that occur most often first, those of one count in falling order.

        Parameters
        ----------
        data : array, lists, or iterable of arrays
            Samples.
        steps : int, optional
            The most arrays that are taken of an iterable.

        Raises
        ------
        ValueError
            If the layer was made with a vocabulary, or the data holds no token.
        """
        self.adapt_to(self._samples(data, steps))

    def _samples(self, data: Any, steps: int | None) -> Iterable[list[Any]]:
        """The tokens of each sample."""
        for part in batches_of(data, steps):
            array = self.checked_inputs(part)
            rows = array.reshape(-1, 1) if array.ndim == 1 else array.reshape(len(array) if array.ndim else 1, -1)
            yield from rows.tolist()

    def adapt_to(self, samples: Iterable[list[Any]]) -> None:
        """As `adapt`, of the tokens of each sample."""
        if self.given_vocabulary is not None:
            raise ValueError(f"layer {self.name!r} was made with a vocabulary: it cannot adapt")
        counts: Counter[Any] = Counter()
        documents: Counter[Any] = Counter()
        number = 0
        for tokens in samples:
            counts.update(tokens)
            documents.update(set(tokens))
            number += 1
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        if not counts:
            raise ValueError(f"data for {self.name!r} must hold at least one token")
        ordered = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            ordered = ordered[: max(0, self.max_tokens - len(self.special_tokens))]
        weights = None
        if self.output_mode == "tf_idf":
            weights = np.log(1 + number / (1 + np.array([documents[token] for token in ordered])))
        self.known_size = None
        self._replace(ordered, weights)

    # ------------------------------------------------------------ calls

    @property
    def result_dtype(self) -> str:
        if self.invert:
            return TEXT if self.of is str else "int64"
        return "float32" if self.output_mode == "tf_idf" else "int64"

    @property
    def depth(self) -> int:
        """The number of categories. Raises ValueError if it is not known yet."""
        found = self.max_tokens if self.pad_to_max_tokens else self.known_size
        if found is None:
            self.vocabulary  # noqa: B018  # raises
        return found or 0

    def call(self, inputs: Array) -> Array:
        if self.invert:
            return self._tokens(inputs)
        indices = np.array(self.indices(inputs.ravel().tolist()), np.int64).reshape(inputs.shape)
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        return self._weighed(encoded(self.name, indices, mode, self.depth if mode != "int" else 0))

    def encoded_rows(self, rows: Sequence[Sequence[Any]]) -> Array:
        """The categories of samples of any number of tokens, with an output mode other than "int"."""
        indices = np.array(self.indices([token for row in rows for token in row]), np.int64)
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        counts = counted(owners, indices, len(rows), self.depth)
        return self._weighed(counts if self.output_mode in ("count", "tf_idf") else np.minimum(counts, 1))

    def _weighed(self, counts: Array) -> Array:
        if self.output_mode != "tf_idf":
            return counts
        weights = self.vocabulary.idf_weights
        assert weights is not None  # see `set_vocabulary`
        return counts.astype(np.float32) * weights

    def indices(self, tokens: Sequence[Any]) -> list[int]:
        """The index of each token; -1 for a mask token, unless the output mode is "int"."""
        vocabulary, first = self.vocabulary, len(self.special_tokens) - self.num_oov_indices
        known, mask = vocabulary.indices, {}
        if self.mask_token is not None:
            mask = {self.mask_token: 0 if self.output_mode == "int" else _NONE}
        found = {token: known.get(token) for token in set(tokens)} | {t: n for t, n in mask.items() if t in tokens}
        unknown = [token for token, index in found.items() if index is None]
        if unknown and not self.num_oov_indices:
            raise ValueError(
                f"inputs of {self.name!r} must be in its vocabulary, as num_oov_indices is 0; got {shown(unknown[0])}"
            )
        for token in unknown:
            found[token] = first + (self._bucket(token) if self.num_oov_indices > 1 else 0)
        return [found[token] for token in tokens]  # type: ignore[misc]  # none is None any more

    def _bucket(self, token: Any) -> int:
        """Which of several indices an unknown token has."""
        if self.of is int and self.oov_method == "floormod":
            return int(token % self.num_oov_indices)
        return hash_of(str(token), self.salt) % self.num_oov_indices

    def _tokens(self, inputs: Array) -> Array:
        tokens = dict(enumerate(self.vocabulary.tokens, self.vocabulary.start))
        if self.mask_token is not None:
            tokens[0] = self.mask_token
        found = np.empty(inputs.size, object if self.of is str else np.int64)
        found[:] = [tokens.get(index, self.oov_token) for index in inputs.ravel().tolist()]
        return found.reshape(inputs.shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        return encoded_shape(self.name, input_shape, mode, self.depth if mode != "int" else 0)

    # ------------------------------------------------------------ files and configs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "invert": self.invert,
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token,
            "mask_token": self.mask_token,
            "output_mode": self.output_mode,
            "sparse": False,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "idf_weights": self.given_weights,
            "vocabulary": self.given_vocabulary,
            "vocabulary_size": self.known_size,
            "oov_method": self.oov_method,
            "salt": self.salt,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        refuse_paths(config)
        return super().from_config(config, custom_objects)

    def get_build_config(self) -> dict[str, Any] | None:
        return {}

    @property
    def assets(self) -> dict[str, bytes]:
        """What files hold beside the config and weights: the vocabulary, if the config has none."""
        if self.given_vocabulary is not None or self._vocabulary is None:
            return {}
        return {"vocabulary.txt": as_text(self.name, self.get_vocabulary())}

    @property
    def stored_arrays(self) -> dict[str, Array]:
        """What files of weights hold for the layer."""
        weights = None if self._vocabulary is None else self._vocabulary.idf_weights
        return {} if weights is None else {"idf_weights": weights}

    def load_assets(self, assets: Mapping[str, bytes], arrays: Mapping[str, Array], most: int) -> None:
        """Take what a file holds; nothing, where the config had a vocabulary. Raises ValueError.

        `most` is how many tokens there may be.
        """
        if self.given_vocabulary is not None or "vocabulary.txt" not in assets:
            return
        tokens = self._checked_tokens(from_text(assets["vocabulary.txt"], most))
        weights = arrays.get("idf_weights") if self.output_mode == "tf_idf" else None
        if self.output_mode == "tf_idf":
            if weights is None or weights.ndim != 1 or len(weights) < len(tokens):
                raise ValueError(f"layer {self.name!r} needs idf_weights for its {len(tokens)} tokens")
            weights = weights[: len(tokens)]
        self._replace(tokens, weights)


def refuse_paths(config: Mapping[str, Any]) -> None:
    """Raises ValueError for a config whose vocabulary is the path of a file, or is too large for a config."""
    vocabulary = config.get("vocabulary")
    if isinstance(vocabulary, str):
        raise ValueError(f"the config names a file for its vocabulary, {shown(vocabulary)}, which is never read")
    if isinstance(vocabulary, (list, tuple)) and len(vocabulary) > MOST_IN_A_CONFIG:
        raise ValueError(f"the config has a vocabulary of {len(vocabulary)} tokens, more than {MOST_IN_A_CONFIG}")


def batches_of(data: Any, steps: int | None) -> Iterable[Any]:
    """The data itself, if it is an array or lists; else what it yields, at most `steps` of it."""
    if isinstance(data, (list, tuple, str, bytes)) or hasattr(data, "dtype") or not hasattr(data, "__iter__"):
        yield data
        return
    for number, part in enumerate(data):
        if steps is not None and number >= steps:
            return
        yield part


def _is_integer(text: str) -> bool:
    return text.lstrip("-").isascii() and text.lstrip("-").isdecimal() and len(text) <= 20
