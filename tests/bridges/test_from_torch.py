"""`from_torch` against torch itself: each module, deep, in both directions, with biases or without."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")

from cyrnn.saving import from_torch  # noqa: E402


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_modules(kind, num_layers, bidirectional, bias):
    torch.manual_seed(0)
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias, "batch_first": True}
    module, x = getattr(torch.nn, kind)(3, 4, **options), torch.randn(2, 5, 3)
    expected = module(x)[0].detach().numpy()
    np.testing.assert_allclose(from_torch(module.state_dict())(x), expected, rtol=0, atol=1e-6)


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
