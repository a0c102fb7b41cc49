"""Write layers.json, masking.keras, embedding.keras and stateful.keras: what layers and models of Keras give.

    pip install keras tensorflow-cpu
    python tests/golden/make_layers.py

It runs on TensorFlow, whose masks cyrnn follows where Keras' backends disagree. `tests/test_keras_golden.py` reads
what is written here and needs no Keras; `tests/parity/` compares with an installed one.

layers.json holds `arrays` by name; `layers`: by name a config, the names of its weights, and calls, each with its
arguments (names of arrays) and what the layer returned; `models`: by file name, inputs and outputs.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FILE = HERE / "layers.json"
BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 2, 3

MASKS = {
    "right padding": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]],
    "left padding": [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 1, 0, 0, 1]],
    "all masked": [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
}
ACTIVATIONS = [
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
    *("soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax"),
    *("squareplus", "tanh", "tanh_shrink"),
]
NO_INITIALIZERS = {f"{weight}_initializer": None for weight in ("kernel", "recurrent", "bias")}  # for short configs
ALL = {"return_sequences": True, "return_state": True}

Case = tuple[str, dict[str, Any], list[dict[str, Any]]]  # class name, arguments, calls


def layer_cases() -> dict[str, Case]:
    """Every layer that is recorded, and how it is called."""
    cases: dict[str, Case] = {}
    for mask, h, backwards, zeros in itertools.product(MASKS, [None, "h"], [False, True], [False, True]):
        name = f"{mask}{', initial state' * bool(h)}{', backwards' * backwards}{', zeros for masked' * zeros}"
        options = {**ALL, "go_backwards": backwards, "zero_output_for_mask": zeros}
        cases[name] = ("SimpleRNN", options, [{"x": "x", "mask": mask, "initial_state": h}])
    for activation in ACTIVATIONS:
        cases[activation] = ("SimpleRNN", {"activation": activation, "return_sequences": True}, [{"x": "x"}])
    cases["exponential"] = ("SimpleRNNCell", {"activation": "exponential"}, [{"x": "step", "states": "h"}])  # explodes
    stateful_calls = [{"x": "x"}, {"x": "x", "mask": "holes"}, {"x": "x", "initial_state": "h"}, {"x": "x"}]
    last = {"return_state": True}
    return cases | {
        "last output": ("SimpleRNN", last, [{"x": "x"}]),
        "last output, backwards": ("SimpleRNN", {**last, "go_backwards": True}, [{"x": "x"}]),
        "last output, right padding": ("SimpleRNN", last, [{"x": "x", "mask": "right padding"}]),
        "last output, zeros for masked": (
            "SimpleRNN",
            {**last, "zero_output_for_mask": True},
            [{"x": "x", "mask": "right padding"}],
        ),
        "mask with a third axis": ("SimpleRNN", ALL, [{"x": "x", "mask": "holes", "mask_axes": 3}]),
        "unrolled": ("SimpleRNN", {**ALL, "unroll": True}, [{"x": "x", "mask": "holes", "initial_state": "h"}]),
        "no bias": ("SimpleRNN", {**ALL, "use_bias": False}, [{"x": "x"}]),
        "float64": ("SimpleRNN", {**ALL, "dtype": "float64"}, [{"x": "x", "mask": "holes", "initial_state": "h"}]),
        "RNN": ("RNN", ALL, [{"x": "x", "mask": "left padding", "initial_state": "h"}]),
        "RNN, float64": ("RNN", {"dtype": "float64"}, [{"x": "x"}]),
        "stateful": ("SimpleRNN", {**ALL, "stateful": True}, stateful_calls),
        "stateful RNN": ("RNN", {**ALL, "stateful": True}, stateful_calls),
        "cell, an array as state": ("SimpleRNNCell", {}, [{"x": "step", "states": "h"}]),
        "cell, a list as state": ("SimpleRNNCell", {}, [{"x": "step", "states": ["h"]}]),
        "cell, float64": ("SimpleRNNCell", {"dtype": "float64"}, [{"x": "step", "states": ["h"]}]),
        **wrapper_cases(),
        "cell, no bias": ("SimpleRNNCell", {"use_bias": False, "activation": "relu"}, [{"x": "step", "states": "h"}]),
    }


def wrapper_cases() -> dict[str, Case]:
    """Stacks of two cells, and layers in both directions."""
    cases: dict[str, Case] = {}
    for mask, h in itertools.product([None, *MASKS], [None, ["h", "h2"]]):
        name = f"{mask or 'no mask'}{', initial state' * bool(h)}"
        for backwards in (False, True):
            options = {**ALL, "go_backwards": backwards}
            call = {"x": "x", "mask": mask, "initial_state": h}
            cases[f"stack, {name}{', backwards' * backwards}"] = ("stack", options, [call])
        call = {"x": "x", "mask": mask, "initial_state": h and ["h", "h"]}
        modes = [("concat", True), ("mul", False)]
        for merge_mode, sequences in modes if mask else [*modes, ("concat", False), ("sum", True), (None, True)]:
            options = {"return_sequences": sequences, "return_state": True, "merge_mode": merge_mode}
            cases[f"Bidirectional, {merge_mode}, {sequences}, {name}"] = ("Bidirectional", options, [call])
    h = {"x": "x", "mask": None, "initial_state": ["h", "h2"]}
    cases["stack, stateful"] = ("stack", {**ALL, "stateful": True}, [{"x": "x"}, {"x": "x"}, h, {"x": "x"}])
    cases["stack of float64"] = ("stack", {"dtype": "float64"}, [{"x": "x"}])
    average = {"return_sequences": True, "merge_mode": "ave", "stateful": True}
    cases["Bidirectional, stateful"] = ("Bidirectional", average, [{"x": "x"}, {"x": "x"}])
    return cases


def layer_of(keras: Any, class_name: str, options: dict[str, Any]) -> tuple[Any, list[str]]:
    """A layer of Keras, and the names of its weights' arrays."""
    layers, dtype = keras.layers, options.get("dtype")
    names = ["kernel", "recurrent_kernel", "bias"]
    if class_name == "RNN":
        return layers.RNN(layers.SimpleRNNCell(UNITS, **NO_INITIALIZERS, dtype=dtype), **options), names
    if class_name == "stack":
        cells = [layers.SimpleRNNCell(n, **NO_INITIALIZERS, dtype=dtype) for n in (UNITS, 2)]
        stack = layers.StackedRNNCells(cells, dtype=dtype)
        return layers.RNN(stack, **options), names + [f"{name}2" for name in names]
    if class_name == "Bidirectional":
        options = dict(options)
        merge_mode = options.pop("merge_mode")
        layer = layers.SimpleRNN(UNITS, **NO_INITIALIZERS, **options)
        return layers.Bidirectional(layer, merge_mode=merge_mode), names + [f"{name}_backward" for name in names]
    layer = getattr(layers, class_name)(UNITS, **NO_INITIALIZERS, **options)
    return layer, names if options.get("use_bias", True) else names[:2]


