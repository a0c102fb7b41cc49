"""Write keras_objects.json: what initializers, regularizers, constraints and seeds do in Keras on NumPy.

    KERAS_BACKEND=numpy python tests/golden/make_keras_objects.py

The tables below say what is recorded; `tests/parity/test_objects.py` runs them against an installed Keras. Of each
array the last values are kept: of a larger one they hold the redraws of truncated normals.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("keras_objects.json")
TAIL = 20

Case = tuple[str, dict[str, Any]]  # class name and constructor arguments

INITIALIZERS: list[Case] = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {"value": -2.5}),
    ("Identity", {}),
    ("Identity", {"gain": -0.3}),
    ("RandomNormal", {"seed": 7}),
    ("RandomNormal", {"mean": 1.5, "stddev": 0.3, "seed": 4294967295}),
    ("RandomUniform", {"seed": 7}),
    ("RandomUniform", {"minval": 2, "maxval": 9.5, "seed": 0}),
    ("TruncatedNormal", {"seed": 7}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 2.0, "seed": 123}),
    ("VarianceScaling", {"seed": 7}),
    ("VarianceScaling", {"scale": 0.4, "mode": "fan_out", "distribution": "uniform", "seed": 1}),
    ("VarianceScaling", {"scale": 3, "mode": "fan_avg", "distribution": "Untruncated_Normal", "seed": 2}),
    ("VarianceScaling", {"mode": "fan_avg", "distribution": "normal", "seed": 3}),
    ("GlorotUniform", {"seed": 7}),
    ("GlorotUniform", {"seed": 11}),
    ("GlorotNormal", {"seed": 7}),
    ("HeUniform", {"seed": 7}),
    ("HeNormal", {"seed": 7}),
    ("LecunUniform", {"seed": 7}),
    ("LecunNormal", {"seed": 7}),
    ("Orthogonal", {"seed": 7}),
    ("Orthogonal", {"gain": 1.7, "seed": 11}),
]
AXES: list[Case] = [
    ("VarianceScaling", {"seed": 1, "input_axes": [0], "output_axes": [0, 1]}),
    ("HeUniform", {"seed": 1, "input_axes": [-1], "output_axes": [0]}),
    ("GlorotNormal", {"seed": 1, "input_axes": [0]}),
]
CALLS = [((3, 5), "float32"), ((5, 3), "float64"), ((40, 30), "float32"), ((0, 4), "float32")]
CALLS_OF_ANY_RANK = [((6,), "float64"), ((), "float32"), ((2, 3, 4), "float32"), ((2, 3), "float16")]
MATRICES_ONLY = ("Identity", "Orthogonal")

REGULARIZERS: list[Case] = [
    ("L1", {}),
    ("L1", {"l1": 0.25}),
    ("L2", {}),
    ("L2", {"l2": 0.3}),
    ("L1L2", {}),
    ("L1L2", {"l1": 0.25, "l2": 0.3}),
    ("L1L2", {"l2": 1}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.25, "mode": "columns"}),
]
CONSTRAINTS: list[Case] = [
    ("NonNeg", {}),
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.7, "axis": 1}),
    ("MaxNorm", {"max_value": 0.7, "axis": [0, 1]}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": -1}),
    ("UnitNorm", {"axis": None}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 1.5, "max_value": 2.5, "rate": 0.3, "axis": 1}),
]
WEIGHTS = [((3, 4), "float32"), ((4, 3), "float64"), ((5, 5), "float32")]

# What `get` makes of a name or a config: a class, or an exception.
IDENTIFIERS: dict[str, list[Any]] = {
    "initializers": [
        *("Zeros", "zeros", "zero", "ZEROS", "one", "normal", "Normal", "uniform", "he_uniform"),
        *("glorot_uniform", "GlorotUniform", "lecun_normal", "variance_scaling", "random_normal"),
        *(
            "Orthogonal",
            "orthogonal",
            "OrthogonalInitializer",
            "IdentityInitializer",
            "identity",
            "initializer",
        ),
        *("truncated_normal", "RandomInitializer", "keras.initializers.Zeros", "", 3, True, [1, 2], {}),
        {"config": {}},
        {"class_name": "nothing", "config": {}},
        {"class_name": "zeros", "config": {}},
        {"class_name": "OrthogonalInitializer", "config": {"gain": 2.0, "seed": None}},
        {
            "class_name": "VarianceScaling",
            "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "normal"},
        },
    ],
    "regularizers": [
        *("l1", "L1", "l2", "L2", "l1l2", "L1L2", "l1_l2", "OrthogonalRegularizer", "orthogonal_regularizer"),
        *("regularizer", "nothing", 3, [1], {}),
        {"class_name": "L1", "config": {}},
        {"class_name": "nothing", "config": {}},
        {"class_name": "L2", "config": {"l2": -1.0}},
    ],
    "constraints": [
        *("max_norm", "MaxNorm", "maxnorm", "non_neg", "NonNeg", "nonneg", "unit_norm", "min_max_norm"),
        *("constraint", "nothing", 3, [1], {}),
        {"class_name": "UnitNorm", "config": {"axis": 1}},
        {"class_name": "nothing", "config": {}},
        {"class_name": "MaxNorm", "config": {"max_value": 2, "unknown": 1}},
    ],
}

# Class, constructor arguments, and the arguments of a call (None: not called) that end in an exception.
NAN, INF = float("nan"), float("inf")
ERRORS: dict[str, list[tuple[str, dict[str, Any], list[Any] | None]]] = {
    "random": [("SeedGenerator", {"seed": seed}, None) for seed in (1.0, "3", [1], -1, 2**32)],
    "initializers": [
        *(("VarianceScaling", {"scale": scale}, None) for scale in (0, -1.0, "a", None)),
        *(("VarianceScaling", {"mode": mode}, None) for mode in ("fan", None)),
        ("VarianceScaling", {"distribution": "gamma"}, None),
        ("GlorotUniform", {"input_axes": [7], "output_axes": [0]}, [[2, 3]]),
        *(("RandomNormal", {"seed": seed}, None) for seed in (1.0, "3", [1])),
        *(("RandomNormal", {"seed": seed}, [[2, 3]]) for seed in (-1, 2**32)),
        *(("RandomNormal", {"seed": 1, **moment}, [[2, 3]]) for moment in ({"mean": None}, {"stddev": -1.0})),
        ("TruncatedNormal", {"seed": 1, "mean": "a"}, [[2, 3]]),
        ("RandomUniform", {"minval": 2.0, "maxval": 1.0}, [[2, 3]]),
        ("RandomUniform", {"minval": INF}, [[2, 3]]),
        *(("Orthogonal", {"gain": gain}, [[2, 3]]) for gain in ("a", None)),
        *(("Orthogonal", {}, [shape]) for shape in ([], [3], None, [2.5, 2], [-1, 2])),
        *(("Identity", {}, [shape]) for shape in ([3], [2, 2, 2], [2.5, 2])),
        *(("Zeros", {}, call) for call in ([[2], "nothing"], [[2], "float"], [[-1, 2]], [[2.5, 2]], [["a"]], [None])),
        *(("Constant", {"value": value}, [[2, 3]]) for value in ("a", [1.0, 2.0])),
        ("Initializer", {}, [[2, 3]]),
    ],
    "regularizers": [
        *(("L1", {"l1": factor}, None) for factor in (-0.1, "a", [1], NAN, INF)),
        ("L2", {"l2": -1}, None),
        ("L1L2", {"l1": "a"}, None),
        *(("OrthogonalRegularizer", {"factor": factor}, None) for factor in (None, -1)),
        *(("OrthogonalRegularizer", {"mode": mode}, None) for mode in ("diagonal", None)),
        *(("OrthogonalRegularizer", {}, [shape]) for shape in ([], [3], [2, 2, 2])),
    ],
    "constraints": [
        *(("MaxNorm", {"axis": axis}, [[3, 4]]) for axis in (5, "a", 1.0, True, [0, 0])),
        ("UnitNorm", {"axis": [0, 2]}, [[3, 4]]),
        ("MaxNorm", {"max_value": "a"}, [[3, 4]]),
        ("MinMaxNorm", {"rate": "a"}, [[3, 4]]),
    ],
}


def calls(name: str) -> list[tuple[tuple[int, ...], str]]:
    """The shapes and dtypes that the initializer class `name` is called with."""
    return CALLS if name in MATRICES_ONLY else CALLS + CALLS_OF_ANY_RANK


def weight(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """A weight of quarters in -1.25..1.25, exact in every dtype."""
    return ((np.arange(np.prod(shape, dtype=int)) * 7 % 11 - 5) / 4).reshape(shape).astype(dtype)


def tail(array: Any) -> list[float]:
    """The last values of `array`, each as the shortest decimal that its dtype reads back exactly."""
    return [float(str(value)) for value in np.asarray(array).ravel()[-TAIL:]]


def error_of(function: Any, *args: Any, **kwargs: Any) -> str | None:
    """The built-in exception that a call raises, such as ``"ValueError"``."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return next(base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins")
    return None


