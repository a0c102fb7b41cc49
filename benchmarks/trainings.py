"""What `fit` is timed with: small models with data, and the weights that one epoch leaves, in NumPy and float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .equations import recurrence, weight_shapes

RATE = 0.01  # of Keras' SGD
VOCABULARY, CLASSES, DROPOUT = 1000, 10, 0.3

OF_TOKENS = "fit, Embedding with mask, SimpleRNN, Dropout, softmax, accuracy, sample weights"
TRAININGS = {  # by name: the class of the recurrent layer
    "fit, SimpleRNN, Dense": "SimpleRNN",
    "fit, LSTM, Dense": "LSTM",
    "fit, GRU, Dense": "GRU",
    OF_TOKENS: "SimpleRNN",
}

Weights = tuple[np.ndarray, ...]


@dataclass
class Training:
    """A model and its data. They depend only on name and shape, so all contenders get the same numbers.

    Numbers go through a recurrent layer and a Dense layer with one unit, and the loss is the mean squared error. Tokens
    go through an Embedding, a recurrent layer that skips token 0, dropout, and a Dense layer with a softmax: with the
    crossentropy of labels as loss, a weight for each row, and accuracy as metric.
    """

    shape: tuple[int, ...]  # rows, timesteps, features, units
    layer: str  # "SimpleRNN", "LSTM" or "GRU"
    x: np.ndarray  # (rows, timesteps, features) float32; or tokens (rows, timesteps) int32, padded with 0 on the right
    y: np.ndarray  # (rows, 1) float32; of tokens labels (rows,) int32
    weights: list[np.ndarray]  # as Keras orders them
    dropout: float = 0.0
    sample_weight: np.ndarray | None = None  # (rows,) float32
    batch: int = 32
    optimizer: str = "adam"  # or "sgd"; with Keras' defaults

    def alike(self) -> Training:
        """The same without dropout and with SGD: all libraries compute the same then.

        torch's Adam has its epsilon elsewhere, and in that of Keras on TensorFlow gradients of an Embedding are squared
        before they are added up.
        """
        return replace(self, dropout=0.0, optimizer="sgd")

    @property
    def of_tokens(self) -> bool:
        return self.sample_weight is not None

    def in_keras(self, keras: Any) -> Callable[[bool], Weights]:
        """An epoch of `fit` in Keras, or in cyrnn, whose names are the same: of shuffled rows, or in their order."""
        layers, (_, _, features, units) = keras.layers, self.shape
        parts = [layers.Input(self.x.shape[1:], dtype=self.x.dtype.name), getattr(layers, self.layer)(units)]
        if self.of_tokens:
            parts.insert(1, layers.Embedding(VOCABULARY, features, mask_zero=True))
            parts += [layers.Dropout(self.dropout), layers.Dense(CLASSES, activation="softmax")]
        else:
            parts.append(layers.Dense(1))
        model = keras.Sequential(parts)
        model.set_weights(self.weights)
        if self.of_tokens:
            model.compile(self.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        else:
            model.compile(self.optimizer, "mse")

        def epoch(shuffle: bool) -> Weights:
            options = {"sample_weight": self.sample_weight, "shuffle": shuffle, "verbose": 0}
            model.fit(self.x, self.y, batch_size=self.batch, **options)
            return tuple(model.get_weights())

        return epoch

    def expected(self) -> np.ndarray:
        """All weights, flat, after an epoch of SGD without dropout and without shuffling, in float64."""
        weights = [array.astype(np.float64) for array in self.weights]
        for first in range(0, len(self.x), self.batch):
            gradients = self._gradients(weights, slice(first, first + self.batch))
            weights = [w - RATE * g for w, g in zip(weights, gradients, strict=True)]
        return np.concatenate([array.ravel() for array in weights])

    def _gradients(self, weights: list[np.ndarray], rows: slice) -> list[np.ndarray]:
        """Those of the loss of these rows, by all weights."""
        x, y = self.x[rows], self.y[rows]
        *embedding, kernel, recurrent_kernel, bias, dense, dense_bias = weights
        inputs = embedding[0][x] if embedding else x.astype(np.float64)
        live = x != 0 if embedding else np.ones(x.shape[:2], bool)
        outputs, pullback = recurrence(self.layer, inputs, live, kernel, recurrent_kernel, bias)
        output = outputs[:, -1]
        p = output @ dense + dense_bias
        if self.sample_weight is None:
            dp = 2 * (p - y) / len(x)
        else:
            p = np.exp(p - p.max(axis=1, keepdims=True))
            dp = p / p.sum(axis=1, keepdims=True)
            dp[np.arange(len(x)), y] -= 1
            dp *= self.sample_weight[rows, None] / len(x)
        d_outputs = np.zeros_like(outputs)
        d_outputs[:, -1] = dp @ dense.T
        d_inputs, *found = pullback(d_outputs)
        if embedding:
            of_tokens = np.zeros_like(embedding[0])
            np.add.at(of_tokens, x, d_inputs)
            found.insert(0, of_tokens)
        return [*found, output.T @ dp, dp.sum(axis=0)]


def make_training(name: str, shape: Sequence[int]) -> Training:
    rows, timesteps, features, units = shape
    rng = np.random.default_rng(shape)

    def normal(scale: float, *of_shape: int) -> np.ndarray:
        return rng.normal(0.0, scale, of_shape).astype(np.float32)

    recurrent = [normal(*shape) for shape in weight_shapes(TRAININGS[name], features, units)]
    if name != OF_TOKENS:
        weights = [*recurrent, normal(units**-0.5, units, 1), normal(0.1, 1)]
        return Training(
            tuple(shape), TRAININGS[name], normal(1.0, rows, timesteps, features), normal(1.0, rows, 1), weights
        )
    lengths = rng.integers((timesteps + 1) // 2, timesteps, (rows, 1), endpoint=True)
    x = rng.integers(1, VOCABULARY, (rows, timesteps)) * (np.arange(timesteps) < lengths)
    weights = [normal(0.5, VOCABULARY, features), *recurrent, normal(units**-0.5, units, CLASSES), normal(0.1, CLASSES)]
    labels, of_rows = rng.integers(0, CLASSES, rows).astype(np.int32), rng.uniform(0.5, 1.5, rows).astype(np.float32)
    return Training(tuple(shape), TRAININGS[name], x.astype(np.int32), labels, weights, DROPOUT, of_rows)
