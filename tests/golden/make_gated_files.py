"""Write golden/gated/: models of LSTMs and GRUs as Keras 1, 2 and 3 save them, and what they compute.

    pip install keras tensorflow-cpu && python tests/golden/make_gated_files.py keras3
    pip install tf-keras tensorflow-cpu && python tests/golden/make_gated_files.py keras2
    python tests/golden/make_gated_files.py keras1
    python tests/golden/make_gated_files.py cudnn

`tests/test_gated_files.py` reads them. Each run writes its files, and ``<era>.json`` with the inputs, the outputs and
the versions. No Keras 1 runs any more, and none runs layers of cuDNN on a CPU: these files are written here by hand, to
the layouts and config keys of Keras 1.2.2 and 2.2.4; their outputs are those of `tests/reference_cells.py`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "gated"
RNG = np.random.default_rng(9)
X = RNG.standard_normal((3, 6, 3)).round(2).astype("float32")


def model(keras: Any, **implementation: Any) -> Any:
    """Each cell, alone and in a stack, in both directions, with the defaults of several versions."""
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Masking(),
            layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True, **implementation),
            layers.GRU(3, reset_after=False, return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True, unit_forget_bias=False), merge_mode="sum"),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2, use_bias=False), layers.SimpleRNNCell(2)]),
            layers.Dense(2, activation="softmax"),
        ]
    )
    made.set_weights([RNG.uniform(-0.8, 0.8, weight.shape) for weight in made.get_weights()])
    return made


def record(era: str, versions: str, outputs: Any) -> None:
    contents = {"versions": versions, "x": X.tolist(), "outputs": np.asarray(outputs).tolist()}
    (FOLDER / f"{era}.json").write_text(json.dumps(contents) + "\n")
    for path in sorted(FOLDER.glob(f"{era}*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def keras3() -> None:
    import keras
    import tensorflow

    made = model(keras)
    for name in ("keras3.keras", "keras3.h5"):
        made.save(FOLDER / name)
    made.save_weights(FOLDER / "keras3.weights.h5")
    record("keras3", f"keras {keras.__version__}, tensorflow {tensorflow.__version__}", made.predict(X, verbose=0))


def keras2() -> None:
    import tensorflow
    import tf_keras as keras

    made = model(keras, implementation=1)
    for name in ("keras2.keras", "keras2.h5"):
        made.save(FOLDER / name)
    made.save_weights(FOLDER / "keras2_weights.h5")
    record("keras2", f"tf_keras {keras.__version__}, tensorflow {tensorflow.__version__}", made.predict(X, verbose=0))


def write(era: str, version: bytes, entries: list[Any], weights: dict[str, dict[str, Any]]) -> None:
    """A whole model's file as Keras 1 and 2 have it."""
    import h5py

    config = {"class_name": "Sequential", "config": [{"class_name": name, "config": own} for name, own in entries]}
    with h5py.File(FOLDER / f"{era}.h5", "w") as file:
        file.attrs["keras_version"] = np.bytes_(version)
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in weights])
        for name, arrays in weights.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = np.array([weight.encode() for weight in arrays])
            for weight, value in arrays.items():
                own.create_dataset(weight, data=value)


def uniform(*shape: int) -> Any:
    return RNG.uniform(-0.8, 0.8, shape).astype("float32")


def both(kind: str, x: Any, forward: list[Any], backward: list[Any], **options: Any) -> Any:
    """The last outputs of both directions, side by side."""
    from reference_cells import cell_recurrence

    ends = [
        cell_recurrence(kind, x, *weights, go_backwards=turned, **options)[1][0]
        for weights, turned in ((forward, False), (backward, True))
    ]
    return np.concatenate(ends, axis=1)


