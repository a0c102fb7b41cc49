"""What several test files use."""

import numpy as np

TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


def weights(rng, features, units, dtype="float32", bias=True):
    """A kernel, a recurrent kernel of spectral radius about one, and a bias."""
    kernel = rng.standard_normal((features, units)) / max(1, features) ** 0.5
    recurrent_kernel = rng.standard_normal((units, units)) / max(1, units) ** 0.5
    arrays = [kernel, recurrent_kernel, *([rng.standard_normal(units)] if bias else [])]
    return [array.astype(dtype) for array in arrays]


def assert_close(actual, expected, dtype=None):
    """Equal within the tolerance of the dtype, scaled by max(1, |expected|); NaN and infinity at the same places."""
    tolerance = TOLERANCE[np.dtype(dtype or actual.dtype).name]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
