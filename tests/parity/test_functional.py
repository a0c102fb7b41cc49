"""Models of the functional API between Keras and cyrnn: files, configs both ways, masks and states through graphs."""

import json

import numpy as np
import pytest
from parity.twins import VERSION, assert_same, from_keras_json, hypothesis, keras, keras_json, random_settings

import cyrnn
from cyrnn.saving import load_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
st = hypothesis.strategies
VOCABULARY, TIMESTEPS, WIDTH, SAMPLES = 11, 5, 3, 4
MERGES = ["Add", "Average", "Maximum", "Multiply", "Concatenate"]
KINDS = [
    *("rnn", "states", "with a state", "with a mask", "again", "stack", "both ways", "model", "sequential"),
    *("Masking", "Dropout", "TimeDistributed", "LayerNormalization", "SpatialDropout1D", *MERGES),
]


@st.composite
def plans(draw):
    """Steps (kind, which tensor, which other one, options) that `grow` makes a model of."""
    number = st.integers(0, 9)
    options = st.fixed_dictionaries(
        {}, optional={"go_backwards": st.booleans(), "use_bias": st.booleans(), "zero_output_for_mask": st.booleans()}
    )
    steps = draw(st.lists(st.tuples(st.sampled_from(KINDS), number, number, options), min_size=1, max_size=7))
    return steps, draw(st.sampled_from(["list", "dict"]))


def grow(module, plan):
    """The model of a plan, in Keras or cyrnn: every tensor on the way is (samples, 5, 3), every state (samples, 3)."""
    steps, structure = plan
    layers = module.layers
    ids = module.Input((TIMESTEPS,), dtype="int32", name="ids")
    x = module.Input((TIMESTEPS, WIDTH), name="x")
    keep = module.Input((TIMESTEPS,), dtype="bool", name="keep")
    state = module.Input((WIDTH,), name="state")
    tensors = [layers.Embedding(VOCABULARY, WIDTH, mask_zero=True, name="table")(ids), x]
    states, rnns = [state], []
    for number, (kind, first, second, options) in enumerate(steps):
        a, b, name = tensors[first % len(tensors)], tensors[second % len(tensors)], f"step_{number}"
        rnn = layers.SimpleRNN(WIDTH, return_sequences=True, name=name, **options)
        if kind == "rnn" or (kind == "again" and not rnns):
            rnns.append(rnn)
            tensors.append(rnn(a))
        elif kind == "again":
            tensors.append(rnns[second % len(rnns)](a))
        elif kind == "states":
            rnn.return_state = True
            y, h = rnn(a)
            tensors.append(y), states.append(h)
        elif kind == "with a state":
            h = states[second % len(states)]
            tensors.append(rnn(a, initial_state=[h] if second % 2 else h))
        elif kind == "with a mask":
            tensors.append(rnn(a, mask=keep))
        elif kind == "stack":
            cells = [layers.SimpleRNNCell(2, name="below"), layers.SimpleRNNCell(WIDTH, name="above")]
            tensors.append(layers.RNN(cells, return_sequences=True, name=name)(a))
        elif kind == "both ways":
            inner = layers.SimpleRNN(WIDTH, return_sequences=True)
            tensors.append(layers.Bidirectional(inner, merge_mode="sum", name=name)(a))
        elif kind == "model":
            given = module.Input((TIMESTEPS, WIDTH), name=f"{name}_x")
            y = layers.SimpleRNN(WIDTH, return_sequences=True, name=f"{name}_rnn")(given)
            inner = module.Model(given, layers.Dense(WIDTH, name=f"{name}_dense")(y), name=name)
            tensors.append(inner(inner(a)))
        elif kind == "sequential":
            row = [layers.Dense(2), layers.SimpleRNN(WIDTH, return_sequences=True)]
            tensors.append(module.Sequential(row, name=name)(a))
        elif kind == "TimeDistributed":
            tensors.append(layers.TimeDistributed(layers.Dense(WIDTH, name="rows"), name=name)(a))
        elif kind == "Concatenate":
            tensors.append(layers.Dense(WIDTH, name=f"{name}_dense")(layers.Concatenate(name=name)([a, b])))
        elif kind in MERGES:
            tensors.append(getattr(layers, kind)(name=name)([a, b]))
        else:
            tensors.append(getattr(layers, kind)(**({"rate": 0.3} if "Dropout" in kind else {}), name=name)(a))
    ends = [layers.SimpleRNN(2, name="end")(tensors[-1]), tensors[-1], *states[1:]]
    inputs = [ids, x, keep, state]
    if structure == "dict":
        named = {tensor.name: tensor for tensor in inputs}
        return module.Model(named, {f"y{number}": end for number, end in enumerate(ends)})
    return module.Model(inputs, ends)


