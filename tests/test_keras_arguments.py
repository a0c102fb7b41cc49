"""Arguments of Keras 3 that scripts pass are taken, checked, and do what the documentation says."""

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, Embedding, InputLayer, SimpleRNN
from cyrnn.models import load_model, save_model

X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")


def model_of(units=2):
    return cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(units)])


@pytest.fixture
def saved(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model = model_of()
    model.save(tmp_path / "m.keras")
    return model, tmp_path / "m.keras"


@pytest.mark.parametrize("options", [{"compile": False}, {"compile": True, "safe_mode": False}, {"safe_mode": True}])
def test_load_model_takes_compile_and_safe_mode(saved, options):
    model, path = saved
    np.testing.assert_array_equal(load_model(filepath=path, **options)(X), model(X))


@pytest.mark.parametrize("option", ["compile", "safe_mode"])
def test_load_model_checks_compile_and_safe_mode(saved, option):
    with pytest.raises(ValueError, match=f"{option} must be a bool, got 'no'"):
        load_model(saved[1], **{option: "no"})


@pytest.mark.parametrize("save", [cyrnn.Sequential.save, save_model])
def test_saving_takes_include_optimizer_zipped_and_overwrite(saved, save):
    path = saved[1]
    other = model_of()
    before = path.read_bytes()
    for options, error, words in (
        ({"overwrite": False}, FileExistsError, "is there already"),
        ({"zipped": False}, ValueError, "zipped must be True or None"),
        ({"zipped": "yes"}, ValueError, "zipped must be a bool, got 'yes'"),
        ({"include_optimizer": 1}, ValueError, "include_optimizer must be a bool, got 1"),
    ):
        with pytest.raises(error, match=words):
            save(other, path, **options)
    assert path.read_bytes() == before
    save(other, filepath=path, overwrite=True, zipped=True, include_optimizer=False)
    np.testing.assert_array_equal(load_model(path)(X), other(X))


def test_an_embedding_takes_input_length():
    with pytest.warns(UserWarning, match="input_length is deprecated and has no effect"):
        layer = Embedding(9, 4, input_length=6)
    assert layer(np.zeros((2, 5), "int32")).shape == (2, 5, 4) and "input_length" not in layer.get_config()
    assert Embedding(9, 4, input_length=None, lora_rank=None).output_dim == 4
    for make in (Embedding, lambda units, _, **options: Dense(units, **options)):
        for option in ("lora_rank", "lora_alpha"):
            with pytest.raises(ValueError, match="lora_rank and lora_alpha are not supported"):
                make(9, 4, **{option: 2})


def test_an_input_takes_its_older_names():
    with pytest.warns(UserWarning, match="input_shape is deprecated: its name is shape"):
        assert InputLayer(input_shape=(6, 3)).batch_shape == (None, 6, 3)
    with pytest.warns(UserWarning, match="batch_input_shape is deprecated: its name is batch_shape"):
        assert InputLayer(batch_input_shape=(2, 6, 3)).batch_shape == (2, 6, 3)
    with pytest.warns(UserWarning, match="input_shape is deprecated"):
        assert InputLayer(input_shape=(6, 3), batch_size=5).batch_shape == (5, 6, 3)
    with pytest.raises(ValueError, match=r"give shape or input_shape, one of them; got \(6,\) and \(6, 3\)"):
        InputLayer((6,), input_shape=(6, 3))
    with pytest.raises(TypeError, match="InputLayer takes no arguments 'shapes'"):
        InputLayer(shapes=(6, 3))
