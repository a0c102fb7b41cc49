"""Layers of text and categories against Keras, which computes them with TensorFlow: numbers, vocabularies, files."""

import json
import zipfile

import numpy as np
import pytest
from parity.twins import ON_NUMPY, assert_same, from_keras_json, keras, keras_json

import cyrnn
from cyrnn.saving import load_model

if ON_NUMPY:
    pytest.skip("Keras has these layers with TensorFlow alone: KERAS_BACKEND=tensorflow", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(0)
TEXTS = np.array(
    [
        "The cat sat on the mat.",
        "  A dog!  (a BIG dog) can't\tbark\nloud ",
        "",
        "ÄÖ ä naïve café -- 12,5 % [x]",
        "the the the the the",
        "日本 語 🙂🙂 the",
    ]
)
WORDS = np.array([["cat", "dog", "the", ""], ["bird", "the", "the", "mat"], ["ÄÖ", "x", "cat", "fish"]])
NUMBERS = np.array([[1, 5, 7, 0], [9, 5, 5, -3], [12, 1, 0, 7]])
MODES = ["int", "one_hot", "multi_hot", "count"]


def both(name, **options):
    return [getattr(module.layers, name)(**{"name": "layer", **options}) for module in (cyrnn, keras)]


def numpy(outputs):
    array = np.asarray(outputs)
    return (
        np.vectorize(lambda b: b.decode() if isinstance(b, bytes) else b, otypes=[object])(array)
        if array.dtype == object
        else array
    )


def check(ours, theirs, inputs):
    expected = numpy(theirs(inputs))
    got = ours(inputs)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    if got.dtype == object:
        assert got.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def plain(text):
    """The config, without the shape of the inputs, which builds nothing."""
    return {key: value for key, value in json.loads(text).items() if key != "build_config"}


# ------------------------------------------------------------ lookups

LOOKUPS = [
    *({"output_mode": mode} for mode in MODES),
    {"num_oov_indices": 3},
    {"num_oov_indices": 3, "salt": [7, 9]},
    {"num_oov_indices": 2, "salt": 5, "output_mode": "count"},
    {"mask_token": "", "num_oov_indices": 2},
    *({"mask_token": "", "output_mode": mode} for mode in MODES),
    {"max_tokens": 9, "pad_to_max_tokens": True, "output_mode": "multi_hot"},
    {"output_mode": "tf_idf", "idf_weights": [0.5, 1.5, 2.0]},
    {"output_mode": "tf_idf", "idf_weights": [0.5, 1.5, 2.0], "max_tokens": 7, "pad_to_max_tokens": True},
]


@pytest.mark.parametrize("options", LOOKUPS, ids=str)
def test_string_lookups(options):
    if options.get("salt") is not None:
        options = {**options, "oov_method": "farmhash"}
    ours, theirs = both("StringLookup", vocabulary=["cat", "the", "mat"], **options)
    for inputs in (WORDS, WORDS[:, :1], WORDS[0], WORDS.astype(object), WORDS.tolist()):
        check(ours, theirs, inputs)
    check(ours, theirs, "cat") if options.get("output_mode", "int") == "int" else None
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    assert ours.get_vocabulary(False) == theirs.get_vocabulary(False)
    assert ours.vocabulary_size() == theirs.vocabulary_size()
    text = keras_json(theirs)
    assert plain(ours.to_json()) == plain(text)
    again = cyrnn.from_json(text)
    assert again.to_json() == ours.to_json()
    check(again, from_keras_json(ours.to_json()), WORDS)


@pytest.mark.parametrize(
    "options",
    [
        *({"output_mode": mode} for mode in MODES),
        {"num_oov_indices": 3},
        {"num_oov_indices": 3, "oov_method": "farmhash"},
        {"num_oov_indices": 3, "oov_method": "farmhash", "salt": [1, 2]},
        {"mask_token": 0, "output_mode": "multi_hot"},
        {"mask_token": 0},
        {"output_mode": "tf_idf", "idf_weights": [0.5, 1.5, 2.0]},
    ],
    ids=str,
)
def test_integer_lookups(options):
    ours, theirs = both("IntegerLookup", vocabulary=[5, 7, 12], **options)
    for inputs in (NUMBERS, NUMBERS[0], NUMBERS.astype("int32")):
        check(ours, theirs, inputs)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    assert plain(ours.to_json()) == plain(keras_json(theirs))
    check(cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json()), NUMBERS)


