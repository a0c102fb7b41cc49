"""Where a layer's weights are: what all kinds of files agree on.

A *place* is a layer that may have weights of its own: the layer itself, or one inside it. Its path leads there by
attributes, and in a list of layers by class and number, as Keras' files have it: ``layers/simple_rnn_1/cell``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import notices
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import WeightSpec, replace_weights
from cyrnn.saving.errors import ModelFileError, Reason

_Values = TypeVar("_Values")


@dataclass(frozen=True)
class Place:
    """A layer, and the weights that it has or will have, those that are trained first."""

    layer: Layer
    path: str
    specs: list[WeightSpec]
    frozen: bool  # the layer, or one that it is in, is not trainable
    input_shape: Any  # for which to build it; unknown if it is built already

    def described(self, spec: WeightSpec) -> str:
        """What messages call a weight."""
        at = f" ({self.path})" if "/" in self.path else ""
        return f"weight {spec.name!r} of layer {self.layer.name!r}{at}"

    def check_kind(self, spec: WeightSpec, dtype: np.dtype) -> None:
        """Raises ModelFileError unless a weight may come from a file as numbers of this dtype: floats, or its own."""
        if dtype.kind != "f" and (spec.dtype is None or dtype.kind != spec.dtype.kind):
            expected = "a float type" if spec.dtype is None else str(spec.dtype)
            raise ModelFileError(f"{self.described(spec)} must be of {expected}, the file has {dtype}", Reason.MISMATCH)

    def values(self) -> list[Array]:
        """The weights of a built layer, in the order of `specs`."""
        return [self.layer._values[spec.name] for spec in self.specs]


@dataclass(frozen=True)
class Choice:
    """Which weights of a file a layer takes; it keeps its own where that is None.

    Parameters
    ----------
    by_name : bool
        Those of the layers that have the same names in the file and in the model; not all of them, in their order.
    skip_mismatch : bool
        Not those of layers whose weights are others than in the file: there is a warning of each.
    """

    by_name: bool = False
    skip_mismatch: bool = False

    def values(self, name: str, read: Callable[[], _Values]) -> _Values | None:
        """What ``read()`` returns for the layer of this name. Raises ModelFileError, or returns None, if it does not
        fit."""
        try:
            return read()
        except ModelFileError as error:
            if not self.skip_mismatch or error.reason is not Reason.MISMATCH:
                raise
            notices.warn(f"layer {name!r} keeps its weights: {error}")
            return None


EVERYTHING = Choice()


def places(layer: Layer, input_shape: Any = None) -> list[Place]:
    """The layer and all that are in it, each once, in Keras' order. What is not built is to be so for `input_shape`.

    Nothing is allocated, except by the `build` of a custom layer. Raises ValueError where a shape is not known.
    """
    found: list[Place] = []
    _collect(found, set(), layer, input_shape, "", False)
    return found


def fill(of_a_layer: list[Place], values: Sequence[Mapping[str, ArrayLike] | None]) -> None:
    """Give each layer its weights, by name, of the shapes that its specs say; and build it, if it is not built. A built
    layer with None keeps its weights.

    What is wrong with a value is said before any weight is replaced.
    """
    both = zip(reversed(of_a_layer), reversed(values), strict=True)
    pairs = [(place, own) for place, own in both if own is not None]
    checked = [(place.layer, place.layer.checked_weights(own)) for place, own in pairs if place.layer.built]
    for place, own in pairs:
        if not place.layer.built:
            place.layer.build_with(place.input_shape, own)
    replace_weights(dict(checked))


def _collect(found: list[Place], seen: set[int], layer: Layer, shape: Any, path: str, frozen: bool) -> None:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    layer.note_again()
    if not layer.built and shape is None:
        raise ValueError(f"layer {layer.name!r} is not built: its weights have no place. Call it or build it first")
    if not layer.built and layer.makes_its_own_weights:
        layer.build(shape)
    frozen = frozen or not layer.trainable
    specs = layer.own_specs if layer.built else layer.weight_specs(shape)
    found.append(Place(layer, path, sorted(specs, key=lambda spec: not spec.trainable), frozen, shape))
    shapes: Sequence[Any] = () if shape is None else layer.sublayer_shapes(shape)
    paths = layer.sublayer_paths()
    if len(shapes) != len(paths):
        shapes = [None] * len(paths)  # the layers in it must be built
    for (_, sublayer), inner_shape, name in zip(layer.sublayers, shapes, paths, strict=True):
        _collect(found, seen, sublayer, inner_shape, f"{path}/{name}" if path else name, frozen)
