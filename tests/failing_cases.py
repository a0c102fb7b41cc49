"""Calls in which allocations fail: what is called, and what must not have changed when it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cyrnn
from cyrnn import saving
from cyrnn.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Input, SimpleRNN

Arrays = list[np.ndarray]


@dataclass
class Case:
    """Something that allocates.

    Attributes
    ----------
    begin
        Makes what `act` needs, in the same way each time; its result is the argument of the others.
    act
        The call that may fail. It returns arrays, which are the same each time after `begin`.
    watch
        What must be as it was after a call that failed.
    whole_step
        Whether it may also be as after a call that did not: an update is done at once, and what follows it can fail.
    """

    name: str
    begin: Callable[[], Any]
    act: Callable[[Any], Any]
    watch: Callable[[Any], Any] = lambda _: []
    whole_step: bool = False


rng = np.random.default_rng(5)
X = rng.standard_normal((6, 5, 3)).astype("f")
Y = rng.standard_normal((6, 2)).astype("f")
TOKENS = np.array([[1, 2, 0, 0], [3, 4, 1, 0], [2, 2, 2, 2], [4, 0, 0, 0]], "i4")
MASK = np.arange(5) < np.array([[5], [3], [0], [1], [5], [2]])
HOLES = MASK & (np.arange(5) != 1)


def seeded(made: Any) -> Any:
    """The same with weights that a generator draws: the same each time."""
    draw = np.random.default_rng(1)
    made.set_weights([draw.standard_normal(weight.shape) / 2 for weight in made.weights])
    return made


def built(layer: Any, features: int | None = 3) -> Any:
    layer.build((None, None, features))
    return seeded(layer)


def states(layer: Any) -> Arrays:
    found = getattr(layer, "states", None) or []
    return [np.array(state) for state in found]


def chain(**options: Any) -> Any:
    rnn = LSTM(4, return_sequences=True, **options)
    return seeded(cyrnn.Sequential([Input((None, 3)), rnn, Bidirectional(GRU(3)), Dense(2)]))


def tokens_model() -> Any:
    rnn = Bidirectional(LSTM(3, return_sequences=True))
    return seeded(cyrnn.Sequential([Input((None,), dtype="int32"), Embedding(5, 3, mask_zero=True), rnn, SimpleRNN(2)]))


def graph() -> Any:
    begin = Input((5, 3))
    a, b = SimpleRNN(3, return_sequences=True)(begin), GRU(3, return_sequences=True)(begin)
    joined = cyrnn.layers.Concatenate()([cyrnn.layers.Add()([a, b]), begin])
    return seeded(cyrnn.Model(begin, [Dense(2)(LSTM(3)(joined)), cyrnn.layers.GlobalMaxPooling1D()(a)]))


def compiled(model: Any, optimizer: Any = "adam", **options: Any) -> Any:
    model.compile(optimizer, "mse", **options)
    return model


def weights(made: Any) -> Arrays:
    return list(made.get_weights())


# ------------------------------------------------------------ building and calling


def warm(make: Callable[[], Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """`make`, and a first call of what it has made."""
    made = make()
    made(*arguments, **options)
    return lambda: made


def call(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda made: made(*arguments, **options)


def stateful() -> Any:
    layer = LSTM(3, stateful=True)
    layer.build((6, 5, 3))
    seeded(layer)
    layer(X)
    return layer


def stepped(stepper: Any) -> list[np.ndarray]:
    return [np.array(stepper.step(X[:, t])) for t in range(3)]


def made_and_stepped(made: Any) -> list[np.ndarray]:
    return stepped(made.stepper(6))


def with_pullback(made: Any, x: np.ndarray = X, **options: Any) -> list[Any]:
    y, pullback = made.vjp(x, **options)
    found = pullback(np.ones_like(y))
    return [y, found.inputs, *found.weights]


def many(model: Any) -> Any:
    """Enough for two threads."""
    return model.predict(np.tile(X, (40, 8, 1)), batch_size=120, num_threads=2, verbose=0)


def new(kind: Any) -> Any:
    drawn = {"kernel_initializer": cyrnn.initializers.GlorotUniform(seed=1)}
    return kind(4, recurrent_initializer=cyrnn.initializers.Orthogonal(seed=2), **drawn)


def build(layer: Any) -> Arrays:
    layer.build((None, None, 3))
    return []


def whether_built(layer: Any) -> list[Any]:
    return [layer.built, *weights(layer)]


def calls() -> list[Case]:
    lstm = lambda: built(LSTM(4, return_sequences=True, return_state=True))  # noqa: E731
    simple = lambda: built(SimpleRNN(4))  # noqa: E731
    two = Bidirectional(LSTM(3, return_sequences=True))
    state = [rng.standard_normal((6, 4)).astype("f") for _ in range(2)]
    return [
        Case("build SimpleRNN", lambda: new(SimpleRNN), build, whether_built),
        Case("build LSTM", lambda: new(LSTM), build, whether_built),
        Case("first call of SimpleRNN", simple, call(X), weights),
        Case("first call of LSTM with lengths", lstm, call(X, mask=MASK), weights),
        Case("first call of Bidirectional", lambda: built(Bidirectional(GRU(3))), call(X), weights),
        Case("first call of a model", chain, call(X), weights),
        Case("first call of a graph", graph, call(X), weights),
        Case("first call with tokens", tokens_model, call(TOKENS), weights),
        Case("SimpleRNN", warm(simple, X), call(X), weights),
        Case("SimpleRNN in float64", warm(lambda: built(SimpleRNN(4, dtype="float64")), X), call(X.astype("f8"))),
        Case("LSTM with holes and states", warm(lstm, X), call(X, mask=HOLES, initial_state=state), weights),
        Case("LSTM of strides", warm(lstm, X), call(X[::-1, ::2].astype(">f8")), weights),
        Case("Bidirectional with lengths", warm(lambda: built(two), X), call(X, mask=MASK), weights),
        Case("stateful LSTM", stateful, call(X), lambda made: weights(made) + states(made)),
        Case("a graph", warm(graph, X), call(X), weights),
        Case(
            "set_weights", chain, lambda made: made.set_weights([np.ones(w.shape) for w in made.weights]) or [], weights
        ),
        Case("predict", warm(chain, X), many, weights),
        Case("make a stepper, and step", simple, made_and_stepped, weights),
        Case(
            "make a model's stepper, and step",
            lambda: seeded(cyrnn.Sequential([Input((None, 3)), LSTM(4, name="a_layer_with_a_long_name"), Dense(2)])),
            made_and_stepped,
            weights,
        ),
        Case("step", lambda: built(LSTM(4)).stepper(6), stepped),
    ]


def step_of_training(model: Any) -> Any:
    return model.train_on_batch(X, Y)


def fit(model: Any) -> Any:
    return model.fit(X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False).history["loss"]


def gradients() -> list[Case]:
    two = Bidirectional(LSTM(3, return_sequences=True))
    compiled_step = lambda: compiled(chain())  # noqa: E731
    by_python = lambda: compiled(chain(), "muon")  # noqa: E731
    with_dropout = lambda: compiled(chain(dropout=0.2, seed=1), metrics=["mae"])  # noqa: E731
    return [
        Case("vjp of LSTM", lambda: built(LSTM(4)), with_pullback, weights),
        Case("vjp with a mask", lambda: built(two), lambda made: with_pullback(made, mask=HOLES), weights),
        Case("vjp of a model", chain, with_pullback, weights),
        Case("a step of training", compiled_step, step_of_training, weights, whole_step=True),
        Case("a step of training by Python", by_python, step_of_training, weights, whole_step=True),
        Case("fit", compiled_step, fit),
        Case("fit with dropout", with_dropout, fit),
    ]


def in_file(path: Path) -> Arrays:
    made = chain()
    made.load_weights(path)
    return weights(made)


def files(folder: Path) -> list[Case]:
    model, target = compiled(chain()), folder / "saved.keras"
    model.train_on_batch(X, Y)
    model.save(target)
    cases = [Case("save", chain, saved_as(target), lambda made: weights(made) + weights(saving.load_model(target)))]
    for end in (".keras", ".h5"):
        model.save(folder / f"model{end}")
        cases.append(Case(f"load_model {end}", lambda path=folder / f"model{end}": path, loaded_model))
    for end in (".weights.h5", ".npz", ".safetensors"):
        path = folder / f"weights{end}"
        model.save_weights(path)
        load = lambda made, path=path: made.load_weights(path) or []  # noqa: E731
        save = lambda made, path=path: made.save_weights(path) or []  # noqa: E731
        cases.append(Case(f"load_weights {end}", chain, load, weights))
        cases.append(Case(f"save_weights {end}", chain, save, lambda made, path=path: weights(made) + in_file(path)))
    return cases


def saved_as(target: Path) -> Callable[[Any], Arrays]:
    return lambda model: model.save(target) or []


def loaded_model(path: Path) -> Arrays:
    return weights(saving.load_model(path))


def all_cases(folder: Path) -> list[Case]:
    return calls() + gradients() + files(folder)