def plain(array: Any) -> Any:
    """An array as nested lists of the shortest decimals that its dtype reads back exactly."""
    array = np.asarray(array)
    return array.tolist() if array.ndim == 0 or array.dtype != np.float32 else _decimals(array)


def _decimals(array: np.ndarray) -> Any:
    return [_decimals(part) for part in array] if array.ndim else float(str(array))


def flat(result: Any) -> list[np.ndarray]:
    """What a layer returned, as a list of arrays."""
    return [a for part in result for a in flat(part)] if isinstance(result, (list, tuple)) else [np.asarray(result)]


def arrays() -> dict[str, np.ndarray]:
    """Inputs, states and weights."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype("float32")

    x = draw(BATCH, TIMESTEPS, FEATURES)
    weights = {"kernel": draw(FEATURES, UNITS), "recurrent_kernel": draw(UNITS, UNITS) / 2, "bias": draw(UNITS)}
    states = {"h": draw(BATCH, UNITS), "h2": draw(BATCH, 2)}
    above = {"kernel2": draw(UNITS, 2), "recurrent_kernel2": draw(2, 2) / 2, "bias2": draw(2)}
    backward = {f"{name}_backward": draw(*array.shape) / 2 for name, array in weights.items()}
    return {"x": x, "step": x[:, 0], **states, **weights, **above, **backward}


def recorded_layer(keras: Any, case: Case, values: dict[str, np.ndarray]) -> dict[str, Any]:
    """A case with the config and the results of Keras."""
    class_name, options, calls = case
    layer, names = layer_of(keras, class_name, options)
    layer.build(values["step" if class_name == "SimpleRNNCell" else "x"].shape)
    layer.set_weights([values[name] for name in names])
    recorded = []
    for call in calls:
        x = values[call["x"]]
        if "states" in call:
            states = values["h"] if call["states"] == "h" else [values["h"]]
            results = layer(x, states)
        else:
            mask = np.array(MASKS[call["mask"]], bool) if call.get("mask") else None
            mask = mask[:, :, None] if call.get("mask_axes") == 3 else mask
            h = call.get("initial_state")
            h = [values[name] for name in h] if isinstance(h, list) else values.get(h)
            results = layer(x, initial_state=h, mask=mask)
        recorded.append({**call, "results": [plain(array) for array in flat(results)]})
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    return {"config": config, "weights": names, "calls": recorded}


def models(keras: Any) -> dict[str, tuple[Any, np.ndarray]]:
    """Models by file name, each with inputs in which timesteps are masked."""
    layers, rng = keras.layers, np.random.default_rng(1)
    keep = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
    masking = [
        keras.Input((None, 2)),
        layers.Masking(0.0),
        layers.SimpleRNN(4, activation="relu", return_sequences=True, dropout=0.2, seed=3),
        layers.Dropout(0.5),
        layers.SimpleRNN(3, go_backwards=True, kernel_regularizer="l2"),
        layers.Dense(2, activation="softmax"),
    ]
    embedding = [
        keras.Input((4,), dtype="int32"),
        layers.Embedding(7, 3, mask_zero=True),
        layers.RNN(layers.SimpleRNNCell(4, activation="sigmoid"), return_sequences=True, zero_output_for_mask=True),
        layers.Activation("tanh"),
        layers.SimpleRNN(2, use_bias=False, bias_constraint="non_neg"),
    ]
    stateful = [
        keras.Input((4, 2), batch_size=5),
        layers.SimpleRNN(3, stateful=True, return_sequences=True, unroll=True),
        layers.SimpleRNN(2, stateful=True),
    ]
    sequences = (keep[:, :, None] * rng.standard_normal((5, 4, 2))).astype("float32")
    return {
        "masking.keras": (keras.Sequential(masking), sequences),
        "embedding.keras": (keras.Sequential(embedding), keep * rng.integers(1, 7, keep.shape)),
        "stateful.keras": (keras.Sequential(stateful), sequences),
    }


def main() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow

    keras.utils.set_random_seed(1)
    values = arrays()
    recorded: dict[str, Any] = {
        "versions": f"keras {keras.__version__}, tensorflow {tensorflow.__version__}",
        "arrays": {name: plain(array) for name, array in values.items()} | MASKS,
        "layers": {name: recorded_layer(keras, case, values) for name, case in layer_cases().items()},
        "models": {},
    }
    for name, (model, x) in models(keras).items():
        biases = [weight for weight in model.weights if weight.name == "bias"]
        for bias in biases:  # which are zeros otherwise
            bias.assign(np.random.default_rng(2).uniform(-1, 1, bias.shape))
        model.save(HERE / name)
        model = keras.saving.load_model(HERE / name)  # the outputs are those of the file, not of memory
        calls = [plain(model.predict(x, batch_size=5, verbose=0)) for _ in range(2)]  # a stateful one goes on
        recorded["models"][name] = {"x": plain(x), "outputs": calls}
    FILE.write_text(json.dumps(recorded, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for path in (FILE, *(HERE / name for name in recorded["models"])):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
