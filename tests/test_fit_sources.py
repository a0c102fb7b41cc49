"""Training with what is read by slices, as datasets of h5py: each step reads the rows of its batch, and no more."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import Rows

import cyrnn
from cyrnn import layers, optimizers

rng = np.random.default_rng(5)
X = rng.standard_normal((60, 5, 3)).astype("f")
Y = rng.standard_normal((60, 2)).astype("f")


def one_input():
    return cyrnn.Sequential([cyrnn.Input((5, 3)), layers.GRU(4), layers.Dense(2)])


def two_inputs():
    a, b = cyrnn.Input((5, 3), name="a"), cyrnn.Input((3,), name="b")
    return cyrnn.Model([a, b], layers.Dense(2)(layers.Concatenate()([layers.LSTM(3)(a), b])))


class Doubled(layers.Layer):
    def call(self, inputs):
        return inputs * 2

    def vjp(self, inputs, **options):
        return inputs * 2, lambda dy: SimpleNamespace(inputs=dy * 2, initial_state=None, weights=[])


def in_python():
    return cyrnn.Sequential([cyrnn.Input((5, 3)), layers.GRU(4), Doubled(), layers.Dense(2)])


def trained(model, x, y, begin, **options):
    cyrnn.utils.set_random_seed(0)
    model.set_weights(begin)
    model.compile(optimizers.SGD(0.1), "mse")
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, **options).history
    return [*model.get_weights(), *history.values()]


def check_same(model, read, held, **options):
    begin = model.get_weights()
    pairs = zip(trained(model, *read, begin, **options), trained(model, *held, begin, **options), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("make", [one_input, in_python])
def test_a_step_reads_the_rows_of_its_batch(make, shuffle):
    x, y = Rows(X, share=2), Rows(Y, share=2)
    check_same(make(), (x, y), (X, Y), shuffle=shuffle)
    for source in (x, y):
        assert len(X) * 2 <= source.rows_read() <= len(X) * 2 + 2 * 8  # two epochs, and what the first step looks at
        assert shuffle is True or all(last - first in (8, 4) for first, last in source.read)


def test_rows_of_a_chunk_are_read_at_once():
    x = Rows(X, chunk=20, share=2)
    check_same(one_input(), (x, Y), (X, Y))
    assert len(x.read) <= (2 * 8 + 1) * 3
    assert all(first // 20 == (last - 1) // 20 for first, last in x.read)


def test_several_inputs_are_read_once_a_step():
    a, b = Rows(X, share=2), Rows(X[:, 0], share=2)
    check_same(two_inputs(), ({"a": a, "b": b}, Y), ([X, X[:, 0]], Y), shuffle=False)
    assert a.read == b.read and a.rows_read() <= len(X) * 2 + 2 * 8
    check_same(two_inputs(), ([Rows(X, share=2), X[:, 0]], Y), ([X, X[:, 0]], Y))


def test_validation_weights_lengths_and_classes():
    lengths, weights = rng.integers(1, 6, 60), rng.random(60).astype("f")
    options = {"validation_split": 0.2, "lengths": lengths}
    check_same(one_input(), (Rows(X, share=2), Y), (X, Y), sample_weight=weights, **options)
    held_out = (Rows(X[:20], share=2), Rows(Y[:20], share=2))
    check_same(one_input(), (Rows(X, share=2), Rows(Y, share=2)), (X, Y), validation_data=held_out)
    labels = rng.integers(0, 2, 60)
    model = one_input()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(Rows(X, share=2), labels, class_weight={0: 1.0, 1: 2.0}, steps_per_epoch=4, verbose=0)
    assert np.isfinite(model.evaluate(Rows(X, share=2), labels, batch_size=8, verbose=0))


def test_a_model_is_built_without_reading():
    model, x = cyrnn.Sequential([layers.GRU(4), layers.Dense(2)]), Rows(X, share=2)
    model.compile("sgd", "mse")
    model.fit(x, Y, batch_size=8, shuffle=False, verbose=0)
    assert model.built and x.rows_read() <= len(X) + 2 * 8


def test_datasets_of_h5py(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[h5]'")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for chunks in (None, (16, 5, 3)):
            x = file.create_dataset(f"x{chunks}", data=X, chunks=chunks)
            y = file.create_dataset(f"y{chunks}", data=Y)
            check_same(one_input(), (x, y), (X, Y))


def test_what_does_not_fit_is_named():
    model = one_input()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="as many rows as each other, got: x 60, y 59"):
        model.fit(Rows(X, share=2), Rows(Y[:59], share=2), verbose=0)
    with pytest.raises(ValueError, match=r"must have shape \(None, 5, 3\)"):
        model.fit(Rows(X[:, :4], share=2), Y, verbose=0)
    short = Rows(X, share=2)
    short.shape = (61, 5, 3)
    with pytest.raises(ValueError, match=r"x\[60:61\] must have shape"):
        model.fit(short, np.ones((61, 2), "f"), batch_size=4, shuffle=False, verbose=0)
