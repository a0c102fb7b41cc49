"""The digits of the demo, and the recipe by which a model learns them, in cyrnn or in Keras."""

from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from cyrnn.layers.base.arguments import Array

CLASSES = 10
COPIES = 9  # of each image, as other hands might write it
EPOCHS = 12
BATCH = 64
RATE = 8e-3  # at the begin; 0 at the end


class Digits(NamedTuple):
    """Images and what they show.

    Parameters
    ----------
    x : array (samples, 8, 8) of float32
        Pixels from 0 to 1. The rows, from the top, are timesteps.
    labels : array (samples,)
        From 0 to 9.
    """

    x: Array
    labels: Array


def held_out() -> tuple[Digits, Array]:
    """Digits that no model has learned from, and the probabilities that Keras has for them with digits.keras."""
    arrays = _stored("x", "y", "keras_outputs")
    return Digits(_scaled(arrays["x"]), arrays["y"]), arrays["keras_outputs"]


def to_learn_from() -> Digits:
    """Digits of other people than those that are held out."""
    arrays = _stored("x_train", "y_train")
    return Digits(_scaled(arrays["x_train"]), arrays["y_train"])


def _stored(*names: str) -> dict[str, Array]:
    path = resources.files("cyrnn") / "data" / "digits.npz"
    with resources.as_file(path) as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _scaled(pixels: Array) -> Array:
    return pixels.astype(np.float32) / np.float32(16)


# ---------------------------------------------------------------- the recipe


def fitted(keras: Any, images: Array, targets: Array, layer: str = "SimpleRNN", units: int = 64, **options: Any) -> Any:
    """A model (batch, 8 rows, 8 pixels) -> (batch, 10 probabilities) after its `fit`.

    Parameters
    ----------
    keras : module
        cyrnn or Keras, whose names are the same.
    images, targets : array
        See `data`.
    layer : str
        The class of the recurrent layers.
    units : int
    **options
        Other arguments of `fit`.
    """
    layers, recurrent = keras.layers, getattr(keras.layers, layer)
    model = keras.Sequential(
        [
            layers.Input((8, 8)),
            recurrent(units, return_sequences=True),
            recurrent(units),
            layers.Dropout(0.2),
            layers.Dense(CLASSES, activation="softmax"),
        ],
        name="digits",
    )
    rate = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-len(images) // BATCH))
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    model.fit(images, targets, batch_size=BATCH, epochs=EPOCHS, **options)
    return model


def warped(images: Array, rng: np.random.Generator) -> Array:
    """The images (n, 8, 8) as other hands might write them: turned, slanted, stretched and moved a little."""
    n = len(images)
    angle, slant = rng.normal(0.0, 0.12, (2, n, 1, 1))
    height, width = rng.normal(1.0, 0.07, (2, n, 1, 1))
    down, right = rng.normal(0.0, 0.4, (2, n, 1, 1))
    row, column = np.mgrid[:8, :8] - 3.5  # from the centre
    rows, columns = height * row + slant * column, width * column
    rows, columns = (
        np.cos(angle) * rows - np.sin(angle) * columns + down,
        np.sin(angle) * rows + np.cos(angle) * columns + right,
    )
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))  # beyond an image there is nothing
    # Each pixel is read between four others, those above and to the left at (i, j).
    rows, columns = np.clip(rows + 4.5, 0, 9), np.clip(columns + 4.5, 0, 9)
    i, j = np.minimum(rows.astype(int), 8), np.minimum(columns.astype(int), 8)
    below, beside, image = rows - i, columns - j, np.arange(n)[:, None, None]
    upper = framed[image, i, j] * (1 - beside) + framed[image, i, j + 1] * beside
    lower = framed[image, i + 1, j] * (1 - beside) + framed[image, i + 1, j + 1] * beside
    return (upper * (1 - below) + lower * below).astype(np.float32)


def data(digits: Digits, seed: int = 0) -> tuple[Array, Array]:
    """Images and targets (samples, 10) for `fit`: the digits, and warped copies of them."""
    copies = warped(np.tile(digits.x, (COPIES, 1, 1)), np.random.default_rng(seed))
    return np.concatenate([digits.x, copies]), one_hot(np.tile(digits.labels, COPIES + 1))


def one_hot(labels: Array) -> Array:
    """Targets (samples, 10)."""
    return np.eye(CLASSES, dtype=np.float32)[labels]
