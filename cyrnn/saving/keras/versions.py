"""Versions of Keras: which one wrote a file, and which ones mean the same by a model as cyrnn does."""

import re
from typing import Any

from cyrnn.layers import RNN, Bidirectional, Layer, Masking


def version_text(version: Any) -> str:
    """A version as it may be printed."""
    return version if isinstance(version, str) and re.fullmatch(r"[0-9][\w.+-]{0,40}", version) else "unknown"


def first_version_that_reads(model: Layer) -> str:
    """The first Keras 3 that reads the model's file, and means the same by it. Raises ValueError if there is none."""
    layers = model.layers_within()
    if any(getattr(layer, "time_major", False) for layer in layers):
        raise ValueError("time_major is not in Keras 3: the model cannot be saved for it")
    if any(isinstance(layer, Masking) or getattr(layer, "mask_zero", False) for layer in layers):
        for layer in layers:
            if getattr(layer, "masks_as_in_keras2", False) or _has_mask_beside_states(layer):
                raise ValueError(
                    f"the model is of Keras 2, whose masks Keras 3 would combine otherwise at {layer.name!r}"
                )
    passing_on = {layer.supports_masking for layer in layers if isinstance(layer, (RNN, Bidirectional))}
    if len(passing_on) > 1:
        raise ValueError("some recurrent layers pass masks on and others do not: no Keras does that")
    return "3.16.0" if passing_on == {False} else "3.6.0"


def _has_mask_beside_states(layer: object) -> bool:
    """Whether a recurrent layer is called with states and a mask, as in Keras 2: Keras 3 forgets the mask then."""
    nodes = layer._nodes if isinstance(layer, (RNN, Bidirectional)) else ()
    return any(node.masks_beside_states and len(node.inputs) > 1 for node in nodes)