def keras1() -> None:
    from reference_cells import cell_recurrence

    def of_gates(gates: str, prefix: str, features: int, units: int) -> dict[str, Any]:
        """The arrays of Keras 1, gate after gate."""
        return {
            f"{prefix}_{kind}_{gate}": uniform(*shape)
            for gate in gates
            for kind, shape in (("W", (features, units)), ("U", (units, units)), ("b", (units,)))
        }

    def together(gates: str, prefix: str, arrays: dict[str, Any]) -> list[Any]:
        return [np.concatenate([arrays[f"{prefix}_{kind}_{gate}"] for gate in gates], axis=-1) for kind in "WUb"]

    recurrent = {
        **{"init": "glorot_uniform", "inner_init": "orthogonal", "inner_activation": "hard_sigmoid"},
        **{"W_regularizer": None, "U_regularizer": None, "b_regularizer": None, "dropout_W": 0.0, "dropout_U": 0.0},
        **{"go_backwards": False, "stateful": False, "unroll": False, "consume_less": "cpu", "activation": "tanh"},
        **{"trainable": True, "input_dtype": "float32"},
    }
    lstm = {
        **{"name": "lstm_1", "output_dim": 4, "forget_bias_init": "one", "return_sequences": True, "input_dim": 3},
        **{"input_length": 6, "batch_input_shape": [None, 6, 3], **recurrent},
    }
    gru = {"name": "gru_1", "output_dim": 2, "return_sequences": False, "input_dim": 4, "input_length": None}
    wrapped = {"class_name": "GRU", "config": {**gru, **recurrent}}
    entries = [("LSTM", lstm), ("Bidirectional", {"name": "bidirectional_1", "layer": wrapped, "merge_mode": "concat"})]
    of_lstm = of_gates("icfo", "lstm_1", 3, 4)
    forward, backward = of_gates("zrh", "forward_gru_1", 4, 2), of_gates("zrh", "backward_gru_1", 4, 2)
    write("keras1", b"1.2.2", entries, {"lstm_1": of_lstm, "bidirectional_1": {**forward, **backward}})
    gates = {"recurrent_activation": "hard_sigmoid_keras2"}
    hidden, _ = cell_recurrence("lstm", X, *together("ifco", "lstm_1", of_lstm), **gates)
    directions = together("zrh", "forward_gru_1", forward), together("zrh", "backward_gru_1", backward)
    record("keras1", "by hand", both("gru_reset_before", hidden, *directions, **gates))


def cudnn() -> None:
    from reference_cells import cell_recurrence

    common = {
        **{"trainable": True, "kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"},
        **{"bias_initializer": "zeros", "kernel_regularizer": None, "recurrent_regularizer": None},
        **{"bias_regularizer": None, "activity_regularizer": None, "kernel_constraint": None},
        **{"recurrent_constraint": None, "bias_constraint": None, "return_state": False, "go_backwards": False},
        "stateful": False,
    }
    lstm = {
        **{"name": "cu_dnnlstm_1", "units": 4, "unit_forget_bias": True, "return_sequences": True},
        **{"batch_input_shape": [None, 6, 3], "dtype": "float32", **common},
    }
    wrapped = {
        "class_name": "CuDNNGRU",
        "config": {"name": "cu_dnngru_1", "units": 2, "return_sequences": False, **common},
    }
    entries = [
        ("CuDNNLSTM", lstm),
        ("Bidirectional", {"name": "bidirectional_1", "trainable": True, "layer": wrapped, "merge_mode": "concat"}),
    ]

    def made(gates: int, features: int, units: int) -> tuple[list[Any], list[Any]]:
        """What the file holds: of each gate the memory of a transposed matrix, and two biases; and plain weights."""
        kernels = [[uniform(rows, units) for _ in range(gates)] for rows in (features, units)]
        biases = uniform(2, gates * units)
        of_cudnn = [np.concatenate([k.T.reshape(k.shape) for k in each], axis=1) for each in kernels]
        plain = [np.concatenate(each, axis=1) for each in kernels]
        return [*of_cudnn, biases.reshape(-1)], [*plain, biases.sum(axis=0) if gates == 4 else biases]

    of_lstm, lstm_weights = made(4, 3, 4)
    (forward, forward_weights), (backward, backward_weights) = made(3, 4, 2), made(3, 4, 2)
    names = ("kernel:0", "recurrent_kernel:0", "bias:0")
    of_both = [
        (f"{way}_cu_dnngru_1/{name}", array)
        for way, arrays in (("forward", forward), ("backward", backward))
        for name, array in zip(names, arrays, strict=True)
    ]
    own = {f"cu_dnnlstm_1/{name}": array for name, array in zip(names, of_lstm, strict=True)}
    write("cudnn", b"2.2.4", entries, {"cu_dnnlstm_1": own, "bidirectional_1": dict(of_both)})
    hidden, _ = cell_recurrence("lstm", X, *lstm_weights)
    record("cudnn", "by hand", both("gru", hidden, forward_weights, backward_weights))


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "2"
    sys.path.insert(0, str(Path(__file__).parents[1]))
    FOLDER.mkdir(exist_ok=True)
    {function.__name__: function for function in (keras1, keras2, keras3, cudnn)}[sys.argv[1]]()