@pytest.mark.parametrize("mask", [None, ""])
def test_indices_become_tokens_again(mask):
    ours, theirs = both("StringLookup", vocabulary=["cat", "the"], invert=True, mask_token=mask)
    check(ours, theirs, np.array([[0, 1, 2], [3, 4, 99]]))
    ours, theirs = both("IntegerLookup", vocabulary=[7, 9], invert=True, mask_token=None if mask is None else 0)
    check(ours, theirs, np.array([[0, 1, 2], [3, 4, 99]]))


@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 4}, {"output_mode": "tf_idf"}, {"output_mode": "count"}], ids=str
)
def test_vocabularies_are_found_alike(options):
    ours, theirs = both("StringLookup", **options)
    for layer in (ours, theirs):
        layer.adapt(WORDS)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    check(ours, theirs, WORDS)
    ours, theirs = both("IntegerLookup", **options)
    for layer in (ours, theirs):
        layer.adapt(NUMBERS)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    check(ours, theirs, NUMBERS)


# ------------------------------------------------------------ texts

TEXT_OPTIONS = [
    *({"standardize": kind} for kind in (None, "lower", "strip_punctuation")),
    {"split": "character"},
    {"split": "character", "standardize": None, "ngrams": 2},
    {"ngrams": 2},
    {"ngrams": (1, 3), "output_mode": "count"},
    {"output_sequence_length": 3},
    {"output_sequence_length": 12},
    {"max_tokens": 6},
    *({"output_mode": mode} for mode in ("int", "multi_hot", "count", "tf_idf")),
    {"output_mode": "multi_hot", "max_tokens": 40, "pad_to_max_tokens": True},
    {"output_mode": "tf_idf", "max_tokens": 40, "pad_to_max_tokens": True},
]


@pytest.mark.parametrize("options", TEXT_OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_texts(options, shape):
    ours, theirs = both("TextVectorization", **options)
    for layer in (ours, theirs):
        layer.adapt(TEXTS.reshape(shape))
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    for inputs in (TEXTS.reshape(shape), np.array(["a new dog", "zebra zebra"]).reshape(shape)):
        check(ours, theirs, inputs)
    config, expected = plain(ours.to_json()), plain(keras_json(theirs))
    assert config == expected
    assert tuple(ours.compute_output_shape((None,))) == tuple(theirs.compute_output_shape((None,)))


@pytest.mark.parametrize("output_mode", ["int", "multi_hot", "count"])
def test_texts_that_nothing_divides(output_mode):
    for length in (None, 3) if output_mode == "int" else (None,):
        options = {"split": None, "vocabulary": ["cat", "the"], "output_mode": output_mode}
        ours, theirs = both("TextVectorization", **options, output_sequence_length=length)
        check(ours, theirs, WORDS)
        assert plain(ours.to_json()) == plain(keras_json(theirs))


# ------------------------------------------------------------ hashes, bins, categories


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"salt": 133}, {"salt": [133, 137]}, {"mask_value": ""}], ids=str)
def test_hashes(mode, options):
    ours, theirs = both("Hashing", num_bins=7, output_mode=mode, **options)
    check(ours, theirs, WORDS)
    if mode != "one_hot":
        check(ours, theirs, WORDS[:, :1])
    assert plain(ours.to_json()) == plain(keras_json(theirs))
    if "mask_value" not in options:
        check(ours, theirs, NUMBERS)
    check(cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json()), WORDS)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_categories(mode):
    ours, theirs = both("CategoryEncoding", num_tokens=6, output_mode=mode)
    inputs = np.array([[0, 1, 1], [5, 2, 0]])
    for part in (inputs, inputs[0], inputs[:, :1]):
        check(ours, theirs, part)
    if mode == "count":
        weights = np.array([[0.5, 1, 2], [1, 1, 3]], "f")
        assert_same(ours(inputs, count_weights=weights), np.asarray(theirs(inputs, count_weights=weights)))
    assert plain(ours.to_json()) == plain(keras_json(theirs))


