"""What scripts around a training type: it is there, or an error says what to write."""

import copy
import json
import pickle

import numpy as np
import pytest

import cyrnn as keras
from cyrnn.layers import Dense, Layer, SimpleRNN

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 5, 2)).astype("float32"), RNG.standard_normal((12, 1)).astype("float32")


def compiled(optimizer="sgd", loss="mse", **options):
    model = keras.Sequential([keras.Input((5, 2)), SimpleRNN(3, name="rnn"), Dense(1, name="last")])
    model.compile(optimizer, loss, **options)
    return model


# ------------------------------------------------------------ optimizers


def test_the_learning_rate_is_a_float_and_a_variable():
    model = compiled(keras.optimizers.Adam(0.5))
    rate = model.optimizer.learning_rate
    assert isinstance(rate, float)
    assert rate == float(rate) == rate.numpy() == rate.value == 0.5
    assert rate.numpy().dtype == np.float32
    assert json.dumps({"rate": rate}) == '{"rate": 0.5}'
    for copied in (copy.copy(rate), copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert type(copied) is float
    rate.assign(rate * 0.5)
    assert model.optimizer.learning_rate == 0.25
    assert rate == 0.5  # it is a number
    assert model.optimizer.get_config()["learning_rate"] == 0.25
    with pytest.raises(ValueError, match="learning_rate must be finite"):
        rate.assign(np.nan)


def test_a_learning_rate_that_is_assigned_counts_from_the_next_step():
    found = []
    for rate in (0.0, 0.1):
        model = compiled(keras.optimizers.SGD(0.0))
        before = model.get_weights()
        model.train_on_batch(X, Y)
        model.optimizer.learning_rate.assign(rate)
        model.train_on_batch(X, Y)
        found.append(any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)))
    assert found == [False, True]


def test_gradients_are_applied_to_a_model():
    model = compiled()
    gradients = [np.ones_like(weight) for weight in model.trainable_weights]
    with pytest.raises(TypeError, match=r"which model they are of: call optimizer.apply\(gradients, model\)"):
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    with pytest.raises(TypeError, match="model must be a layer or a model, got list: weights do not say which model"):
        model.optimizer.apply(gradients, model.trainable_weights)
    assert model.optimizer.iterations == 0
    before = model.get_weights()
    model.optimizer.apply(gradients, model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(a - 0.01, b, atol=1e-6)


def test_a_summary_counts_the_variables_of_the_optimizer():
    model, texts = compiled("adam"), []
    model.summary(print_fn=texts.append)
    model.train_on_batch(X, Y)
    model.summary(print_fn=texts.append)
    assert texts[0].splitlines()[-3:] == [
        " Total params: 22 (88.00 B)", " Trainable params: 22 (88.00 B)", " Non-trainable params: 0 (0.00 B)"
    ]  # fmt: skip
    assert texts[1].splitlines()[-4:] == [  # two slots, iteration and learning rate
        " Total params: 68 (276.00 B)", " Trainable params: 22 (88.00 B)", " Non-trainable params: 0 (0.00 B)",
        " Optimizer params: 46 (188.00 B)",
    ]  # fmt: skip


# ------------------------------------------------------------ models, losses and metrics


def test_results_of_metrics_are_a_dict():
    model = compiled(metrics=["mae"])
    assert model.get_metrics_result() == {"loss": 0.0, "mae": 0.0}
    results = model.train_on_batch(X, Y, return_dict=True)
    assert model.get_metrics_result() == results
    assert SimpleModel().get_metrics_result() == {}


class SimpleModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = Dense(1)

    def call(self, inputs):
        return self.last(inputs)


class Forgetful(keras.Model):
    def __init__(self):
        self.last = Dense(1)


class ForgetfulLayer(Layer):
    def __init__(self):
        self.units = 3
        self.kernel = self.add_weight((2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: Forgetful()(X),
        lambda: Forgetful().compile("sgd", "mse"),
        lambda: Forgetful().summary(),
        lambda: Forgetful().get_weights(),
        lambda: ForgetfulLayer(),
        lambda: keras.Sequential([Forgetful()]),
    ],
)
def test_a_constructor_that_does_not_call_its_base_is_named(call):
    message = r"Forgetful(Layer)?\.__init__\(\) must call super\(\)\.__init__\(\) before all else"
    with pytest.raises(AttributeError, match=message):
        call()


def test_what_adds_losses_is_told_of_regularizers():
    class Adding(Layer):
        def call(self, inputs):
            self.add_loss(np.sum(inputs))
            return inputs

    with pytest.raises(ValueError, match=r"layer 'adding' cannot add_loss\(\).*an activity_regularizer"):
        Adding(name="adding")(X)


def test_a_loss_without_a_gradient_says_what_to_write():
    def my_loss(y_true, y_pred):
        return np.mean(np.abs(y_true - y_pred) ** 3, axis=-1)

    model = compiled(loss=my_loss)
    before = model.get_weights()
    with pytest.raises(ValueError, match="'my_loss' has no gradient") as error:
        model.fit(X, Y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # What the message says, with its dots filled in, works.
    code = str(error.value).partition("compile():\n")[2]
    lines = code.replace("...", "3 * (y_pred - y_true) * np.abs(y_true - y_pred) / y_pred.shape[-1]")
    exec("\n".join(line[4:] for line in lines.splitlines()), {"np": np, "my_loss": my_loss})
    assert model.evaluate(X, Y, verbose=0) > model.fit(X, Y, epochs=30, verbose=0).history["loss"][-1]


@pytest.mark.parametrize("first", [SimpleRNN(3, name="first"), Dense(3, name="first")])
def test_layers_that_cannot_follow_each_other_are_both_named(first):
    """When they are put together; nothing has changed then."""
    shape = (5, 2) if isinstance(first, SimpleRNN) else (2,)
    message = "layer 'second': sequences must have shape .*; it follows 'first'$"
    model = keras.Sequential([keras.Input(shape), first])
    with pytest.raises(ValueError, match=message):
        model.add(SimpleRNN(2, name="second"))
    assert model.layers == [first]
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input(shape), first, SimpleRNN(2, name="second")])
    with pytest.raises(ValueError, match=message):
        SimpleRNN(2, name="second")(first(keras.Input(shape)))
    with pytest.raises(ValueError, match="layer 'second': sequences must have shape .*(?<!'first')$"):
        SimpleRNN(2, name="second")(keras.Input((2,)))


