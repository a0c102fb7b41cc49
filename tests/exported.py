"""Layers exported to C, compiled, and called from here; and models to export."""

import ctypes
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import (
    RNN,
    Activation,
    Dense,
    Dropout,
    Input,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)
from cyrnn.saving import export_c

CC = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
CXX = next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]
C99 = ["-std=c99", *STRICT, "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Wstrict-prototypes", "-Wcast-qual"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}
DIGITS = Path(str(resources.files("cyrnn") / "data"))

needs_compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler here")


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=100, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


TYPES = {"float": "f4", "double": "f8", "int32_t": "i4", "unsigned char": "u1"}


class Network:
    """The functions of an exported file, compiled into a library; arrays in, arrays out.

    A step takes an array for each input. It returns the output, or a tuple of several.
    """

    def __init__(self, folder, layer, name="net", flags=()):
        self.name, self.path = name, folder / f"{name}.c"
        if isinstance(layer, str):
            self.path.write_text(layer)
        else:
            export_c(layer, self.path, name=name)
        self.text = self.path.read_text()
        library = folder / f"{name}.so"
        run(CC, *C99, *flags, "-fPIC", "-shared", "-o", library, self.path, "-lm")
        self.compiled = ctypes.CDLL(os.fspath(library))
        self.dtype = np.dtype("float64" if "double *output" in self.text else "float32")
        parameters = re.search(rf"^void {name}_step\({name}_state \*state, (.*)\);$", self.text, re.M)[1].split(", ")
        inputs = [text for text in parameters if text.startswith("const ")]
        self.inputs = [self.port(text, "FEATURES") for text in inputs]
        self.outputs = [self.port(text, "UNITS") for text in parameters if text not in inputs]
        self.features, self.units = self.inputs[0][1], self.outputs[0][1]
        struct = self.text[self.text.index("typedef struct {") : self.text.index(f"}} {name}_state;")]
        members = re.findall(r"^    (.+) (\w+)\[(\d+)\];", struct, re.M)
        fields = [(member, TYPES[kind], int(size)) for kind, member, size in members]
        self.state = np.full(np.dtype(fields, align=True).itemsize, 0xFF, "u1").view(np.dtype(fields, align=True))
        self.init()

    def port(self, text, size):
        kind, name = re.fullmatch(r"(?:const )?(.*) \*\w+?(\d*)", text).groups()
        return np.dtype(TYPES[kind]), self.number(f"{size}_{name}" if name else size)

    def number(self, what):
        return int(re.search(rf"^#define {self.name.upper()}_{what} (\d+)$", self.text, re.M)[1])

    def call(self, function, *arguments):
        given = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        getattr(self.compiled, f"{self.name}_{function}")(*given)

    def init(self):
        self.call("init", self.state)

    def step(self, *x):
        outputs = self.empty()
        self.call("step", self.state, *self.taken(x), *outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def forward(self, *x):
        outputs = self.empty(len(x[0]))
        self.call("forward", self.state, *self.taken(x), ctypes.c_size_t(len(x[0])), *outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def output(self):
        outputs = self.empty()
        self.call("output", self.state, *outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def taken(self, x):
        return [np.ascontiguousarray(array, dtype) for array, (dtype, _) in zip(x, self.inputs, strict=True)]

    def empty(self, *timesteps):
        return [np.empty((*timesteps, size), dtype) for dtype, size in self.outputs]


def sequence(network, timesteps=9, seed=1):
    return np.random.default_rng(seed).standard_normal((timesteps, network.features)).astype(network.dtype)


def ends(layer, x):
    """What the layer returns for each beginning of the sequence x (timesteps, features)."""
    outputs = []
    for t in range(len(x)):
        output = layer(x[None, : t + 1])
        output = output[0] if isinstance(output, tuple) else output
        outputs.append(output[0, -1] if output.ndim == 3 else output[0])
    return np.stack(outputs)


def with_weights(layer, features, seed=0, batch=None):
    """The layer built, with all weights drawn anew: no bias is zero."""
    layer.build((batch, None, features))
    rng = np.random.default_rng(seed)
    scale = [1 / len(w) ** 0.5 if w.ndim == 2 else 0.3 for w in layer.weights]
    layer.set_weights([rng.standard_normal(w.shape) * s for w, s in zip(layer.weights, scale, strict=True)])
    return layer


MODELS = {
    "RNN of a cell": lambda d: RNN(SimpleRNNCell(4, "relu", dtype=d), return_state=True, dtype=d),
    "a cell": lambda d: SimpleRNNCell(4, dtype=d),
    "a stack": lambda d: RNN(
        [SimpleRNNCell(7, "softsign", dtype=d), SimpleRNNCell(33, use_bias=False, dtype=d), SimpleRNNCell(2, dtype=d)],
        dtype=d,
    ),
    "a stack alone": lambda d: StackedRNNCells([SimpleRNNCell(3, dtype=d), SimpleRNNCell(6, dtype=d)], dtype=d),
    "a stack in a stack": lambda d: RNN(
        StackedRNNCells(
            [StackedRNNCells([SimpleRNNCell(3, dtype=d)], dtype=d), SimpleRNNCell(5, "softmax", dtype=d)], dtype=d
        ),
        dtype=d,
    ),
    "a classifier": lambda d: cyrnn.Sequential(
        [
            Input((None, 5)),
            SimpleRNN(33, return_sequences=True, dtype=d),
            Dropout(0.4, dtype=d),
            SimpleRNN(7, dtype=d),
            Dense(20, "relu", dtype=d),
            Dropout(0.5, dtype=d),
            Dense(4, use_bias=False, dtype=d),
            Activation("softmax", dtype=d),
        ]
    ),
    "a tagger": lambda d: cyrnn.Sequential(
        [
            Input((None, 5)),
            Activation("tanh", dtype=d),
            Dense(9, "gelu", dtype=d),
            TimeDistributed(Dense(6, dtype=d), dtype=d),
            RNN([SimpleRNNCell(8, dtype=d), SimpleRNNCell(5, dtype=d)], return_sequences=True, dtype=d),
            TimeDistributed(Dropout(0.1, dtype=d), dtype=d),
            TimeDistributed(Dense(3, "sigmoid", dtype=d), dtype=d),
            TimeDistributed(Activation("log_softmax", dtype=d), dtype=d),
        ]
    ),
    "activations behind a layer": lambda d: cyrnn.Sequential(
        [
            SimpleRNN(6, return_sequences=True, dtype=d),
            Activation("softplus", dtype=d),
            SimpleRNN(5, "linear", return_sequences=True, dtype=d),
            Activation("linear", dtype=d),
            Activation("sparsemax", dtype=d),
            Activation("mish", dtype=d),
        ]
    ),
    "a model in a model": lambda d: cyrnn.Sequential(
        [cyrnn.Sequential([SimpleRNN(6, return_sequences=True, dtype=d)]), SimpleRNN(2, dtype=d), Dropout(0.1, dtype=d)]
    ),
}
