"""torch: `nn.RNN`, batch first; eager, or traced and frozen (form "traced"). Gradients are those of autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


def hold(threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return {"torch": torch.__version__}


class Model(torch.nn.Module):
    """The parts of a case, one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        super().__init__()
        self.parts = parts
        self.layers = torch.nn.ModuleList(_layer(part) for part in parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = None
        for part, layer in zip(self.parts, self.layers, strict=True):
            if part.mask_zero:
                lengths = (x != 0).sum(1)
            if part.kind in ("recurrent", "bidirectional"):
                x, last = layer(x)
                if part.kind == "recurrent" and not part.whole:
                    x = last[0] if lengths is None else x[torch.arange(len(x)), lengths - 1]
            else:
                x = layer(x)
                x = torch.softmax(x, -1) if part.softmax else x
        return x


def _layer(part: Any) -> torch.nn.Module:
    weights = [torch.from_numpy(array) for array in part.weights]
    if part.kind == "embedding":
        return torch.nn.Embedding.from_pretrained(weights[0])
    with torch.no_grad():
        if part.kind == "dense":
            dense = torch.nn.Linear(*weights[0].shape)
            dense.weight.copy_(weights[0].T)
            dense.bias.copy_(weights[1])
            return dense
        both = part.kind == "bidirectional"
        rnn = torch.nn.RNN(len(weights[0]), part.units, nonlinearity="tanh", batch_first=True, bidirectional=both)
        for number, direction in enumerate(("", "_reverse")[: 1 + both]):
            kernel, recurrent_kernel, bias = weights[3 * number :][:3]
            getattr(rnn, f"weight_ih_l0{direction}").copy_(kernel.T)
            getattr(rnn, f"weight_hh_l0{direction}").copy_(recurrent_kernel.T)
            getattr(rnn, f"bias_ih_l0{direction}").copy_(bias)
            getattr(rnn, f"bias_hh_l0{direction}").zero_()
        return rnn


def bind(case: Any, form: str) -> Callable[[], Any]:
    """A call without arguments, which returns the answer."""
    model: Any = Model(case.parts).eval()
    tensor = torch.from_numpy(case.x)
    if case.gradients:
        return _gradients(model.layers[0], tensor, torch.from_numpy(case.dy))
    if form == "traced":
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            model = torch.jit.freeze(torch.jit.trace(model, (tensor,)))

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model(tensor)

    return call


def _gradients(rnn: torch.nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], tuple[torch.Tensor, ...]]:
    weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0]

    def call() -> tuple[torch.Tensor, ...]:
        outputs, _ = rnn(x)
        of_inputs, of_states, of_bias = torch.autograd.grad(outputs, weights, dy)
        return of_inputs.T, of_states.T, of_bias

    return call
