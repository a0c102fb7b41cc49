"""The demo of training: a model learns handwritten digits, and is tried on the hands of other people."""

import time
from pathlib import Path
from typing import Any

import numpy as np

import cyrnn
from cyrnn.demo.digits import data, fitted, held_out, one_hot, to_learn_from
from cyrnn.demo.lines import accuracy_line, engine_line
from cyrnn.saving.pictures import check_picture, write_picture

# Seconds of `fit` in `python benchmarks/digits.py`, all in one run on one machine.
_STORED = {"cyrnn": 6.3, "TensorFlow": 48.3, "JAX": 45.0}
_STORED_WITH = "Keras 3.15.1, TensorFlow 2.21.0, JAX 0.10.2; AMD EPYC with AVX-512, two shared cores"
_SEED = 0
_AT_LEAST = 0.9  # of the held-out digits; with less it has not learned


def run_training(plot: Path | None = None) -> int:
    """Train a model, and print and draw how well it learns. Returns the exit code.

    Parameters
    ----------
    plot : Path, optional
        Where the training curve is drawn.

    Raises
    ------
    ImportError
        If a plot is wanted, and matplotlib is not installed.
    ValueError, OSError
        If the plot cannot be written. Then nothing has been trained.
    """
    if plot is not None:
        check_picture(plot)
    learned_from, (digits, _) = to_learn_from(), held_out()
    images, targets = data(learned_from, _SEED)
    cyrnn.utils.set_random_seed(_SEED)

    print("cyrnn demo: a model learns 8x8 handwritten digits, one row of pixels per timestep")
    print(f"  images                 {len(learned_from.x):,}, and {len(images) - len(learned_from.x):,} copies of them")
    start = time.perf_counter()
    model = fitted(cyrnn, images, targets, validation_data=(digits.x, one_hot(digits.labels)), verbose=1)
    seconds = time.perf_counter() - start

    correct = int((model.predict(digits.x).argmax(axis=1) == digits.labels).sum())
    print(f"  model                  {' -> '.join(type(layer).__name__ for layer in model.layers)}")
    print(accuracy_line(correct, len(digits.labels)))
    print(f"  time                   {seconds:.1f} seconds")
    of_keras = ", ".join(f"{_STORED[backend]:.1f} on {backend}" for backend in ("TensorFlow", "JAX"))
    print(f"  seconds of Keras       {of_keras}, where cyrnn takes {_STORED['cyrnn']:.1f}")
    print(f"                         ({_STORED_WITH})")
    print(engine_line())
    if plot is not None:
        _draw(model.history.history, plot)
        print(f"  plot                   {plot}")
    if correct < _AT_LEAST * len(digits.labels):
        print("FAILED: the model has not learned")
        return 1
    return 0


# ---------------------------------------------------------------- the plot


def _draw(history: dict[str, list[Any]], path: Path) -> None:
    """Draw losses and accuracies by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for panel, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        panel.plot(epochs, history[name], label="training, with dropout")
        panel.plot(epochs, history[f"val_{name}"], label="held-out digits")
        panel.set_xlabel("epoch")
        panel.set_ylabel(name)
        panel.legend()
    write_picture(figure, path)
