"""A training loop over results that are given, and a model that only follows the protocol of callbacks.

The order of calls is that of Keras' `fit`. `keras.callbacks` can be driven by it as well as `cyrnn.callbacks`.
"""

import json
from pathlib import Path

import numpy as np


class FakeOptimizer:
    def __init__(self, learning_rate=0.1, use_ema=False):
        self._learning_rate = np.float32(learning_rate)
        self.use_ema, self.iterations, self.averages, self.schedule = use_ema, 0, None, None

    @property
    def learning_rate(self):
        return float(self._learning_rate)

    @learning_rate.setter
    def learning_rate(self, value):
        self._learning_rate = np.float32(value)

    def get_config(self):
        return {"learning_rate": self.learning_rate if self.schedule is None else {"class_name": self.schedule}}

    def finalize_variable_values(self, model):
        if self.averages is not None:
            model.set_weights(self.averages)


class FakeModel:
    """Its only weight is the number of its steps; the average lags by a half."""

    built = True
    metrics = ()

    def __init__(self, learning_rate=0.1, use_ema=False, **directions):
        self.stop_training, self.history = False, None
        self.optimizer = FakeOptimizer(learning_rate, use_ema)
        self.metric_directions = directions
        self.weights = [np.zeros(1, "float32")]
        self.saved = []

    def step(self):
        self.weights[0] += 1  # in place, as a training loop in compiled code may do it
        self.optimizer.iterations += 1
        self.optimizer.averages = [self.weights[0] - 0.5]

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = [np.array(weight) for weight in weights]

    def save(self, filepath, overwrite=True):
        self.saved.append(filepath)
        Path(filepath).write_text(json.dumps([float(self.weights[0][0]), self.optimizer.iterations]))

    save_weights = save

    def load_weights(self, filepath):
        weight, self.optimizer.iterations = json.loads(Path(filepath).read_text())
        self.set_weights([[weight]])


def train(callbacks, model, results, batches=2, batch_results=None, initial_epoch=0, validates=False):
    """Run an epoch for each of `results`, which are what it ends with; the number of epochs that were run.

    `batch_results` has the results of all steps, one after the other; by default each is ``{"loss": 1.0}``.
    """
    steps = iter(batch_results or ())
    model.stop_training, logs = False, {}
    callbacks.on_train_begin()
    start = getattr(callbacks, "initial_epoch", None)
    start = initial_epoch if start is None else start
    done = 0
    for epoch in range(start, len(results)):
        callbacks.on_epoch_begin(epoch)
        for batch in range(batches):
            callbacks.on_train_batch_begin(batch)
            model.step()
            callbacks.on_train_batch_end(batch, next(steps, {"loss": 1.0}))
            if model.stop_training:
                break
        logs = dict(results[epoch])
        if validates:
            callbacks.on_test_begin()
            callbacks.on_test_batch_begin(0)
            callbacks.on_test_batch_end(0, {"loss": 1.0})
            callbacks.on_test_end({"loss": 1.0})
        callbacks.on_epoch_end(epoch, logs)
        done += 1
        if model.stop_training:
            break
    if model.optimizer.use_ema:
        model.optimizer.finalize_variable_values(model)
    callbacks.on_train_end(logs)
    return done
