"""For every test against Keras."""

import pytest
from golden.make_keras_objects import float64_kept


@pytest.fixture(autouse=True, scope="module")
def float64_stays_float64():
    """As on TensorFlow: Keras' NumPy backend alone rounds results to float32."""
    with float64_kept():
        yield
