"""Writes ``trained.keras`` and ``trained.json``: a model that Keras has trained, and its weights after more steps.

    KERAS_BACKEND=tensorflow python tests/golden/make_training.py        needs Keras 3.15 and TensorFlow

The members of the archive are those that Keras writes, compressed: most of them is empty space.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
ROWS, BEFORE, AFTER = 4, 3, 3


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of a step: the same anywhere."""
    x = np.sin(np.arange(ROWS * 3 * 2) * (number + 1) * 0.7).reshape(ROWS, 3, 2)
    return x.astype("float32"), np.cos(np.arange(ROWS) * (number + 2) * 0.9).reshape(ROWS, 1).astype("float32")


def main() -> None:
    import keras
    import tensorflow

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.SimpleRNN(2), keras.layers.Dense(1)])
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 5, 0.01)
    options = {"amsgrad": True, "weight_decay": 0.01, "clipnorm": 0.5, "use_ema": True, "ema_overwrite_frequency": 4}
    metrics = ["mae", keras.metrics.RootMeanSquaredError(name="root")]
    model.compile(keras.optimizers.Adam(schedule, **options), keras.losses.Huber(), metrics=metrics)
    for number in range(BEFORE):
        model.train_on_batch(*batch(number))
    path = FOLDER / "trained.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    logs = [model.train_on_batch(*batch(BEFORE + number), return_dict=True) for number in range(AFTER)]
    found = {
        "versions": f"keras {keras.__version__}, tensorflow {tensorflow.__version__}",
        "logs": logs,
        "weights": [weight.tolist() for weight in model.get_weights()],
        "variables": [[v.path, v.dtype, v.numpy().tolist()] for v in model.optimizer.variables],
    }
    (FOLDER / "trained.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
