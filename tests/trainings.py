"""Trainings at random: models, losses, optimizers and data, made of a seed; the same for cyrnn and for Keras."""

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROWS, TIMESTEPS, FEATURES, TOKENS, CLASSES = 12, 5, 4, 9, 3
ACTIVATIONS = ["tanh", "tanh", "sigmoid", "softsign"]  # steady ones: others explode in some recurrences
PENALTIES = ["l1", "l2", "l1l2"]
CONSTRAINTS = ["max_norm", "non_neg", "unit_norm"]


@dataclass
class Training:
    """A compiled model, and what it is trained with."""

    model: Any
    x: Any
    y: Any
    weights: Any  # the sample weights, or None
    fit: dict[str, Any] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)  # what there is: "masked", "embedding", "stateful", ...


class Draw:
    """Draws of a seed: the same in each module."""

    def __init__(self, module: Any, seed: int) -> None:
        self.module, self.random, self.numbers = module, random.Random(seed), np.random.default_rng(seed)
        self.notes: set[str] = set()
        self.made: list[Any] = []  # the layers

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def one_of(self, choices: Any) -> Any:
        return self.random.choice(list(choices))

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        """A layer with a name that is the same in each module."""
        self.made.append(getattr(self.module.layers, kind)(*args, **options, name=f"made_{len(self.made)}"))
        return self.made[-1]

    # ------------------------------------------------------------ layers

    def options(self, *weights: str) -> dict[str, Any]:
        """Penalties and constraints of some weights."""
        found: dict[str, Any] = {}
        for weight in weights:
            penalty, constraint = self.one_of(PENALTIES), self.one_of(CONSTRAINTS)
            if self.maybe(0.15):
                found[f"{weight}_regularizer"] = penalty
            if self.maybe(0.15):
                found[f"{weight}_constraint"] = constraint
                self.notes.add("constrained")
        return found

    def rnn(self, sequences: bool) -> Any:
        layers = self.module.layers
        own = {
            "activation": self.one_of(ACTIVATIONS),
            "use_bias": self.maybe(0.8),
            **self.options("kernel", "recurrent", "bias"),
        }
        units = self.random.randint(1, 6)
        options = {"return_sequences": sequences, "go_backwards": self.maybe(0.2)}
        options["zero_output_for_mask"] = self.maybe(0.2)
        kind = self.one_of(["simple", "simple", "rnn", "stack", "bidirectional"])
        if kind == "simple":
            return self.layer("SimpleRNN", units, **own, **options)
        if kind == "rnn":
            return self.layer("RNN", layers.SimpleRNNCell(units, **own), **options)
        if kind == "stack":
            return self.layer("RNN", [layers.SimpleRNNCell(units, **own), layers.SimpleRNNCell(units + 1)], **options)
        merge = self.one_of(["concat", "sum", "mul", "ave"])
        return self.layer(
            "Bidirectional",
            layers.RNN(layers.SimpleRNNCell(units, **own), return_sequences=sequences),
            merge_mode=merge,
        )

    def between(self) -> Any:
        """A layer that keeps the timesteps."""
        layers = self.module.layers
        kind = self.one_of(["dense", "batch", "layer", "distributed", "dropout", "activity"])
        if kind == "dense":
            return self.layer(
                "Dense", self.random.randint(1, 5), self.one_of(ACTIVATIONS), **self.options("kernel", "bias")
            )
        if kind == "batch":
            return self.layer("BatchNormalization", momentum=0.7, **self.options("beta"))
        if kind == "layer":
            return self.layer("LayerNormalization")
        if kind == "distributed":
            return self.layer("TimeDistributed", layers.Dense(self.random.randint(1, 5)))
        if kind == "dropout":
            return self.layer("Dropout", 0.0)
        return self.layer("ActivityRegularization", l1=0.01, l2=0.02)

    # ------------------------------------------------------------ models

    def input(self) -> tuple[Any, Any, np.ndarray]:
        """A symbolic tensor, what layers take of it, and data for it."""
        kind = self.one_of(["numbers", "numbers", "masked", "tokens", "tokens masked"])
        lengths = self.numbers.integers(1, TIMESTEPS + 1, ROWS)
        padding = np.arange(TIMESTEPS) >= lengths[:, None]
        if kind in ("numbers", "masked"):
            inputs = self.module.Input((TIMESTEPS, FEATURES))
            x = self.numbers.standard_normal((ROWS, TIMESTEPS, FEATURES)).astype("float32")
            if kind == "numbers":
                return inputs, inputs, x
            self.notes.add("masked")
            x[padding] = 0
            return inputs, self.layer("Masking")(inputs), x
        self.notes.add("embedding")
        inputs = self.module.Input((TIMESTEPS,))
        x = self.numbers.integers(1, TOKENS, (ROWS, TIMESTEPS))
        if kind == "tokens masked":
            self.notes.add("masked")
            x[padding] = 0
        embedded = self.layer(
            "Embedding", TOKENS, FEATURES, mask_zero=kind == "tokens masked", **self.options("embeddings")
        )
        return inputs, embedded(inputs), x

    def head(self, hidden: Any, name: str, sequences: bool) -> tuple[Any, Any, np.ndarray]:
        """An output, a loss for it, and targets."""
        module, layers = self.module, self.module.layers
        shape = (ROWS, TIMESTEPS) if sequences else (ROWS,)
        kind = self.one_of(["numbers", "numbers", "labels", "one-hot", "binary", "logits", "positive"])
        units = 1 if kind in ("numbers", "binary") and self.maybe(0.5) else CLASSES
        labels = self.numbers.integers(0, CLASSES, shape)
        y: np.ndarray = self.numbers.standard_normal((*shape, units)).astype("float32")
        activation, losses = "linear", module.losses
        if kind == "numbers":
            loss = self.one_of([
                "mse", "mae", "mean_squared_error", losses.Huber(0.5), losses.LogCosh(),
                losses.MeanSquaredError(reduction="sum"), losses.MeanSquaredError(reduction="mean_with_sample_weight"),
                "cosine_similarity" if units > 1 else "mse",
            ])  # fmt: skip
        elif kind == "positive":
            activation, y = "sigmoid", np.abs(y) + np.float32(0.1)
            loss = self.one_of(["mape", "msle", "poisson", losses.KLDivergence()])
        elif kind == "labels":
            activation, y = "softmax", labels if self.maybe(0.5) else labels[..., None]
            loss = self.one_of(["sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy(), "ce"])
        elif kind == "one-hot":
            activation, y = "softmax", np.eye(CLASSES, dtype="float32")[labels]
            loss = self.one_of([
                "categorical_crossentropy", losses.CategoricalCrossentropy(label_smoothing=0.1), "categorical_hinge",
                "crossentropy",
            ])  # fmt: skip
        elif kind == "binary":
            activation, y = "sigmoid", (y > 0).astype("float32")
            loss = self.one_of(["binary_crossentropy", "hinge", losses.BinaryCrossentropy(label_smoothing=0.2), "mse"])
        else:
            y = labels
            loss = losses.SparseCategoricalCrossentropy(from_logits=True)
        self.kinds[name] = kind
        return layers.Dense(units, activation, name=name, **self.options("kernel", "bias"))(hidden), loss, y

    def metrics_for(self, name: str) -> list[Any]:
        kind, metrics = self.kinds[name], self.module.metrics
        if kind in ("labels", "logits"):
            known = ["accuracy", "sparse_categorical_accuracy", metrics.SparseTopKCategoricalAccuracy(2, name="top")]
        elif kind == "one-hot":
            known = ["acc", "categorical_accuracy", metrics.CategoricalCrossentropy(name="cce"), "mse"]
        elif kind == "binary":
            known = ["accuracy", "mae", metrics.BinaryAccuracy(threshold=0.4, name="at")]
        else:
            known = ["mae", "mse", metrics.MeanSquaredError(name="msq"), "MAE"]
        return self.random.sample(known, self.random.randint(0, 2))

    def optimizer(self) -> Any:
        optimizers = self.module.optimizers
        options: dict[str, Any] = {}
        if self.maybe(0.3) and "embedding" not in self.notes:  # of which TensorFlow clips each place of a token
            options[self.one_of(["clipnorm", "clipvalue", "global_clipnorm"])] = 0.3
        if self.maybe(0.2):
            options["weight_decay"] = 0.02
        if self.maybe(0.15) and "embedding" not in self.notes:  # whose gradients TensorFlow cannot divide
            options["loss_scale_factor"] = 16.0
        if self.maybe(0.1):
            options |= {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
        if self.maybe(0.3) and "constrained" not in self.notes:  # by Keras also where nothing is updated
            options["gradient_accumulation_steps"] = 2
        rate: Any = 0.02
        if self.maybe(0.2):
            rate = optimizers.schedules.ExponentialDecay(0.02, 2, 0.7)
        slow = {"learning_rate": rate, **options}
        plain = [
            lambda: optimizers.SGD(**slow), lambda: optimizers.SGD(momentum=0.9, **slow),
            lambda: optimizers.SGD(momentum=0.9, nesterov=True, **slow),
        ]  # fmt: skip
        others = [
            lambda: optimizers.Adam(epsilon=1e-3, **slow), lambda: optimizers.Adam(amsgrad=True, epsilon=1e-3, **slow),
            lambda: optimizers.AdamW(epsilon=1e-3, **{"weight_decay": 0.01, **slow}),
            lambda: optimizers.RMSprop(epsilon=1e-3, **slow),
            lambda: optimizers.RMSprop(centered=True, momentum=0.3, epsilon=1e-3, **slow),
            lambda: optimizers.Nadam(epsilon=1e-3, **slow), lambda: optimizers.Adagrad(epsilon=1e-3, **slow),
            lambda: optimizers.Adamax(epsilon=1e-3, **slow), lambda: optimizers.Adadelta(epsilon=1e-3, **slow),
            lambda: optimizers.Ftrl(**slow), lambda: optimizers.Adafactor(**slow),
        ]  # fmt: skip
        which, plainly = self.random.randrange(len(others)), self.random.randrange(len(plain))
        # On TensorFlow the gradient of an embedding is not summed over the places of a token.
        return plain[plainly]() if "embedding" in self.notes or self.maybe(0.3) else others[which]()

    def training(self) -> Training:
        self.kinds: dict[str, str] = {}
        module = self.module
        sequences, inputs, x = self.maybe(0.4), [], []
        tensors = []
        for _ in range(2 if self.maybe(0.25) else 1):
            symbolic, tensor, array = self.input()
            inputs.append(symbolic)
            x.append(array)
            tensors.append(tensor)
        hidden = tensors[0]
        if len(tensors) > 1:
            self.notes.add("several inputs")
            hidden = self.layer("Concatenate")(tensors)
        for _ in range(self.random.randint(0, 2)):
            hidden = self.rnn(True)(hidden) if self.maybe(0.6) else self.between()(hidden)
        if self.maybe(0.15):
            shared = self.layer("SimpleRNN", hidden.shape[-1], return_sequences=True, kernel_regularizer="l2")
            hidden = shared(shared(hidden))
            self.notes.add("shared")
        hidden = self.rnn(sequences)(hidden)
        heads = [self.head(hidden, name, sequences) for name in (["a", "b"] if self.maybe(0.3) else ["a"])]
        outputs, losses, y = (list(parts) for parts in zip(*heads, strict=True))
        several = len(heads) > 1
        if several:
            self.notes.add("several outputs")
        model = module.Model(inputs if len(inputs) > 1 else inputs[0], outputs if several else outputs[0])
        for layer in self.made:
            if self.maybe(0.1):
                layer.trainable = False
                self.notes.add("frozen")
        metrics = {name: self.metrics_for(name) for name in self.kinds}
        given: dict[str, Any] = {"loss": losses if several else losses[0]}
        given["weighted_metrics" if self.maybe(0.3) else "metrics"] = metrics
        if several and self.maybe(0.5):
            given["loss"] = dict(zip(self.kinds, losses, strict=True))
            given["loss_weights"] = {"a": 0.5, "b": 2.0}
        elif self.maybe(0.3):
            given["loss_weights"] = [0.5] * len(losses)
        model.compile(self.optimizer(), **given)
        weights: Any = None
        if self.maybe(0.4):
            shape = (ROWS, TIMESTEPS) if sequences and self.maybe(0.5) else (ROWS, 1) if sequences else (ROWS,)
            weights = [self.numbers.random(shape).astype("float32") for _ in heads]
            weights = weights if several else weights[0]
        fit = {"batch_size": self.one_of([4, 5, 12]), "epochs": 2}
        of_classes = weights is None and self.kinds["a"] in ("labels", "one-hot") and not several and not sequences
        if of_classes and self.maybe(0.6):
            fit["class_weight"] = {0: 0.5, 2: 3.0}
        if self.maybe(0.3):
            fit["validation_split"] = 0.3
        return Training(model, x if len(x) > 1 else x[0], y if several else y[0], weights, fit, self.notes)


def training(module: Any, seed: int) -> Training:
    """The training of a seed, in a module: `cyrnn` or `keras`."""
    return Draw(module, seed).training()
