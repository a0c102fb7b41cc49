"""Weights by name and of what fits, against Keras: of files that Keras wrote, into models of both."""

import numpy as np
import pytest
from parity.twins import VERSION, keras

import cyrnn

if VERSION < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # of what is skipped


def model_of(module, names, classes):
    layers = module.layers
    return module.Sequential(
        [
            module.Input((6,)),
            layers.Embedding(9, 4, name=names[0]),
            layers.SimpleRNN(5, name=names[1]),
            layers.Dense(classes, name=names[2]),
        ]
    )


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "other", "c"), ("c", "x", "a"), ("x", "y", "z")])
@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("options", [{"by_name": True, "skip_mismatch": True}, {"skip_mismatch": True}])
@pytest.mark.parametrize("end", ["m.h5", "m.weights.h5", "m.keras"])
def test_the_weights_are_those_that_keras_takes(tmp_path, end, options, classes, names):
    if "by_name" in options and end != "m.h5":
        pytest.skip("Keras finds names in .h5 files alone")
    source = model_of(keras, ("a", "b", "c"), 3)
    path = tmp_path / end
    source.save_weights(path) if end == "m.weights.h5" else source.save(path)
    theirs, ours = model_of(keras, names, classes), model_of(cyrnn, names, classes)
    ours.set_weights(theirs.get_weights())
    theirs.load_weights(path, **options)
    ours.load_weights(path, **options)
    for found, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
