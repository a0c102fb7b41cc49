"""StringLookup: texts as indices in a vocabulary, and back. Reference: Keras 3."""

from typing import Any, Unpack

from cyrnn import objects
from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.text.hashing import integers
from cyrnn.layers.text.lookup import Lookup
from cyrnn.layers.text.vocabulary import VocabularyOptions


@objects.register("keras.layers")
class StringLookup(Lookup):
    """Texts as indices in a vocabulary, or with `invert` indices as texts.

    Index 0 is that of `mask_token`, if there is one and the output mode is "int"; then come `num_oov_indices` for texts
    that are not in the vocabulary, and then those of the vocabulary. The vocabulary is the constructor's, or that which
    `adapt` finds.

    Parameters
    ----------
    max_tokens : int, optional
        The most indices that `adapt` makes, or the number of categories with `pad_to_max_tokens`.
    num_oov_indices : int
        With 0, texts that are not in the vocabulary are errors; with several, a hash function chooses: TensorFlow's.
    mask_token : str, optional
        What stands for no text: it has index 0, or no category.
    oov_token : str
        What stands for unknown texts, with `invert`.
    vocabulary : sequence of str, or str, optional
        See `set_vocabulary`.
    idf_weights : sequence of float, optional
        With "tf_idf", the inverse document frequencies of the vocabulary.
    invert : bool
        Whether to find the text of an index.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        "int" returns indices; "one_hot" adds an axis of all categories, or takes a last axis of length 1 for it;
        "multi_hot", "count" and "tf_idf" have, in the place of the last axis, which categories occur along it, how
        often, and that times their weights.
    pad_to_max_tokens : bool
        Whether there are `max_tokens` categories, however many texts there are.
    sparse : bool
        Only False is supported.
    encoding : str
        Only "utf-8" is supported.
    salt : int, or two of them, optional
        The key of the hash function, which is SipHash then.
    oov_method : {"floormod", "farmhash"}
        Accepted as in Keras; texts are always hashed.
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
    >>> cyrnn.layers.StringLookup(vocabulary=["a", "b"])(["b", "c", "a"])
    array([2, 0, 1])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        oov_method: str = "floormod",
        **kwargs: Unpack[VocabularyOptions],
    ) -> None:
        if not isinstance(encoding, str) or encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
            raise ValueError(f"encoding must be 'utf-8', got {shown(encoding)}")
        self.encoding = encoding
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            idf_weights,
            invert,
            output_mode,
            pad_to_max_tokens,
            sparse,
            oov_method,
            salt,
            name=name,
            **kwargs,
        )

    @property
    def takes_text(self) -> bool:  # type: ignore[override]
        return not self.invert

    def checked_inputs(self, inputs: Any) -> Array:
        return integers("inputs", inputs) if self.invert else super().checked_inputs(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoding": self.encoding}
