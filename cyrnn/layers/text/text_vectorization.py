"""TextVectorization: texts as the indices of their words. Reference: ``keras.layers.TextVectorization``, Keras 3."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from cyrnn import objects
from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array, Shape, is_size
from cyrnn.layers.text.categorical import Categorical
from cyrnn.layers.text.encoding import refuse_sparse
from cyrnn.layers.text.lookup import batches_of, refuse_paths
from cyrnn.layers.text.string_lookup import StringLookup
from cyrnn.layers.text.strings import characters, lowered, ngrams, text_array, without_punctuation, words
from cyrnn.layers.text.vocabulary import VocabularyOptions

_STANDARDS: dict[Any, Callable[[str], str] | None] = {
    None: None,
    "lower": lowered,
    "strip_punctuation": without_punctuation,
    "lower_and_strip_punctuation": lambda text: without_punctuation(lowered(text)),
}
_SPLITS: dict[Any, Callable[[str], list[str]]] = {"whitespace": words, "character": characters}


@objects.register("keras.layers")
class TextVectorization(Categorical):
    """Texts as the indices of their words in a vocabulary, or as which words they have.

    Takes arrays of text (batch,) or (batch, 1), and returns indices (batch, words), padded with 0 for the mask to the
    longest text or to `output_sequence_length`; index 1 is that of words which are not in the vocabulary. With another
    output mode it returns (batch, categories).

    Parameters
    ----------
    max_tokens : int, optional
        The most indices that `adapt` makes, or the number of categories with `pad_to_max_tokens`.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation"}, callable or None
        What is done to a text first: letters and punctuation are those of ASCII. A callable takes and returns an array
        of texts.
    split : {"whitespace", "character"}, callable or None
        How a text is divided into tokens. A callable takes an array of texts, and returns a list of tokens for each;
        with None the texts are tokens.
    ngrams : int or tuple of int, optional
        Make tokens of runs of so many words, of up to so many for an int.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}
        As of a `StringLookup`.
    output_sequence_length : int, optional
        How many indices a text has, with "int".
    pad_to_max_tokens : bool
        Whether there are `max_tokens` categories, however many words there are.
    vocabulary, idf_weights
        As of a `StringLookup`.
    sparse, ragged : bool
        Only False is supported.
    encoding : str
        Only "utf-8" is supported.
    name : str, optional
        The name; None makes one from the class.
    **kwargs
        Arguments of `Layer`: `trainable`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it before there is a vocabulary.

    Examples
    --------
    >>> layer = cyrnn.layers.TextVectorization(vocabulary=["the", "cat"])
    >>> layer(["The cat!", "the dog and the cat"])
    array([[2, 3, 0, 0, 0],
           [2, 1, 1, 2, 3]])
    """

    takes_text: ClassVar[bool] = True

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: int | Sequence[int] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Unpack[VocabularyOptions],
    ) -> None:
        refuse_sparse(sparse)
        refuse_sparse(ragged, "ragged")
        others: dict[str, Any] = {**kwargs, "dtype": None}  # that of text
        size, _ = others.pop("vocabulary_size", None), others.pop("has_input_vocabulary", None)
        super().__init__(name=name, **others)
        for argument, value, known in (("standardize", standardize, _STANDARDS), ("split", split, {None, *_SPLITS})):
            if not callable(value) and (isinstance(value, (list, dict)) or value not in known):
                raise ValueError(f"{argument} must be a callable or one of {_listed(known)}, got {shown(value)}")
        self.standardize, self.split = standardize, split
        self.ngrams = ngrams if ngrams is None or isinstance(ngrams, int) else tuple(ngrams)
        if not all(is_size(width, 1) for width in self._widths):
            raise ValueError(f"ngrams must be None, a positive integer or several, got {shown(ngrams)}")
        length = output_sequence_length
        if length is not None and not is_size(length):
            raise ValueError(f"output_sequence_length must be None or an integer, got {shown(length)}")
        self.output_sequence_length = length
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=output_mode,
            encoding=encoding,
            vocabulary_size=size if output_mode != "int" and size else None,
        )
        if length is not None and self.output_mode != "int":
            raise ValueError(f"output_sequence_length must only be given with output_mode 'int', not {output_mode!r}")

    @property
    def _widths(self) -> Sequence[int]:
        if isinstance(self.ngrams, int):
            return range(1, self.ngrams + 1) if self.ngrams > 0 else [self.ngrams]
        return self.ngrams or ()

    @property
    def output_mode(self) -> str:
        """That of the outputs."""
        return self._lookup_layer.output_mode

    @property
    def result_dtype(self) -> str:
        return self._lookup_layer.result_dtype

    @property
    def depends_on_batch(self) -> bool:
        """Whether what is returned for a text depends on the others: they are padded to the longest."""
        return self.output_mode == "int" and self.split is not None and self.output_sequence_length is None

    # ------------------------------------------------------------ vocabulary

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the vocabulary; see `StringLookup.set_vocabulary`.

        Parameters
        ----------
        vocabulary : list or array of str
            The words in the order of their indices. A path of a file is refused.
        idf_weights : list or array of float, optional
            The weight of each word, for the output "tf_idf".
        """
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words in the order of their indices; see `StringLookup.get_vocabulary`.

        Parameters
        ----------
        include_special_tokens : bool, default True
            Whether "" for padding and "[UNK]" for unknown words are among them.

        Returns
        -------
        list of str
        """
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many indices there are.

        Returns
        -------
        int
        """
        return self._lookup_layer.vocabulary_size()

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Make a vocabulary of texts; see `StringLookup.adapt`.

        Parameters
        ----------
        data : array or list of str, or an iterable of batches of these
        batch_size : int, optional
            Accepted as in Keras, changes nothing.
        steps : int, optional
            The number of batches; None for all there are.
        """
        self._lookup_layer.adapt_to(self._samples(data, steps))

    def _samples(self, data: Any, steps: int | None) -> Iterable[list[str]]:
        for part in batches_of(data, steps):
            texts = self.checked_inputs(part)
            found = self._tokens(texts[:, None] if texts.ndim == 1 and self.split is None else texts)
            yield from found if isinstance(found, list) else found.reshape(len(found), -1).tolist()

    # ------------------------------------------------------------ calls

    def call(self, inputs: Array) -> Array:
        tokens = self._tokens(inputs)
        if self.output_mode != "int":
            if isinstance(tokens, list):
                return _without_batch(self._lookup_layer.encoded_rows(tokens), inputs)
            return self._lookup_layer.call(tokens)
        if isinstance(tokens, list):
            return _without_batch(self._padded([self._lookup_layer.indices(row) for row in tokens]), inputs)
        indices = self._lookup_layer.call(tokens)
        if self.output_sequence_length is None or not indices.ndim:
            return indices
        rows = indices.reshape(-1, indices.shape[-1]).tolist()
        return self._padded(rows).reshape(*indices.shape[:-1], self.output_sequence_length)

    def _padded(self, rows: Sequence[Sequence[int]]) -> Array:
        """Rows of one length: cut, or with zeros behind."""
        length = self.output_sequence_length
        length = max(map(len, rows), default=0) if length is None else length
        found = np.zeros((len(rows), length), np.int64)
        for number, row in enumerate(rows):
            found[number, : len(row)] = row[:length]
        return found

    def _tokens(self, texts: Array) -> Any:
        """The tokens of each text in lists; an array of tokens, if nothing divides them."""
        if callable(self.standardize):
            texts = text_array("what standardize returns", self.standardize(_of_numpy(texts)))
        else:
            standard = _STANDARDS[self.standardize]
            texts = texts if standard is None else _mapped(standard, texts)
        if self.split is None:
            if self.ngrams is None:
                return texts
            samples = texts.reshape(-1, texts.shape[-1] if texts.ndim else 1).tolist()
            return text_array("ngrams", [ngrams(row, self._widths) for row in samples]).reshape(*texts.shape[:-1], -1)
        if texts.ndim > 1:
            if texts.ndim > 2 or texts.shape[1] != 1:
                raise ValueError(
                    f"inputs of {self.name!r} must be texts (batch,) or (batch, 1) to be split, got {texts.shape}"
                )
            texts = texts[:, 0]
        found: list[list[str]]
        if callable(self.split):
            found = [text_array("what split returns", row).ravel().tolist() for row in self.split(_of_numpy(texts))]
        else:
            divide = _SPLITS[self.split]
            found = [divide(text) for text in texts.ravel().tolist()]
        return found if self.ngrams is None else [ngrams(row, self._widths) for row in found]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = tuple(input_shape)
        if self.output_mode == "int":
            if self.split is None:
                length, tokens = self.output_sequence_length, shape[-1] if shape else 1
                if length is None and self.ngrams is not None and tokens is not None:
                    length = sum(max(0, tokens - width + 1) for width in self._widths)
                return shape if length is None else (*shape[:-1], length)
            return (*shape[:1], self.output_sequence_length)
        if self.split is None and len(shape) > 1:
            return self._lookup_layer.compute_output_shape(shape)
        return (*shape[:1], self._lookup_layer.depth)

    # ------------------------------------------------------------ configs

    def get_config(self) -> dict[str, Any]:
        lookup = self._lookup_layer
        return {
            **super().get_config(),
            "max_tokens": lookup.max_tokens,
            "standardize": _named(self.standardize),
            "split": _named(self.split),
            "ngrams": list(self.ngrams) if isinstance(self.ngrams, tuple) else self.ngrams,
            "output_mode": lookup.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "pad_to_max_tokens": lookup.pad_to_max_tokens,
            "sparse": False,
            "ragged": False,
            "vocabulary": lookup.given_vocabulary,
            "idf_weights": lookup.given_weights,
            "encoding": lookup.encoding,
            "vocabulary_size": self.vocabulary_size(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        refuse_paths(config)
        return super().from_config(config, custom_objects)

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **objects.revived_in(config, "standardize", "split")}

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": None}

    @property
    def assets(self) -> dict[str, bytes]:
        """What files hold beside the config: the vocabulary, if the config has none."""
        return self._lookup_layer.assets

    @property
    def stored_arrays(self) -> dict[str, Array]:
        """What files of weights hold for the layer."""
        return self._lookup_layer.stored_arrays

    def load_assets(self, assets: Mapping[str, bytes], arrays: Mapping[str, Array], most: int) -> None:
        """Take what a file holds. Raises ValueError."""
        self._lookup_layer.load_assets(assets, arrays, most)


def _listed(known: Iterable[Any]) -> str:
    return ", ".join(sorted(map(repr, known)))


def _named(value: Any) -> Any:
    return objects.serialize(value) if callable(value) else value


def _of_numpy(texts: Array) -> Array:
    """Texts as functions of NumPy take them."""
    return texts.astype(str)


def _mapped(function: Callable[[str], str], texts: Array) -> Array:
    found = np.empty(texts.size, object)
    found[:] = [function(text) for text in texts.ravel().tolist()]
    return found.reshape(texts.shape)


def _without_batch(found: Array, inputs: Array) -> Array:
    """What one text alone gives has no batch axis."""
    return found if inputs.ndim else found[0]
