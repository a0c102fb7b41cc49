"""Random torch modules: an RNN, LSTM or GRU, and a chain of what people write after one."""

import io
import warnings

import numpy as np
import torch
from torch import nn


class Chain(nn.Module):
    """The chain is drawn while the module runs for the first time, when the shapes are known, and is kept."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.batch, self.timesteps = self.one_of(1, 2, 3, 5), self.one_of(1, 2, 4, 6)
        features, self.units = self.one_of(1, 2, 3), self.one_of(1, 2, 3, 4)
        self.batch_first = bool(self.rng.random() < 0.8)
        options = {"bidirectional": bool(self.rng.random() < 0.4), "num_layers": self.one_of(1, 1, 2)}
        kind = self.one_of(nn.RNN, nn.LSTM, nn.GRU)
        options |= {"batch_first": self.batch_first}
        options |= {"nonlinearity": self.one_of("tanh", "relu")} if kind is nn.RNN else {}
        self.rnn = kind(features, self.units, **options)
        for parameter in self.rnn.parameters():
            nn.init.uniform_(parameter, -0.8, 0.8)
        self.x = torch.randn(self.with_batch(self.batch, (self.timesteps, features)))
        self.length, self.steps, self.parts, self.own = 1 + seed % 6, [], nn.ModuleList(), []
        self.weights = nn.ParameterList()
        with torch.no_grad():
            self.drawing = True
            self(self.x)
            self.drawing = False

    def with_batch(self, batch, shape):
        return (batch, *shape) if self.batch_first else (shape[0], batch, *shape[1:])

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def forward(self, x):
        y, states = self.rnn(x)
        h, c = states if isinstance(states, tuple) else (states, states)
        last = torch.cat([h[0], c[-1]], -1)
        pool = [y, last, h.transpose(0, 1), h[-1], y] if self.batch_first else [y, y.transpose(0, 1), last, h[-1]]
        if self.drawing:
            for _ in range(self.length):
                source = len(pool) - 1 if self.rng.random() < 0.5 else int(self.rng.integers(len(pool)))
                kind = self.one_of(*(name for name in dir(self) if name.startswith("do_")))
                before = len(self.parts), len(self.weights)
                try:
                    step = getattr(self, kind)(pool[source])
                    found = step(pool[source])
                except (RuntimeError, IndexError, ValueError):
                    self.parts, self.weights = self.parts[: before[0]], self.weights[: before[1]]
                    continue
                if found.ndim and found.ndim < 6 and 0 < found.numel() < 4000:
                    self.steps.append((source, kind, step))
                    pool.append(found)
        else:
            for source, _, step in self.steps:
                pool.append(step(pool[source]))
        return pool[-1]

    # ------------------------------------------------------------ what chains are made of

    def axis(self, x, batch=0.1):
        """An axis; seldom that of the batch, as far as it is in its place."""
        axes = list(range(x.ndim)) if self.rng.random() < batch else list(range(1, x.ndim))
        axis = self.one_of(*(axes or [0]))
        return axis - x.ndim if self.rng.random() < 0.4 else axis

    def parameter(self, *shape):
        self.weights.append(nn.Parameter(torch.rand(*shape) + 0.3))
        number = len(self.weights) - 1
        return lambda: self.weights[number]

    def do_transpose(self, x):
        a, b = self.axis(x), self.axis(x)
        return lambda x: x.transpose(a, b)

    def do_permute(self, x):
        order = (
            [0, *(1 + self.rng.permutation(x.ndim - 1))] if self.rng.random() < 0.9 else self.rng.permutation(x.ndim)
        )
        order = [int(n) for n in order]
        return lambda x: x.permute(*order)

    def do_batch_first(self, x):
        return lambda x: x.transpose(0, 1)

    def do_unsqueeze(self, x):
        axis = int(self.rng.integers(1, x.ndim + 1)) - (x.ndim + 1) * int(self.rng.integers(2))
        return lambda x: x.unsqueeze(axis)

    def do_squeeze(self, x):
        axes = [axis for axis, n in enumerate(x.shape) if n == 1 and axis]
        if self.rng.random() < 0.1:
            return lambda x: x.squeeze()
        axis = self.one_of(*axes) if axes else 1
        return lambda x: x.squeeze(axis)

    def do_flatten(self, x):
        start = int(self.rng.integers(self.rng.random() > 0.1, x.ndim))
        return lambda x: x.flatten(start)

    def do_reshape(self, x):
        shape = list(x.shape)
        form = self.one_of("rows", "batch", "pairs", "split")
        if form == "rows":
            return lambda x: x.reshape(-1, shape[-1])
        if form == "batch":
            return lambda x: x.reshape(x.size(0), -1)
        if form == "pairs":
            place = int(self.rng.integers(1, x.ndim))
            return lambda x: x.reshape(*x.shape[:place], -1)
        return lambda x: x.reshape(*x.shape[:-1], shape[-1] // 2, 2)

    def do_last(self, x):
        return lambda x: x[:, -1]

    def do_select(self, x):
        axis, place = self.axis(x), self.one_of(0, -1, 0)
        return lambda x: x.select(axis, place)

    def do_narrow(self, x):
        axis = self.axis(x)
        length = int(self.rng.integers(1, x.shape[axis] + 1))
        start = int(self.rng.integers(x.shape[axis] - length + 1))
        return lambda x: x.narrow(axis, start, length)

    def do_slice(self, x):
        key = self.one_of(slice(1, None), slice(None, -1), slice(None, None, 2), slice(-2, None), slice(0, 2))
        return lambda x: x[:, key]

    def do_flip(self, x):
        axis = self.axis(x)
        return lambda x: x.flip(axis)

    def do_cat(self, x):
        axis, twice = self.axis(x), self.one_of(True, False)
        return lambda x: torch.cat([x, torch.tanh(x), x] if twice else [x, x], axis)

    def do_stack(self, x):
        axis = int(self.rng.integers(0 if self.rng.random() < 0.2 else 1, x.ndim + 1))
        return lambda x: torch.stack([x, x * 2], axis)

    def do_stack_of_steps(self, x):
        layer = self.linear(x)
        count = x.shape[1]
        return lambda x: torch.stack([layer(x[:, t]) for t in range(count)], 1)

    def do_chunk(self, x):
        axis, place = self.axis(x), self.one_of(0, -1)
        return lambda x: x.chunk(2, axis)[place]

    def do_split(self, x):
        axis, size = self.axis(x), self.one_of(1, 2)
        return lambda x: torch.cat(x.split(size, axis)[::-1], axis)

    def do_reduce(self, x):
        name, axis, keep = self.one_of("mean", "sum", "amax", "amin"), self.axis(x), self.one_of(True, False)
        return lambda x: getattr(x, name)(axis, keepdim=keep)

    def do_max(self, x):
        axis, keep = self.axis(x), self.one_of(True, False)
        return lambda x: x.max(axis, keepdim=keep).values

    def do_arithmetic(self, x):
        shape = [n if self.rng.random() < 0.5 and place else 1 for place, n in enumerate(x.shape)]
        shape = shape[int(self.rng.integers(x.ndim)) :]
        weight, form = self.parameter(*shape), int(self.rng.integers(5))
        return lambda x: [x + weight(), x * weight(), x - weight(), weight() - x, x / weight()][form]

    def do_residual(self, x):
        form = int(self.rng.integers(3))
        axis = self.axis(x)
        return lambda x: [x + torch.tanh(x), x * torch.softmax(x, axis), x - x.mean(axis, keepdim=True)][form]

    def linear(self, x):
        self.parts.append(nn.Linear(x.shape[-1], self.one_of(1, 2, 3), bool(self.rng.integers(2))))
        return self.parts[-1]

    def do_linear(self, x):
        return self.linear(x)

    def do_batch_norm(self, x):
        norm = nn.BatchNorm1d(x.shape[1])
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 1.5)
        self.parts.append(norm.eval())
        return norm

    def do_layer_norm(self, x):
        self.parts.append(nn.LayerNorm(x.shape[-1]))
        return self.parts[-1]

    def do_activation(self, x):
        names = (
            "tanh",
            "relu",
            "sigmoid",
            "softplus",
            "softsign",
            "elu",
            "leaky_relu",
            "silu",
            "hardtanh",
            "logsigmoid",
            "gelu",
        )
        return getattr(nn.functional, self.one_of(*names))

    def do_softmax(self, x):
        axis, log = self.axis(x), self.rng.random() < 0.3
        return lambda x: (torch.log_softmax if log else torch.softmax)(x, axis)

    def do_clamp(self, x):
        return lambda x: x.clamp(-0.3, 0.4)


def exported(seed):
    """Of a chain: the bytes of the file that torch writes, an input, what torch returns, and whether it is batch first.

    The opset, and the axes of the input that may have any length, depend on the seed too.
    """
    chain, rng = Chain(seed).eval(), np.random.default_rng(seed)
    opset, names = int(rng.choice([11, 13, 17, 18])), [(), ("batch",), ("batch", "timesteps")][rng.integers(3)]
    places = dict(zip(("batch", "timesteps"), (0, 1) if chain.batch_first else (1, 0), strict=True))
    axes = {"x": {places[name]: name for name in names}} if names else {}
    options = {"dynamo": False, "do_constant_folding": bool(rng.random() < 0.9)}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(chain, (chain.x,), file, input_names=["x"], dynamic_axes=axes, opset_version=opset, **options)
    with torch.no_grad():
        return file.getvalue(), chain.x.numpy(), chain(chain.x).numpy(), chain.batch_first