def given(structure="list", seed=1):
    """Inputs in which many timesteps are masked, in the structure of a plan."""
    rng = np.random.default_rng(seed)
    keep = rng.random((3, SAMPLES, TIMESTEPS)) < 0.6
    arrays = {
        "ids": (keep[0] * rng.integers(1, VOCABULARY, keep[0].shape)).astype("int32"),
        "x": (keep[1][:, :, None] * rng.standard_normal((SAMPLES, TIMESTEPS, WIDTH))).astype("float32"),
        "keep": keep[2],
        "state": np.zeros((SAMPLES, WIDTH), "float32"),  # with another one, backends differ behind leading masks
    }
    return arrays if structure == "dict" else list(arrays.values())


def new_weights(model):
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(-0.6, 0.6, weight.shape) for weight in model.get_weights()])


def assert_same_outputs(ours, theirs):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        ours, theirs = list(ours.values()), [theirs[key] for key in ours]
    assert_same(ours, theirs, tolerance=1e-5)


def loses_a_mask(plan):
    """Whether a merge may follow on a nested model: there Keras forgets the mask, which else goes through models."""
    kinds = [kind for kind, *_ in plan[0]]
    models = [number for number, kind in enumerate(kinds) if kind in ("model", "sequential")]
    return bool(models) and any(kind in MERGES for kind in kinds[models[0] :])


def by_name(model):
    """The weights of each layer, by its name."""
    return {layer.name: [np.asarray(weight) for weight in layer.get_weights()] for layer in model.layers}


@random_settings(0.3)
@hypothesis.given(plans())
def test_a_file_that_keras_saved(tmp_path_factory, plan):
    theirs = grow(keras, plan)
    new_weights(theirs)
    path = tmp_path_factory.mktemp("keras") / "m.keras"
    theirs.save(path)
    ours = load_model(path)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected, strict=True)
    x = given(plan[1])
    expected = theirs.predict(x, verbose=0)
    assert_same_outputs(ours.predict(x), expected)
    assert ours.output_names == theirs.output_names and ours.output_shape == theirs.output_shape
    again = from_keras_json(ours.to_json())
    assert [layer.name for layer in again.layers] == [layer.name for layer in theirs.layers]
    again.set_weights(theirs.get_weights())
    assert_same_outputs(again.predict(x, verbose=0), expected)


@pytest.mark.configs
@random_settings(0.3)
@hypothesis.given(plans())
def test_configs_both_ways(plan):
    ours, theirs, x = grow(cyrnn, plan), grow(keras, plan), given(plan[1])
    new_weights(theirs)
    read = cyrnn.from_json(keras_json(theirs))
    read.set_weights(theirs.get_weights())
    for layer in ours.layers:
        layer.set_weights(by_name(theirs).get(layer.name) or layer.get_weights())
    if not loses_a_mask(plan):
        assert_same_outputs(ours.predict(x), read.predict(x))
    if VERSION >= (3, 15):  # Keras 3.6 on NumPy loses masks on their way
        assert_same_outputs(read.predict(x), theirs.predict(x, verbose=0))
    read_by_keras = from_keras_json(ours.to_json())
    # Keras counts the operations for masks that it makes too, so that its order of the layers may be another.
    assert by_name(ours).keys() == by_name(read_by_keras).keys()
    for layer in read_by_keras.layers:
        layer.set_weights(by_name(ours)[layer.name])
    if VERSION >= (3, 15) and not loses_a_mask(plan):
        assert_same_outputs(ours.predict(x), read_by_keras.predict(x, verbose=0))


