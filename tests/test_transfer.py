"""Transfer: weights for some layers of another model, by their names, or by what fits."""

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import RNN, Bidirectional, Dense, Embedding, SimpleRNN, SimpleRNNCell
from cyrnn.saving import ModelFileError

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
ENDS = ["m.keras", "m.weights.h5", "m.npz", "m.safetensors"]


def model_of(units=4, classes=3, names=("words", "rnn", "head"), vocabulary=9):
    return cyrnn.Sequential(
        [
            cyrnn.Input((None,), dtype="int32"),
            Embedding(vocabulary, 4, name=names[0]),
            Bidirectional(SimpleRNN(units), name=names[1]),
            Dense(classes, name=names[2]),
        ]
    )


def saved(model, path):
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return path


def in_keras_2s_form(model, path):
    """A weights file as Keras 2 wrote it: a group of each layer, by name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/w{number}:0" for number in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight
    return path


def taken(model, source):
    """For each layer of a model whether it has the weights of another one's layer."""
    pairs = zip(model.layers, source.layers, strict=True)
    return [
        len(layer.weights) == len(other.weights)
        and all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))
        for layer, other in pairs
    ]


@pytest.mark.parametrize("end", [*ENDS, "m.h5"])
def test_what_does_not_fit_is_skipped(tmp_path, end):
    source, model = model_of(), model_of(classes=5)
    path = (in_keras_2s_form if end == "m.h5" else saved)(source, tmp_path / end)
    before = model.get_weights()
    with pytest.raises(ModelFileError, match=r"of layer 'head'.* has shape \(8, 5\), the file has \(8, 3\)"):
        model.load_weights(path)
    for found, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)
    with pytest.warns(UserWarning, match=r"layer 'head' keeps its weights: .*\(8, 3\)"):
        model.load_weights(path, skip_mismatch=True)
    assert taken(model, source) == [True, True, False]
    for found, kept in zip(model.layers[-1].get_weights(), before[-2:], strict=True):
        np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("end", ["m.keras", "m.weights.h5", "m.h5"])
def test_layers_are_found_by_name(tmp_path, end):
    source = model_of(names=("words", "rnn", "head"))
    path = (in_keras_2s_form if end == "m.h5" else saved)(source, tmp_path / end)
    model = cyrnn.Sequential(
        [
            cyrnn.Input((None,), dtype="int32"),
            Embedding(9, 4, name="words"),
            Bidirectional(SimpleRNN(4, return_sequences=True), name="another"),
            Bidirectional(SimpleRNN(4), name="new"),
            Dense(3, name="head"),
        ]
    )
    before = model.layers[2].get_weights()
    model.load_weights(path, by_name=True)
    assert np.array_equal(model.layers[0].embeddings, source.layers[0].embeddings)
    assert np.array_equal(model.layers[3].kernel, source.layers[2].kernel)
    for found, kept in zip(model.layers[2].get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)
    other = model_of(names=("x", "rnn", "y"))
    other.load_weights(path, by_name=True)
    assert taken(other, source) == [False, True, False]


@pytest.mark.parametrize("end", ["m.keras", "m.weights.h5", "m.h5"])
def test_by_name_what_does_not_fit_is_an_error_or_skipped(tmp_path, end):
    source, model = model_of(), model_of(classes=5, names=("other", "rnn", "head"))
    path = (in_keras_2s_form if end == "m.h5" else saved)(source, tmp_path / end)
    with pytest.raises(ModelFileError, match="of layer 'head'"):
        model.load_weights(path, by_name=True)
    assert taken(model, source) == [False, False, False]
    with pytest.warns(UserWarning, match="layer 'head' keeps its weights"):
        model.load_weights(path, by_name=True, skip_mismatch=True)
    assert taken(model, source) == [False, True, False]


@pytest.mark.parametrize("end", ["m.npz", "m.safetensors"])
def test_arrays_are_found_by_their_names(tmp_path, end):
    source = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(4), Dense(3)])
    source.save_weights(tmp_path / end)
    model = cyrnn.Sequential([cyrnn.Input((6, 3)), RNN(SimpleRNNCell(4)), Dense(3)])
    before = model.layers[0].get_weights()
    model.load_weights(tmp_path / end, by_name=True)
    assert np.array_equal(model.layers[1].kernel, source.layers[1].kernel)
    for found, kept in zip(model.layers[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)


def test_a_layer_is_taken_whole_or_not_at_all(tmp_path):
    source = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(4)])
    source.save_weights(tmp_path / "m.weights.h5")
    model = cyrnn.Sequential([cyrnn.Input((6, 5)), SimpleRNN(4)])  # the recurrent kernel would fit
    before = model.get_weights()
    with pytest.warns(UserWarning) as noted:
        model.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    for found, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)
    messages = [str(warning.message) for warning in noted]
    assert any("has taken weights of" in message and message.startswith("no layer") for message in messages)


def test_a_model_that_finds_no_name_says_so(tmp_path):
    source, model = model_of(), model_of(names=("a", "b", "c"))
    source.save_weights(tmp_path / "m.weights.h5")
    with pytest.warns(UserWarning, match="no layer of .* has taken weights of .*m.weights.h5"):
        model.load_weights(tmp_path / "m.weights.h5", by_name=True)
    assert taken(model, source) == [False, False, False]


def test_skipping_is_for_what_does_not_fit_only(tmp_path):
    source = model_of()
    source.save_weights(tmp_path / "m.weights.h5")
    content = (tmp_path / "m.weights.h5").read_bytes()
    (tmp_path / "cut.weights.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError):
        model_of().load_weights(tmp_path / "cut.weights.h5", skip_mismatch=True)
    for options, words in (({"skip_mismatch": 1}, "skip_mismatch"), ({"by_name": "rnn"}, "by_name")):
        with pytest.raises(ValueError, match=f"{words} must be a bool"):
            model_of().load_weights(tmp_path / "m.weights.h5", **options)
    model = model_of()
    cyrnn.saving.load_weights(model, filepath=tmp_path / "m.weights.h5", skip_mismatch=False, by_name=None)
    assert taken(model, source) == [True, True, True]


def test_layers_within_models_within_are_found_by_the_name_of_the_outer_one(tmp_path):
    def outer(name):
        inner = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(4), Dense(2)], name=name)
        return cyrnn.Sequential([cyrnn.Input((6, 3)), inner, Dense(1, name="head")])

    source, model = outer("inner"), outer("inner")
    source.save_weights(tmp_path / "m.weights.h5")
    model.load_weights(tmp_path / "m.weights.h5", by_name=True)
    assert taken(model, source) == [True, True]
    other = outer("another")
    other.load_weights(tmp_path / "m.weights.h5", by_name=True)
    assert taken(other, source) == [False, True]


def test_the_order_of_layers_still_counts_without_names(tmp_path):
    source = model_of()
    source.save_weights(tmp_path / "m.weights.h5")
    model = model_of(names=("x", "y", "z"))
    model.load_weights(tmp_path / "m.weights.h5")
    assert taken(model, source) == [True, True, True]
