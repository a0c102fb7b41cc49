"""torch: `nn.RNN`, `nn.LSTM` and `nn.GRU`, batch first; eager, or traced and frozen (form "traced").

Gradients are those of autograd.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


def hold(threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return {"torch": torch.__version__}


CLASSES = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}
ORDER = {"SimpleRNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}  # of the gates, in torch; and the other way round


def _ordered(layer: str, array: torch.Tensor) -> torch.Tensor:
    """Gates in torch's order, from Keras', and the other way round."""
    gates = array.chunk(len(ORDER[layer]), dim=-1)
    return torch.cat([gates[number] for number in ORDER[layer]], dim=-1)


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
        rnn = CLASSES[part.layer](len(weights[0]), len(weights[1]), batch_first=True, bidirectional=both)
        for number, direction in enumerate(("", "_reverse")[: 1 + both]):
            kernel, recurrent_kernel, bias = (_ordered(part.layer, array) for array in weights[3 * number :][:3])
            of_inputs, of_states = bias if bias.ndim == 2 else (bias, torch.zeros_like(bias))
            getattr(rnn, f"weight_ih_l0{direction}").copy_(kernel.T)
            getattr(rnn, f"weight_hh_l0{direction}").copy_(recurrent_kernel.T)
            getattr(rnn, f"bias_ih_l0{direction}").copy_(of_inputs)
            getattr(rnn, f"bias_hh_l0{direction}").copy_(of_states)
        return rnn


def bind(case: Any, form: str) -> Callable[[], Any]:
    """A call without arguments, which returns the answer."""
    model: Any = Model(case.parts).eval()
    tensor = torch.from_numpy(case.x)
    if case.gradients:
        return _gradients(model.layers[0], case.parts[0].layer, tensor, torch.from_numpy(case.dy))
    if form == "traced":
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            model = torch.jit.freeze(torch.jit.trace(model, (tensor,)))

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model(tensor)

    return call


def _gradients(
    rnn: torch.nn.Module, layer: str, x: torch.Tensor, dy: torch.Tensor
) -> Callable[[], tuple[torch.Tensor, ...]]:
    weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, *([rnn.bias_hh_l0] if layer == "GRU" else [])]

    def call() -> tuple[torch.Tensor, ...]:
        outputs, _ = rnn(x)
        of_inputs, of_states, *of_biases = torch.autograd.grad(outputs, weights, dy)
        return tuple(_ordered(layer, found) for found in (of_inputs.T, of_states.T, *of_biases))

    return call


# ------------------------------------------------------------ training


class Trained(torch.nn.Module):
    """The model of a training. torch adds two biases where Keras has one: the second stays zero there."""

    def __init__(self, training: Any) -> None:
        super().__init__()
        *embedding, kernel, recurrent_kernel, bias, dense, dense_bias = map(torch.tensor, training.weights)  # copies
        self.layer = training.layer
        self.embedding = torch.nn.Embedding.from_pretrained(embedding[0], freeze=False) if embedding else None
        self.rnn = CLASSES[self.layer](len(kernel), len(recurrent_kernel), batch_first=True)
        self.dropout = torch.nn.Dropout(training.dropout)
        self.dense = torch.nn.Linear(*dense.shape)
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(self._ordered(kernel).T)
            self.rnn.weight_hh_l0.copy_(self._ordered(recurrent_kernel).T)
            self.rnn.bias_ih_l0.copy_(self._ordered(bias[0] if bias.ndim == 2 else bias))
            self.rnn.bias_hh_l0.copy_(self._ordered(bias[1]) if bias.ndim == 2 else torch.zeros(len(bias)))
            self.rnn.bias_hh_l0.requires_grad_(bias.ndim == 2)
            self.dense.weight.copy_(dense.T)
            self.dense.bias.copy_(dense_bias)

    def _ordered(self, array: torch.Tensor) -> torch.Tensor:
        return _ordered(self.layer, array)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = None
        if self.embedding is not None:
            x, lengths = self.embedding(x), (x != 0).sum(1)
        sequence, _ = self.rnn(x)
        last = sequence[:, -1] if lengths is None else sequence[torch.arange(len(x)), lengths - 1]
        return self.dense(self.dropout(last))

    def in_keras(self) -> tuple[torch.Tensor, ...]:
        """The weights as Keras orders them."""
        rnn = self.rnn
        bias, trained = rnn.bias_ih_l0, rnn.bias_hh_l0.requires_grad
        found = [
            self._ordered(rnn.weight_ih_l0.T),
            self._ordered(rnn.weight_hh_l0.T),
            self._ordered(torch.stack([bias, rnn.bias_hh_l0]) if trained else bias),
            self.dense.weight.T,
            self.dense.bias,
        ]
        return tuple(array.detach() for array in ([self.embedding.weight, *found] if self.embedding else found))


def fit(training: Any, form: str) -> Callable[[bool], tuple[torch.Tensor, ...]]:
    """A call that trains for an epoch in a plain loop, shuffled or not, and returns the weights."""
    model = Trained(training)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = training.optimizer == "adam"
    optimizer = torch.optim.Adam(trained, lr=1e-3, eps=1e-7) if adam else torch.optim.SGD(trained, lr=0.01)
    x, y = torch.from_numpy(training.x), torch.from_numpy(training.y)
    weights = torch.from_numpy(training.sample_weight) if training.of_tokens else None
    y = y if weights is None else y.long()

    def epoch(shuffle: bool) -> tuple[torch.Tensor, ...]:
        total, right = 0.0, 0
        for rows in (torch.randperm(len(x)) if shuffle else torch.arange(len(x))).split(training.batch):
            optimizer.zero_grad()
            p, target = model(x[rows]), y[rows]
            if weights is None:
                loss = torch.nn.functional.mse_loss(p, target)
            else:
                loss = (torch.nn.functional.cross_entropy(p, target, reduction="none") * weights[rows]).mean()
                right += (p.argmax(1) == target).sum().item()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)  # `fit` has loss and accuracy of the epoch
        return model.in_keras()

    return epoch
