"""Kinds of data that models are trained with: what NumPy can view, in any dtype, structure and order."""

import tracemalloc

import numpy as np
import pytest

import cyrnn
from cyrnn import optimizers
from cyrnn.layers import Concatenate, Dense, Embedding, SimpleRNN

ROWS, TIMESTEPS, FEATURES = 12, 5, 3


def data(rows=ROWS, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, TIMESTEPS, FEATURES)).astype(np.float32)
    return x, rng.standard_normal((rows, outputs)).astype(np.float32)


def model_of(dtype=None):
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES), dtype=dtype), SimpleRNN(4, dtype=dtype), Dense(1, dtype=dtype)
    ])  # fmt: skip


def trained(model, begin, x, y, **options):
    """The weights after some steps, and the loss of each epoch."""
    model.set_weights(begin)
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
    history = model.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0, **options).history
    return [*model.get_weights(), history["loss"], history["mae"]]


def check_same(model, begin, found, x, y, **options):
    for a, b in zip(trained(model, begin, x, y, **options), found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


class Viewed:
    """What NumPy can view as an array, such as a tensor of another library."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype)


KINDS = {
    "float64": lambda a: a.astype(np.float64),
    "another byte order": lambda a: a.astype(">f4"),
    "another order of axes": np.asfortranarray,
    "strides": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "a view of NumPy": Viewed,
    "lists": lambda a: a.tolist(),
    "in a list": lambda a: [a],
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_all_kinds(kind):
    (x, y), model = data(), model_of()
    begin, of_kind = model.get_weights(), KINDS[kind]
    found = trained(model, begin, x, y)
    check_same(model, begin, found, of_kind(x), of_kind(y))
    weights = np.linspace(0, 2, ROWS).astype(np.float32)
    found = trained(model, begin, x, y, sample_weight=weights)
    check_same(model, begin, found, of_kind(x), of_kind(y), sample_weight=of_kind(weights))


def test_frames_and_series():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, FEATURES)).astype(np.float32), rng.standard_normal(ROWS).astype(np.float32)
    model = cyrnn.Sequential([cyrnn.Input((FEATURES,)), Dense(1)])
    begin = model.get_weights()
    found = trained(model, begin, x, y)
    check_same(model, begin, found, pandas.DataFrame(x, columns=list("abc"), index=range(50, 62)), pandas.Series(y))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16])
def test_inputs_and_targets_of_other_dtypes(dtype):
    rng, model = np.random.default_rng(0), model_of()
    x, y = rng.integers(0, 2, (ROWS, TIMESTEPS, FEATURES)), rng.integers(0, 2, (ROWS, 1))
    begin = model.get_weights()
    found = trained(model, begin, x.astype(np.float32), y.astype(np.float32))
    check_same(model, begin, found, x.astype(dtype), y.astype(dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.float32, ">i8"])
def test_tokens_and_labels_of_other_dtypes(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (ROWS, TIMESTEPS)), rng.integers(0, 3, ROWS)
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS,)), Embedding(9, 3, mask_zero=True), SimpleRNN(4), Dense(3, "softmax")
    ])  # fmt: skip
    begin, found = model.get_weights(), []
    for kind in (np.int64, dtype):
        model.set_weights(begin)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x.astype(kind), y.astype(kind), batch_size=5, shuffle=False, verbose=0).history
        found.append([*model.get_weights(), *history.values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_models_of_float64():
    """They are trained in float64, but for the loss, which is of float32 unless it is asked for another."""
    (x, y), model = data(), model_of("float64")
    begin = model.get_weights()
    found = trained(model, begin, x, y)
    assert {weight.dtype for weight in model.get_weights()} == {np.dtype("float64")}
    narrow = model_of()
    for a, b in zip(found, trained(narrow, begin, x, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    model.compile(optimizers.SGD(0.0), cyrnn.losses.MeanSquaredError(dtype="float64"))
    wide = x.astype(np.float64)
    expected = np.mean((model(wide) - y.astype(np.float64)) ** 2)
    assert model.fit(wide, y.astype(np.float64), verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-12)]


# ---------------------------------------------------------------- structures


def two_inputs():
    a, b = cyrnn.Input((TIMESTEPS, FEATURES), name="a"), cyrnn.Input((TIMESTEPS, FEATURES), name="b")
    hidden = Concatenate()([SimpleRNN(3)(a), SimpleRNN(2)(b)])
    return cyrnn.Model([a, b], [Dense(1, name="c")(hidden), Dense(2, name="d")(hidden)])


def test_several_inputs_and_outputs_in_lists_and_dicts():
    model, (x, y), (z, _) = two_inputs(), data(outputs=2), data(seed=5)
    begin, targets, weights = model.get_weights(), [y[:, :1], y], [np.arange(ROWS), np.ones(ROWS)]
    model.compile("adam", "mse", metrics=[["mae"], ["mse"]])

    def after(inputs, outputs, sample_weight, **options):
        model.set_weights(begin)
        model.compile("adam", "mse", metrics=[["mae"], ["mse"]])
        options = {"batch_size": 5, "shuffle": False, "verbose": 0, **options}
        history = model.fit(inputs, outputs, sample_weight=sample_weight, **options).history
        return [*model.get_weights(), *history.values()]

    found = after([x, z], targets, weights)
    by_name = {"d": y, "c": y[:, :1]}, {"c": weights[0], "d": weights[1]}
    for inputs, outputs, given in (
        ((x, z), tuple(targets), tuple(weights)),
        ({"b": z, "a": x}, *by_name),
        ({"b": z, "a": x, "unused": z}, targets, by_name[1]),
        ([x, z], by_name[0], {"c": weights[0]}),
    ):
        for a, b in zip(after(inputs, outputs, given), found, strict=True):
            np.testing.assert_array_equal(a, b)
    held_out = {"validation_data": ({"a": x, "b": z}, *by_name)}
    history = after([x, z], targets, weights, **held_out)
    assert len(history) == len(found) + 5
    with pytest.raises(ValueError, match="as many rows as each other, got: x 12, 11"):
        model.fit([x, z[:-1]], targets, verbose=0)
    with pytest.raises(ValueError, match="must come as"):
        model.fit({"a": x}, targets, verbose=0)


def test_batches_in_dicts():
    model, (x, y), (z, _) = two_inputs(), data(outputs=2), data(seed=5)
    begin = model.get_weights()

    def batches():
        for rows in (slice(0, 5), slice(5, 10), slice(10, 12)):
            yield (
                {"a": x[rows], "b": z[rows]},
                {"c": y[rows, :1], "d": y[rows]},
                {"c": np.ones(len(x[rows])), "d": None},
            )

    model.compile("adam", "mse")
    model.fit([x, z], [y[:, :1], y], batch_size=5, shuffle=False, verbose=0)
    found = model.get_weights()
    model.set_weights(begin)
    model.compile("adam", "mse")
    model.fit(batches(), verbose=0)
    for a, b in zip(model.get_weights(), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_have_the_weights_of_their_classes():
    x, labels = np.linspace(-1, 1, 24, dtype="f").reshape(8, 3), np.array([0, 1, 0, 1, 1, 1, 0, 0])

    class Batches:
        def __len__(self):
            return 2

        def __getitem__(self, number):
            part = slice(4 * number, 4 * number + 4)
            return x[part], labels[part]

    first = cyrnn.Sequential([cyrnn.Input((3,)), Dense(2, activation="softmax")])
    found = []
    for given, options in (((Batches(),), {}), ((x, labels), {"batch_size": 4})):
        model = cyrnn.models.clone_model(first)
        model.set_weights(first.get_weights())
        model.compile("sgd", "sparse_categorical_crossentropy")
        history = model.fit(*given, class_weight={0: 1.0, 1: 3.0}, shuffle=False, verbose=0, **options).history
        found.append([history["loss"], *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_loaders_whose_batches_are_lists():
    """As those of torch are; they have a length, and no items."""
    (x, y), model = data(), model_of()
    begin = model.get_weights()

    class Loader:
        def __len__(self):
            return 3

        def __iter__(self):
            return iter([[Viewed(x[i : i + 5]), Viewed(y[i : i + 5])] for i in range(0, ROWS, 5)])

    found = trained(model, begin, x, y)
    check_same(model, begin, found, Loader(), None)
    model.set_weights(begin)
    assert model.evaluate(Loader(), verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)


def test_a_dataset_whose_length_is_not_known():
    (x, y), model = data(), model_of()
    model.compile("sgd", "mse")

    class Endless:
        def __len__(self):
            raise TypeError("it has no end")

        def __iter__(self):
            while True:
                yield x, y

    assert model.fit(Endless(), epochs=2, steps_per_epoch=3, verbose=0).params["steps"] == 3
    assert model.optimizer.iterations == 6


# ---------------------------------------------------------------- memory


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_memory_maps_are_never_converted_as_a_whole(shuffle, tmp_path):
    rows, path = 4000, tmp_path / "x"
    mapped = np.memmap(path, np.float64, "w+", shape=(rows, 50, 20))
    mapped[::7] = 0.5
    y = np.memmap(tmp_path / "y", np.float64, "w+", shape=(rows, 1))
    model = cyrnn.Sequential([cyrnn.Input((50, 20)), SimpleRNN(2), Dense(1)])
    for general in (False, True):
        model.compile("sgd", "mse", metrics=["mae"])
        if general:
            model._compiled._step_of = lambda _: None
        model.fit(mapped[:64], y[:64], verbose=0)
        tracemalloc.start()
        try:
            model.fit(mapped, y, shuffle=shuffle, validation_split=0.2, verbose=0)
            model.evaluate(mapped, y, verbose=0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < mapped.nbytes / 10
