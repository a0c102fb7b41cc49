"""What is timed: a layer alone and whole models, each as parts with weights, an input and the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .equations import recurrence, weight_shapes

VOCABULARY = 1000  # tokens of an embedding; 0 is padding
CLASSES = 10  # of a tagger
LAYERS = ("SimpleRNN", "LSTM", "GRU")  # alone; the first is that of the models
GRADIENTS = {f"{layer} and its gradients": layer for layer in LAYERS}  # forward and back: those of its weights

MODELS: dict[str, list[tuple[str, dict[str, Any]]]] = {  # by name: kinds and options of their parts
    **{name: [("recurrent", {"whole": True, "layer": name})] for name in LAYERS},
    **{name: [("recurrent", {"whole": True, "layer": layer})] for name, layer in GRADIENTS.items()},
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
    layer: str = LAYERS[0]  # of a recurrent part

    @property
    def units(self) -> int:
        """The elements of an output, of one direction if there are two."""
        return len(self.weights[1]) if self.kind == "recurrent" else self.weights[-1].shape[-1]

    def in_keras(self, layers: Any) -> Any:
        """The part as a layer of Keras, or of cyrnn, whose names are the same."""
        if self.kind == "embedding":
            return layers.Embedding(VOCABULARY, self.units, mask_zero=self.mask_zero)
        if self.kind == "dense":
            return layers.Dense(self.units, activation="softmax" if self.softmax else None)
        if self.kind == "bidirectional":
            return layers.Bidirectional(layers.SimpleRNN(self.units, return_sequences=True))
        return getattr(layers, self.layer)(self.units, return_sequences=self.whole)


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
        if self.model in LAYERS or self.gradients:
            (model,) = layers
            model.build(self.x.shape)
        else:
            model = keras.Sequential([keras.layers.Input(self.x.shape[1:], dtype=self.x.dtype.name), *layers])
        model.set_weights([array for part in self.parts for array in part.weights])
        return model

    @property
    def gradients(self) -> bool:
        """Whether the answer is gradients."""
        return self.model in GRADIENTS

    @property
    def dy(self) -> np.ndarray:
        """The gradient of the outputs (batch, timesteps, units), of a size with which the answer is about 1."""
        batch, timesteps, _, units = self.shape
        rng = np.random.default_rng(batch + timesteps + units)
        return (rng.normal(0.0, 1.0, (batch, timesteps, units)) / (batch * timesteps) ** 0.5).astype(np.float32)

    def expected(self) -> np.ndarray:
        """The answer, in float64."""
        if self.gradients:
            weights = [array.astype(np.float64) for array in self.parts[0].weights]
            pullback = _recurrence(self.parts[0].layer, self.x, weights)[1]
            return np.concatenate([array.ravel() for array in pullback(self.dy)[1:]])
        answer, mask = self.x, None
        for part in self.parts:
            weights = [array.astype(np.float64) for array in part.weights]
            if part.kind == "embedding":
                mask = answer != 0 if part.mask_zero else None
                answer = weights[0][answer]
            elif part.kind == "recurrent":
                answer, _ = _recurrence(part.layer, answer, weights, mask)
                answer = answer if part.whole else answer[:, -1]
            elif part.kind == "bidirectional":
                forward, _ = _recurrence(part.layer, answer, weights[:3])
                backward, _ = _recurrence(part.layer, answer[:, ::-1], weights[3:])
                answer = np.concatenate([forward, backward[:, ::-1]], axis=-1)
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
        layer = options.get("layer", LAYERS[0])
        case.parts.append(Part(kind, _weights(rng, kind, width, outputs, layer), **options))
        if kind != "embedding":  # whose outputs are the features
            width = 2 * outputs if kind == "bidirectional" else outputs
    return case


def _weights(rng: np.random.Generator, kind: str, inputs: int, outputs: int, layer: str) -> list[np.ndarray]:
    """Weights of a part with so many inputs and outputs, of a size with which no activation is saturated."""

    def normal(scale: float, *shape: int) -> np.ndarray:
        return rng.normal(0.0, scale, shape).astype(np.float32)

    if kind == "embedding":
        return [normal(1.0, VOCABULARY, inputs)]
    if kind == "dense":
        return [normal(inputs**-0.5, inputs, outputs), normal(0.1, outputs)]
    directions = 2 if kind == "bidirectional" else 1
    return [normal(*shape) for shape in weight_shapes(layer, inputs, outputs) * directions]


def _recurrence(layer: str, x: np.ndarray, weights: list[np.ndarray], mask: np.ndarray | None = None) -> Any:
    """See `recurrence`."""
    return recurrence(layer, x, np.ones(x.shape[:2], bool) if mask is None else mask, *weights)
