"""Errors that say what is wrong: which argument, what was expected, what came."""

import ctypes

import numpy as np
import pytest

import cyrnn
from cyrnn import activations, constraints, initializers, layers, regularizers
from cyrnn.saving import export_c, from_torch

X = np.ones((2, 4, 3), "float32")


# ------------------------------------------------------------ arrays that refuse


class Tensor:
    """As torch's where it requires gradients: it is no array before it is detached."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


def built(layer):
    layer(X)
    return layer


def graph():
    a, b = cyrnn.Input((4, 3), name="a"), cyrnn.Input((4, 3), name="b")
    return cyrnn.Model([a, b], layers.Add()([a, b]))


def sequential():
    return cyrnn.Sequential([layers.SimpleRNN(2)])


CALLS = {
    "inputs": lambda t: layers.Dense(2)(t),
    "sequences": lambda t: layers.SimpleRNN(2)(t),
    "x": lambda t: sequential().predict(t),
    "x of an activation": lambda t: activations.tanh(t),
    "x of an activation with parameters": lambda t: activations.relu(t, 0.5),
    "input 'b'": lambda t: graph().predict({"a": X, "b": t}),
    "inputs[1]": lambda t: layers.Add()([X, t]),
    "mask": lambda t: layers.SimpleRNN(2)(X, mask=t),
    "mask of Bidirectional": lambda t: layers.Bidirectional(layers.SimpleRNN(2))(X, mask=t),
    "mask of Softmax": lambda t: layers.Softmax()(X, mask=t),
    "mask of Multiply": lambda t: layers.Multiply()([X, X], mask=[t, None]),
    "mask of BatchNormalization": lambda t: layers.BatchNormalization()(X, mask=t, training=True),
    "mask of GlobalAveragePooling1D": lambda t: layers.GlobalAveragePooling1D()(X, mask=t),
    "initial_state": lambda t: layers.SimpleRNN(2)(X, initial_state=t),
    "x_t": lambda t: built(layers.SimpleRNN(2)).stepper().step(t),
    "state": lambda t: built(layers.SimpleRNN(2)).stepper().reset(t),
    "states": lambda t: built(layers.SimpleRNN(2, stateful=True)).reset_state(t),
    "weight 'kernel' of layer 'mine'": lambda t: built(layers.Dense(2, name="mine")).set_weights([t, np.ones(2)]),
    "the weight": lambda t: regularizers.L2(0.1)(t),
    "the weight of a constraint": lambda t: constraints.MaxNorm()(t),
    "value": lambda t: initializers.Constant(t),
    "mean": lambda t: layers.Normalization(mean=t, variance=t),
    "scale": lambda t: layers.Rescaling(t),
}


@pytest.mark.parametrize("argument", CALLS)
def test_a_tensor_that_numpy_cannot_read(argument):
    name = argument.split(" of ")[0] if not argument.startswith("weight") else argument
    with pytest.raises(TypeError) as caught:
        CALLS[argument](Tensor())
    assert str(caught.value).startswith(f"{name} must be an array that NumPy can read, got Tensor: Can't call numpy()")


def test_a_tensor_of_torch_that_requires_gradients():
    torch = pytest.importorskip("torch", reason="needs torch")
    model = sequential()
    with pytest.raises(TypeError, match=r"x must be an array that NumPy can read, got Tensor: .*tensor\.detach\(\)"):
        model.predict(torch.ones(1, 4, 3, requires_grad=True))
    np.testing.assert_array_equal(model.predict(torch.ones(2, 4, 3)), model.predict(X))


class Batches:
    """Data that has batches: NumPy would ask for one after the other, and never come to an end."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X, X


@pytest.mark.parametrize("argument", sorted(CALLS.keys() - {"x"}))  # predict takes batches
def test_what_has_only_getitem_is_no_array(argument):
    with pytest.raises((TypeError, ValueError), match="array.*Batches"):
        CALLS[argument](Batches())


def test_a_buffer_without_iter_is_an_array():
    buffer = ((ctypes.c_float * 3) * 4)((1, 2, 3))
    np.testing.assert_array_equal(layers.Rescaling(2.0)(buffer), 2 * np.asarray(buffer))


def test_long_arrays_are_shown_by_shape_and_dtype():
    model = cyrnn.Sequential([cyrnn.Input((4, 3)), layers.SimpleRNN(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"got an array of shape \(2, 4, 3\) and dtype float32$"):
        model.fit(X, np.ones((2, 1)), validation_data=X)


def test_lists_of_no_common_shape_are_value_errors():
    with pytest.raises(ValueError, match="mask must be an array, got list"):
        layers.SimpleRNN(2)(X, mask=[[True], [True, False]])


# ------------------------------------------------------------ what cannot be exported to C


def exported(layer, tmp_path):
    model = cyrnn.Sequential([cyrnn.Input((4, 3)), layers.SimpleRNN(3, return_sequences=True), layer])
    export_c(model, tmp_path / "m.c")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layers.Flatten(name="flat"), "layer 'flat' needs all timesteps at once"),
        (
            layers.Bidirectional(layers.SimpleRNN(2), name="both"),
            "layer 'both' goes from the last timestep to the first",
        ),
        (layers.GlobalMaxPooling1D(name="most"), "layer 'most' has one result for all timesteps"),
    ],
)
def test_layers_that_need_all_timesteps(tmp_path, layer, reason):
    with pytest.raises(ValueError) as caught:
        exported(layer, tmp_path)
    _, _, text = str(caught.value).partition(" (Sequential) cannot be exported to C: ")
    assert text.startswith(reason)
    assert not (tmp_path / "m.c").exists()


class Twice(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class Louder(layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Twice(name="own"), "the class Twice is a custom one"), (Louder(2, name="own"), "it has its own 'call'")],
)
def test_custom_layers_have_no_c_code(tmp_path, layer, reason):
    with pytest.raises(ValueError, match=f"cannot be exported to C: the engine does not compute layer 'own': {reason}"):
        exported(layer, tmp_path)


# ------------------------------------------------------------ others


class Squares(layers.Layer):
    """A cell whose outputs have two axes. Arrays may come so, symbolic tensors not, as in Keras."""

    def __init__(self, output_size, **kwargs):
        super().__init__(**kwargs)
        self.state_size, self.output_size = [6], output_size

    def call(self, inputs, states):
        return inputs, states


@pytest.mark.parametrize("size", [(2, 3), 2.5, "2", True])
def test_an_output_size_that_is_no_integer(size):
    with pytest.raises(ValueError, match="output_size of the cell <Squares .* must be an integer, got ") as caught:
        layers.RNN(Squares(size))(cyrnn.Input((5, 2, 3)))
    assert str(caught.value).endswith(repr(size))


def test_an_output_size_of_numpys():
    assert layers.RNN(Squares(np.int64(4)))(cyrnn.Input((5, 4))).shape == (None, 4)


class Module:
    """As torch.nn.RNN: it has its weights in a state_dict."""

    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Module(), f"got Module of {Module.__module__.partition('.')[0]}: pass its state_dict\\(\\)$"),
        (None, "got NoneType$"),
        (3, "got int$"),
    ],
)
def test_from_torch_of_what_is_neither_weights_nor_a_path(source, words):
    with pytest.raises(TypeError, match="source must be a state_dict, .* or the path of a .safetensors file, " + words):
        from_torch(source)
