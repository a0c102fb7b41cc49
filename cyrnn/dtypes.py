"""Keras' dtype policies: in what type a layer keeps its weights, computes, and returns its result.

The engine computes in float32 and float64. Policies with a narrower type (float16, bfloat16, mixed_float16,
mixed_bfloat16) keep weights or return results in that type, and compute in float32; those with bfloat16 round the
operands of products to it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cyrnn import objects

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_WHOLE = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
TEXT = "string"  # Keras' name of the dtype of text
NUMBERS = (*_FLOATS, *_WHOLE)  # what arrays may be of, by the names of Keras and NumPy
_PYTHON_TYPES = {float: "float32", int: "int32", bool: "bool", str: "string"}  # what Keras makes of Python's types
_OTHERS_OF_KERAS = {
    "string": "text is only what Input, TextVectorization, StringLookup and Hashing take",
    "complex64": "complex numbers are not supported",
    "complex128": "complex numbers are not supported",
    "float8_e4m3fn": "8-bit floats are not supported",
    "float8_e5m2": "8-bit floats are not supported",
}


def float_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a float type's name; bfloat16 comes from the package ml_dtypes."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise ValueError("dtype 'bfloat16' needs the package ml_dtypes: pip install ml_dtypes") from error
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def checked_numbers(what: str, dtype: Any) -> str:
    """The name of a dtype of numbers: one of `NUMBERS`, and nothing else that NumPy takes for a dtype.

    `dtype` is a name, a type of Python or NumPy, or a NumPy dtype of any byte order. Raises ValueError.
    """
    name = _PYTHON_TYPES.get(dtype, dtype) if isinstance(dtype, type) else dtype
    if isinstance(name, np.dtype) or (isinstance(name, type) and issubclass(name, np.generic)):
        name = np.dtype(name).name
    if isinstance(name, str) and name in NUMBERS:
        return float_dtype(name).name
    reason = _OTHERS_OF_KERAS.get(name) if isinstance(name, str) else None
    if reason is not None:
        raise ValueError(f"{what} is {name!r}: {reason}")
    raise ValueError(f"{what} must be one of {', '.join(NUMBERS)}, got dtype {dtype!r:.100}")


def checked_input(what: str, dtype: Any) -> str:
    """The name of a dtype that inputs of a model may have: of numbers, or "string". Raises ValueError."""
    return TEXT if dtype is str or (isinstance(dtype, str) and dtype == TEXT) else checked_numbers(what, dtype)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of arrays that a tensor of this dtype stands for: text is in arrays of objects."""
    return np.dtype(object) if name == TEXT else np.dtype(name)


@objects.register("keras", "Policy", "PolicyV1")  # as Keras 2 calls it
class DTypePolicy:
    """In what type a layer stores its weights, computes, and returns its result.

    Parameters
    ----------
    name : str
        "float32", "float64", "float16" or "bfloat16"; or "mixed_float16" or "mixed_bfloat16", whose weights are float32
        and whose results have 16 bits.

    Raises
    ------
    ValueError
        For another name, and for bfloat16 without the package ml_dtypes.
    """

    def __init__(self, name: str) -> None:
        narrow = name.removeprefix("mixed_") if isinstance(name, str) else name
        if narrow not in (_FLOATS[:2] if narrow != name else _FLOATS):
            raise ValueError(f"dtype must be one of {', '.join(_FLOATS)}, mixed_float16, mixed_bfloat16; got {name!r}")
        self.name = name
        self.compute_dtype = float_dtype(narrow)
        self.variable_dtype = np.dtype("float32") if narrow != name else self.compute_dtype
        self.engine_dtype = np.dtype("float64" if name == "float64" else "float32")
        self.precision = "bfloat16" if narrow == "bfloat16" else "float32"  # to which operands of products are rounded

    def get_config(self) -> dict[str, Any]:
        """The name, as Keras writes it.

        Returns
        -------
        dict
        """
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DTypePolicy":
        """The policy that a config describes.

        Parameters
        ----------
        config : dict
            What `get_config` has returned.

        Returns
        -------
        DTypePolicy
        """
        return cls(config.get("name"))  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"


_floatx = "float32"
_default: DTypePolicy | None = None  # None: that of `_floatx`


def floatx() -> str:
    """The dtype of layers that are made without one, and of what is computed beside layers, such as losses.

    Returns
    -------
    str
    """
    return _floatx


def set_floatx(value: str) -> None:
    """Let it be another one for what is made from now on: "float32" or "float64". Raises ValueError for others.

    Parameters
    ----------
    value : array or str
        What it is set to.
    """
    global _floatx
    if value not in ("float32", "float64"):
        raise ValueError(f"floatx must be 'float32' or 'float64', got {value!r:.100}; 16 bits are a dtype policy")
    _floatx = value


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are made without one.

    Returns
    -------
    DTypePolicy
    """
    return DTypePolicy(_floatx) if _default is None else _default


def set_dtype_policy(policy: Any) -> None:
    """Change the policy of layers that are made from now on.

    Parameters
    ----------
    policy : str, DTypePolicy or None
        None is the policy of `floatx`. ValueError for what is none.
    """
    global _default
    _default = None if policy is None else get(policy)


def get(identifier: Any) -> DTypePolicy:
    """The policy for a name, a dtype or a config.

    Parameters
    ----------
    identifier : str, NumPy dtype, DTypePolicy, dict or None
        None is `dtype_policy()`. A dict is a policy's config in Keras' form.

    Returns
    -------
    DTypePolicy

    Raises
    ------
    ValueError
        For everything else.
    """
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, Mapping):
        policy = objects.deserialize(identifier, "keras")
        if not isinstance(policy, DTypePolicy):
            raise ValueError(f"dtype must be a DTypePolicy, got a {type(policy).__name__}")
        return policy
    if isinstance(identifier, str):
        return DTypePolicy(identifier)
    if identifier is float:
        return DTypePolicy(_floatx)  # what Keras makes of Python's own type
    try:
        return DTypePolicy(np.dtype(identifier).name)
    except TypeError:
        raise ValueError(f"dtype must be a name, a NumPy dtype or a policy, got {identifier!r}") from None