@pytest.mark.parametrize("mode", MODES)
def test_bins(mode):
    data = RNG.standard_normal((500, 3)).astype("f")
    ours, theirs = both("Discretization", bin_boundaries=[-1.0, 0.0, 0.1, 2.0], output_mode=mode)
    check(ours, theirs, data[:5])
    check(ours, theirs, data[:5, :1])
    assert plain(ours.to_json()) == plain(keras_json(theirs))
    for bins, epsilon in ((4, 0.01), (7, 0.2)):
        ours, theirs = both("Discretization", num_bins=bins, epsilon=epsilon, output_mode=mode)
        for layer in (ours, theirs):
            layer.adapt(data)
        assert ours.bin_boundaries == theirs.bin_boundaries
        check(ours, theirs, data[:9])
        check(cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json()), data[:9])


# ------------------------------------------------------------ models and files


def model_of(module, mode, found=True):
    layers = module.layers
    vectorize = layers.TextVectorization(
        output_mode=mode, name="vectorize", **({} if found else {"vocabulary": ["the", "dog", "cat"]})
    )
    lookup = layers.StringLookup(name="lookup")
    if found:
        vectorize.adapt(TEXTS)
    lookup.adapt(WORDS[1:])  # Keras' files lose an empty token at the end
    text, word = module.Input((), dtype="string", name="text"), module.Input((), dtype="string", name="word")
    h = vectorize(text)
    if mode == "int":
        h = layers.LSTM(4, name="lstm")(layers.Embedding(40, 3, mask_zero=True, name="embedding")(h))
    other = layers.Flatten(name="flat")(
        layers.Embedding(20, 2, name="words")(layers.Reshape((1,), name="r")(lookup(word)))
    )
    y = layers.Dense(2, name="dense")(layers.Concatenate(name="all")([h, other]))
    model = module.Model([text, word], y)
    draw = np.random.default_rng(1)
    model.set_weights([draw.standard_normal(tuple(w.shape)) / 3 for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("mode", "found"), [("int", True), ("tf_idf", True), ("count", True), ("int", False), ("count", False)]
)
def test_models_of_text_go_through_files_both_ways(mode, found, tmp_path):
    text, word = TEXTS, np.array(["cat", "dog", "x", "mat", "", "the"])
    ours, theirs = model_of(cyrnn, mode, found), model_of(keras, mode, found)
    expected = ours.predict([text, word])
    np.testing.assert_allclose(cyrnn.from_keras(theirs).predict([text, word]), expected, atol=1e-5)
    assert expected.shape == (6, 2)
    path = tmp_path / "model.keras"
    theirs.save(path)
    np.testing.assert_allclose(load_model(path).predict([text, word]), expected, atol=1e-5)
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    path.unlink()
    ours.save(path)
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == names
    again = keras.models.load_model(path)
    assert again.get_layer("vectorize").get_vocabulary() == ours.get_layer("vectorize").get_vocabulary()
    assert again.get_layer("lookup").get_vocabulary() == ours.get_layer("lookup").get_vocabulary()
    vectors = np.asarray(again.get_layer("vectorize")(text))
    np.testing.assert_allclose(ours.get_layer("vectorize")(text), vectors, rtol=1e-6)
