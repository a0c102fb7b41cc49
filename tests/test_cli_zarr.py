"""``cyrnn predict`` with arrays of zarr, here and on a cluster."""

import numpy as np
import pytest

zarr = pytest.importorskip("zarr", reason="needs dask, distributed and zarr: pip install '.[dask]'")
pytest.importorskip("cloudpickle", reason="needs dask, distributed and zarr: pip install '.[dask]'")
pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")

import cyrnn  # noqa: E402
from cyrnn import cli, layers  # noqa: E402

X = np.random.default_rng(0).standard_normal((100, 5, 3)).astype("f")


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = cyrnn.Sequential([cyrnn.Input((5, 3)), layers.GRU(4), layers.Dense(2)])
    made.save("m.keras")
    zarr.create_array("x.zarr", data=X, chunks=(30, 5, 3))
    return made


def run(capsys, *arguments):
    code = cli.main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_zarr_to_zarr(model, capsys):
    assert run(capsys, "m.keras", "x.zarr", "-o", "y.zarr") == (0, "y.zarr: (100, 2) float32\n", "")
    np.testing.assert_array_equal(zarr.open_array("y.zarr")[:], model.predict(X))
    assert run(capsys, "m.keras", "x.zarr", "-o", "y.zarr")[0] == 0  # it is complete


def test_the_precision_of_products(model, capsys):
    assert run(capsys, "m.keras", "x.zarr", "-o", "y.zarr", "--precision", "bfloat16")[0] == 0
    np.testing.assert_array_equal(zarr.open_array("y.zarr")[:], model.predict(X, precision="bfloat16"))


def test_on_a_cluster(model, capsys):
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        options = ["--scheduler", cluster.scheduler_address, "--batch-size", 30]
        assert run(capsys, "m.keras", "x.zarr", "-o", "y.zarr", *options)[:2] == (0, "y.zarr: (100, 2) float32\n")
    np.testing.assert_array_equal(zarr.open_array("y.zarr")[:], model.predict(X, batch_size=30))


def test_another_models_result_is_refused_and_begun_anew(model, capsys):
    run(capsys, "m.keras", "x.zarr", "-o", "y.zarr")
    other = cyrnn.Sequential([cyrnn.Input((5, 3)), layers.GRU(4), layers.Dense(2)])
    other.save("other.keras")
    code, _, err = run(capsys, "other.keras", "x.zarr", "-o", "y.zarr")
    assert code == 2 and "is the result of another model" in err and err.count("\n") == 1
    assert run(capsys, "other.keras", "x.zarr", "-o", "y.zarr", "--no-resume")[0] == 0
    np.testing.assert_array_equal(zarr.open_array("y.zarr")[:], other.predict(X))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.zarr", "-o", "y.npy"], "INPUT and OUTPUT must both be .zarr, or none of them; y.npy is not"),
        (["x.npy", "-o", "y.zarr"], "INPUT and OUTPUT must both be .zarr, or none of them; x.npy is not"),
        (["x.npy", "-o", "y.npy", "--scheduler", "tcp://h:1"], "--scheduler needs .zarr arrays as INPUT and OUTPUT"),
        (["x.npy", "-o", "y.npy", "--no-resume"], "--no-resume needs .zarr arrays as INPUT and OUTPUT"),
        (["missing.zarr", "-o", "y.zarr"], "there is no array of zarr at"),
    ],
)
def test_wrong_calls_are_refused(model, capsys, arguments, words):
    code, _, err = run(capsys, "m.keras", *arguments)
    assert code == 2 and words in err and err.count("\n") == 1
