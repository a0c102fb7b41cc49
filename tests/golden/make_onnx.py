"""Write onnx/*.onnx and onnx.npz: modules of torch as its exporter writes them, and what they give.

    pip install torch onnx
    python tests/golden/make_onnx.py

onnx.npz holds for each file the input `<name>.x`, as torch takes it, and the outputs `<name>.0`, `<name>.1`, ...
`tests/test_from_onnx.py` reads what is written here, and needs no torch.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 2, 3


class Last(nn.Module):
    """What stands behind many an RNN: a Linear of the last timestep."""

    def __init__(self, kind: type[nn.Module] = nn.RNN, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, UNITS, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(UNITS * (1 + bidirectional), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Tagger(nn.Module):
    """Indices to probabilities at each timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, FEATURES)
        self.norm = nn.LayerNorm(FEATURES)
        self.rnn = nn.RNN(FEATURES, UNITS, num_layers=2, nonlinearity="relu", batch_first=True, dropout=0.3)
        self.head = nn.Sequential(nn.Linear(UNITS, 4), nn.Dropout(0.2), nn.ELU(), nn.Linear(4, 2), nn.Softmax(-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.norm(self.embedding(x)))[0])


class FinalStates(nn.Module):
    """The final states of both directions beside each other; those called c, where there are some."""

    def __init__(self, kind: type[nn.Module] = nn.RNN) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, UNITS, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.rnn(x)[1]
        state = states[1] if isinstance(states, tuple) else states
        return torch.tanh(torch.cat([state[0], state[1]], dim=-1))


MODULES = {
    "last": (Last(), True),
    "last_of_both": (Last(bidirectional=True), True),
    "tagger": (Tagger(), True),
    "final_states": (FinalStates(), False),
    "stack_time_first": (nn.RNN(FEATURES, UNITS, num_layers=2, bidirectional=True, nonlinearity="relu"), False),
    "plain_without_bias": (nn.RNN(FEATURES, UNITS, bias=False, batch_first=True), True),
    "lstm_last_of_both": (Last(nn.LSTM, bidirectional=True), True),
    "lstm_final_states": (FinalStates(nn.LSTM), False),
    "lstm_stack": (nn.LSTM(FEATURES, UNITS, num_layers=2, batch_first=True), True),
    "gru_last": (Last(nn.GRU), True),
    "gru_stack_without_bias": (nn.GRU(FEATURES, UNITS, num_layers=2, bias=False, bidirectional=True), False),
}


def main() -> None:
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    (HERE / "onnx").mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name, (module, batch_first) in MODULES.items():
        module.eval()
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.8, 0.8)
        shape = (BATCH, TIMESTEPS) if batch_first else (TIMESTEPS, BATCH)
        x = torch.randint(0, 7, shape) if name == "tagger" else torch.randn(*shape, FEATURES)
        dynamic = {} if name == "plain_without_bias" else {"x": {0: "first", 1: "second"}}
        path = HERE / "onnx" / f"{name}.onnx"
        torch.onnx.export(module, (x,), path, input_names=["x"], dynamic_axes=dynamic, opset_version=17, dynamo=False)
        with torch.no_grad():
            outputs = module(x)
        arrays[f"{name}.x"] = x.numpy()
        y, *states = outputs if isinstance(outputs, tuple) else (outputs,)
        for number, output in enumerate([y, *(states[0] if states and isinstance(states[0], tuple) else states)]):
            arrays[f"{name}.{number}"] = output.numpy()
    np.savez_compressed(HERE / "onnx.npz", **arrays)


if __name__ == "__main__":
    main()
