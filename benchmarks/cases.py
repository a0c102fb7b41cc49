"""What is timed: the bare layer and whole models, each as a list of parts with weights, an input and the right answer.

Child processes load this file by its path, so that they can import nothing else from the checkout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VOCABULARY = 1000  # tokens of an embedding; 0 is padding
CLASSES = 10  # of a tagger
LAYER = "SimpleRNN"  # alone
GRADIENTS = "SimpleRNN and its gradients"  # forward and back: the answer is the gradients of its weights

MODELS: dict[str, list[tuple[str, dict[str, bool]]]] = {  # by name: kinds and options of their parts
    LAYER: [("recurrent", {"whole": True})],
    GRADIENTS: [("recurrent", {"whole": True})],
    "SimpleRNN, Dense": [("recurrent", {}), ("dense", {})],
    "Embedding with mask, SimpleRNN, Dense": [("embedding", {"mask_zero": True}), ("recurrent", {}), ("dense", {})],
    "SimpleRNN, SimpleRNN, Dense": [("recurrent", {"whole": True}), ("recurrent", {}), ("dense", {})],
    "Embedding, Bidirectional, softmax": [("embedding", {}), ("bidirectional", {}), ("dense", {"softmax": True})],
}


@dataclass
class Part:
    """A layer of a case, with its weights in Keras' order."""

    kind: str  # "embedding", "recurrent", "bidirectional" (which returns the whole sequence) or "dense"
    weights: list[np.ndarray]
    whole: bool = False  # of a recurrent part: whether it returns the whole sequence
    mask_zero: bool = False  # of an embedding: whether the parts after it skip timesteps with token 0
    softmax: bool = False  # of a dense part

    @property
    def units(self) -> int:
        """The elements of an output, of one direction if there are two."""
        return self.weights[-1].shape[-1]

    def in_keras(self, layers: Any) -> Any:
        """The part as a layer of Keras, or of cyrnn, whose names are the same."""
        if self.kind == "embedding":
            return layers.Embedding(VOCABULARY, self.units, mask_zero=self.mask_zero)
        if self.kind == "dense":
            return layers.Dense(self.units, activation="softmax" if self.softmax else None)
        if self.kind == "bidirectional":
            return layers.Bidirectional(layers.SimpleRNN(self.units, return_sequences=True))
        return layers.SimpleRNN(self.units, return_sequences=self.whole)


@dataclass
class Case:
    """A model with an input. They depend only on name and shape, so all contenders get the same numbers."""

    model: str
    shape: tuple[int, ...]  # batch, timesteps, features, units
    x: (
        np.ndarray
    )  # (batch, timesteps, features) float32; or tokens (batch, timesteps) int64, padded with 0 on the right
    parts: list[Part] = field(default_factory=list)

    def in_keras(self, keras: Any) -> Any:
        """The layer, or a Sequential, of Keras or of cyrnn, with the weights."""
        layers = [part.in_keras(keras.layers) for part in self.parts]
        if self.model in (LAYER, GRADIENTS):
            (model,) = layers
            model.build(self.x.shape)
        else:
            model = keras.Sequential([keras.layers.Input(self.x.shape[1:], dtype=self.x.dtype.name), *layers])
        model.set_weights([array for part in self.parts for array in part.weights])
        return model

    @property
    def gradients(self) -> bool:
        """Whether the answer is gradients."""
        return self.model == GRADIENTS

    @property
    def dy(self) -> np.ndarray:
        """The gradient of the outputs (batch, timesteps, units), of a size with which the answer is about 1."""
        batch, timesteps, _, units = self.shape
        rng = np.random.default_rng(batch + timesteps + units)
        return (rng.normal(0.0, 1.0, (batch, timesteps, units)) / (batch * timesteps) ** 0.5).astype(np.float32)

    def expected(self) -> np.ndarray:
        """The answer, in float64."""
        if self.gradients:
            return _gradients(self.x, [array.astype(np.float64) for array in self.parts[0].weights], self.dy)
        answer, mask = self.x, None
        for part in self.parts:
            weights = [array.astype(np.float64) for array in part.weights]
            if part.kind == "embedding":
                mask = answer != 0 if part.mask_zero else None
                answer = weights[0][answer]
            elif part.kind == "recurrent":
                answer = _recurrence(answer, weights, mask)
                answer = answer if part.whole else answer[:, -1]
            elif part.kind == "bidirectional":
                backward = _recurrence(answer[:, ::-1], weights[3:], None)[:, ::-1]
                answer = np.concatenate([_recurrence(answer, weights[:3], None), backward], axis=-1)
            else:
                answer = answer @ weights[0] + weights[1]
                if part.softmax:
                    answer = np.exp(answer) / np.exp(answer).sum(axis=-1, keepdims=True)
        return answer


