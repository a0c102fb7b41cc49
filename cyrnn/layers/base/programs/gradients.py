"""What a pullback takes and returns: gradients in the structures of outputs, inputs, states and weights."""

from typing import Any, NamedTuple

import numpy as np

from cyrnn.arrays import converted
from cyrnn.layers.base.arguments import Array, as_array


class Gradients(NamedTuple):
    """The gradients that a pullback returns.

    Parameters
    ----------
    inputs : array, or a structure of arrays
        Like the inputs of the call; None for what has no gradient, such as integers, and where it was not asked for.
    initial_state : list of arrays
        For each state that the call began with, in flat order.
    weights : list of arrays
        For each of `trainable_weights`, in their order.
    """

    inputs: Any
    initial_state: list[Array]
    weights: list[Array]


def checked_gradients(name: str, given: Any, like: Any) -> list[Array | None]:
    """The gradients of outputs, in the order of their leaves.

    Parameters
    ----------
    name : str
        What errors call them.
    given : array, or a structure of arrays
        In the structure of `like`; None for outputs, or structures of them, that have no gradient.
    like : Like, or a structure of Like
        The outputs.

    Raises
    ------
    ValueError
        For another structure or shape, or for what are no real numbers.
    """
    if isinstance(like, Like):
        return [None if given is None else _checked(name, given, like)]
    parts = _parts(like)
    if given is None:
        return [leaf for _, part in parts for leaf in checked_gradients(name, None, part)]
    if isinstance(like, dict):
        if not isinstance(given, dict) or sorted(given) != sorted(like):
            got = sorted(given) if isinstance(given, dict) else type(given).__name__
            raise ValueError(f"{name} must be a dict with the keys {sorted(like)}, got {got}")
    elif not isinstance(given, (list, tuple)) or len(given) != len(like):
        got = f"{len(given)} of them" if isinstance(given, (list, tuple)) else type(given).__name__
        raise ValueError(f"{name} must be a {type(like).__name__} of {len(like)}, as the outputs are, got {got}")
    return [leaf for key, part in parts for leaf in checked_gradients(f"{name}[{key!r}]", given[key], part)]


class Like:
    """The shape and dtype of an output."""

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype = array.shape, array.dtype


def _parts(structure: Any) -> list[tuple[Any, Any]]:
    if isinstance(structure, dict):
        return [(key, structure[key]) for key in sorted(structure)]
    return list(enumerate(structure))


def _checked(name: str, given: Any, like: Like) -> Array:
    try:
        array = as_array(name, given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of shape {like.shape}: {error}") from error
    if array.shape != like.shape:
        raise ValueError(f"{name} must have shape {like.shape}, as the output has, got {array.shape}")
    if array.dtype.kind not in "fiuV":
        raise ValueError(f"{name} must hold real numbers, as {like.dtype}, got {array.dtype}")
    if array.dtype in (np.float32, np.float64) and array.dtype.isnative:
        return array
    return converted(array, np.float64 if like.dtype.itemsize == 8 or array.dtype.itemsize >= 8 else np.float32)
