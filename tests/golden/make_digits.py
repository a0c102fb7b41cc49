"""Trains the demo's model with real Keras and writes `cyrnn/data/digits.keras` and `cyrnn/data/digits.npz`.

    pip install keras tensorflow-cpu scikit-learn
    python tests/golden/make_digits.py

An 8x8 image of a handwritten digit is a sequence of 8 timesteps (its rows, from the top) with 8 features
(the row's pixels, 0 to 16, divided by 16). Two SimpleRNN layers read it, a Dense layer names it.

**The split.** Neighbouring images come from the same person, so the *last* 360 are held out: nearly all of
them from people whose hand the model has never seen. A shuffled split would put every hand on both sides, and
score about 99 % without any of the warping below. With it, three seeds of this recipe scored 96.1, 96.4 and
96.9 % on the held-out images.

The same seed and versions should give the same weights on one machine; another CPU rounds differently and may
end elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import sklearn
import tensorflow as tf
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits

DATA = Path(__file__).resolve().parents[2] / "cyrnn" / "data"
SEED = 1998
HELD_OUT = 360
WARPS = 9  # warped copies of each training image
EPOCHS = 15
BATCH = 64


def build_model() -> keras.Sequential:
    """(batch, 8 rows, 8 pixels) -> (batch, 10 probabilities)."""
    keras.utils.clear_session()  # so that the names in the file carry no counters of an earlier model
    return keras.Sequential(
        [
            keras.layers.Input((8, 8)),
            keras.layers.SimpleRNN(64, return_sequences=True),
            keras.layers.SimpleRNN(64),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def warp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image as another hand might write it: turned, slanted, stretched and moved a little."""
    angle, slant = rng.normal(0.0, 0.12, 2)
    height, width = rng.normal(1.0, 0.07, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[height, slant], [0.0, width]])
    centre = np.array([3.5, 3.5])
    return affine_transform(image, matrix, centre - matrix @ centre + rng.normal(0.0, 0.4, 2), order=1)


def train(x: np.ndarray, y: np.ndarray) -> keras.Sequential:
    """A model fitted to `x` (n, 8, 8) and `y` (n,), without its optimizer: the file holds weights only."""
    rng = np.random.default_rng(SEED)
    warped = [warp(image, rng) for _ in range(WARPS) for image in x]
    many_x = np.concatenate([x, np.array(warped, np.float32)])
    many_y = keras.utils.to_categorical(np.tile(y, WARPS + 1), 10)

    steps = EPOCHS * -(-len(many_x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    learner = build_model()
    learner.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    )
    learner.fit(many_x, many_y, batch_size=BATCH, epochs=EPOCHS, verbose=2)

    model = build_model()
    model.set_weights(learner.get_weights())
    return model


def main() -> None:
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    digits = load_digits()
    pixels, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    x = pixels.astype(np.float32) / np.float32(16)

    DATA.mkdir(parents=True, exist_ok=True)
    train(x[:-HELD_OUT], labels[:-HELD_OUT]).save(DATA / "digits.keras")

    model = keras.saving.load_model(DATA / "digits.keras")  # the outputs are those of the file, not of memory
    outputs = model.predict(x[-HELD_OUT:], verbose=0)
    np.savez_compressed(
        DATA / "digits.npz",
        x=pixels[-HELD_OUT:],
        y=labels[-HELD_OUT:],
        x_train=pixels[:-HELD_OUT],
        y_train=labels[:-HELD_OUT],
        keras_outputs=outputs,
        versions=np.array(
            f"keras {keras.__version__}, tensorflow {tf.__version__}, scikit-learn {sklearn.__version__}"
        ),
    )

    seen = model.predict(x[:-HELD_OUT], verbose=0).argmax(axis=-1)
    print(f"training set: {np.mean(seen == labels[:-HELD_OUT]):.2%} of {len(x) - HELD_OUT}")
    print(f"held out:     {np.mean(outputs.argmax(axis=-1) == labels[-HELD_OUT:]):.2%} of {HELD_OUT}")
    for name in ("digits.keras", "digits.npz"):
        print(f"{name}: {(DATA / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