def test_names_at_the_top_are_those_of_keras():
    assert issubclass(keras.optimizers.Adam, keras.Optimizer)
    assert issubclass(keras.losses.Huber, keras.Loss)
    assert issubclass(keras.metrics.Mean, keras.Metric)
    assert issubclass(keras.initializers.Zeros, keras.Initializer)
    assert issubclass(keras.regularizers.L2, keras.Regularizer)
    assert isinstance(keras.Input((3,)), keras.KerasTensor)
    assert keras.DTypePolicy("float32").name == "float32"


@pytest.mark.parametrize("name", ["ops", "Variable", "datasets", "applications"])
def test_names_that_are_not_here_say_what_to_do(name):
    with pytest.raises(AttributeError, match=f"module 'cyrnn' has no attribute '{name}': "):
        getattr(keras, name)


@pytest.mark.parametrize(
    "place, name",
    [
        ("optimizers", "LossScaleOptimizer"), ("optimizers", "legacy"), ("optimizers", "MultiOptimizer"),
        ("callbacks", "TensorBoard"), ("callbacks", "RemoteMonitor"), ("mixed_precision", "LossScaleOptimizer"),
    ],
)  # fmt: skip
def test_names_of_modules_that_are_not_here_say_what_to_do(place, name):
    with pytest.raises(AttributeError, match=f"module 'cyrnn.{place}' has no attribute '{name}': "):
        getattr(getattr(keras, place), name)
    with pytest.raises(AttributeError, match=f"module 'cyrnn.{place}' has no attribute 'nothing'$"):
        _ = getattr(keras, place).nothing


def test_a_lambda_layer_is_told_of_custom_layers():
    with pytest.raises(AttributeError, match="no attribute 'Lambda': write a custom layer"):
        keras.layers.Lambda(lambda x: x[:, -1])
