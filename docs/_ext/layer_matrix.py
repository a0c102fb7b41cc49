"""Write the table of "Which layer goes where" from the code: each layer is tried when the site is built."""

import inspect
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sphinx.application import Sphinx
from sphinx.util import logging

import cyrnn
from cyrnn import layers

X = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
TEXTS = np.array([["a b"], ["b"]])
TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 3, 2, 1, 1, 1]])

# How layers are made that need arguments; the others are made with none.
MADE = {
    "SimpleRNNCell": lambda: layers.RNN(layers.SimpleRNNCell(3)),
    "LSTMCell": lambda: layers.RNN(layers.LSTMCell(3)),
    "GRUCell": lambda: layers.RNN(layers.GRUCell(3)),
    "StackedRNNCells": lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)])),
    "RNN": lambda: layers.RNN([layers.SimpleRNNCell(3), layers.GRUCell(2)]),
    "SimpleRNN": lambda: layers.SimpleRNN(3),
    "LSTM": lambda: layers.LSTM(3),
    "GRU": lambda: layers.GRU(3),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(3)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "Wrapper": None,
    "Layer": None,
    "InputLayer": None,
    "Embedding": lambda: layers.Embedding(5, 3, mask_zero=True),
    "Dense": lambda: layers.Dense(3),
    "Activation": lambda: layers.Activation("tanh"),
    "Dropout": lambda: layers.Dropout(0.5),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.5),
    "GaussianDropout": lambda: layers.GaussianDropout(0.5),
    "GaussianNoise": lambda: layers.GaussianNoise(0.5),
    "AlphaDropout": lambda: layers.AlphaDropout(0.5),
    "Normalization": lambda: layers.Normalization(mean=0.5, variance=2.0),
    "Rescaling": lambda: layers.Rescaling(0.5),
    "Reshape": lambda: layers.Reshape((3, 8)),
    "Permute": lambda: layers.Permute((2, 1)),
    "RepeatVector": lambda: layers.RepeatVector(3),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "Dot": lambda: layers.Dot(axes=2),
    "Conv1D": lambda: layers.Conv1D(3, 2),
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 3),
    "TextVectorization": lambda: layers.TextVectorization(vocabulary=["a", "b"]),
    "StringLookup": lambda: layers.StringLookup(vocabulary=["a", "b"]),
    "IntegerLookup": lambda: layers.IntegerLookup(vocabulary=[1, 2]),
    "Hashing": lambda: layers.Hashing(num_bins=5),
    "CategoryEncoding": lambda: layers.CategoryEncoding(num_tokens=5),
    "Discretization": lambda: layers.Discretization(bin_boundaries=[0.0]),
}
OF_TOKENS = {"Embedding", "IntegerLookup", "CategoryEncoding"}
OF_TEXTS = {"TextVectorization", "StringLookup", "Hashing"}
OF_VECTORS = {"RepeatVector"}  # these take (batch, features)
OF_TWO = {"MultiHeadAttention"}  # these take two arguments
OF_SEVERAL = {
    "Concatenate",
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Dot",
    "Attention",
    "AdditiveAttention",
}


def model_of(name: str, make: Callable[[], Any]) -> tuple[cyrnn.Model, np.ndarray]:
    """A model of this layer and, if it returns sequences, a GRU over them; and an input for it."""
    made, array = make(), X
    x = cyrnn.Input((6, 4))
    if name in OF_TOKENS:
        x, array = cyrnn.Input((6,), dtype="int32"), TOKENS
    elif name in OF_TEXTS:
        x, array = cyrnn.Input((1,), dtype="string"), TEXTS
    elif name in OF_VECTORS:
        x, array = cyrnn.Input((4,)), X[:, 0]
    if name in OF_TWO:
        y = made(x, layers.Rescaling(2.0)(x))
    else:
        y = made([x, layers.Rescaling(2.0)(x)]) if name in OF_SEVERAL else made(x)
    return cyrnn.Model(x, layers.GRU(3)(y) if len(y.shape) == 3 else y), array


def through_file(model: cyrnn.Model, x: np.ndarray, end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{end}"
        model.save(path)
        np.testing.assert_array_equal(cyrnn.saving.load_model(path)(x), model(x))


def to_onnx(model: cyrnn.Model, x: np.ndarray, path: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        masked = any(isinstance(layer, layers.Embedding | layers.Masking) for layer in model.layers)
        masks = {"masks": "right-padded"} if masked else {}
        cyrnn.saving.export_onnx(model, path or Path(folder) / "model.onnx", **masks)


def from_onnx(model: cyrnn.Model, x: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, x, path)
        cyrnn.saving.from_onnx(path)


def as_c(model: cyrnn.Model, x: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cyrnn.saving.export_c(model, Path(folder) / "model.c")


def gradients(model: cyrnn.Model, x: np.ndarray) -> None:
    y, pullback = model.vjp(x)
    pullback(np.ones_like(y))


COLUMNS = {
    "`.keras`": lambda model, x: through_file(model, x, ".keras"),
    "`.h5`": lambda model, x: through_file(model, x, ".h5"),
    "to ONNX": to_onnx,
    "from ONNX": from_onnx,
    "C": as_c,
    "stepper": lambda model, x: model.stepper(),
    "gradients": gradients,
}


def works(attempt: Callable[..., Any], model: cyrnn.Model, x: np.ndarray) -> bool:
    try:
        attempt(model, x)
    except (ValueError, TypeError, NotImplementedError):
        return False
    return True


def table() -> str:
    """The rows, of each layer in `cyrnn.layers` under its first name. Raises TypeError for one that needs arguments."""
    rows = [["layer", *COLUMNS], ["---", *[":-:"] * len(COLUMNS)]]
    seen = set()
    for name in layers.__all__:
        kind = getattr(layers, name)
        if not inspect.isclass(kind) or kind in seen:
            continue
        seen.add(kind)
        make = MADE.get(name, kind)
        if make is None:  # a base class, or no layer to call
            continue
        try:
            model, x = model_of(name, make)
        except (TypeError, ValueError) as error:
            raise TypeError(f"say in MADE, in docs/_ext/layer_matrix.py, how a {name} is made: {error}") from error
        rows.append([f"`{name}`", *("yes" if works(attempt, model, x) else "-" for attempt in COLUMNS.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def write(app: Sphinx) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = table()
    target = Path(app.srcdir) / "_generated" / "layers.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    logging.getLogger(__name__).info("layers: %d rows", text.count("\n") - 2)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
