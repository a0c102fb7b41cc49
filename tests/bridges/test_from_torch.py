"""`from_torch` against torch itself: each module, deep, in both directions, with biases or without."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")

import cyrnn  # noqa: E402
from cyrnn import cli, layers  # noqa: E402
from cyrnn.saving import from_torch  # noqa: E402
from cyrnn.saving.torch.models import export_torch  # noqa: E402


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_modules(kind, num_layers, bidirectional, bias, tmp_path):
    torch.manual_seed(0)
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias, "batch_first": True}
    module, x = getattr(torch.nn, kind)(3, 4, **options), torch.randn(2, 5, 3)
    expected = module(x)[0].detach().numpy()
    layer = from_torch(module.state_dict())
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-6)
    export_torch(layer, tmp_path / "back.torch.safetensors")
    again = getattr(torch.nn, kind)(3, 4, **options)
    again.load_state_dict(state_of(tmp_path / "back.torch.safetensors"))
    np.testing.assert_allclose(again(x)[0].detach(), expected, rtol=0, atol=1e-6)


def state_of(path):
    load_file = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install '.[test]'").load_file
    return {name: torch.from_numpy(array) for name, array in load_file(path).items()}


def test_a_model_of_several_modules(tmp_path):
    model = cyrnn.Sequential([
        cyrnn.Input((5,), dtype="int32"), layers.Embedding(9, 3, name="embedding"),
        layers.GRU(4, return_sequences=True, name="gru"), layers.Dropout(0.5),
        layers.GRU(4, name="second"), layers.Dense(2, name="head"),
    ])  # fmt: skip
    model.save(tmp_path / "model.keras")
    assert cli.main(["convert", str(tmp_path / "model.keras"), str(tmp_path / "m.torch.safetensors")]) == 0
    parts = {
        "embedding": torch.nn.Embedding(9, 3),
        "gru": torch.nn.GRU(3, 4, num_layers=2, batch_first=True),
        "head": torch.nn.Linear(4, 2),
    }
    state = state_of(tmp_path / "m.torch.safetensors")
    for name, part in parts.items():
        own = {key.partition(".")[2]: array for key, array in state.items() if key.startswith(name)}
        part.load_state_dict(own)
    tokens = np.random.default_rng(0).integers(0, 9, (3, 5))
    found = parts["head"](parts["gru"](parts["embedding"](torch.from_numpy(tokens)))[0][:, -1])
    np.testing.assert_allclose(found.detach(), model.predict(tokens), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_cells(kind, bias):
    torch.manual_seed(0)
    module, x = getattr(torch.nn, f"{kind}Cell")(3, 4, bias=bias), torch.randn(2, 3)
    states = [torch.randn(2, 4) for _ in range(2 if kind == "LSTM" else 1)]
    expected = module(x, tuple(states) if kind == "LSTM" else states[0])
    _, after = from_torch(module.state_dict())(x, states)
    for actual, wanted in zip(after, expected if kind == "LSTM" else [expected], strict=True):
        np.testing.assert_allclose(actual, wanted.detach().numpy(), rtol=0, atol=1e-6)


def test_projections_are_refused_by_name():
    with pytest.raises(ValueError, match="proj_size"):
        from_torch(torch.nn.LSTM(3, 4, proj_size=2).state_dict())
