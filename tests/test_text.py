"""Text and categories: models that take arrays of text, their vocabularies, training, files, and files from anybody."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.saving import ModelFileError, load_model

TEXTS = np.array(["the cat sat", "the dog barked", "a cat", "dogs bark at the cat", ""])
LABELS = np.array([[1.0], [0.0], [1.0], [0.0], [0.0]])


def vectorization(**options):
    layer = layers.TextVectorization(**options)
    layer.adapt(TEXTS)
    return layer


def found_by(layer):
    """What `adapt` has found."""
    return layer.bin_boundaries if isinstance(layer, layers.Discretization) else layer.get_vocabulary()


def model_of_text(**options):
    text = cyrnn.Input((1,), dtype="string", name="text")
    h = layers.Embedding(20, 4, mask_zero=True)(vectorization(name="words", **options)(text))
    return cyrnn.Model(text, layers.Dense(1, activation="sigmoid")(layers.LSTM(5)(h)))


# ------------------------------------------------------------ what Keras returns

GOLDEN = json.loads((Path(__file__).parent / "golden" / "text.json").read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['layer']} {case['options']}")
def test_outputs_and_vocabularies_are_those_of_keras(case):
    layer = getattr(layers, case["layer"])(**case["options"])
    if case["adapted_to"] is not None:
        layer.adapt(np.array(case["adapted_to"]))
        assert found_by(layer) == case["found"]
    inputs = np.array(case["inputs"])
    got = layer(inputs)
    shape = layer.compute_output_shape(inputs.shape)
    assert got.dtype == case["dtype"] and len(shape) == got.ndim
    assert all(known in (None, length) for known, length in zip(shape, got.shape, strict=True))
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, case["outputs"], rtol=1e-6)
    else:
        assert got.tolist() == case["outputs"]
    if case["adapted_to"] is None or case["layer"] == "Discretization":  # the config says all
        again = cyrnn.from_json(layer.to_json())
        assert again.get_config() == layer.get_config()
        np.testing.assert_array_equal(again(inputs), got)


# ------------------------------------------------------------ models


@pytest.mark.parametrize("kind", [str, object, bytes, np.dtypes.StringDType()])
def test_models_take_text_in_any_array_of_numpy(kind):
    model = model_of_text()
    expected = model.predict(TEXTS)
    np.testing.assert_array_equal(model.predict(TEXTS.astype(kind)), expected)
    np.testing.assert_array_equal(model(TEXTS.astype(kind)[:, None]), expected)
    np.testing.assert_array_equal(model.predict_on_batch(TEXTS.astype(kind)), expected)
    np.testing.assert_allclose(model.predict(TEXTS, batch_size=3), expected, atol=1e-6)


def test_models_of_text_learn():
    model = model_of_text(output_sequence_length=6)
    model.compile(cyrnn.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    losses = model.fit(TEXTS, LABELS, epochs=30, batch_size=2, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert model.evaluate(TEXTS, LABELS, verbose=0)[1] == 1
    assert model.train_on_batch(TEXTS, LABELS)[0] < losses[0]
    x = [(TEXTS[:2], LABELS[:2]), (TEXTS[2:], LABELS[2:])]
    model.fit(iter_of(x), steps_per_epoch=2, epochs=1, verbose=0)


def iter_of(batches):
    yield from batches


@pytest.mark.parametrize("begins", [True, False])
def test_a_sequential_may_begin_with_text(begins):
    first = [cyrnn.Input((), dtype="string")] if begins else []
    model = cyrnn.Sequential([*first, vectorization(), layers.Embedding(20, 3), layers.GlobalMaxPooling1D()])
    assert model(TEXTS).shape == (5, 3)
    np.testing.assert_array_equal(model.predict(TEXTS), model(TEXTS))
    y, pullback = model.vjp(TEXTS)
    found = pullback(np.ones_like(y))
    assert found.inputs is None and found.weights[0].shape == (20, 3)


def test_text_is_looked_up_and_comes_back():
    word = cyrnn.Input((), dtype="string")
    indices = layers.StringLookup(vocabulary=["a", "b"])(word)
    back = layers.StringLookup(vocabulary=["a", "b"], invert=True)(indices)
    model = cyrnn.Model(word, [indices, back])
    found, texts = model.predict(np.array(["b", "a", "longer than all others"]), batch_size=2)
    assert found.tolist() == [2, 1, 0] and texts.tolist() == ["b", "a", "[UNK]"]


def test_batches_that_text_is_padded_in_are_those_of_keras():
    """The length of a batch is that of its longest text; so `predict` takes 32 at a time, as Keras does."""
    texts = np.array(["a"] * 32 + ["a b c d"])
    model = cyrnn.Sequential([vectorization(), layers.Embedding(20, 3), layers.SimpleRNN(2)])
    short, long = model(texts[:32]), model(texts)
    assert not np.allclose(short, long[:32])
    np.testing.assert_allclose(model.predict(texts)[:32], short, atol=1e-6)


def test_a_sequential_may_begin_with_categories():
    for first, dtype, x in (
        (layers.CategoryEncoding(4, output_mode="one_hot"), "float32", [1, 3, 0]),
        (layers.Discretization([0.0, 1.0], output_mode="one_hot"), "float32", [-2.0, 0.5, 9.0]),
        (layers.IntegerLookup(vocabulary=[3, 9], output_mode="one_hot"), "int64", [9, 3, 5]),
        (layers.Hashing(5, output_mode="one_hot"), "string", ["a", "b", ""]),
    ):
        model, x = cyrnn.Sequential([first, layers.Dense(2)]), np.array(x)
        y = model(x)
        assert model.inputs[0].dtype == dtype and model.outputs[0].shape == (None, 2)
        np.testing.assert_allclose(model.predict(x), y, atol=1e-6)
        np.testing.assert_allclose(y, first(x) @ model.layers[1].kernel, atol=1e-6)
        assert repr(first).startswith(f"<{type(first).__name__} name={first.name!r}")
        y, pullback = first.vjp(x)
        assert pullback(np.ones_like(y)).weights == []


def test_weights_count_each_category():
    layer = layers.CategoryEncoding(3, output_mode="count")
    found = layer(np.array([[1, 1], [2, 0]]), count_weights=np.array([[0.5, 2.0], [1.0, 4.0]]))
    assert found.tolist() == [[0, 2.5, 0], [4, 0, 1]]


def test_all_bits_of_text_are_kept_through_hashes():
    hashes = layers.Hashing(num_bins=3)
    assert hashes([["A"], ["B"], ["C"], ["D"], ["E"]]).tolist() == [[1], [0], [1], [1], [2]]
    salted = layers.Hashing(num_bins=3, salt=[133, 137])
    assert salted([["A"], ["B"], ["C"], ["D"], ["E"]]).tolist() == [[1], [2], [1], [0], [2]]
    assert layers.Hashing(num_bins=10**9)(np.array([b"\xff\xfe", b"a"], object)).tolist() == [
        layers.Hashing(num_bins=10**9)(part).tolist() for part in (b"\xff\xfe", "a")
    ]


def test_functions_of_ones_own_standardize_and_split():
    def shouting(texts):
        return np.char.upper(texts)

    def at_commas(texts):
        return [text.split(",") for text in texts.tolist()]

    layer = layers.TextVectorization(standardize=shouting, split=at_commas, vocabulary=["A", "B C"])
    assert layer(np.array(["a,b c", "x"])).tolist() == [[2, 3], [1, 0]]
    text = layer.to_json()
    with pytest.raises(ValueError, match="unknown function 'shouting'"):
        cyrnn.from_json(text)
    again = cyrnn.from_json(text, {"shouting": shouting, "at_commas": at_commas})
    assert again(np.array(["a,b c", "x"])).tolist() == [[2, 3], [1, 0]]


# ------------------------------------------------------------ vocabularies


def test_a_vocabulary_may_come_from_a_text_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("the\ncät\n", "utf-8")
    layer = layers.StringLookup(vocabulary=str(path))
    assert layer.get_vocabulary() == ["[UNK]", "the", "cät"]
    assert layer.get_config()["vocabulary"] is None
    layers.TextVectorization().set_vocabulary(str(path))


def test_a_vocabulary_that_was_given_may_be_replaced():
    layer = layers.StringLookup(vocabulary=["a"])
    layer.set_vocabulary(["b", "c"])
    assert layer(["a", "c"]).tolist() == [0, 2] and layer.get_config()["vocabulary"] == ["b", "c"]


@pytest.mark.parametrize(
    "make", [layers.StringLookup, layers.TextVectorization, lambda: layers.Discretization(num_bins=3)]
)
def test_steps_are_the_batches_that_a_layer_adapts_to(make):
    batches = TEXTS[:4].reshape(2, 2) if make().takes_text else np.arange(8.0).reshape(2, 4)
    some, first = make(), make()
    some.adapt(iter_of(batches), steps=1)
    first.adapt(batches[0])
    assert found_by(some) == found_by(first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.StringLookup(vocabulary=["a", "a"]), r"each token once, it repeats \['a'\]"),
        (lambda: layers.StringLookup(vocabulary=[]), "at least one token"),
        (lambda: layers.StringLookup(vocabulary=["a", 3]), "must hold texts, got 3"),
        (lambda: layers.StringLookup(vocabulary=["a", ""], mask_token=""), "the reserved token '' at place 1"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "at most max_tokens 2, got 3"),
        (lambda: layers.StringLookup(max_tokens=1), "max_tokens must be None or an integer above 1"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices must be an integer of at least 0, got -1"),
        (lambda: layers.StringLookup(pad_to_max_tokens=True), "pad_to_max_tokens=True needs max_tokens"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), "must be 'int' with invert=True, got 'count'"),
        (lambda: layers.IntegerLookup(oov_method="md5"), "oov_method must be 'floormod' or 'farmhash', got 'md5'"),
        (lambda: layers.IntegerLookup(salt=3), "salt needs oov_method='farmhash'"),
        (lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1.0]), "only be given with output_mode 'tf_idf'"),
        (lambda: layers.StringLookup(output_mode="count").compute_output_shape((3, 2)), "has no vocabulary yet"),
        (lambda: layers.StringLookup(output_mode="words"), "output_mode must be one of 'int'"),
        (lambda: layers.StringLookup(sparse=True), "sparse=True is not supported"),
        (lambda: layers.TextVectorization(ragged=True), "ragged=True is not supported"),
        (lambda: layers.TextVectorization(standardize="upper"), "standardize must be a callable or one of"),
        (lambda: layers.TextVectorization(split="lines"), "split must be a callable or one of"),
        (lambda: layers.TextVectorization(ngrams=0), "ngrams must be None, a positive integer"),
        (lambda: layers.StringLookup(encoding="latin-1"), "encoding must be 'utf-8'"),
        (lambda: layers.StringLookup(["a"], output_mode="tf_idf"), "max_tokens"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights must be given"),
        (
            lambda: layers.StringLookup(vocabulary=["a", "b"], output_mode="tf_idf", idf_weights=[1.0]),
            r"idf_weights of '.*' must be 2 numbers, one for each token, got \(1,\)",
        ),
        (
            lambda: layers.StringLookup(vocabulary=["a"], output_mode="count").set_vocabulary(["b", "c"]),
            "must keep its size with output_mode 'count': it had 2 indices, and would have 3",
        ),
        (lambda: layers.TextVectorization(output_sequence_length=-1), "output_sequence_length must be None or an int"),
        (
            lambda: layers.TextVectorization(output_sequence_length=3, output_mode="count"),
            "must only be given with output_mode 'int', not 'count'",
        ),
        (lambda: vectorization()([TEXTS[None, :2], TEXTS[None, :1]]), "array of text, or lists of the same lengths"),
        (lambda: layers.IntegerLookup(vocabulary=["a"]), "must hold integers of int64, got 'a'"),
        (lambda: layers.IntegerLookup(vocabulary=[2**63]), "must hold integers of int64, got 9223372036854775808"),
        (lambda: layers.IntegerLookup(vocabulary_dtype="string"), "vocabulary_dtype must be 'int64'"),
        (lambda: layers.StringLookup()(["a"]), "has no vocabulary yet"),
        (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["b"]), "must be in its vocabulary"),
        (lambda: layers.StringLookup(vocabulary=["a"]).adapt(["b"]), "was made with a vocabulary"),
        (lambda: layers.StringLookup().adapt(np.array([], str)), "at least one token"),
        (lambda: vectorization()(np.array([["a", "b"]])), r"texts \(batch,\) or \(batch, 1\)"),
        (lambda: layers.CategoryEncoding(3)([3]), "integers from 0 to num_tokens - 1, 2, got 3 to 3"),
        (lambda: layers.CategoryEncoding(), "num_tokens must be given"),
        (lambda: layers.CategoryEncoding(3)([[[1]]]), "one or two axes"),
        (lambda: layers.CategoryEncoding(3)([1.5]), "must be integers, got numbers with fractions"),
        (lambda: layers.CategoryEncoding(3)([np.nan]), "inputs must be integers of int64, got nan to nan"),
        (lambda: layers.CategoryEncoding(3)([[1], [2, 0]]), "inputs must be an array, got list"),
        (lambda: layers.CategoryEncoding(3)([1], count_weights=[1.0]), "count_weights .* with output_mode 'multi_hot'"),
        (
            lambda: layers.CategoryEncoding(3, output_mode="count")([1, 2], count_weights=[1.0]),
            r"count_weights must have the shape \(2,\) of inputs, got \(1,\)",
        ),
        (
            lambda: layers.CategoryEncoding(3, output_mode="count")([1, 2], count_weights=[[1.0], [2.0, 3.0]]),
            "count_weights must be an array, got list",
        ),
        (lambda: layers.Hashing(0), "num_bins must be a positive integer"),
        (lambda: layers.Hashing(3, salt="x"), "salt must be an integer"),
        (
            lambda: layers.Hashing(3, dtype="float32"),
            "dtype must be 'int32' or 'int64' with output_mode 'int', got 'flo",
        ),
        (lambda: layers.Hashing(3, mask_value=1.5), "mask_value must be a text or an integer, got 1.5"),
        (lambda: layers.Hashing(3)([np.nan]), "inputs must be integers of int64, got nan to nan"),
        (
            lambda: layers.Hashing(3)(np.array([1, 2**63], "u8")),
            "inputs must be integers of int64, got 1 to 9223372036854775808",
        ),
        (
            lambda: layers.IntegerLookup(vocabulary=[3])(np.array([2**64 - 1], "u8")),
            "inputs must be integers of int64, got 1844",
        ),
        (
            lambda: layers.CategoryEncoding(3)(np.array([2**63], "u8")),
            "inputs must be integers of int64, got 9223372036854775808",
        ),
        (lambda: layers.Hashing(3)([["a"], ["b", "c"]]), "inputs must be an array, got list"),
        (lambda: layers.Discretization([0.0])([[1], [2, 3]]), "inputs must be an array, got list"),
        (lambda: layers.Discretization(num_bins=3, epsilon=1.0), "epsilon must lie between 0 and 1, got 1.0"),
        (lambda: layers.Discretization(num_bins=3).adapt(np.zeros(0)), "data .* must hold at least one number"),
        (lambda: layers.Discretization(), "bin_boundaries or num_bins, one of them"),
        (lambda: layers.Discretization([2.0, 1.0]), "numbers in order"),
        (lambda: layers.Discretization(num_bins=3)([1.0]), "has no boundaries yet"),
        (lambda: layers.Discretization([1.0]).adapt(np.ones(3)), "was made with bin_boundaries"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_are_no_text_and_text_no_number():
    with pytest.raises(TypeError, match="inputs must be an array of text, got dtype"):
        vectorization()(np.arange(3))
    with pytest.raises(TypeError, match="got 3 among the elements"):
        vectorization()(["a", 3])
    with pytest.raises(TypeError, match="input 'text' must be an array of text, got dtype float32"):
        model_of_text().predict(np.zeros(3, "f"))
    with pytest.raises(ValueError, match="takes numbers, and its input is text: put a TextVectorization"):
        layers.Dense(3)(cyrnn.Input((3,), dtype="string"))
    with pytest.raises((TypeError, ValueError), match="array of real numbers"):
        cyrnn.Sequential([cyrnn.Input((3,)), layers.Dense(2)]).predict(np.array([["a", "b", "c"]]))


# ------------------------------------------------------------ files


def saved(model, path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model.save(path)
    return path


@pytest.mark.parametrize("options", [{}, {"ngrams": 2, "output_sequence_length": 4}, {"split": "character"}])
def test_keras_archives_hold_vocabularies(options, tmp_path):
    model = model_of_text(**options)
    again = load_model(saved(model, tmp_path / "model.keras"))
    np.testing.assert_array_equal(again.predict(TEXTS), model.predict(TEXTS))
    assert again.get_layer("words").get_vocabulary() == model.get_layer("words").get_vocabulary()


def test_hdf5_files_hold_vocabularies_of_the_config_alone(tmp_path):
    found = cyrnn.Sequential([cyrnn.Input((), dtype="string"), vectorization(), layers.Embedding(20, 3)])
    with pytest.raises(ValueError, match="has a vocabulary that it was not made with, which HDF5 files do not hold"):
        saved(found, tmp_path / "model.h5")
    assert not (tmp_path / "model.h5").exists()
    given = layers.TextVectorization(vocabulary=["the", "cat"])
    model = cyrnn.Sequential([cyrnn.Input((), dtype="string"), given, layers.Embedding(20, 3)])
    np.testing.assert_array_equal(load_model(saved(model, tmp_path / "model.h5")).predict(TEXTS), model.predict(TEXTS))


def changed(path, name, content):
    """The archive with another member of this name; without it for None."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for member, value in members.items():
            if value is not None:
                archive.writestr(member, value)
    return path


