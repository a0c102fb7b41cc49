"""For every test: its draws are the same in each run, whichever tests run before it. Garbage is collected quickly."""

import gc
import random

import numpy as np
import pytest

import cyrnn


def pytest_collection_finish():
    """Tests that collect garbage do not look through the thousands of tests each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded_draws(request):
    """Initial weights without a seed, Python's and NumPy's global draws, and the generators of the test's module."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    cyrnn.random._shared_generator.cache_clear()
    for value in vars(request.module).values():
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = np.random.default_rng(0).bit_generator.state
