"""Write golden/files/: models and weights as Keras 1, 2 and 3 and torch save them, and what they compute.

    pip install keras tensorflow-cpu && python tests/golden/make_files.py keras3
    pip install tf-keras tensorflow-cpu && python tests/golden/make_files.py keras2
    pip install "tensorflow-cpu==2.13.*" && python tests/golden/make_files.py keras213    (has Keras 2.13 in it)
    pip install torch safetensors && python tests/golden/make_files.py torch
    python tests/golden/make_files.py keras1

`tests/test_files.py` reads them. Each run writes its files, and ``<era>.json`` with the inputs, the outputs and the
versions. No Keras 1 runs any more: its file is written here by hand, to the layout and config keys of Keras 1.2; its
outputs are those of the equations in `tests/reference.py`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "files"
RNG = np.random.default_rng(7)
X = RNG.standard_normal((3, 6, 3)).round(2).astype("float32")
X[1, 4:] = X[2, :2] = 0  # masked


def model(keras: Any) -> Any:
    """A bit of everything, with weights in an order that is easily mistaken: a frozen layer in a model in the model."""
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Masking(),
            layers.SimpleRNN(4, activation="hard_sigmoid", return_sequences=True),
            layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True), merge_mode="sum"),
            layers.Dropout(0.3),
            layers.SimpleRNN(4, return_sequences=True, use_bias=False),
            layers.RNN([layers.SimpleRNNCell(3, activation="relu"), layers.SimpleRNNCell(2)]),
            keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="tanh"), layers.Dense(3), layers.Dense(2)]),
            layers.Dense(2, activation="softmax"),
        ]
    )
    made.set_weights([RNG.uniform(-0.8, 0.8, weight.shape) for weight in made.get_weights()])
    made.layers[6].layers[0].trainable = False
    return made


def record(era: str, versions: str, outputs: dict[str, Any]) -> None:
    contents = {
        "versions": versions,
        "x": X.tolist(),
        "outputs": {k: np.asarray(y).tolist() for k, y in outputs.items()},
    }
    (FOLDER / f"{era}.json").write_text(json.dumps(contents) + "\n")
    for path in sorted(FOLDER.glob(f"{era}*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def keras3() -> None:
    import keras
    import tensorflow
    from keras.src.saving.saving_lib import save_weights_only

    made = model(keras)
    made.save(FOLDER / "keras3.keras")
    made.save(FOLDER / "keras3.h5")
    made.save_weights(FOLDER / "keras3.weights.h5")
    single = keras.layers.Bidirectional(keras.layers.SimpleRNN(4))
    expected = single(X)
    save_weights_only(single, FOLDER / "keras3_single.weights.h5")
    outputs = {"model": made.predict(X, verbose=0), "single": expected}
    record("keras3", f"keras {keras.__version__}, tensorflow {tensorflow.__version__}", outputs)


def keras2() -> None:
    import tensorflow
    import tf_keras as keras

    made = model(keras)
    made.save(FOLDER / "keras2.h5")
    made.save_weights(FOLDER / "keras2_weights.h5", save_format="h5")
    made.save(FOLDER / "keras2.keras")
    versions = f"tf_keras {keras.__version__}, tensorflow {tensorflow.__version__}"
    record("keras2", versions, {"model": made.predict(X, verbose=0)})


def keras213() -> None:
    import keras
    import tensorflow

    made = model(keras)
    made.save(FOLDER / "keras213.keras")
    versions = f"keras {keras.__version__}, tensorflow {tensorflow.__version__}"
    record("keras213", versions, {"model": made.predict(X, verbose=0)})


def torch() -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    module = torch.nn.ModuleDict(
        {
            "deep": torch.nn.RNN(3, 4, 2, bidirectional=True, batch_first=True),
            "cell": torch.nn.RNNCell(3, 2, bias=False),
        }
    )
    save_file(module.state_dict(), FOLDER / "torch.safetensors")
    x = torch.from_numpy(X)
    outputs = {"deep": module["deep"](x)[0].detach(), "cell": module["cell"](x[:, 0]).detach()}
    record("torch", f"torch {torch.__version__}", outputs)


def keras1() -> None:
    import h5py

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from reference import recurrence

    layer = {"trainable": True, "input_dtype": "float32"}
    no_penalties = {"W_regularizer": None, "U_regularizer": None, "b_regularizer": None}
    recurrent = {
        **{"name": "simplernn_1", "output_dim": 4, "init": "glorot_uniform", "inner_init": "orthogonal"},
        **{"activation": "hard_sigmoid", "dropout_W": 0.1, "dropout_U": 0.0, "return_sequences": False},
        **{"go_backwards": False, "stateful": False, "unroll": False, "consume_less": "cpu", "input_dim": 3},
        **{"input_length": 6, "batch_input_shape": [None, 6, 3], **no_penalties, **layer},
        **{"U_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}},
    }
    dense = {
        **{"name": "dense_1", "output_dim": 2, "init": "uniform", "activation": "linear", "bias": True, "input_dim": 4},
        **{"activity_regularizer": None, "W_constraint": None, "b_constraint": None, **no_penalties, **layer},
    }
    del dense["U_regularizer"]
    entries = [
        ("SimpleRNN", recurrent),
        ("Dropout", {"name": "dropout_1", "p": 0.5, "trainable": True}),
        ("Dense", dense),
    ]
    config = {"class_name": "Sequential", "config": [{"class_name": name, "config": own} for name, own in entries]}
    kernel, recurrent_kernel, bias, dense_kernel, dense_bias = (
        RNG.uniform(-0.8, 0.8, shape).astype("float32") for shape in ((3, 4), (4, 4), (4,), (4, 2), (2,))
    )
    weights = {
        "simplernn_1": {"simplernn_1_W": kernel, "simplernn_1_U": recurrent_kernel, "simplernn_1_b": bias},
        "dropout_1": {},
        "dense_1": {"dense_1_W": dense_kernel, "dense_1_b": dense_bias},
    }
    with h5py.File(FOLDER / "keras1.h5", "w") as file:
        file.attrs["keras_version"] = np.bytes_(b"1.2.2")
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in weights])
        for name, arrays in weights.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = np.array([weight.encode() for weight in arrays])
            for weight, value in arrays.items():
                own.create_dataset(weight, data=value)
    _, hidden = recurrence(X, kernel, recurrent_kernel, bias, activation="hard_sigmoid_keras2")
    record("keras1", "by hand", {"model": hidden @ dense_kernel + dense_bias})


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "2"
    FOLDER.mkdir(exist_ok=True)
    {function.__name__: function for function in (keras1, keras2, keras213, keras3, torch)}[sys.argv[1]]()