# ------------------------------------------------------------ named cases


def encoder_decoder(module):
    layers = module.layers
    source = module.Input((None,), dtype="int32", name="source")
    target = module.Input((None,), dtype="int32", name="target")
    table = layers.Embedding(VOCABULARY, 4, mask_zero=True)
    _, *state = layers.Bidirectional(layers.SimpleRNN(3, return_state=True))(table(source))
    decoder = layers.RNN([layers.SimpleRNNCell(3), layers.SimpleRNNCell(3)], return_sequences=True, return_state=True)
    y, *after = decoder(table(target), initial_state=state)
    return module.Model([source, target], [layers.Dense(VOCABULARY, activation="softmax")(y), *after])


def shared_encoder(module):
    layers = module.layers
    a, b = module.Input((None,), dtype="int32", name="a"), module.Input((None,), dtype="int32", name="b")
    encoder = module.Sequential(
        [
            layers.Embedding(VOCABULARY, 4, mask_zero=True),
            layers.SimpleRNN(3, return_sequences=True),
            layers.SimpleRNN(2),
        ]
    )
    return module.Model({"a": a, "b": b}, [encoder(a), encoder(b)])


def nested_three_deep(module):
    layers = module.layers
    x = module.Input((None, 3), name="x")
    model = module.Model(x, layers.SimpleRNN(3, return_sequences=True)(x))
    for _ in range(3):
        outer = module.Input((None, 3))
        model = module.Model(outer, layers.Dropout(0.5)(model(model(layers.Masking()(outer)))))
    return model


def several_outputs(module):
    layers = module.layers
    ids = module.Input((None,), dtype="int32", name="ids")
    y = layers.Embedding(VOCABULARY, 4, mask_zero=True)(ids)
    sequences, state = layers.SimpleRNN(3, return_sequences=True, return_state=True)(y)
    two = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), merge_mode=None)(sequences)
    last = layers.SimpleRNN(2, go_backwards=True)(layers.Activation("tanh")(layers.Dropout(0.3)(sequences)))
    return module.Model([ids], {"last": last, "both": list(two), "state": state, "sequences": [sequences]})


NAMED = [encoder_decoder, shared_encoder, nested_three_deep, several_outputs]


def arrays_for(model):
    rng = np.random.default_rng(3)
    values = []
    for tensor in model.inputs:
        keep = rng.random((SAMPLES, 7)) < 0.6
        if tensor.dtype == "int32":
            values.append((keep * rng.integers(1, VOCABULARY, keep.shape)).astype("int32"))
        else:
            values.append((keep[..., None] * rng.standard_normal((*keep.shape, tensor.shape[-1]))).astype("float32"))
    return values


@pytest.mark.parametrize("make", NAMED)
def test_named_models(make, tmp_path):
    theirs = make(keras)
    new_weights(theirs)
    theirs.save(tmp_path / "m.keras")
    x, expected = arrays_for(theirs), theirs(arrays_for(theirs))
    for ours in (load_model(tmp_path / "m.keras"), make(cyrnn)):
        ours.set_weights(theirs.get_weights())
        found, wanted = keras.tree.flatten(ours(x)), keras.tree.flatten(expected)
        assert_same(found, wanted, tolerance=1e-5)
        keras.tree.assert_same_structure(ours.predict(x, batch_size=3), theirs.predict(x, verbose=0))
        again = from_keras_json(ours.to_json())
        again.set_weights(theirs.get_weights())
        assert_same(keras.tree.flatten(again(x)), wanted, tolerance=1e-5)
        assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]