def make_case(model: str, shape: Sequence[int]) -> Case:
    batch, timesteps, width, units = shape
    rng = np.random.default_rng(shape)
    if MODELS[model][0][0] == "embedding":
        lengths = rng.integers((timesteps + 1) // 2, timesteps, (batch, 1), endpoint=True)
        x = rng.integers(1, VOCABULARY, (batch, timesteps)) * (np.arange(timesteps) < lengths)
    else:
        x = rng.normal(0.0, 1.0, (batch, timesteps, width)).astype(np.float32)
    case = Case(model, tuple(shape), x)
    for kind, options in MODELS[model]:
        outputs = units if kind != "dense" else CLASSES if options else 1
        case.parts.append(Part(kind, _weights(rng, kind, width, outputs), **options))
        if kind != "embedding":  # whose outputs are the features
            width = 2 * outputs if kind == "bidirectional" else outputs
    return case


def _weights(rng: np.random.Generator, kind: str, inputs: int, outputs: int) -> list[np.ndarray]:
    """Weights of a part with so many inputs and outputs, of a size with which no activation is saturated."""

    def normal(scale: float, *shape: int) -> np.ndarray:
        return rng.normal(0.0, scale, shape).astype(np.float32)

    if kind == "embedding":
        return [normal(1.0, VOCABULARY, inputs)]
    if kind == "dense":
        return [normal(inputs**-0.5, inputs, outputs), normal(0.1, outputs)]
    directions = 2 if kind == "bidirectional" else 1
    shapes = [(inputs**-0.5, inputs, outputs), (0.7 * outputs**-0.5, outputs, outputs), (0.1, outputs)] * directions
    return [normal(scale, *shape) for scale, *shape in shapes]


def _recurrence(x: np.ndarray, weights: list[np.ndarray], mask: np.ndarray | None) -> np.ndarray:
    """The whole sequence (batch, timesteps, units), from x (batch, timesteps, features)."""
    kernel, recurrent_kernel, bias = weights
    answer = x @ kernel + bias
    state = np.zeros_like(answer[:, 0])
    for t in range(x.shape[1]):
        # (batch, units) = (batch, units) + (batch, units) @ (units, units)
        new = np.tanh(answer[:, t] + state @ recurrent_kernel)
        state = new if mask is None else np.where(mask[:, t, None], new, state)
        answer[:, t] = state
    return answer


def _gradients(x: np.ndarray, weights: list[np.ndarray], dy: np.ndarray) -> np.ndarray:
    """Those of the kernel, the recurrent kernel and the bias, one after the other, flat."""
    _, recurrent_kernel, _ = weights
    states = _recurrence(x, weights, None)
    found = [np.zeros_like(array) for array in weights]
    d_state = np.zeros_like(states[:, 0])
    for t in reversed(range(x.shape[1])):
        d_sums = (dy[:, t] + d_state) * (1 - states[:, t] ** 2)
        before = states[:, t - 1] if t else np.zeros_like(states[:, 0])
        for total, part in zip(found, (x[:, t].T @ d_sums, before.T @ d_sums, d_sums.sum(axis=0)), strict=True):
            total += part
        d_state = d_sums @ recurrent_kernel.T
    return np.concatenate([array.ravel() for array in found])
