"""Utilities against Keras' own: pad_sequences, to_categorical, and names that are registered, in files both ways."""

import numpy as np
import pytest
from parity.twins import hypothesis, keras, random_settings

import cyrnn

st = hypothesis.strategies
SIDES = st.sampled_from(["pre", "post"])


@random_settings()
@hypothesis.given(
    st.lists(st.lists(st.integers(-9, 9), max_size=6), min_size=1, max_size=5),
    st.one_of(st.none(), st.integers(1, 8)),
    SIDES,
    SIDES,
    st.sampled_from([0.0, -1]),
    st.sampled_from(["int32", "float32", "int64"]),
)
def test_pad_sequences(sequences, maxlen, padding, truncating, value, dtype):
    arguments = (sequences, maxlen, dtype, padding, truncating, value)
    expected = keras.utils.pad_sequences(*arguments)
    np.testing.assert_array_equal(cyrnn.utils.pad_sequences(*arguments), expected, strict=True)


@random_settings(0.5)
@hypothesis.given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6), st.sampled_from([None, 6, 9]), st.sampled_from([(), (1,)])
)
def test_to_categorical(labels, count, axes):
    labels = np.array(labels).reshape(-1, *axes)
    expected = keras.utils.to_categorical(labels, count)
    found = cyrnn.utils.to_categorical(labels, count)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape
    assert found.dtype == np.float64  # as on TensorFlow: on NumPy, where arrays are tensors, Keras returns float32


@pytest.mark.parametrize("order", [1, 2])
def test_normalize(order):
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_allclose(cyrnn.utils.normalize(x, -1, order), keras.utils.normalize(x, -1, order), rtol=1e-12)


def test_a_registered_model_in_files_of_both(tmp_path):
    def registered(module):
        @module.saving.register_keras_serializable("parity", name="Registered")
        class Registered(module.Model):
            def __init__(self, units=3, **kwargs):
                super().__init__(**kwargs)
                self.units = units
                self.rnn, self.dense = module.layers.SimpleRNN(units), module.layers.Dense(2)

            def call(self, x):
                return self.dense(self.rnn(x))

            def get_config(self):
                return {**super().get_config(), "units": self.units}

        return Registered

    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")
    try:
        ours, theirs = registered(cyrnn)(5), registered(keras)(5)
        expected = theirs(x)
        theirs.save(tmp_path / "theirs.keras")
        ours(x)
        ours.save(tmp_path / "ours.keras")
        np.testing.assert_allclose(
            cyrnn.models.load_model(tmp_path / "theirs.keras")(x), expected, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(keras.models.load_model(tmp_path / "ours.keras")(x), ours(x), rtol=1e-5, atol=1e-6)
    finally:
        for module in (cyrnn, keras):
            del module.saving.get_custom_objects()["parity>Registered"]
