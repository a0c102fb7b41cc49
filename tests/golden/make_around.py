"""Write around.json and around.keras: what Keras 3 and Keras 2 make of the layers that stand around an RNN.

    pip install keras tf-keras tensorflow-cpu
    python tests/golden/make_around.py

`tests/test_around.py` reads it and needs no Keras. `inputs` and `masks` hold arrays by name; `cases` by Keras and name
the entry of a built layer, its weights, and what calls in inference gave: (inputs, masks, output, the mask behind it).
`model` is what the model of the file makes of "x" with some timesteps of zeros.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from make_layers import plain

FILE = Path(__file__).parent / "around.json"
INPUTS = {
    "x": np.random.default_rng(0).standard_normal((2, 4, 3)).round(3).astype("float32"),
    "y": np.random.default_rng(1).standard_normal((2, 4, 3)).round(3).astype("float32"),
    "vectors": np.random.default_rng(2).standard_normal((2, 3)).round(3).astype("float32"),
}
MASKS = {"holes": [[1, 0, 1, 0], [0, 1, 1, 1]], "right padding": [[1, 1, 0, 0], [1, 1, 1, 0]]}

Case = tuple[str, dict[str, Any], list[str]]  # class name, arguments, names of inputs

OF_SEQUENCES: list[tuple[str, dict[str, Any]]] = [
    ("SpatialDropout1D", {"rate": 0.2}),
    ("GaussianDropout", {"rate": 0.2}),
    ("GaussianNoise", {"stddev": 0.2}),
    ("AlphaDropout", {"rate": 0.2}),
    ("ActivityRegularization", {"l1": 0.25, "l2": 0.5}),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.5}),
    ("LeakyReLU", {}),
    ("PReLU", {"shared_axes": [1]}),
    ("ELU", {"alpha": 0.5}),
    ("Softmax", {"axis": 1}),
    ("BatchNormalization", {}),
    ("BatchNormalization", {"axis": 1, "scale": False}),
    ("LayerNormalization", {}),
    ("LayerNormalization", {"axis": [1, 2], "center": False}),
    ("UnitNormalization", {}),
    ("Normalization", {}),
    ("Normalization", {"axis": None, "mean": 0.5, "variance": 4.0}),
    ("Rescaling", {"scale": 2.0, "offset": -1.0}),
    ("Flatten", {}),
    ("Reshape", {"target_shape": [3, -1]}),
    ("Permute", {"dims": [2, 1]}),
    ("ZeroPadding1D", {"padding": [0, 2]}),
    ("Cropping1D", {"cropping": 1}),
    ("UpSampling1D", {"size": 2}),
    ("GlobalAveragePooling1D", {}),
    ("GlobalAveragePooling1D", {"keepdims": True}),
    ("GlobalMaxPooling1D", {}),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("AveragePooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}),
]
CASES: list[Case] = [
    *((name, options, ["x"]) for name, options in OF_SEQUENCES),
    ("RepeatVector", {"n": 2}, ["vectors"]),
    ("BatchNormalization", {}, ["vectors"]),
    *((name, {}, ["x", "y"]) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")),
    ("Concatenate", {}, ["x", "y"]),
    ("Concatenate", {"axis": 1}, ["x", "y"]),
    ("Dot", {"axes": [1, 1], "normalize": True}, ["x", "y"]),
]
ONLY: dict[str, list[Case]] = {
    "keras": [("Identity", {}, ["x"])],  # through which masks do not go in Keras 2
    "tf_keras": [("ThresholdedReLU", {"theta": 0.5}, ["x"])],
}


def calls(keras: Any, layer: Any, names: list[str]) -> list[dict[str, Any]]:
    """Calls without masks; in Keras 3 with masks as well, where it has one for each timestep."""
    arrays = [INPUTS[name] for name in names]
    found = [
        {"inputs": names, "masks": None, "output": plain(layer(arrays if len(names) > 1 else arrays[0])), "mask": None}
    ]
    if keras.__name__ != "keras" or names == ["vectors"] or type(layer).__name__ == "Softmax":
        return found
    masks = list(MASKS)[: len(names)]
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    for tensor, mask in zip(tensors, masks, strict=True):
        keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(np.array(MASKS[mask], bool)))
    output = layer(tensors if len(names) > 1 else tensors[0])
    mask = keras.src.backend.get_keras_mask(output)
    behind = None if mask is None else np.asarray(mask).astype(int).tolist()
    return [*found, {"inputs": names, "masks": masks, "output": plain(output), "mask": behind}]


def recorded(keras: Any, case: Case) -> dict[str, Any]:
    """What Keras makes of a case."""
    class_name, options, names = case
    layer = getattr(keras.layers, class_name)(**options)
    layer(INPUTS[names[0]] if len(names) == 1 else [INPUTS[name] for name in names])
    draw = np.random.default_rng(3)
    layer.set_weights([draw.uniform(0.5, 2, tuple(w.shape)).round(2) for w in layer.get_weights()])
    layer.finalize_state() if hasattr(layer, "finalize_state") else None
    entry = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    weights = [plain(np.float32(weight)) for weight in layer.get_weights()]
    return {"entry": entry, "weights": weights, "calls": calls(keras, layer, names)}


def model(keras: Any) -> Any:
    """A model with weights of all kinds, through which a mask goes to its end."""
    layers = keras.layers
    found = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Masking(),
            layers.Normalization(),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.5),
            layers.SimpleRNN(4, return_sequences=True),
            layers.LayerNormalization(),
            layers.PReLU(shared_axes=[1]),
            layers.GlobalAveragePooling1D(),
            layers.RepeatVector(2),
            layers.Flatten(),
            layers.Dense(2),
            layers.Softmax(),
        ]
    )
    draw = np.random.default_rng(4)
    for weight in found.weights:
        low, high = (1, 3) if weight.name in ("moving_variance", "variance", "count") else (-1, 1)
        weight.assign(draw.uniform(low, high, weight.shape))
    return found


def main() -> None:
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="2")
    import keras
    import tf_keras

    written: dict[str, Any] = {
        "versions": f"keras {keras.__version__}, tf_keras {tf_keras.__version__}",
        "inputs": {name: plain(array) for name, array in INPUTS.items()},
        "masks": MASKS,
        "cases": {},
    }
    for module in (keras, tf_keras):
        cases = [*CASES, *ONLY[module.__name__]]
        names = [f"{name} {json.dumps(options)} of {', '.join(inputs)}" for name, options, inputs in cases]
        written["cases"][module.__name__] = dict(zip(names, (recorded(module, case) for case in cases), strict=True))
    path = FILE.with_suffix(".keras")
    model(keras).save(path)
    x = INPUTS["x"] * np.array(MASKS["holes"], "float32")[:, :, None]
    written["model"] = plain(keras.saving.load_model(path)(x))
    FILE.write_text(json.dumps(written, separators=(",", ":")).replace('"entry"', '\n"entry"') + "\n")
    for written_file in (FILE, path):
        print(f"{written_file.name}: {written_file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
