"""The inputs of a model's call: which array is for which input, and whether it fits."""

from collections.abc import Sequence, Set
from typing import Any, NoReturn

import numpy as np

from cyrnn.arrays import converted, to_integers, to_numpy
from cyrnn.dtypes import TEXT, numpy_dtype
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape, as_array, in_native_order
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.executor import Place


class Leaf:
    """An array of a call, and which input of the model it is; None for one that it does not take."""

    def __init__(self, array: Any, number: int | None = None) -> None:
        self.shape, self.dtype = np.shape(array), getattr(array, "dtype", np.dtype(object))
        self.number = number


class Feed:
    """The inputs of a model, symbolic tensors in a structure; `optional` says for each whether it may be None."""

    def __init__(self, structure: Any, optional: Sequence[bool]) -> None:
        self.structure = structure
        self.tensors: list[KerasTensor] = nest.leaves(structure)
        self.names = [tensor.name for tensor in self.tensors]
        self.optional = list(optional)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the inputs in a dict, in their order."""
        return tuple(sorted(self.structure) if isinstance(self.structure, dict) else self.names)

    @property
    def is_whole(self) -> bool:
        """Whether the first input is one of text, or of integers, as which numbers lose their fractions."""
        return numpy_dtype(self.tensors[0].dtype).kind in "iuO"

    def takes(self, place: Place) -> bool:
        """Whether what comes to a place is for the one input as it is."""
        dtype = self.tensors[0].dtype
        found = Place(place.shape, place.dtype if self.is_whole else dtype)
        return self.places(found, {""}) is not None

    def views(self, given: Any) -> list[Any]:
        """The arrays for the inputs, in their order; nothing is copied. Raises ValueError and TypeError that name the
        input."""
        values = self.matched(given)
        triples = zip(self.tensors, values, self.optional, strict=True)
        return [_fitting(tensor, value, optional) for tensor, value, optional in triples]

    def arrays(self, given: Any) -> list[Any]:
        """As `views`, in the dtypes of the inputs."""
        pairs = zip(self.tensors, self.views(given), strict=True)
        return [None if array is None else _converted(tensor, array) for tensor, array in pairs]

    def numbered(self, given: Any) -> Any:
        """The structure with a `Leaf` for each array."""
        leaves = nest.mapped(Leaf, given)
        for number, leaf in enumerate(self.matched(leaves)):
            leaf.number = number
        return leaves

    def specs(self, given: Any) -> list[Any]:
        """What of `given`, shapes or symbolic tensors, is for which input. Raises ValueError where axes differ."""
        values = self.matched(given)
        for tensor, value in zip(self.tensors, values, strict=True):
            if not hasattr(value, "shape"):
                raise ValueError(f"input {tensor.name!r} must be a tensor or array, got {type(value).__name__}")
            pairs = zip(value.shape, tensor.shape, strict=False)
            if len(value.shape) != tensor.ndim or any(None not in (n, m) and n != m for n, m in pairs):
                raise ValueError(f"input {tensor.name!r} must have shape {tensor.shape}, got {value.shape}")
        return values

    def places(self, given: Any, dtypes: Set[str]) -> dict[KerasTensor, Place] | None:
        """Which place of a structure is which input; None unless each is it as it is, and needs no conversion.

        `dtypes` are those that the layers after the inputs compute in.
        """
        try:
            found = dict(zip(self.tensors, self.matched(given), strict=True))
        except ValueError:  # which the call with arrays raises too
            return None
        return found if all(_feeds(place, tensor, dtypes) for tensor, place in found.items()) else None

    def matched(self, given: Any, argument: str = "inputs") -> list[Any]:
        """The leaves of `given`, in the order of the inputs.

        It has their structure; or it is a dict by their names, or a list in their order. What else a dict holds is
        left alone. Raises ValueError, which calls it `argument`.
        """
        ours = self.structure
        if len(self.tensors) == 1 and not isinstance(ours, dict):
            given = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
            given = given[self.names[0]] if isinstance(given, dict) and self.names[0] in given else given
            return [self._refuse(given, argument)] if nest.is_structure(given) else [given]
        if isinstance(given, dict) and not isinstance(ours, dict):
            return (
                [given[name] for name in self.names]
                if given.keys() >= set(self.names)
                else self._refuse(given, argument)
            )
        if isinstance(ours, dict) and isinstance(given, (list, tuple)):
            ours = [ours[key] for key in sorted(ours)]  # a list in the order of the names
        found: list[Any] = []
        self._match(ours, given, found, given, argument)
        return found

    def _match(self, ours: Any, given: Any, found: list[Any], whole: Any, argument: str) -> None:
        if isinstance(ours, dict):
            if not isinstance(given, dict) or not given.keys() >= ours.keys():
                self._refuse(whole, argument)
            pairs = [(ours[key], given[key]) for key in sorted(ours)]
        elif isinstance(ours, (list, tuple)):
            if not isinstance(given, (list, tuple)) or len(given) != len(ours):
                self._refuse(whole, argument)
            pairs = list(zip(ours, given, strict=True))
        else:
            found.append(self._refuse(whole, argument) if nest.is_structure(given) else given)
            return
        for part, value in pairs:
            self._match(part, value, found, whole, argument)

    def _refuse(self, given: Any, argument: str) -> NoReturn:
        wanted = nest.mapped(lambda tensor: tensor.name, self.structure)
        got = nest.mapped(lambda value: f"{type(value).__name__} {getattr(value, 'shape', '')}".strip(), given)
        raise ValueError(f"{argument} must come as {wanted!r:.300}, got {got!r:.300}")


def _feeds(place: Any, tensor: KerasTensor, dtypes: Set[str]) -> bool:
    """Whether what comes to a place is an input as it is: of its shape, and in a dtype that is not converted."""
    if type(place) is not Place or place.shape is None or len(place.shape) != tensor.ndim:
        return False
    same = all(wanted in (None, n) for n, wanted in zip(place.shape[1:], tensor.shape[1:], strict=True))
    if place.dtype is None:  # any numbers: these layers convert them as the input would
        return same and dtypes == {tensor.dtype}
    return same and place.dtype == tensor.dtype


def _fitting(tensor: KerasTensor, value: Any, optional: bool) -> Any:
    """An array of the input's number of axes. A last axis of one may be missing, or be there beside them."""
    if value is None and optional:
        return None
    name = f"input {tensor.name!r}"
    array = _text(name, value) if tensor.dtype == TEXT else as_array(name, value)
    if array.ndim == tensor.ndim + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    elif array.ndim == tensor.ndim - 1 and tensor.shape[-1] == 1:
        array = array[..., None]
    if not _fits(array.shape, tensor.shape):
        raise ValueError(f"{name} must have shape {tensor.shape}, got {array.shape}")
    return array


def _text(name: str, value: Any) -> Array:
    """An array of text, as it is; the layers after the input read it. Raises TypeError and ValueError."""
    array = to_numpy(name, value)
    if array.dtype.kind not in "USTO":
        raise TypeError(f"{name} must be an array of text, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must be an array of text with a batch axis, got {type(value).__name__}")
    return array


def matches(shape: Shape, expected: Shape) -> bool:
    """Whether the axes are of these lengths, where both say one."""
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(n is None or m is None or n == m for n, m in pairs)


def _fits(shape: Shape, wanted: Shape) -> bool:
    """The number of samples may be any."""
    pairs = zip(shape[1:], wanted[1:], strict=False)
    return len(shape) == len(wanted) and all(m is None or n == m for n, m in pairs)


def _converted(tensor: KerasTensor, array: Array) -> Array:
    """In the dtype of the input, but integers stay as wide as they are: none may become another. Text stays text."""
    if tensor.dtype == TEXT:
        return array
    dtype = np.dtype(tensor.dtype)
    if array.dtype == dtype or (array.dtype.kind in "iu" and dtype.kind in "iu"):
        return in_native_order(array)
    return to_integers(f"input {tensor.name!r}", array, dtype) if dtype.kind in "iu" else converted(array, dtype)
