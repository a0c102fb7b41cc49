"""Write translator.keras, branches.keras and functional.json: models of Keras' functional API, and what they give.

    pip install keras tf-keras tensorflow-cpu
    python tests/golden/make_functional.py

It runs on TensorFlow, whose masks cyrnn follows. `tests/test_functional_golden.py` reads what is written here and
needs no Keras. functional.json holds `files`: by file name, inputs and outputs; and `keras2`: by name the JSON text of
a model of Keras 2, its weights, inputs and outputs.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FILE = HERE / "functional.json"
SAMPLES, TIMESTEPS, FEATURES, UNITS, WORDS = 4, 5, 2, 3, 7

Made = tuple[Any, Any]  # a model, and its inputs


def words(seed: int) -> np.ndarray:
    """Indices, zeros among them."""
    rng = np.random.default_rng(seed)
    keep = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]])
    return (keep * rng.integers(1, WORDS, keep.shape)).astype("int32")


def sequences(seed: int) -> np.ndarray:
    """Sequences of which some timesteps are zeros."""
    x = np.random.default_rng(seed).standard_normal((SAMPLES, TIMESTEPS, FEATURES))
    return (x * (words(seed) > 0)[:, :, None]).astype("float32")


def translator(keras: Any) -> Made:
    """An encoder whose state a decoder begins with, one table of words for both; outputs by name."""
    layers = keras.layers
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    embedding = layers.Embedding(WORDS, 2, mask_zero=True)
    _, state = layers.SimpleRNN(UNITS, return_state=True, name="encoder")(embedding(source))
    decoder = layers.SimpleRNN(UNITS, return_sequences=True, name="decoder")
    decoded = decoder(embedding(target), initial_state=[state])
    both = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), merge_mode="sum")(decoded)
    words_out = layers.Dense(WORDS, activation="softmax", name="words")(both)
    return keras.Model({"source": source, "target": target}, {"words": words_out, "state": state}), {
        "source": words(1),
        "target": words(2),
    }


def branches(keras: Any) -> Made:
    """A masked input through a shared layer, a nested model called twice, a Sequential, and operations between."""
    layers = keras.layers
    x, other = keras.Input((TIMESTEPS, FEATURES), name="x"), keras.Input((TIMESTEPS, FEATURES), name="other")
    shared = layers.SimpleRNN(FEATURES, return_sequences=True, name="shared")
    left, right = shared(layers.Masking()(x)), shared(other)
    inner_x = keras.Input((TIMESTEPS, FEATURES), name="inner_x")
    inner_y = layers.SimpleRNN(FEATURES, return_sequences=True, go_backwards=True)(inner_x)
    inner = keras.Model(inner_x, layers.TimeDistributed(layers.Dense(FEATURES))(inner_y), name="inner")
    row = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), layers.RNN([layers.SimpleRNNCell(2)] * 1)], name="row")
    joined = keras.ops.concatenate([inner(inner(left)), right], axis=-1) * 2.0
    last = layers.SimpleRNN(UNITS, use_bias=False)(joined, mask=keras.ops.any(keras.ops.not_equal(x, 0.0), axis=-1))
    return keras.Model([x, other], [last, row(right), joined[:, -1]]), [sequences(3), sequences(4)]


def keras2_models(keras: Any) -> dict[str, Made]:
    """Models of Keras 2: a decoder that uses its mask beside an initial state, nested models, inputs by name."""
    layers = keras.layers
    x, keep = keras.Input((TIMESTEPS, FEATURES), name="x"), keras.Input((TIMESTEPS,), dtype="bool", name="keep")
    explicit = layers.SimpleRNN(2)(x, mask=keep)
    inner_x = keras.Input((TIMESTEPS, FEATURES))
    inner = keras.Model(inner_x, layers.TimeDistributed(layers.Dense(FEATURES))(inner_x), name="inner")
    row = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), layers.SimpleRNN(2)], name="row")
    open_row = keras.Sequential([layers.Dense(2)], name="open_row")
    first = keras.Input((TIMESTEPS, FEATURES), name="x")
    nested = keras.Model(first, [row(inner(inner(first))), open_row(row(first)), inner(first)])
    source, target = (keras.Input((TIMESTEPS,), dtype="int32", name=name) for name in ("source", "target"))
    embedding = layers.Embedding(WORDS, 2, mask_zero=True)
    _, state = layers.SimpleRNN(UNITS, return_state=True, name="encoder")(embedding(source))
    decoded = layers.SimpleRNN(UNITS, return_sequences=True, name="decoder")(embedding(target), initial_state=state)
    decoded = layers.Bidirectional(layers.SimpleRNN(UNITS))(decoded, initial_state=[state, state])
    return {
        "translator": (keras.Model([source, target], [decoded, state]), [words(1), words(2)]),
        "nested": (nested, [sequences(3)]),
        "inputs by name": (
            keras.Model({"x": x, "keep": keep}, {"y": explicit}),
            {"x": sequences(3), "keep": words(1) > 0},
        ),
    }


def plain(value: Any) -> Any:
    """Arrays, in lists and dicts, as nested lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return np.round(np.asarray(value, "float64"), 7).tolist() if value.dtype == np.float32 else value.tolist()


def draw(model: Any) -> list[np.ndarray]:
    """New weights for a model, biases too."""
    rng = np.random.default_rng(5)
    weights = [np.round(rng.uniform(-0.7, 0.7, w.shape), 4).astype("float32") for w in model.get_weights()]
    model.set_weights(weights)
    return weights


def main() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tf_keras

    recorded: dict[str, Any] = {
        "versions": f"keras {keras.__version__}, tf_keras {tf_keras.__version__}",
        "files": {},
        "keras2": {},
    }
    for name, (model, x) in {"translator.keras": translator(keras), "branches.keras": branches(keras)}.items():
        draw(model)
        model.save(HERE / name)
        recorded["files"][name] = {"x": plain(x), "outputs": plain(model.predict(x, verbose=0))}
    for name, (model, x) in keras2_models(tf_keras).items():
        entry = {"weights": plain(draw(model)), "x": plain(x), "outputs": plain(model.predict(x, verbose=0))}
        recorded["keras2"][name] = {"json": model.to_json(), **entry}
    FILE.write_text(json.dumps(recorded, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for path in (FILE, *(HERE / name for name in recorded["files"])):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
