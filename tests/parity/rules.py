"""What the tests of single rules share: small layers of both, and comparing what they refuse."""

import numpy as np
from parity.test_errors import error_of
from parity.twins import keras

import cyrnn

CLASSES = ["SimpleRNNCell", "RNN", "SimpleRNN"]
BATCH, TIMESTEPS, FEATURES, UNITS = 2, 3, 4, 5
X = np.random.default_rng(0).standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("float32")


def made(module, class_name, **options):
    """A layer of 5 units; an RNN gets the options itself, and a plain cell."""
    cls = getattr(module.layers, class_name)
    return cls(module.layers.SimpleRNNCell(UNITS), **options) if class_name == "RNN" else cls(UNITS, **options)


def built(module, class_name, **options):
    layer = made(module, class_name, **options)
    layer.build((BATCH, FEATURES) if class_name == "SimpleRNNCell" else X.shape)
    return layer


def both(run):
    """``run`` of cyrnn and of Keras."""
    return run(cyrnn), run(keras)


def refused_alike(run):
    """Both raise, cyrnn the built-in exception that Keras' is, or one derived from it."""
    ours, theirs = (error_of(run, module) for module in (cyrnn, keras))
    assert theirs is not None and ours is not None
    assert isinstance(ours, next(base for base in type(theirs).__mro__ if base.__module__ == "builtins"))
    return str(ours)
