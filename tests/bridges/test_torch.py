"""`cyrnn.torch`: layers as modules of torch, whose gradients torch checks itself."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")

import cyrnn.torch  # noqa: E402

F64 = {"dtype": "float64"}
RNN_WEIGHTS = ("kernel", "recurrent_kernel", "bias")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normal(*shape, grad=False, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, requires_grad=grad)


def built(units=5, **options):
    layer = layers.SimpleRNN(units, **options)
    layer.build((None, None, 2))
    return layer


def module(layer):
    layer.build((None, None, 2))
    layer.set_weights([np.random.standard_normal(w.shape) / 2 for w in layer.get_weights()])  # noqa: NPY002
    return cyrnn.torch.module(layer)


def assert_gradients(made, *tensors, **options):
    """torch's own check, by differences, of all gradients: those of tensors, and those of the weights."""
    names, weights = zip(*made.named_parameters(), strict=True)

    def called(*arguments):
        given, values = arguments[: len(tensors)], arguments[len(tensors) :]
        return torch.func.functional_call(made, dict(zip(names, values, strict=True)), given, options)

    assert torch.autograd.gradcheck(called, (*tensors, *(w.detach().requires_grad_() for w in weights)))


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_gradients_of_a_simple_rnn(options, masked, begun):
    mask = torch.rand(3, 4) < 0.6 if masked else None
    state = [normal(3, 5, grad=True)] if begun else []
    assert_gradients(module(layers.SimpleRNN(5, **options, **F64)), normal(3, 4, 2, grad=True), *state, mask=mask)


GATED = {
    "LSTM": lambda **options: layers.LSTM(3, **options, **F64),
    "GRU": lambda **options: layers.GRU(3, **options, **F64),
    "reset before": lambda **options: layers.GRU(3, reset_after=False, **options, **F64),
    "mixed": lambda **options: layers.RNN([layers.GRUCell(2, **F64), layers.LSTMCell(3, **F64)], **options, **F64),
}


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", GATED)
def test_gradients_of_gates(kind, masked, options):
    mask = torch.rand(2, 4) < 0.6 if masked else None
    made = module(GATED[kind](**options))
    x, states = normal(2, 4, 2, grad=True), [normal(2, n, grad=True) for n in made.to_cyrnn().flat_state_sizes]

    def called(x, *states):
        return tuple(nest.leaves(made(x, initial_state=list(states), mask=mask)))

    assert torch.autograd.gradcheck(called, (x, *states))
    if not options.get("return_state"):  # whose gradients of weights come through all of them
        assert_gradients(made, x, mask=mask)


@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_gradients_of_gates_in_both_directions(cls):
    both = module(layers.Bidirectional(cls(2, return_sequences=True, **F64), **F64))
    assert_gradients(both, normal(2, 4, 2, grad=True), mask=torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]]).bool())


def test_gradients_of_both_directions():
    both = module(layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, **F64), **F64))
    assert_gradients(both, normal(2, 4, 2, grad=True), mask=torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]]).bool())
    states = [normal(2, 3, grad=True), normal(2, 3, grad=True)]
    y = both(normal(2, 4, 2), initial_state=states)
    assert all(part is not None and part.any() for part in torch.autograd.grad(y.square().sum(), states))


def test_gradients_of_a_model():
    model = cyrnn.Sequential(
        [layers.SimpleRNN(4, return_sequences=True, **F64), layers.SimpleRNN(3, **F64), layers.Dense(2, **F64)]
    )
    assert_gradients(module(model), normal(2, 4, 2, grad=True), mask=torch.ones(2, 4))


def test_gradients_of_a_model_of_several_inputs_and_outputs():
    a, b = cyrnn.Input((None, 2), name="a", **F64), cyrnn.Input((None, 3), name="b", **F64)
    _, state = layers.SimpleRNN(4, return_state=True, **F64)(a)
    decoded = layers.SimpleRNN(4, return_sequences=True, **F64)(b, initial_state=state)
    made = cyrnn.torch.module(cyrnn.Model({"a": a, "b": b}, {"decoded": decoded, "state": state}))
    x = {"a": normal(2, 4, 2, grad=True), "b": normal(2, 3, 3, grad=True)}

    def outputs(first, second):
        found = made({"a": first, "b": second})
        return found["decoded"], found["state"]

    assert torch.autograd.gradcheck(outputs, (x["a"], x["b"]))
    made(x)["state"].sum().backward()
    assert x["a"].grad.any() and not x["b"].grad.any()


