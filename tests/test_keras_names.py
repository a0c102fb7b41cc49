"""Names that scripts around a recurrent network use: they are where Keras has them, and do what they do there."""

import numpy as np
import pytest

import cyrnn
import cyrnn as keras
from cyrnn.layers import Dense, SimpleRNN

X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")
SEQUENCES = [[1], [2, 3], [4, 5, 6], []]


@pytest.fixture
def registry():
    """The registered objects, which are as before when the test has ended."""
    registered = cyrnn.saving.get_custom_objects()
    before = dict(registered)
    yield registered
    registered.clear()
    registered.update(before)


# ------------------------------------------------------------ sequences and labels


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6], [0, 0, 0]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6], [0, 0, 0]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6], [0, 0]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5], [0, 0]]),
        ({"maxlen": 4, "value": -1}, [[-1, -1, -1, 1], [-1, -1, 2, 3], [-1, 4, 5, 6], [-1] * 4]),
        ({"maxlen": 0}, [[]] * 4),
    ],
)
def test_pad_sequences(options, expected):
    padded = keras.utils.pad_sequences(SEQUENCES, **options)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, np.array(expected).reshape(4, -1))
    assert keras.preprocessing.sequence.pad_sequences is keras.utils.pad_sequences


def test_pad_sequences_of_vectors_and_texts():
    padded = keras.utils.pad_sequences([X[0], X[1, :2]], dtype="float32", padding="post")
    np.testing.assert_array_equal(padded, np.stack([X[0], np.concatenate([X[1, :2], np.zeros((4, 3))])]))
    texts = keras.utils.pad_sequences([["a"], ["b", "c"]], dtype=object, value="")
    assert texts.tolist() == [["", "a"], ["b", "c"]]
    assert keras.utils.pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    "sequences, options, words",
    [
        (SEQUENCES, {"padding": "left"}, "padding must be 'pre' or 'post', got 'left'"),
        (SEQUENCES, {"truncating": None}, "truncating must be 'pre' or 'post', got None"),
        (SEQUENCES, {"maxlen": -1}, "maxlen must be an integer from 0 on, got -1"),
        (SEQUENCES, {"maxlen": 2.5}, "maxlen must be an integer from 0 on, got 2.5"),
        (SEQUENCES, {"value": "x"}, "dtype must be object for a value of text, got int32 and 'x'"),
        ([1, 2], {}, "sequences must hold sequences, got 1 as number 0"),
        (["text"], {}, "sequences must hold sequences, got 'text' as number 0"),
        (iter(SEQUENCES), {}, "sequences must be a list of sequences, got list_iterator"),
        ([X[0], X[1, :, :2]], {}, r"timesteps of one shape, got \(3,\) and \(2,\) \(1\)"),
    ],
)
def test_what_is_not_padded(sequences, options, words):
    with pytest.raises(ValueError, match=words):
        keras.utils.pad_sequences(sequences, **options)


def test_to_categorical():
    vectors = keras.utils.to_categorical([0, 2, 1])
    assert vectors.dtype == np.float64
    np.testing.assert_array_equal(vectors, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert keras.utils.to_categorical(np.array([[1.0], [0.0]]), num_classes=4).shape == (2, 4)
    assert keras.utils.to_categorical(np.zeros((2, 3), bool), 2).shape == (2, 3, 2)
    assert keras.utils.to_categorical([]).shape == (0, 0)
    for labels, count, words in (
        ([0, -1], None, "labels from 0 to 0, got -1 to 0"),
        ([0, 3], 3, "labels from 0 to 2, got 0 to 3"),
        ([0.5], None, "x must hold integers, got"),
        ([np.nan], 3, "x must hold integers, got"),
        (["a"], 3, "x must"),
        (np.array([2**63], "u8"), 3, "x must be integers of int64, got 9223372036854775808"),
        ([0], "3", "num_classes must be a positive integer, got '3'"),
    ):
        with pytest.raises(ValueError, match=words):
            keras.utils.to_categorical(labels, count)


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(keras.utils.normalize(x), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(keras.utils.normalize(x, axis=0, order=1), [[1, 1], [0, 0]])


def test_one_seed_for_all_draws():
    def draws():
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((6, 3)), SimpleRNN(2)])
        return model.get_weights()

    for first, second in zip(draws(), draws(), strict=True):
        np.testing.assert_array_equal(first, second)