def error_of_case(module: Any, name: str, kwargs: dict[str, Any], call: list[Any] | None) -> str | None:
    """The exception of one row of `ERRORS`."""

    def run() -> None:
        instance = getattr(module, name)(**kwargs)
        if call is not None:
            is_initializer = module.__name__.endswith("initializers")
            instance(*call) if is_initializer else instance(weight(tuple(call[0])))

    return error_of(run)


def found(module: Any, identifier: Any) -> str:
    """The class that ``module.get(identifier)`` gives, or the exception."""
    with contextlib.suppress(Exception):
        return type(module.get(identifier)).__name__
    return f"raises {error_of(module.get, identifier)}"


@contextlib.contextmanager
def float64_kept() -> Iterator[None]:
    """Keras on NumPy computes in float64 where that is asked for, as on TensorFlow: by itself it takes float32."""
    from keras.src.backend.common import dtypes

    before = dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = before


def record() -> dict[str, Any]:
    """All that the golden file holds, from the installed Keras."""
    import keras

    modules = {name: getattr(keras, name) for name in ("random", "initializers", "regularizers", "constraints")}

    def make(module: str, name: str, kwargs: dict[str, Any]) -> Any:
        return getattr(modules[module], name)(**kwargs)

    def applied(module: str, name: str, kwargs: dict[str, Any], shape: tuple[int, ...], dtype: str) -> list[float]:
        return tail(make(module, name, kwargs)(keras.Variable(weight(shape, dtype), dtype=dtype)))

    def envelope(module: str, name: str, kwargs: dict[str, Any]) -> Any:
        return json.loads(json.dumps(modules[module].serialize(make(module, name, kwargs))))

    tables = {"initializers": INITIALIZERS + AXES, "regularizers": REGULARIZERS, "constraints": CONSTRAINTS}
    with float64_kept():
        values: dict[str, Any] = {
            "initializers": [
                [name, kwargs, shape, dtype, tail(make("initializers", name, kwargs)(shape, dtype))]
                for name, kwargs in INITIALIZERS
                for shape, dtype in calls(name)
            ]
            + [
                [name, kwargs, (2, 3, 4), "float32", tail(make("initializers", name, kwargs)((2, 3, 4)))]
                for name, kwargs in AXES
            ]
        }
        for module in ("regularizers", "constraints"):
            values[module] = [
                [name, kwargs, shape, dtype, applied(module, name, kwargs, shape, dtype)]
                for name, kwargs in tables[module]
                for shape, dtype in WEIGHTS
            ]
    generator = keras.random.SeedGenerator(7, name="seeds")
    return {
        "keras": keras.__version__,
        "values": values,
        "envelopes": {
            module: [[name, kwargs, envelope(module, name, kwargs)] for name, kwargs in table]
            for module, table in tables.items()
        },
        "found": {
            module: [[identifier, found(modules[module], identifier)] for identifier in identifiers]
            for module, identifiers in IDENTIFIERS.items()
        },
        "errors": {
            module: [[*case, error_of_case(modules[module], *case)] for case in cases]
            for module, cases in ERRORS.items()
        },
        "seeds": {
            "envelope": keras.saving.serialize_keras_object(generator),
            "in_an_initializer": keras.initializers.serialize(keras.initializers.HeNormal(seed=generator)),
            "next": [np.asarray(generator.next(ordered)).tolist() for ordered in (True, True, False, False, True)],
            "dropout": [
                [shape, rate, tail(keras.random.dropout(np.ones(shape, "float32"), rate, seed=9))]
                for shape, rate in [((3, 7), 0.3), ((3, 7), 0.45), ((2, 2), 0.0), ((2, 2), 1.0)]
            ],
        },
    }


def load() -> dict[str, Any]:
    """The golden file."""
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), separators=(",", ":")).replace("],[", "],\n[") + "\n")
