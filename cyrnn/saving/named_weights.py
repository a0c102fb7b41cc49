"""The weights of a built layer by the names that they have in files of arrays, for other frameworks that hold them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import replace_weights
from cyrnn.saving.named_arrays import weight_names
from cyrnn.saving.weight_paths import places


class Weight(NamedTuple):
    """A weight of a layer, or of one inside it, and its name in files of arrays: ``simple_rnn/cell/kernel``."""

    name: str
    layer: Layer
    own_name: str

    @property
    def key(self) -> tuple[Layer, str]:
        """Which weight it is, as `vjp` has it."""
        return self.layer, self.own_name

    @property
    def value(self) -> Array:
        return self.layer._values[self.own_name]


def weights_of(layer: Layer) -> list[Weight]:
    """All weights, in Keras' order. Raises TypeError for what is no layer, ValueError for one that is not built."""
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer or model of cyrnn, got {type(layer).__name__}")
    if not layer.built:
        raise ValueError(
            f"layer {layer.name!r} is not built, so it has no weights yet: call it or build(input_shape) first"
        )
    of_a_layer = places(layer)
    return [
        Weight(name, place.layer, spec.name)
        for place, names in zip(of_a_layer, weight_names(of_a_layer), strict=True)
        for name, spec in zip(names, place.specs, strict=True)
    ]


def replace_changed(values: Iterable[tuple[Weight, Array]]) -> None:
    """Give a layer those weights that differ from its own: what the engine has prepared of the others stays.

    The values are compared, since frameworks change arrays in place in many ways, and layers may have others by now.
    """
    new: dict[Layer, dict[str, Array]] = defaultdict(dict)
    for weight, value in values:
        if not np.array_equal(weight.value, value):
            new[weight.layer][weight.own_name] = value
    if new:
        replace_weights({layer: layer.checked_weights(own) for layer, own in new.items()})