# ------------------------------------------------------------ registered classes and functions


def test_a_registered_class_needs_no_custom_objects(registry, tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")

    @keras.saving.register_keras_serializable(package="mine")
    class Doubled(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    @keras.utils.register_keras_serializable()
    class Custom(keras.Model):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.rnn, self.doubled = SimpleRNN(units), Doubled()

        def call(self, x):
            return self.doubled(self.rnn(x))

    assert registry["mine>Doubled"] is Doubled and keras.saving.get_registered_name(Custom) == "Custom>Custom"
    assert keras.saving.get_registered_object("mine>Doubled") is Doubled
    assert keras.saving.get_registered_name(Dense) == "Dense"
    model = Custom(4)
    expected = model(X)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(X), expected)
    assert '"registered_name": "mine>Doubled"' in keras.Sequential([Doubled()]).to_json()
    del registry["mine>Doubled"]
    with pytest.raises(ValueError, match="unknown class 'mine>Doubled'"):
        keras.models.model_from_json(keras.Sequential([Doubled()]).to_json())


def test_a_registered_function(registry):
    @keras.saving.register_keras_serializable("mine", name="cube")
    def x_cubed(x):
        return x**3

    layer = Dense(2, activation=x_cubed)
    entry = layer.get_config()["activation"]
    assert entry["config"] == entry["registered_name"] == "mine>cube"
    assert Dense.from_config(layer.get_config()).activation is x_cubed
    assert Dense(2, activation="mine>cube").activation is x_cubed
    registry["cubed"] = x_cubed
    assert Dense(2, activation="cubed").activation is x_cubed


def test_a_class_without_a_config_is_not_registered(registry):
    with pytest.raises(ValueError, match="must have a get_config to be registered"):
        keras.saving.register_keras_serializable()(type("Bare", (), {}))
    assert not any("Bare" in name for name in registry)


def test_a_scope_of_custom_objects(registry):
    def squared(x):
        return x**2

    config = Dense(2, activation=squared).get_config()
    with pytest.raises(ValueError, match="unknown function 'squared'"):
        Dense.from_config(config)
    for scope in (keras.saving.custom_object_scope, keras.utils.CustomObjectScope):
        with scope({"squared": squared}):
            assert Dense.from_config(config).activation is squared
            assert keras.saving.get_registered_object("squared") is squared
    assert keras.saving.get_registered_object("squared") is None
    assert keras.saving.get_registered_object("squared", {"squared": squared}) is squared


def test_a_registered_name_replaces_no_layer_of_keras(registry):
    @keras.saving.register_keras_serializable()
    class Dense(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    layer = keras.layers.deserialize(keras.layers.serialize(keras.layers.Dense(3)))
    assert type(layer) is keras.layers.Dense
    assert type(keras.layers.deserialize(keras.layers.serialize(Dense()))) is Dense


def test_layers_as_dicts():
    layer = SimpleRNN(3, name="mine")
    entry = keras.layers.serialize(layer)
    assert entry["class_name"] == "SimpleRNN" and entry["config"]["units"] == 3
    again = keras.layers.deserialize(entry)
    assert type(again) is SimpleRNN and again.get_config() == layer.get_config()
    with pytest.raises(TypeError, match="layer must be a layer, got 3"):
        keras.layers.serialize(3)
    with pytest.raises(ValueError, match="unknown layer class 'Nothing'"):
        keras.layers.deserialize({"class_name": "Nothing", "config": {}})

    class Custom(Dense):
        pass

    entry = keras.layers.serialize(Custom(2))
    assert type(keras.layers.deserialize(entry, custom_objects={"Custom": Custom})) is Custom


def test_objects_as_configs_as_in_layers_of_users():
    class Around(keras.layers.Layer):
        def __init__(self, parts, **kwargs):
            super().__init__(**kwargs)
            self.parts = parts

        def call(self, x):
            return self.parts["first"](x)

        def get_config(self):
            return {**super().get_config(), "parts": keras.saving.serialize_keras_object(self.parts)}

        @classmethod
        def from_config(cls, config):
            return cls(keras.saving.deserialize_keras_object(config.pop("parts")), **config)

    layer = Around({"first": Dense(2), "others": [SimpleRNN(3), None, 1.5, "text"]}, name="around")
    again = keras.layers.deserialize(keras.layers.serialize(layer), custom_objects={"Around": Around})
    assert again.name == "around" and again.parts["first"].units == 2
    assert type(again.parts["others"][0]) is SimpleRNN and again.parts["others"][1:] == [None, 1.5, "text"]
    loss = keras.losses.Huber(delta=0.5)
    assert (
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss)).get_config()
        == loss.get_config()
    )
    with pytest.raises(ValueError, match="lambda"):
        keras.saving.deserialize_keras_object({"class_name": "__lambda__", "config": {"value": "x"}})


