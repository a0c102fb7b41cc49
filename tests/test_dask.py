"""`cyrnn.dask`: lazy results, arrays of zarr, a real cluster of two processes; workers and clients that are killed."""

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

da = pytest.importorskip("dask.array", reason="needs dask, distributed and zarr: pip install '.[dask]'")
distributed = pytest.importorskip("distributed", reason="needs dask, distributed and zarr: pip install '.[dask]'")
zarr = pytest.importorskip("zarr", reason="needs dask, distributed and zarr: pip install '.[dask]'")

import cloudpickle  # noqa: E402
import dask  # noqa: E402

import cyrnn  # noqa: E402
import cyrnn.dask  # noqa: E402
from cyrnn import layers  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this module

rng = np.random.default_rng(3)
X = rng.standard_normal((500, 7, 3)).astype("f")
LENGTHS = rng.integers(0, 8, 500)


def sequential():
    return cyrnn.Sequential([
        cyrnn.Input((7, 3)), layers.LSTM(16, return_sequences=True), layers.Bidirectional(layers.GRU(8)),
        layers.Dense(2),
    ])  # fmt: skip


def graph():
    a, b = cyrnn.Input((None, 3), name="a"), cyrnn.Input((2,), name="b")
    joined = layers.Concatenate()([layers.GRU(3)(a), b])
    return cyrnn.Model([a, b], {"p": layers.Dense(2)(joined), "q": layers.GRU(2, return_sequences=True)(a)})


def lazy(array, rows=100):
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


class Fatal(layers.Layer):
    """It kills its process where it finds 777, once."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def call(self, inputs):
        if np.any(inputs == 777) and not os.path.exists(self.path):  # noqa: PTH110
            open(self.path, "w").close()  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs


class Noted(layers.Layer):
    """It notes the processes that it comes to."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def call(self, inputs):
        return inputs

    def __setstate__(self, state):
        super().__setstate__(state)
        with open(self.path, "a") as file:  # noqa: PTH123
            file.write(f"{os.getpid()}\n")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def workers(client):
    client.wait_for_workers(2, timeout=60)
    return client


# ---------------------------------------------------------------- lazy arrays


@pytest.mark.parametrize("rows", [500, 100, 33, (1, 498, 1), (0, 500)])
def test_the_bits_are_those_of_predict_whatever_the_chunks(rows):
    model = sequential()
    for batch_size in (None, 64, 1):
        expected = model.predict(X, batch_size=batch_size)
        found = model.predict(lazy(X, rows), batch_size=batch_size)
        assert isinstance(found, da.Array) and found.shape == (500, 2) and found.dtype == np.float32
        np.testing.assert_array_equal(found.compute(), expected)


def test_one_sample_is_computed_as_alone():
    model = sequential()
    np.testing.assert_array_equal(model.predict(lazy(X[:1])).compute(), model.predict(X[:1]))


def test_products_have_the_precision_of_the_call_or_of_the_process_that_makes_the_graph():
    model = sequential()
    rounded = model.predict(X, precision="bfloat16")
    given = model.predict(lazy(X), precision="bfloat16")
    cyrnn.set_precision("bfloat16")
    try:
        set_here = model.predict(lazy(X))
        plain = model.predict(lazy(X), precision="float32")
    finally:
        cyrnn.set_precision("float32")
    for found in dask.compute(given, set_here):
        np.testing.assert_array_equal(found, rounded)
    np.testing.assert_array_equal(plain, model.predict(X))
    assert np.any(plain != rounded) and given.name != plain.name


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError("it was computed")

    x = lazy(X).map_blocks(fail, dtype="f4", meta=np.empty((0, 0, 0), "f"))
    assert cyrnn.dask.predict(sequential(), x).shape == (500, 2)


def test_several_inputs_outputs_and_lengths():
    model, b = graph(), X[:, 0, :2]
    expected = model.predict({"a": X, "b": b}, lengths={"a": LENGTHS})
    for lengths in (LENGTHS, da.from_array(LENGTHS, chunks=70)):
        found = model.predict({"a": lazy(X), "b": lazy(b, 300)}, lengths={"a": lengths})
        assert found["q"].shape == (500, 7, 2) and found["q"].numblocks == (5, 1, 1)
        computed = dask.compute(found)[0]
        for key, value in expected.items():
            np.testing.assert_array_equal(computed[key], value)
            np.testing.assert_array_equal(found[key].compute(), value)  # one alone


