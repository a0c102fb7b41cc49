"""Hashing: text and integers as numbers of bins. Reference: ``keras.layers.Hashing``, Keras 3."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import dtypes, objects
from cyrnn.arrays import shown, to_integers, to_numpy
from cyrnn.layers.around.core import checked_size
from cyrnn.layers.base.arguments import Array, Shape, as_array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.text.categorical import Categorical
from cyrnn.layers.text.encoding import checked_mode, encoded, encoded_shape, refuse_sparse
from cyrnn.layers.text.fingerprints import fingerprint, siphash
from cyrnn.layers.text.strings import as_bytes, text_array


@objects.register("keras.layers")
class Hashing(Categorical):
    """The bins of text or integers, by a hash function: the same ones as TensorFlow's.

    Parameters
    ----------
    num_bins : int
        How many bins there are, that of `mask_value` included.
    mask_value : str or int, optional
        What is put into bin 0, where nothing else is then.
    salt : int, or two of them, optional
        The key of SipHash. Default: FarmHash, which has none.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        "int" returns the bins; "one_hot" adds an axis of `num_bins`, or takes a last axis of length 1 for it;
        "multi_hot" and "count" have, in the place of the last axis, which bins occur along it, or how often.
    sparse : bool
        Only False is supported.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`; the dtype of outputs is int64 by default for "int", else float32.

    Raises
    ------
    ValueError
        For other arguments.

    Examples
    --------
    >>> cyrnn.layers.Hashing(num_bins=3)(["A", "B", "C", "D", "E"])
    array([1, 0, 1, 1, 2])
    """

    takes_text: ClassVar[bool] = True  # and integers

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: int | Sequence[int] | None = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        refuse_sparse(sparse)
        self.output_mode = checked_mode(output_mode, ("int", "one_hot", "multi_hot", "count"))
        policy = _policy_name(kwargs.pop("dtype", None))
        self._result = policy or ("int64" if self.output_mode == "int" else "float32")
        if self.output_mode == "int" and self._result not in ("int32", "int64"):
            raise ValueError(f"dtype must be 'int32' or 'int64' with output_mode 'int', got {shown(policy)}")
        super().__init__(**kwargs)
        self.num_bins = checked_size("num_bins", num_bins)
        if mask_value is not None and not isinstance(mask_value, (str, int)):
            raise ValueError(f"mask_value must be a text or an integer, got {shown(mask_value)}")
        self.mask_value = mask_value
        self.salt = checked_salt(salt)

    @property
    def result_dtype(self) -> str:
        return self._result

    def checked_inputs(self, inputs: Any) -> Array:
        array = to_numpy("inputs", inputs) if isinstance(inputs, (list, tuple, int)) else inputs
        kind = getattr(getattr(array, "dtype", None), "kind", "O")
        if kind in "iufb":
            return to_integers("inputs", as_array("inputs", array), np.int64)
        return text_array("inputs", inputs)

    def call(self, inputs: Array) -> Array:
        flat = inputs.ravel().tolist()
        bins = self.num_bins - 1 if self.mask_value is not None and self.num_bins > 1 else self.num_bins
        known = {part: hash_of(str(part), self.salt) % bins for part in set(flat)}
        if bins < self.num_bins:
            known = {part: 0 if part == self.mask_value else number + 1 for part, number in known.items()}
        indices = np.array([known[part] for part in flat], np.int64).reshape(inputs.shape)
        return encoded(self.name, indices, self.output_mode, self.num_bins).astype(self._result)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return encoded_shape(self.name, input_shape, self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dtype": _policy_entry(self._result),
            "num_bins": self.num_bins,
            "salt": self.salt,
            "mask_value": self.mask_value,
            "output_mode": self.output_mode,
            "sparse": False,
        }


def hash_of(text: str, salt: Sequence[int] | None) -> int:
    """The hash of a text in UTF-8, by SipHash with a salt, else by FarmHash."""
    content = as_bytes(text)
    return fingerprint(content) if salt is None else siphash(content, salt)


def checked_salt(salt: Any) -> list[int] | None:
    """Two numbers, of one or of two. Raises ValueError."""
    if salt is None:
        return None
    pair = list(salt) if isinstance(salt, (list, tuple)) else [salt, salt]
    if len(pair) != 2 or not all(isinstance(part, int) and abs(part) < 1 << 64 for part in pair):
        raise ValueError(f"salt must be an integer of 64 bits, or two of them, got {shown(salt)}")
    return pair


def _policy_name(dtype: Any) -> str | None:
    """The name of a dtype, or of the policy that a config has for one. Raises ValueError."""
    if dtype is None:
        return None
    config = dtype.get("config") if isinstance(dtype, dict) else None
    name = config.get("name") if isinstance(config, dict) else getattr(dtype, "name", dtype)
    return dtypes.checked_numbers("dtype", name)


def _policy_entry(name: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}


def integers(name: str, inputs: ArrayLike) -> Array:
    """Numbers as int64. Raises ValueError for others, and TypeError for what are no numbers."""
    array = as_array(name, to_numpy(name, inputs) if isinstance(inputs, (list, tuple, int)) else inputs)
    whole = to_integers(name, array, np.int64)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise ValueError(f"{name} must be integers, got numbers with fractions")
    return whole
