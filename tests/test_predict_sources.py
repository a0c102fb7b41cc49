"""What `predict` reads batch by batch: datasets of h5py, arrays of zarr, all that has a shape, a dtype and slices."""

from collections import UserDict

import numpy as np
import pytest
from helpers import Rows

import cyrnn
from cyrnn import layers

rng = np.random.default_rng(3)
X = rng.standard_normal((100, 5, 3)).astype("f")


def sequential():
    return cyrnn.Sequential([cyrnn.Input((5, 3)), layers.LSTM(4), layers.Dense(2)])


def test_batches_are_read_one_by_one():
    model, source = sequential(), Rows(X)
    np.testing.assert_array_equal(model.predict(source, batch_size=32), model.predict(X, batch_size=32))
    assert source.read == [(0, 32), (32, 64), (64, 96), (96, 100)]


def test_the_default_batch_is_bounded_too():
    array = np.lib.stride_tricks.as_strided(X, (1000, 100, 50), (0, 0, 0))
    model, source = cyrnn.Sequential([cyrnn.Input((100, 50)), layers.SimpleRNN(2)]), Rows(array)
    np.testing.assert_array_equal(model.predict(source), model.predict(array))
    assert len(source.read) > 3 and all(last - first < 400 for first, last in source.read)


def test_a_chunk_is_read_once():
    model, source = sequential(), Rows(X, chunk=30)
    np.testing.assert_array_equal(model.predict(source, batch_size=10), model.predict(X, batch_size=10))
    assert source.read == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_with_out_lengths_progress_and_several_inputs():
    a, b = cyrnn.Input((5, 3), name="a"), cyrnn.Input((3,), name="b")
    model = cyrnn.Model([a, b], [layers.GRU(3)(a), layers.Dense(2)(b)])
    lengths, shown = rng.integers(0, 6, 100), []
    expected = model.predict([X, X[:, 0]], lengths=[lengths, None])
    out = [np.empty_like(y) for y in expected]
    x = {"a": Rows(X), "b": X[:, 0]}
    found = model.predict(
        x, batch_size=33, lengths={"a": lengths}, out=out, progress=lambda each: [*map(shown.append, each)] and each
    )
    assert found[0] is out[0] and shown == [0, 33, 66, 99]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_and_memory_maps(tmp_path):
    layer = layers.GRU(3)
    np.testing.assert_array_equal(layer.predict(Rows(X), batch_size=9), layer.predict(X))
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(layer.predict(np.load(tmp_path / "x.npy", mmap_mode="r")), layer.predict(X))


def test_a_memoryview_is_an_array():
    for model in (sequential(), layers.GRU(3)):
        np.testing.assert_array_equal(model.predict(memoryview(X)), model.predict(X))


def test_a_last_axis_of_one_may_be_missing():
    model = cyrnn.Sequential([cyrnn.Input((5, 1)), layers.SimpleRNN(4)])
    np.testing.assert_array_equal(model.predict(Rows(X[..., 0]), batch_size=40), model.predict(X[..., :1]))


@pytest.mark.parametrize("options", [{}, {"chunks": (17, 5, 3), "compression": "gzip", "shuffle": True}])
def test_h5py(tmp_path, options):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=X.astype("f8"), **options)
        np.testing.assert_array_equal(sequential_result(dataset, 9), sequential_result(X.astype("f8"), 9))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(tmp_path, zarr_format):
    zarr = pytest.importorskip("zarr", reason="needs zarr: pip install '.[dask]'")
    array = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(17, 5, 3), zarr_format=zarr_format)
    np.testing.assert_array_equal(sequential_result(array, 9), sequential_result(X, 9))


MODEL = sequential()


def sequential_result(x, batch_size):
    return MODEL.predict(x, batch_size=batch_size)


