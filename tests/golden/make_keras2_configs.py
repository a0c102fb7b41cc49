"""Write keras2_configs.json: what Keras 2 wrote about layers and models, and what it computes for them.

    pip install tf-keras tensorflow-cpu
    python tests/golden/make_keras2_configs.py

`tests/test_legacy_configs.py` reads it. Each case holds the `entry` (what JSON text says), the weights, and calls with
inputs, masks and results; a case `by_hand` was brought into the form of an older Keras 2 here, from what tf_keras
wrote. The results are those of what tf_keras made of the entry, also where it is by hand.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from make_layers import flat, plain

FILE = Path(__file__).parent / "keras2_configs.json"
UNITS = 3
HOLES = [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
ALL = {"return_sequences": True, "return_state": True}
NO_INITIALIZERS = {f"{weight}_initializer": None for weight in ("kernel", "recurrent", "bias")}  # for short configs
LAST, MASKED, BOTH = [{}], [{"mask": True}], [{}, {"mask": True}]

Made = tuple[Any, list[dict[str, Any]]]  # a layer or model, calls of it


def layer_cases(keras: Any) -> dict[str, Made]:
    """Layers alone, as another layer's config holds them."""
    layers = keras.layers

    def simple(**options: Any) -> Any:
        return layers.SimpleRNN(UNITS, **NO_INITIALIZERS, **options)

    def cell(units: int = UNITS, **options: Any) -> Any:
        return layers.SimpleRNNCell(units, **NO_INITIALIZERS, **options)

    def both_ways(merge_mode: str | None = "concat", **options: Any) -> Any:
        return layers.Bidirectional(simple(**options), merge_mode=merge_mode)

    own_backwards = layers.Bidirectional(
        simple(return_sequences=True),
        backward_layer=simple(return_sequences=True, go_backwards=True, activation="relu"),
        merge_mode="ave",
    )
    of_all_kinds = layers.SimpleRNN(
        UNITS,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_avg", "uniform", seed=1),
        recurrent_initializer="identity",
        bias_initializer=keras.initializers.Constant(np.array([0.5, 0.25, 1.0], "float32")),
        kernel_regularizer="l1_l2",
        recurrent_regularizer=keras.regularizers.L1L2(0.0, 0.5),
        bias_regularizer="l1",
        kernel_constraint=keras.constraints.MaxNorm(0.5),
        recurrent_constraint="unit_norm",
        bias_constraint="non_neg",
        enable_caching_device=False,
    )
    initial = [{"mask": True, "initial_state": [UNITS]}]
    stacked_initial = [{"mask": True, "initial_state": [UNITS, 2]}]
    return {
        "SimpleRNN": (simple(**ALL), BOTH),
        "SimpleRNN, time_major": (simple(time_major=True, **ALL), BOTH),
        "SimpleRNN, time_major, last output": (simple(time_major=True, go_backwards=True), MASKED),
        "RNN": (layers.RNN(cell(), **ALL), initial),
        "RNN, time_major": (layers.RNN(cell(), time_major=True, **ALL), initial),
        "RNN, zeros for masked": (layers.RNN(cell(), return_sequences=True, zero_output_for_mask=True), MASKED),
        "stacked cells": (layers.RNN([cell(), cell(2, activation="relu")], **ALL), [{}, *stacked_initial]),
        "stacked cells, time_major": (layers.RNN([cell(), cell(2)], time_major=True, **ALL), stacked_initial),
        "both ways": (both_ways(), BOTH),
        "both ways, sequences and states": (both_ways(**ALL), MASKED),
        "both ways, not merged": (both_ways(None, return_sequences=True), MASKED),
        "both ways, backwards of its own": (own_backwards, MASKED),
        "both ways, time_major": (both_ways("sum", time_major=True, return_sequences=True), MASKED),
        "stateful": (simple(stateful=True, batch_input_shape=(3, 5, 2)), [*LAST, *LAST]),
        "dropout": (simple(dropout=0.5, recurrent_dropout=0.25, implementation=2), LAST),
        "objects of all kinds": (of_all_kinds, LAST),
    }


def model_cases(keras: Any) -> dict[str, Made]:
    """Models, as `to_json` writes them."""
    layers = keras.layers

    def simple(**options: Any) -> Any:
        return layers.SimpleRNN(UNITS, **NO_INITIALIZERS, **options)

    embedding = layers.Embedding(7, 2, mask_zero=True, input_length=5, embeddings_initializer=None)
    return {
        "first layer with input_shape": (keras.Sequential([simple(input_shape=(5, 2))]), LAST),
        "hard_sigmoid": (keras.Sequential([keras.Input((5, 2)), simple(activation="hard_sigmoid")]), LAST),
        "embedding": (keras.Sequential([embedding, simple()]), [{"x": "indices"}]),
        "mixed_float16": (keras.Sequential([keras.Input((None, 2)), simple(dtype="mixed_float16")]), LAST),
    }