def test_the_config_has_the_keys_of_keras():
    ours, theirs = json.loads(several_outputs(cyrnn).to_json()), json.loads(keras_json(several_outputs(keras)))
    assert {key: ours[key] for key in ours if key != "config"} == {key: theirs[key] for key in ours if key != "config"}
    assert set(theirs) - set(ours) <= {"compile_config"}
    assert set(ours["config"]) == set(theirs["config"])
    operations = [entry for entry in theirs["config"]["layers"] if entry["module"].startswith("keras.src.ops")]
    assert len(ours["config"]["layers"]) == len(theirs["config"]["layers"]) - len(operations)
    for entry in ours["config"]["layers"]:
        assert set(entry) >= {"module", "class_name", "config", "registered_name", "name", "inbound_nodes"}


def test_dropout_masks_and_losses_of_training():
    def make(module):
        layers = module.layers
        x = module.Input((TIMESTEPS, 3))
        shared = layers.SimpleRNN(3, return_sequences=True, dropout=0.3, recurrent_dropout=0.2, seed=7)
        y = layers.Dropout(0.4, seed=5)(shared(shared(x)))
        dense = layers.Dense(2, activity_regularizer="l2", kernel_regularizer="l1")
        return module.Model(x, [dense(y), dense(x)])

    ours, theirs = make(cyrnn), make(keras)
    new_weights(theirs)
    ours.set_weights(theirs.get_weights())
    x = np.random.default_rng(1).standard_normal((SAMPLES, TIMESTEPS, 3)).astype("float32")
    for _ in range(2):
        assert_same(ours(x, training=True), theirs(x, training=True), tolerance=1e-5)
        assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)


def test_training_that_a_call_says_itself():
    def make(module):
        x = module.Input((TIMESTEPS, 3))
        return module.Model(x, module.layers.Dropout(0.5, seed=3)(x, training=True))

    ours, theirs = make(cyrnn), make(keras)
    x = np.ones((SAMPLES, TIMESTEPS, 3), "float32")
    for told in ({}, {"training": True}, {"training": False}):
        assert_same(ours(x, **told), theirs(x, **told))
    assert_same(ours.predict(x), theirs.predict(x, verbose=0))


WRONG = {
    "no symbolic input": lambda m: m.Model(np.ones((2, 3)), m.Input((3,))),
    "no symbolic output": lambda m: m.Model(m.Input((3,)), np.ones((2, 3))),
    "no inputs": lambda m: m.Model([], []),
    "disconnected": lambda m: m.Model(m.Input((3,)), m.layers.Dense(2)(m.Input((3,)))),
    "one name twice": lambda m: m.Model(
        x := m.Input((3,)), m.layers.Dense(2, name="d")(m.layers.Dense(2, name="d")(x))
    ),
    "two axes for an RNN": lambda m: m.layers.SimpleRNN(2)(m.Input((3,))),
    "other features": lambda m: [layer := m.layers.Dense(2), layer(m.Input((3,))), layer(m.Input((4,)))],
    "one array for two inputs": lambda m: two_inputs(m)(np.ones((2, 3), "float32")),
    "a name that is not there": lambda m: two_inputs(m)({"a": np.ones((2, 3), "float32")}),
    "another shape": lambda m: two_inputs(m)([np.ones((2, 3), "float32"), np.ones((2, 5), "float32")]),
    "no such layer": lambda m: two_inputs(m).get_layer("nobody"),
}


def two_inputs(module):
    a, b = module.Input((3,), name="a"), module.Input((4,), name="b")
    return module.Model([a, b], [module.layers.Dense(2)(a), module.layers.Dense(2)(b)])


@pytest.mark.filterwarnings("ignore:The structure of")  # in Keras, before it fails
@pytest.mark.parametrize("case", WRONG)
def test_both_refuse(case):
    for module in (keras, cyrnn):
        with pytest.raises((ValueError, TypeError)):
            WRONG[case](module)