PLACE = "assets/layers/text_vectorization/vocabulary.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n[UNK]\nthe\nthe", "each token once"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"", "at least one token"),
        ("\n".join(map(str, range(1_000_000))).encode(), "lines, more than"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(content, message, tmp_path):
    path = changed(saved(model_of_text(), tmp_path / "model.keras"), PLACE, content)
    with pytest.raises(ModelFileError, match=f"the vocabulary of layer 'words' cannot be read: .*{message}"):
        load_model(path)


def test_a_vocabulary_that_expands_is_refused(tmp_path):
    path = saved(model_of_text(), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, value in {**members, PLACE: b"a" * (64 << 20)}.items():
            archive.writestr(member, value)
    with pytest.raises(ModelFileError, match="would expand"):
        load_model(path)


def test_a_path_in_a_file_is_never_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    path = saved(model_of_text(), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    entry = next(entry for entry in config["config"]["layers"] if entry["class_name"] == "TextVectorization")
    entry["config"]["vocabulary"] = str(secret)
    with pytest.raises(ModelFileError, match="the config names a file for its vocabulary, .* which is never read"):
        load_model(changed(path, "config.json", json.dumps(config).encode()))
    lookup = {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": str(secret)}}
    with pytest.raises(ValueError, match="which is never read"):
        layers.deserialize(lookup)
    large = {**lookup, "config": {"vocabulary": [str(n) for n in range(500_001)]}}
    with pytest.raises(ValueError, match="a vocabulary of 500001 tokens, more than 500000"):
        layers.deserialize(large)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [(["two\nlines", "one"], "a token that is not one line: 'two"), (["b", ""], "an empty token")],
)
def test_tokens_that_are_no_lines_are_not_written(tokens, message, tmp_path):
    lookup = layers.StringLookup(name="lookup")
    lookup.adapt(tokens)
    model = cyrnn.Sequential([cyrnn.Input((3,), dtype="string"), lookup, layers.Embedding(9, 2)])
    with pytest.raises(ValueError, match=message):
        saved(model, tmp_path / "model.keras")


def test_weights_of_tokens_go_through_files(tmp_path):
    model = cyrnn.Sequential([cyrnn.Input((1,), dtype="string"), vectorization(output_mode="tf_idf")])
    path, lines = saved(model, tmp_path / "model.keras"), model.layers[0].get_vocabulary()
    np.testing.assert_array_equal(load_model(path)(TEXTS), model(TEXTS))
    ends_with_empty_lines = "\n".join([*lines, "", ""]).encode()  # which are no tokens
    np.testing.assert_array_equal(load_model(changed(path, PLACE, ends_with_empty_lines))(TEXTS), model(TEXTS))
    with pytest.raises(ModelFileError, match=f"needs idf_weights for its {len(lines) + 1} tokens"):
        load_model(changed(path, PLACE, "\n".join([*lines, "new"]).encode()))


def test_a_vocabulary_of_the_config_goes_before_one_beside_it(tmp_path):
    model = cyrnn.Sequential([cyrnn.Input((1,), dtype="string"), layers.TextVectorization(vocabulary=["cat", "dog"])])
    path = changed(saved(model, tmp_path / "model.keras"), PLACE, b"\n[UNK]\nmouse")
    assert load_model(path).layers[0].get_vocabulary() == ["", "[UNK]", "cat", "dog"]


def test_a_copy_knows_the_vocabulary():
    import copy
    import pickle

    layer = vectorization()
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again(TEXTS).tolist() == layer(TEXTS).tolist()