def without(entry: Any, *keys: str) -> Any:
    """`entry` without these keys, at any depth."""
    if isinstance(entry, list):
        return [without(part, *keys) for part in entry]
    if not isinstance(entry, dict):
        return entry
    return {key: without(value, *keys) for key, value in entry.items() if key not in keys}


def old_cases(entries: dict[str, Any]) -> dict[str, Any]:
    """Entries of cases above in the forms of Keras before 2.3."""
    later = ("module", "registered_name", "build_config", "time_major", "optional", "ragged")
    cases = {}
    for name in ("first layer with input_shape", "embedding", "hard_sigmoid"):
        entry = without(entries[name], *later)
        first, *others = entry["config"]["layers"]
        if name == "hard_sigmoid":  # whose input shape is in the InputLayer alone
            others[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
        cases[f"{name}, Keras 2.2.4"] = {
            **entry,
            "config": {**entry["config"], "layers": others},
            "keras_version": "2.2.4",
        }
    entry = cases["embedding, Keras 2.2.4"]
    cases["embedding, Keras 2.0.8"] = {**entry, "config": entry["config"]["layers"], "keras_version": "2.0.8"}
    rnn = without(entries["objects of all kinds"], *later, "enable_caching_device")
    rnn["config"] |= {"implementation": 0, "dtype": None}
    for key in ("kernel_initializer", "recurrent_initializer", "bias_initializer"):
        rnn["config"][key]["config"]["dtype"] = "float32"  # as tf.keras of TensorFlow 1 has it
    rnn["config"]["kernel_initializer"]["config"]["distribution"] = "normal"
    cases["objects of all kinds, TensorFlow 1"] = rnn
    return cases


def entry_of_h5(model: Any) -> Any:
    """What a whole-model .h5 says."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        model.save(path)
        with h5py.File(path) as file:
            return {**json.loads(file.attrs["model_config"]), "keras_version": file.attrs["keras_version"]}


def recorded(keras: Any, entry: Any, calls: list[dict[str, Any]], by_hand: bool) -> dict[str, Any]:
    """A case with the results of what tf_keras reads in it."""
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).round(2).astype("float32")

    x, indices, mask = draw(3, 5, 2), rng.integers(1, 7, (3, 5)) * np.array(HOLES), np.array(HOLES, bool)
    states = {units: draw(3, units) for units in (2, UNITS)}
    if entry["class_name"] == "Sequential":
        layer = keras.models.model_from_json(json.dumps(entry))
    else:
        layer = keras.layers.deserialize(json.loads(json.dumps(entry)), use_legacy_format="module" not in entry)
        if '"time_major": true' in json.dumps(entry):
            x, mask = x.swapaxes(0, 1), mask.T
        layer(tf.constant(x))
        if layer.stateful:
            layer.reset_states()
    layer.set_weights([draw(*weight.shape) for weight in layer.weights])
    done = []
    for call in calls:
        given = indices if call.get("x") == "indices" else x
        arguments = {"mask": mask} if call.get("mask") else {}
        initial = [states[units] for units in call.get("initial_state", [])]
        tensors = {"initial_state": [tf.constant(state) for state in initial]} if initial else {}
        results = layer(tf.constant(given), **{key: tf.constant(value) for key, value in arguments.items()}, **tensors)
        done.append(
            {
                "x": plain(given),
                **{key: value.astype(int).tolist() for key, value in arguments.items()},
                **({"initial_state": [plain(state) for state in initial]} if initial else {}),
                "dtype": flat(results)[0].dtype.name,
                "results": [plain(array.astype("float32")) for array in flat(results)],
            }
        )
    weights = [plain(weight) for weight in layer.get_weights()]
    losses = [plain(np.float32(loss)) for loss in layer.losses]
    return {"by_hand": by_hand, "entry": entry, "weights": weights, "losses": losses, "calls": done}


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow
    import tf_keras as keras

    cases: dict[str, Any] = {}
    calls: dict[str, list[dict[str, Any]]] = {}
    serialize: Callable[[Any], Any] = keras.saving.serialize_keras_object
    for name, (layer, calls[name]) in layer_cases(keras).items():
        cases[name] = without(json.loads(json.dumps(serialize(layer))), "build_config")
    for name, (model, calls[name]) in model_cases(keras).items():
        cases[name] = json.loads(model.to_json())
        if name == "embedding":
            cases["embedding, .h5"] = entry_of_h5(model)
    by_hand = old_cases(cases)
    cases |= by_hand
    for name in cases:
        calls.setdefault(name, calls[name.partition(",")[0]])
    contents = {
        "versions": f"tf_keras {keras.__version__}, tensorflow {tensorflow.__version__}",
        "cases": {
            name: recorded(keras, entry, calls[name], name in by_hand)
            for name, entry in cases.items()
        },
    }  # fmt: skip
    FILE.write_text(json.dumps(contents, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