def test_pandas():
    pandas = pytest.importorskip("pandas", reason="needs pandas, which .ci/run interop installs")
    model = cyrnn.Sequential([cyrnn.Input((3,)), layers.Dense(2)])
    frame = pandas.DataFrame(X[:, 0], columns=["a", "b", "c"])
    np.testing.assert_array_equal(model.predict(frame), model.predict(X[:, 0]))
    np.testing.assert_array_equal(model(frame), model(X[:, 0]))
    series = cyrnn.Sequential([cyrnn.Input((3, 1)), layers.SimpleRNN(2)])
    np.testing.assert_array_equal(series.predict(frame), series.predict(X[:, 0, :, None]))
    a, b = cyrnn.Input((1,), name="a"), cyrnn.Input((1,), name="b")
    joined = cyrnn.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b])))
    np.testing.assert_array_equal(joined.predict(dict(frame)), joined.predict([X[:, 0, :1], X[:, 0, 1:2]]))
    with pytest.raises(TypeError, match="must be an array of real numbers, got text or objects in column 'b'"):
        model.predict(frame.assign(b="text"))


def test_pandas_with_numbers_that_may_be_missing():
    pandas = pytest.importorskip("pandas", reason="needs pandas, which .ci/run interop installs")
    model = cyrnn.Sequential([cyrnn.Input((2,)), layers.Dense(2)])
    frame = pandas.DataFrame({"a": [1.5, -2.0, 0.25], "b": [1, 0, 2]})
    expected = model.predict(frame.to_numpy())
    np.testing.assert_array_equal(model.predict(frame.convert_dtypes()), expected)
    np.testing.assert_array_equal(model.predict(frame.astype({"b": "Int32"})), expected)
    missing = frame.convert_dtypes()
    missing.iloc[1, 1] = pandas.NA
    np.testing.assert_array_equal(model.predict(missing), np.where([[False], [True], [False]], np.nan, expected))
    tokens = cyrnn.Sequential([cyrnn.Input((1,), dtype="int32"), layers.Embedding(3, 2)])
    np.testing.assert_array_equal(tokens.predict(frame[["b"]].astype("Int64")), tokens.predict(frame[["b"]].to_numpy()))
    model.compile("sgd", "mse")
    assert np.isfinite(model.evaluate(frame.convert_dtypes(), frame.convert_dtypes(), verbose=0))
    with pytest.raises(TypeError, match="got text or objects in column 'c'"):
        model.predict(missing.assign(c="1"))


def test_generators_and_iterables_of_batches():
    model, parts = sequential(), [X[:40], X[40:50], X[50:]]
    expected = model.predict(X)
    for batches in (
        (part for part in parts),
        ((part,) for part in parts),
        ((part, None) for part in parts),
        ({"x": part}["x"] for part in parts),
        iter(parts),
        map(np.asarray, parts),
    ):
        np.testing.assert_allclose(model.predict(batches), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (Rows(X.astype("S3")), TypeError, "must be an array of real numbers, got dtype .S3"),
        (Rows(X[:, :4]), ValueError, r"must have shape \(None, 5, 3\), got \(100, 4, 3\)"),
        ((part for part in ["text"]), ValueError, "batches must be arrays, or tuples .*got str"),
        ((part for part in []), ValueError, "x must have a batch to predict, got none"),
        (
            UserDict(x=X),
            TypeError,
            r"x must be an array, got UserDict, which has arrays by name: choose one, x\[name\]",
        ),
        (lambda: iter([X]), TypeError, "must be an array of real numbers, got function, which must be called first"),
    ],
)
def test_what_cannot_be_read_says_why(x, error, words):
    with pytest.raises(error, match=words):
        sequential().predict(x, batch_size=32)


def test_rows_that_are_not_those_of_the_shape():
    source = Rows(X)
    source.shape = (120, 5, 3)
    with pytest.raises(ValueError, match=r"x\[96:120\] must have shape \(24, 5, 3\), as x.shape says, got \(4, 5, 3\)"):
        sequential().predict(source, batch_size=32)
