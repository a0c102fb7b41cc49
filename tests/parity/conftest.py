"""For every test against Keras.

With KERAS_BACKEND=tensorflow the layers at random are compared with that backend, and gradients, which NumPy's has none
of: these tests ask for nothing of NumPy's, such as its random numbers. With KERAS_BACKEND=jax gradients and trainings
are. With a Keras before 3.15 only those run that are marked `configs`: configs must go both ways with each Keras 3 from
3.6 on, the numbers are those of the newest.
"""

import os

import pytest
from golden.make_keras_objects import float64_kept

collect_ignore_glob = {
    "tensorflow": ["test_[!rg]*.py", "test_rules_*.py"],
    "jax": ["test_[!fg]*.py", "test_functional.py"],
}.get(os.environ.get("KERAS_BACKEND"), [])


@pytest.fixture(autouse=True, scope="module")
def float64_stays_float64():
    """As on TensorFlow: Keras' NumPy backend alone rounds results to float32."""
    with float64_kept():
        yield


def pytest_collection_modifyitems(config, items):
    try:
        from parity.twins import VERSION
    except pytest.skip.Exception:  # without Keras: each module says so itself
        return
    if VERSION < (3, 15):
        items[:] = [item for item in items if item.get_closest_marker("configs")]