def test_layers_models_of_the_moment_and_custom_layers(tmp_path):
    layer = layers.LSTM(4)
    layer(X[:1])
    np.testing.assert_array_equal(cyrnn.dask.predict(layer, lazy(X), LENGTHS), layer.predict(X, lengths=LENGTHS))
    model = sequential()
    expected, found = model.predict(X), model.predict(lazy(X))
    model.set_weights([0 * weight for weight in model.get_weights()])
    np.testing.assert_array_equal(found, expected)
    custom = cyrnn.Sequential([cyrnn.Input((7, 3)), layers.GRU(4), Noted(str(tmp_path / "noted"))])
    np.testing.assert_array_equal(custom.predict(lazy(X)), custom.predict(X))


def test_an_unknown_number_of_samples():
    model, keep = sequential(), np.arange(500) % 3 == 0
    x = lazy(X)[da.from_array(keep, chunks=100)]
    found = model.predict(x)
    assert np.isnan(found.shape[0]) and found.shape[1:] == (2,)
    np.testing.assert_array_equal(found.compute(), model.predict(X)[keep])
    part = da.concatenate([x, lazy(X[:1])])  # one chunk is known, and has a single row
    np.testing.assert_array_equal(model.predict(part).compute(), model.predict(X)[[*np.flatnonzero(keep), 0]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m.predict(da.from_array(X, chunks=(100, 3, 3))), ValueError, r"axis 1: x = x.rechunk\({1: -1}\)"),
        (lambda m: m.predict(da.from_array(X, chunks=(100, 3, 1))), ValueError, r"x.rechunk\({1: -1, 2: -1}\)"),
        (lambda m: m.predict(lazy(X[:, :4])), ValueError, r"must have shape \(None, 7, 3\)"),
        (lambda m: m.predict(lazy(X), lengths=LENGTHS[1:]), ValueError, "lengths must have as many .* got 499 samples"),
        (lambda m: m.predict(lazy(X), out=np.empty((500, 2), "f")), ValueError, "out must not be given for a Dask"),
        (lambda m: m.predict(lazy(X), steps=3), ValueError, "steps must not be given for a Dask"),
        (lambda m: m.predict(lazy(X), precision="half"), ValueError, "precision must be 'float32' or 'bfloat16'"),
        (lambda m: cyrnn.dask.predict(m, X), TypeError, "x must be a Dask array, .*got ndarray"),
        (lambda m: cyrnn.dask.predict("m.keras", lazy(X)), TypeError, "model must be a model or layer.* got str"),
        (lambda m: cyrnn.dask.predict(layers.LSTM(2), lazy(X)), ValueError, "is not built yet"),
        (lambda m: cyrnn.dask.predict(m, lazy(X), num_threads=-1), ValueError, "num_threads"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_when_the_graph_is_made(call, error, words):
    with pytest.raises(error, match=words):
        call(sequential())


def test_stateful_layers_are_refused():
    model = cyrnn.Sequential([cyrnn.Input(batch_shape=(4, 7, 3)), layers.GRU(2, stateful=True, name="carrying")])
    with pytest.raises(ValueError, match="layer 'carrying' is stateful"):
        model.predict(lazy(X))


# ---------------------------------------------------------------- on a cluster


def test_the_model_travels_once_to_each_worker(workers, tmp_path):
    def count():
        from cyrnn.dask.arrays.travel import Traveller

        class Counter:
            arrived = 0

        def arrive(self, state):
            Counter.arrived += 1
            vars(self).update(state)

        Traveller.__setstate__, Traveller.counter = arrive, Counter

    def counted():
        from cyrnn.dask.arrays.travel import Traveller

        del Traveller.__setstate__
        return Traveller.counter.arrived

    model = cyrnn.Sequential([cyrnn.Input((7, 3)), layers.LSTM(16), Noted(str(tmp_path / "noted"))])
    expected = model.predict(X)
    workers.run(count)
    found = workers.compute(model.predict(lazy(X, 12))).result()  # 42 chunks
    arrived = workers.run(counted)
    np.testing.assert_array_equal(found, expected)
    noted = (tmp_path / "noted").read_text().split()
    assert sorted(set(noted)) == sorted(noted) and set(noted) <= {str(p) for p in workers.run(os.getpid).values()}
    assert max(arrived.values()) <= 2  # the task that holds it, and the data of another worker


def test_an_error_names_its_chunk_and_samples(workers):
    lengths = np.full(500, 7)
    lengths[250] = 8
    with pytest.raises(
        ValueError, match=r"^chunk 2 \(samples 200 to 299\): lengths must be from 0 to 7, got 8 for row 50"
    ):
        workers.compute(sequential().predict(lazy(X), lengths=lengths)).result()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill with a signal")
def test_the_chunks_of_a_killed_worker_are_done_again(workers, tmp_path):
    x = X.copy()
    x[250, 0, 0] = 777
    model = cyrnn.Sequential([cyrnn.Input((7, 3)), Fatal(str(tmp_path / "killed")), layers.LSTM(16)])
    found = workers.compute(model.predict(lazy(x, 20))).result()
    assert (tmp_path / "killed").exists()
    (tmp_path / "again").touch()
    np.testing.assert_array_equal(found, model.predict(x))


# ---------------------------------------------------------------- zarr


@pytest.fixture
def stored(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(40, 7, 3))
    return tmp_path / "x.zarr"


def predicted(model, source, target, **options):
    """The result, and the chunks that were computed for it."""
    done = []
    options.setdefault("batch_size", 40)
    result = cyrnn.dask.predict_zarr(
        model, source, target, progress=lambda each: (done.append(n) or n for n in each), **options
    )
    assert not pathlib.Path(f"{target}.progress").exists()
    return result[:], sorted(done)


@pytest.mark.parametrize("on_cluster", [False, True])
def test_zarr_to_zarr(stored, tmp_path, request, on_cluster):
    model = sequential()
    client = request.getfixturevalue("workers") if on_cluster else None
    result, done = predicted(model, stored, tmp_path / "y.zarr", client=client)
    np.testing.assert_array_equal(result, model.predict(X, batch_size=40), strict=True)
    assert done == list(range(13))
    assert predicted(model, stored, tmp_path / "y.zarr", client=client)[1] == []  # it is complete
    result, done = predicted(model, stored, tmp_path / "y.zarr", client=client, resume=False)
    assert done == list(range(13))


def test_a_file_lengths_and_the_address_of_a_scheduler(stored, tmp_path, workers):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model = sequential()
    model.save(tmp_path / "m.keras")
    address = workers.scheduler_info()["address"]
    result, _ = predicted(tmp_path / "m.keras", stored, tmp_path / "y.zarr", client=address, lengths=LENGTHS)
    np.testing.assert_array_equal(result, model.predict(X, batch_size=40, lengths=LENGTHS))


def test_the_default_batch_and_sharded_arrays(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(10, 7, 3), shards=(50, 7, 3))
    model = sequential()
    result = cyrnn.dask.predict_zarr(model, tmp_path / "x.zarr", tmp_path / "y.zarr")
    np.testing.assert_array_equal(result[:], model.predict(X))


def interrupted_after(count):
    def progress(each):
        for number, chunk in enumerate(each):
            if number == count:
                raise KeyboardInterrupt
            yield chunk

    return progress


def test_an_interrupted_prediction_goes_on(stored, tmp_path):
    model, target = sequential(), tmp_path / "y.zarr"
    with pytest.raises(KeyboardInterrupt):
        cyrnn.dask.predict_zarr(model, stored, target, progress=interrupted_after(4), batch_size=40)
    marks = zarr.open_array(f"{target}.progress")[:]
    (tmp_path / "y.zarr.progress" / "c" / "1").write_bytes(b"")  # as if its process had been killed in between
    result, done = predicted(model, stored, target)
    assert done == [1, *np.flatnonzero(marks == 0)] and len(done) < 13
    np.testing.assert_array_equal(result, model.predict(X, batch_size=40))


def test_another_models_result_is_refused(stored, tmp_path):
    model, target = sequential(), tmp_path / "y.zarr"
    expected, _ = predicted(model, stored, target)
    other = sequential()
    zarr.create_array(tmp_path / "other.zarr", data=X, chunks=(40, 7, 3))
    for options, words in (
        ((other, stored), "is the result of another model: give another target, or resume=False"),
        ((model, tmp_path / "other.zarr"), "another call, with source .*x.zarr, now .*other.zarr"),
    ):
        with pytest.raises(ValueError, match=words):
            predicted(*options, target)
    with pytest.raises(ValueError, match="another call, with lengths None"):
        predicted(model, stored, target, lengths=LENGTHS)
    with pytest.raises(ValueError, match="another call, with precision float32, now bfloat16"):
        predicted(model, stored, target, precision="bfloat16")
    np.testing.assert_array_equal(zarr.open_array(target)[:], expected)
    np.testing.assert_array_equal(predicted(other, stored, target, resume=False)[0], other.predict(X, batch_size=40))


def test_the_same_model_with_other_names_goes_on(stored, tmp_path):
    model, target = sequential(), tmp_path / "y.zarr"
    predicted(model, stored, target)
    again = sequential()
    again.set_weights(model.get_weights())
    assert again.name != model.name and predicted(again, stored, target)[1] == []


def test_what_is_no_result_is_never_replaced(stored, tmp_path):
    zarr.create_array(tmp_path / "mine.zarr", data=X, chunks=(40, 7, 3))
    (tmp_path / "text").write_text("mine")
    model = sequential()
    for target in ("mine.zarr", "text"):
        for resume in (True, False):
            with pytest.raises(ValueError, match="target must be new, or a result of predict_zarr"):
                cyrnn.dask.predict_zarr(model, stored, tmp_path / target, resume=resume)
    with pytest.raises(ValueError, match="target must be another array than source"):
        cyrnn.dask.predict_zarr(model, stored, stored)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "mine.zarr")[:], X)


