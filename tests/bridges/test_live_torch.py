"""Modules that torch has in memory, as layers: outputs, states, and what is refused."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")

from helpers import run_python  # noqa: E402

import cyrnn  # noqa: E402
from cyrnn.saving import from_torch  # noqa: E402

nn = torch.nn


class First(nn.Module):
    """What people write between a recurrent module and the next one."""

    def __init__(self, of_last_timestep=False):
        super().__init__()
        self.of_last_timestep = of_last_timestep

    def forward(self, results):
        return results[0][:, -1] if self.of_last_timestep else results[0]


def run(module, *arguments):
    with torch.no_grad():
        return module.eval()(*arguments)


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=2e-6)


def flat(states):
    """torch's states as Keras has them: for each layer and direction h, and for an LSTM c after it."""
    parts = states if isinstance(states, tuple) else (states,)
    return [part[index] for index in range(len(parts[0])) for part in parts]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_outputs_and_final_states(kind, num_layers, bidirectional):
    torch.manual_seed(0)
    module = getattr(nn, kind)(
        3, 4, num_layers, batch_first=True, bidirectional=bidirectional, dropout=0.3 * (num_layers > 1)
    )
    x = torch.randn(2, 5, 3)
    expected, after = run(module, x)
    same(from_torch(module)(x), expected)
    output, *states = from_torch(module, return_state=True)(x)
    same(output, expected)
    found = cyrnn.layers.base.nest.flatten(states)
    assert len(found) == len(flat(after))
    for ours, theirs in zip(found, flat(after), strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_initial_states_and_steps(kind, num_layers):
    torch.manual_seed(0)
    module, x = getattr(nn, kind)(3, 4, num_layers, batch_first=True), torch.randn(2, 5, 3)
    parts = [torch.randn(num_layers, 2, 4) for _ in range(2 if kind == "LSTM" else 1)]
    begin = tuple(parts) if kind == "LSTM" else parts[0]
    expected, _ = run(module, x, begin)
    rnn = from_torch(module, return_state=True)
    same(rnn(x, initial_state=flat(begin))[0], expected)
    stepper = rnn.stepper(2, initial_state=flat(begin))
    same(np.stack([stepper.step(x[:, t]) for t in range(5)], axis=1), expected)


def test_the_nonlinearity_is_that_of_the_module():
    torch.manual_seed(0)
    module, cell = nn.RNN(3, 4, nonlinearity="relu", batch_first=True), nn.RNNCell(3, 4, nonlinearity="relu")
    x = torch.randn(2, 5, 3)
    same(from_torch(module)(x), run(module, x)[0])
    same(from_torch(cell)(x[:, 0], [np.zeros((2, 4), "f")])[0], run(cell, x[:, 0]))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cells(kind):
    torch.manual_seed(0)
    module, x = getattr(nn, f"{kind}Cell")(3, 4), torch.randn(2, 3)
    cell = from_torch(module)
    expected = run(module, x)
    same(cell(x, cell.get_initial_state(2))[0], expected[0] if kind == "LSTM" else expected)


@pytest.mark.parametrize("of_last_timestep", [False, True])
def test_a_sequential_with_what_is_usual_around(of_last_timestep):
    torch.manual_seed(0)
    embedding, lstm, gru, fc = (
        nn.Embedding(9, 6),
        nn.LSTM(6, 5, batch_first=True),
        nn.GRU(5, 4, 2, batch_first=True),
        nn.Linear(4, 3),
    )
    head = nn.Sequential(nn.LayerNorm(4), nn.LeakyReLU(0.2), nn.Dropout(0.5), fc, nn.Identity(), nn.LogSoftmax(dim=-1))
    tokens = torch.randint(0, 9, (4, 7))
    expected = run(nn.Sequential(embedding, lstm, First(), gru, First(of_last_timestep), head), tokens)
    model = from_torch(nn.Sequential(embedding, lstm, gru, head), return_sequences=not of_last_timestep)
    same(model.predict(tokens.numpy()), expected)
    assert type(model) is cyrnn.Sequential


ACTIVATIONS = "ReLU ReLU6 Tanh Sigmoid LogSigmoid SiLU Mish SELU CELU Softplus Softsign Hardtanh Hardsigmoid Hardswish "
ACTIVATIONS += "Tanhshrink Softshrink Hardshrink GELU LeakyReLU ELU"


@pytest.mark.parametrize("name", ACTIVATIONS.split())
def test_activations(name):
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(3, 40), getattr(nn, name)()), 3 * torch.randn(20, 3)
    same(from_torch(module)(x), run(module, x))


def test_linear_layers_alone_and_float64():
    torch.manual_seed(0)
    module, x = (
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.Softmax(dim=1), nn.Linear(4, 2)).double(),
        torch.randn(5, 3).double(),
    )
    ours = from_torch(module)(x)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, run(module, x).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("module", "options", "error", "words"),
    [
        (
            lambda: nn.Sequential(nn.LSTM(3, 4), First()),
            {},
            ValueError,
            "'1' cannot be read.*First, a class of your own",
        ),
        (lambda: First(), {}, TypeError, "source must be a recurrent module.*First, a class of your own"),
        (lambda: nn.Linear(3, 4), {}, TypeError, "got a Linear, for which"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.Conv1d(3, 4, 3)), {}, ValueError, "module '1'.*Conv1d"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU("tanh")), {}, ValueError, "module '1'.*approximate"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softplus(2)), {}, ValueError, "'1' must have beta=1.0, got 2"),
        (lambda: nn.Sequential(nn.LSTM(3, 4), nn.Softmax(dim=1)), {}, ValueError, "module '1' must have dim=-1"),
        (lambda: nn.Sequential(nn.ReLU()), {}, ValueError, "modules with weights"),
        (lambda: nn.Sequential(nn.LSTM(3, 4)), {"return_state": True}, ValueError, "return_state=True is for"),
        (lambda: nn.LSTM(3, 4), {"prefix": "rnn."}, ValueError, "prefix is for weights.*'rnn.'"),
        (lambda: nn.RNN(3, 4), {"nonlinearity": "relu"}, ValueError, "nonlinearity is for weights"),
        (lambda: nn.LSTM(3, 4, proj_size=2), {}, ValueError, "proj_size"),
    ],
)
def test_what_cannot_be_read_says_why(module, options, error, words):
    with pytest.raises(error, match=words):
        from_torch(module(), **options)


def test_cyrnn_imports_no_torch():
    code = "import sys, numpy as np, cyrnn; from cyrnn.saving import from_torch\n"
    code += (
        "from_torch({'weight_ih_l0': np.ones((4, 3)), 'weight_hh_l0': np.ones((4, 4))})\nprint('torch' in sys.modules)"
    )
    assert run_python(code).stdout == "False\n"
    assert "torch" in sys.modules