def test_a_wrapper_of_a_user(tmp_path):
    class Twice(keras.layers.Wrapper):
        def call(self, inputs):
            return self.layer(self.layer(inputs))

    layer = Twice(Dense(3))
    y = layer(X)
    np.testing.assert_array_equal(y, layer.layer(layer.layer(X)))
    assert len(layer.weights) == 2 and layer.built
    again = keras.layers.deserialize(keras.layers.serialize(layer), custom_objects={"Twice": Twice})
    assert again.layer.units == 3 and again.layer is not layer.layer
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X), y)
    with pytest.raises(ValueError, match="layer must be a layer, got str"):
        Twice("Dense")


# ------------------------------------------------------------ scripts that make many models, and their data


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("clear", [keras.utils.clear_session, keras.backend.clear_session])
def test_default_names_begin_anew(clear):
    Dense(1), Dense(1)
    clear()
    assert [Dense(1).name, Dense(1).name, keras.metrics.Mean().name] == ["dense", "dense_1", "mean"]


def test_what_is_left_of_the_backend():
    assert keras.backend.floatx() == Dense(1).dtype
    assert keras.backend.epsilon() == 1e-7


@pytest.mark.parametrize("base", [keras.utils.PyDataset, keras.utils.Sequence])
def test_a_dataset_of_batches(base):
    class Batches(base):
        def __init__(self, **options):
            super().__init__(**options)
            self.ended = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X[2 * index : 2 * index + 2], np.full((2, 1), float(index))

        def on_epoch_end(self):
            self.ended += 1

    batches = Batches(workers=2, use_multiprocessing=True)
    model = keras.Sequential([keras.Input((6, 3)), SimpleRNN(1)])
    model.compile("sgd", "mse")
    begin = model.get_weights()
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    found = model.get_weights()
    assert batches.ended == 3
    model.set_weights(begin)
    model.fit(X, np.repeat([[0.0], [1.0]], 2, axis=0), epochs=3, batch_size=2, shuffle=False, verbose=0)
    for a, b in zip(found, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(model.predict(batches), model.predict(X), rtol=1e-6)


@pytest.mark.parametrize("ask", [len, lambda batches: batches[0]])
def test_a_dataset_without_batches_says_what_is_missing(ask):
    with pytest.raises(NotImplementedError, match="PyDataset must have a method __(len|getitem)__"):
        ask(keras.utils.PyDataset())


# ------------------------------------------------------------ names that are not there


@pytest.mark.parametrize("name", ["EinsumDense", "GroupNormalization"])
def test_layers_that_are_not_there_say_what_to_do(name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': write a custom layer"):
        getattr(keras.layers, name)
    with pytest.raises(AttributeError, match="has no attribute 'Simple'; did you mean 'SimpleRNN'"):
        _ = keras.layers.Simple