def test_tokens_have_no_gradients_but_their_vectors_have():
    model = cyrnn.Sequential(
        [cyrnn.Input((5,), dtype="int64"), layers.Embedding(7, 3, mask_zero=True, **F64), layers.SimpleRNN(4, **F64)]
    )
    tokens = torch.tensor([[3, 1, 3, 0, 0], [6, 5, 4, 3, 0]])
    made = cyrnn.torch.module(model)
    assert_gradients(made, tokens)
    made(tokens).sum().backward()
    of_vectors = made.get_parameter("embedding/embeddings").grad
    assert of_vectors.any(dim=1).tolist() == [n in (1, 3, 4, 5, 6) for n in range(7)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_those_of_torch(dtype):
    kind = getattr(torch, dtype)
    theirs = torch.nn.RNN(6, 5, batch_first=True, dtype=kind)
    ours = cyrnn.torch.module(cyrnn.saving.from_torch(theirs.state_dict(), return_state=True))
    x, state = normal(3, 7, 6, grad=True, dtype=kind), normal(3, 5, grad=True, dtype=kind)
    found = []
    for y, final in (ours(x, initial_state=state), theirs(x, state[None])):
        x.grad = state.grad = None
        loss = y.square().sum() + final.sin().sum()
        loss.backward()
        found.append([loss.detach(), y.detach(), x.grad, state.grad])
    kernel, recurrent_kernel, bias = (part.grad for part in ours.parameters())
    found[0] += [kernel.T, recurrent_kernel.T, bias]
    found[1] += [theirs.weight_ih_l0.grad, theirs.weight_hh_l0.grad, theirs.bias_ih_l0.grad]
    for mine, other in zip(*found, strict=True):
        assert mine.dtype == kind
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradients_of_gates_are_those_of_torch(kind):
    theirs = getattr(torch.nn, kind)(6, 5, batch_first=True, dtype=torch.float64)
    ours = cyrnn.torch.module(cyrnn.saving.from_torch(theirs.state_dict(), return_state=True))
    x, states = normal(3, 7, 6, grad=True), [normal(3, 5, grad=True) for _ in range(1 + (kind == "LSTM"))]
    begun = tuple(state[None] for state in states)
    y, finals = theirs(x, begun if kind == "LSTM" else begun[0])
    wanted = [y, *(final[0] for final in (finals if kind == "LSTM" else [finals]))]
    found = []
    for outputs in (wanted, ours(x, initial_state=states)):
        loss = sum((n + 1) * output.square().sum() for n, output in enumerate(outputs))
        found.append([*outputs, *torch.autograd.grad(loss, [x, *states])])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_loop_of_training_learns():
    rnn = layers.SimpleRNN(16, recurrent_initializer=cyrnn.initializers.Orthogonal(seed=1))
    rnn.build((None, None, 1))
    model = torch.nn.Sequential(cyrnn.torch.module(rnn), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = normal(64, 8, 1, dtype=torch.float32)
    target = x[:, -3:].sum(dim=1)
    before, losses = rnn.get_weights(), []
    for _ in range(150):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20
    trained = model[0].to_cyrnn()
    assert trained is rnn and all(not np.array_equal(a, b) for a, b in zip(before, rnn.get_weights(), strict=True))
    for parameter, weight in zip(model[0].parameters(), rnn.trainable_weights, strict=True):
        np.testing.assert_array_equal(parameter.detach().numpy(), weight)


def test_several_forwards_before_their_backwards():
    made, first, second = module(layers.SimpleRNN(5, **F64)), normal(3, 4, 2, grad=True), normal(2, 6, 2, grad=True)

    def gradients(x):
        return torch.autograd.grad(made(x).square().sum(), [x, *made.parameters()])

    expected = [gradients(first), gradients(second)]
    losses = [made(first).square().sum(), made(second).square().sum()]
    with torch.no_grad():
        made.get_parameter("cell/kernel").mul_(3)  # not those that were called with
    found = [
        torch.autograd.grad(loss, [x, *made.parameters()]) for loss, x in zip(losses, (first, second), strict=True)
    ]
    for mine, other in zip(sum(found, ()), sum(expected, ()), strict=True):
        assert torch.equal(mine, other)


def test_threads_that_call_one_module():
    made = module(layers.SimpleRNN(5, **F64))
    xs = [normal(3, 9, 2, grad=True) for _ in range(4)]
    expected = [torch.autograd.grad(made(x).square().sum(), x)[0] for x in xs]
    found = [[] for _ in xs]

    def work(number):
        for _ in range(20):
            found[number] += torch.autograd.grad(made(xs[number]).square().sum(), xs[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for parts, other in zip(found, expected, strict=True):
        assert len(parts) == 20 and all(torch.equal(part, other) for part in parts)


def test_only_what_requires_gradients_has_them():
    made = module(layers.SimpleRNN(5))
    x, state = normal(3, 4, 2, dtype=torch.float32), normal(3, 5, grad=True, dtype=torch.float32)
    made.get_parameter("cell/bias").requires_grad_(False)
    made(x, initial_state=state).sum().backward()
    assert x.grad is None and state.grad is not None and made.get_parameter("cell/bias").grad is None
    assert made.get_parameter("cell/kernel").grad is not None
    with torch.no_grad():
        assert not made(x, initial_state=state).requires_grad
    assert torch.equal(made.requires_grad_(False)(x), made(x)) and not made(x).requires_grad


def test_memory_is_freed_with_the_graph():
    made = module(layers.SimpleRNN(5))
    y = made(normal(3, 4, 2, dtype=torch.float32))
    kept = weakref.ref(y.grad_fn.call._pullback)
    del y
    gc.collect()
    assert kept() is None


def test_gradients_of_gradients_are_refused():
    made, x = module(layers.SimpleRNN(5, name="mine")), normal(3, 4, 2, grad=True, dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"layer 'mine' of cyrnn has no second derivatives: .*create_graph=True"):
        torch.autograd.grad(made(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(made(x).sum(), x)[0].any()


# ---------------------------------------------------------------- weights


def test_parameters_are_called_as_in_files():
    model = cyrnn.Sequential([cyrnn.Input((4, 2)), layers.Bidirectional(layers.SimpleRNN(3)), layers.Dense(1)])
    names = [
        *(f"bidirectional/{way}_layer/cell/{name}" for way in ("forward", "backward") for name in RNN_WEIGHTS),
        *("dense/kernel", "dense/bias"),
    ]
    made = cyrnn.torch.module(model)
    assert list(made.state_dict()) == names == [name for name, _ in made.named_parameters()]
    assert list(cyrnn.torch.module(built()).state_dict()) == [f"cell/{name}" for name in RNN_WEIGHTS]


def test_state_dicts_go_into_other_modules_and_files(tmp_path):
    one, other, x = module(built()), module(built()), normal(3, 4, 2, dtype=torch.float32)
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))
    np.savez(tmp_path / "weights.npz", **{name: value.numpy() for name, value in one.state_dict().items()})
    layer = built()
    cyrnn.saving.load_weights(layer, tmp_path / "weights.npz")
    np.testing.assert_array_equal(layer(x.numpy()), one(x).detach().numpy())


class Methods(layers.Layer):
    """Weights with names of methods and attributes of modules, and with a dot."""

    def build(self, input_shape):
        self.kept = [self.add_weight((2,), "ones", name=name) for name in ("float", "training", "a.b", "a_b")]

    def call(self, x):
        return x * self.kept[0] * self.kept[1] * self.kept[2] * self.kept[3]


def test_weights_are_not_called_like_methods():
    layer = Methods()
    layer.build((None, 2))
    made, x = cyrnn.torch.module(layer), normal(3, 2, dtype=torch.float32)
    assert list(made.state_dict()) == ["float_1", "training_1", "a_b", "a_b_1"]
    made.load_state_dict({name: 2 * value for name, value in made.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(made(x), 16 * x)


def test_every_way_to_change_a_parameter_is_seen():
    made, twin = module(built()), built()
    x = normal(3, 4, 2, dtype=torch.float32)
    parameter = made.get_parameter("cell/bias")

    def in_place():
        with torch.no_grad():
            parameter.add_(1)

    def by_data():
        parameter.data.mul_(3)

    def by_new_data():
        parameter.data = torch.randn(5)

    def by_numpy():
        parameter.detach().numpy()[:] = 0.5

    def by_a_new_parameter():
        setattr(made, "cell/bias", torch.nn.Parameter(torch.randn(5)))

    def of_the_layer():
        made._layer.set_weights([0 * weight for weight in made._layer.get_weights()])  # the module's count

    for change in (in_place, by_data, by_new_data, by_numpy, by_a_new_parameter, of_the_layer):
        change()
        twin.set_weights([value.detach().numpy() for value in made.parameters()])
        np.testing.assert_array_equal(made(x).detach().numpy(), twin(x.numpy()), err_msg=change.__name__)


def test_two_modules_of_one_layer():
    one = module(built())
    other = cyrnn.torch.module(one.to_cyrnn())
    x = normal(3, 4, 2, dtype=torch.float32)
    before = one(x)
    with torch.no_grad():
        other.get_parameter("cell/bias").add_(1)
    assert not torch.equal(other(x), before) and torch.equal(one(x), before)


def test_weights_that_are_not_trained_are_buffers():
    model = cyrnn.Sequential([cyrnn.Input((4, 2)), layers.SimpleRNN(3, return_sequences=True), layers.SimpleRNN(2)])
    model.layers[0].trainable = False
    made, x = cyrnn.torch.module(model), normal(3, 4, 2, dtype=torch.float32)
    assert [name for name, _ in made.named_buffers()] == [f"simple_rnn/cell/{name}" for name in RNN_WEIGHTS]
    assert [name for name, _ in made.named_parameters()] == [f"simple_rnn_1/cell/{name}" for name in RNN_WEIGHTS]
    before = made(x)
    before.sum().backward()
    assert all(parameter.grad.any() for parameter in made.parameters())
    made.get_buffer("simple_rnn/cell/bias").add_(1)
    assert not torch.equal(made(x), before)


def test_layers_that_are_frozen_and_thawed_later():
    model = cyrnn.Sequential([cyrnn.Input((4, 2)), layers.SimpleRNN(3, return_sequences=True), layers.SimpleRNN(2)])
    made, x = cyrnn.torch.module(model), normal(3, 4, 2, dtype=torch.float32)
    made(x).sum().backward()
    for frozen in (True, False):
        made.zero_grad()
        model.layers[0].trainable = not frozen
        made(x).sum().backward()
        assert [parameter.grad is None for parameter in made.parameters()] == [frozen] * 3 + [False] * 3


@pytest.mark.parametrize("graded", [False, True])
def test_moving_averages_of_training_are_in_buffers(graded):
    layer = layers.BatchNormalization()
    layer.build((None, 2))
    made, x = cyrnn.torch.module(layer), normal(30, 2, dtype=torch.float32) + 5
    names = [name for name, _ in made.named_buffers()]
    assert names == ["moving_mean", "moving_variance"]
    with torch.set_grad_enabled(graded):
        made(x)
    torch.testing.assert_close(made.get_buffer("moving_mean"), 0.01 * x.mean(dim=0))
    before = made.get_buffer("moving_mean").clone()
    with torch.no_grad():
        made.eval()(x)
    assert torch.equal(made.get_buffer("moving_mean"), before)


def test_training_is_that_of_the_module():
    made = module(built(dropout=0.5, seed=1))
    x = normal(3, 4, 2, dtype=torch.float32)
    made.eval()
    assert torch.equal(made(x), made(x))
    np.testing.assert_array_equal(made(x).detach().numpy(), made.to_cyrnn()(x.numpy()))
    made.train()
    assert not torch.equal(made(x), made(x))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_have_a_layer_of_their_own(way):
    made, x = module(built()), normal(3, 4, 2, dtype=torch.float32)
    twin, before = way(made), made(x)
    with torch.no_grad():
        made.get_parameter("cell/bias").add_(1)
    assert torch.equal(twin(x), before) and not torch.equal(made(x), before) and torch.equal(twin(x), before)


def test_parametrizations():
    made, x = module(built()), normal(3, 4, 2, dtype=torch.float32)
    expected = made(x)
    torch.nn.utils.parametrizations.weight_norm(made, "cell/kernel")
    torch.testing.assert_close(made(x), expected)
    made(x).sum().backward()
    assert len(list(made.parameters())) == 4 and all(parameter.grad.any() for parameter in made.parameters())


# ---------------------------------------------------------------- other tensors, and what is refused


def test_numbers_of_sixteen_bits_from_autocast():
    before = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(before, module(built()), torch.nn.Linear(5, 1))
    with torch.autocast("cpu", torch.bfloat16):
        model(normal(3, 4, 2, dtype=torch.float32)).sum().backward()
    assert before.weight.grad.any()


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16"])
def test_layers_of_sixteen_bits_compute(policy):
    made = cyrnn.torch.module(built(dtype=policy))
    x = normal(3, 4, 2, dtype=torch.float32)
    with torch.no_grad():
        y = made.eval()(x)
    assert y.dtype == getattr(torch, policy.removeprefix("mixed_"))
    np.testing.assert_array_equal(y.float().numpy(), made.to_cyrnn()(x.numpy()).astype("f4"))


def test_compiled_by_torch():
    made, x = module(built()), normal(3, 4, 2, dtype=torch.float32)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), made)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    compiled(x).sum().backward()
    with torch.no_grad():
        made.get_parameter("cell/bias").add_(1)
    torch.testing.assert_close(compiled(x), model(x))


def test_devices_other_than_the_cpu_are_refused():
    made, x = module(built()), normal(3, 4, 2, dtype=torch.float32)
    with pytest.raises(ValueError, match="x must be on the CPU, where cyrnn computes, got device 'meta'"):
        made(x.to("meta"))
    with pytest.raises(ValueError, match="initial_state must be on the CPU"):
        made(x, initial_state=torch.zeros(3, 5, device="meta"))
    with pytest.raises(ValueError, match="mask must be on the CPU"):
        made(x, mask=torch.ones(3, 4, device="meta"))
    with pytest.raises(ValueError, match="weight 'cell/kernel' must be on the CPU"):
        made.to("meta")(x)


def test_what_cannot_be_a_module_or_an_input_is_refused():
    with pytest.raises(ValueError, match="layer 'mine' is not built, so it has no weights yet: call it or build"):
        cyrnn.torch.module(layers.SimpleRNN(4, name="mine"))
    with pytest.raises(TypeError, match="layer must be a layer or model of cyrnn, got Linear"):
        cyrnn.torch.module(torch.nn.Linear(2, 2))
    made, x = module(built(name="mine")), normal(3, 4, 2, dtype=torch.float32)
    with pytest.raises(TypeError, match="x must be a tensor of torch, got ndarray"):
        made(x.numpy())
    with pytest.raises(TypeError, match="x must be a tensor that NumPy can view"):
        made(x.to_sparse())
    with pytest.raises(TypeError, match="must be a tensor that NumPy can view, not one of torch.func"):
        torch.func.grad(lambda x: made(x).sum())(x)
    with pytest.raises(ValueError, match="must have 2 features"):
        made(x[..., :1])
    with pytest.raises(ValueError, match="weight 'cell/kernel' of layer 'mine' must be of torch.float32, got"):
        made.double()(x)


def test_a_layer_without_gradients_is_named():
    layer = Methods(name="mine")
    layer.build((None, 2))
    with pytest.raises(ValueError, match="layer 'mine' has no gradients"):
        cyrnn.torch.module(layer)(normal(3, 2, dtype=torch.float32))