def test_sources_and_models_that_do_not_fit(stored, tmp_path):
    (tmp_path / "text").write_text("mine")
    zarr.create_group(tmp_path / "group.zarr")
    model, target = sequential(), tmp_path / "y.zarr"
    with pytest.raises(FileNotFoundError, match="no array of zarr at .*missing"):
        cyrnn.dask.predict_zarr(model, tmp_path / "missing", target)
    for name in ("text", "group.zarr"):
        with pytest.raises(ValueError, match=f"source must be an array of zarr, got something else at .*{name}"):
            cyrnn.dask.predict_zarr(model, tmp_path / name, target)
    with pytest.raises(ValueError, match=r"must have shape \(None, 7, 4\)"):
        cyrnn.dask.predict_zarr(cyrnn.Sequential([cyrnn.Input((7, 4)), layers.GRU(2)]), stored, target)
    a = cyrnn.Input((7, 3))
    with pytest.raises(ValueError, match="must return one array"):
        cyrnn.dask.predict_zarr(cyrnn.Model(a, [layers.GRU(2)(a), layers.GRU(3)(a)]), stored, target)
    assert not target.exists() and not pathlib.Path(f"{target}.progress").exists()


CLIENT = """
import os, signal, sys
import cyrnn.dask

def progress(chunks):
    for number, chunk in enumerate(chunks):
        yield chunk
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

model, source, target, address = sys.argv[1:]
cyrnn.dask.predict_zarr(model, source, target, progress=progress, client=address, batch_size=40)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill with a signal")
def test_a_killed_client_and_a_killed_worker(stored, tmp_path, workers):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    x, target = zarr.open_array(stored, mode="r+"), tmp_path / "y.zarr"
    x[250, 0, 0] = 777
    plain = sequential()
    plain.save(tmp_path / "m.keras")
    arguments = [tmp_path / "m.keras", stored, target, workers.scheduler_info()["address"]]
    killed = subprocess.run([sys.executable, "-P", "-c", CLIENT, *map(str, arguments)], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    result, done = predicted(plain, stored, target, client=workers)
    assert len(done) <= 13 - 4
    np.testing.assert_array_equal(result, plain.predict(x[:], batch_size=40))

    model = cyrnn.Sequential([cyrnn.Input((7, 3)), Fatal(str(tmp_path / "killed")), layers.LSTM(16)])
    result, done = predicted(model, stored, tmp_path / "z.zarr", client=workers)
    assert (tmp_path / "killed").exists() and done == list(range(13))
    np.testing.assert_array_equal(result, model.predict(x[:], batch_size=40))
