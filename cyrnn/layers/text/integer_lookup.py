"""IntegerLookup: integers as indices in a vocabulary, and back. Reference: Keras 3."""

from typing import Any, Unpack

from cyrnn import objects
from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.text.hashing import integers
from cyrnn.layers.text.lookup import Lookup
from cyrnn.layers.text.vocabulary import VocabularyOptions


@objects.register("keras.layers")
class IntegerLookup(Lookup):
    """Integers as indices in a vocabulary, or with `invert` back.

    Parameters
    ----------
    max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse
        As of a `StringLookup`, of integers.
    vocabulary_dtype : {"int64"}
        What integers are.
    pad_to_max_tokens, salt, name, **kwargs
        As of a `StringLookup`.
    oov_method : {"floormod", "farmhash"}
        Which of several indices an unknown integer has: its remainder, or that of a hash of its digits.
    name : str, optional
        The layer's name.

    Raises
    ------
    ValueError
        For other arguments. A call raises it before there is a vocabulary.

    Examples
    --------
    >>> cyrnn.layers.IntegerLookup(vocabulary=[10, 20])([20, 30, 10])
    array([2, 0, 1])
    """

    of = int

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Unpack[VocabularyOptions],
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"vocabulary_dtype must be 'int64', got {shown(vocabulary_dtype)}")
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
    def input_dtype(self) -> str:
        return "int64"

    def checked_inputs(self, inputs: Any) -> Array:
        return integers("inputs", inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        before = list(config).index("idf_weights")
        items = list(config.items())
        return dict([*items[:before], ("vocabulary_dtype", "int64"), *items[before:]])
