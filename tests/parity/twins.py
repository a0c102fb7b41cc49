"""The same layer in Keras and in cyrnn: made by one function, with one set of weights, called with the same arguments.

Keras runs on NumPy here, unless KERAS_BACKEND says tensorflow, or jax for gradients. Where these disagree, cyrnn
follows TensorFlow; `follow_tensorflow` chooses the one of the NumPy backend's two loops that does so as well.
"""

import json
import os

import numpy as np
import pytest
from helpers import TOLERANCE

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
ON_NUMPY = keras.backend.backend() == "numpy"
if keras.backend.backend() not in ("numpy", "tensorflow", "jax"):
    pytest.skip("needs KERAS_BACKEND=numpy, tensorflow or jax", allow_module_level=True)
VERSION = tuple(map(int, keras.__version__.split(".")[:2]))
hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis: pip install '.[test]'")

import cyrnn  # noqa: E402

# Random configurations per test. They are the same ones each time, so that a failure comes from a change. With a number
# of one's own (2000 take minutes) they are new ones.
EXAMPLES = int(os.environ.get("CYRNN_PARITY_EXAMPLES", "200"))
HUNTING = "CYRNN_PARITY_EXAMPLES" in os.environ
NOT_FOR_A_CELL = ("glu", "threshold")  # glu halves the last axis, threshold has no defaults
ACTIVATIONS = sorted(
    name
    for name in dir(keras.activations)
    if name not in ("get", "serialize", "deserialize", *NOT_FOR_A_CELL) and not name.startswith("_")
)


def random_settings(share=1.0):
    """For hypothesis: this share of `EXAMPLES`, no deadline, and no search for an explanation, which takes minutes."""
    return hypothesis.settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        derandomize=not HUNTING,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
        print_blob=True,
    )


def same_weights(ours, theirs, rng, scale=0.3):
    """Give both built layers the same random weights; small ones, so that no recurrence blows rounding up."""
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    weights = [rng.uniform(-scale, scale, w.shape) for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)


def twins(make, shape, rng, scale=0.3):
    """``make(cyrnn)`` and ``make(keras)``, built for inputs of `shape`, with the same weights."""
    ours, theirs = make(cyrnn), make(keras)
    ours.build(shape)
    theirs.build(shape)
    same_weights(ours, theirs, rng, scale)
    return ours, theirs


def follow_tensorflow(theirs, mask):
    """Before the first step that is not masked, TensorFlow emits zeros. So does NumPy's unrolled loop, which ignores
    `zero_output_for_mask`; its plain loop heeds that, but emits the initial state otherwise. On TensorFlow itself the
    unrolled loop has zeros at the wrong steps, if it goes backwards."""
    if mask is None:
        return
    for layer in (theirs.forward_layer, theirs.backward_layer) if hasattr(theirs, "forward_layer") else (theirs,):
        layer.unroll = ON_NUMPY and not layer.zero_output_for_mask


def flat(result):
    """A layer's result as a list of arrays."""
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in flat(part)]
    return [np.asarray(result)]


def assert_same(ours, theirs, tolerance=None):
    """Same structure, shapes, dtypes; values within the dtype's tolerance, scaled by max(1, |value|)."""
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        allowed = TOLERANCE[b.dtype.name] if tolerance is None else tolerance
        scale = np.where(np.isfinite(b), np.maximum(1, np.abs(b)), 1)
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=allowed)


def keras_json(layer):
    """A Keras layer or model as the JSON text of its config."""
    return json.dumps(keras.saving.serialize_keras_object(layer))


def from_keras_json(text):
    """What Keras makes of a config as JSON text."""
    return keras.saving.deserialize_keras_object(json.loads(text))
