"""Activations in ONNX: inside its recurrent operators, which know few, and as nodes of their own."""

import math
from collections.abc import Callable
from typing import Any

from cyrnn import activations
from cyrnn.saving.onnx.graph import Graph

# What its recurrent operators call an activation, and its alpha and beta.
IN_RNN: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "tanh": ("Tanh", (), ()),
    "relu": ("Relu", (), ()),
    "sigmoid": ("Sigmoid", (), ()),
    "softsign": ("Softsign", (), ()),
    "softplus": ("Softplus", (), ()),
    "linear": ("Affine", (1.0,), (0.0,)),
    "leaky_relu": ("LeakyRelu", (0.2,), ()),
    "elu": ("Elu", (1.0,), ()),
    "celu": ("Elu", (1.0,), ()),
    "hard_sigmoid": ("HardSigmoid", (1 / 6,), (0.5,)),
    "hard_sigmoid_keras2": ("HardSigmoid", (0.2,), (0.5,)),
    "sparse_sigmoid": ("HardSigmoid", (0.5,), (0.5,)),
}

# Those that are one operator, and its attributes.
OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softsign": ("Softsign", {}),
    "softplus": ("Softplus", {}),
    "exponential": ("Exp", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "elu": ("Elu", {"alpha": 1.0}),
    "celu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_sigmoid_keras2": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
    "sparse_sigmoid": ("HardSigmoid", {"alpha": 0.5, "beta": 0.5}),
    "hard_shrink": ("Shrink", {"lambd": 0.5}),
    "soft_shrink": ("Shrink", {"lambd": 0.5, "bias": 0.5}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
}


def _times(graph: Graph, x: str, y: str) -> str:
    return graph.node("Mul", x, y)


def _negative_softplus_of_negative(graph: Graph, x: str) -> str:
    return graph.node("Neg", graph.node("Softplus", graph.node("Neg", x)))


def _gelu(graph: Graph, x: str) -> str:
    """x (1 + erf(x / sqrt(2))) / 2"""
    erf = graph.node("Erf", _times(graph, x, graph.constant(math.sqrt(0.5))))
    return _times(graph, x, _times(graph, graph.node("Add", erf, graph.constant(1)), graph.constant(0.5)))


def _squareplus(graph: Graph, x: str) -> str:
    """(x + sqrt(x^2 + 4)) / 2"""
    root = graph.node("Sqrt", graph.node("Add", _times(graph, x, x), graph.constant(4)))
    return _times(graph, graph.node("Add", x, root), graph.constant(0.5))


def _sparse_plus(graph: Graph, x: str) -> str:
    """0 up to -1, (x + 1)^2 / 4, and x from 1 on"""
    half = graph.node("Relu", _times(graph, graph.node("Add", x, graph.constant(1)), graph.constant(0.5)))
    return graph.node("Where", graph.node("Less", x, graph.constant(1)), _times(graph, half, half), x)


def clipped(graph: Graph, x: str, least: float, most: float) -> str:
    return graph.node("Clip", x, graph.constant(least), graph.constant(most))


# Those that take several.
_FORMULAS: dict[str, Callable[[Graph, str], str]] = {
    "linear": lambda graph, x: x,
    "relu6": lambda graph, x: clipped(graph, x, 0, 6),
    "hard_tanh": lambda graph, x: clipped(graph, x, -1, 1),
    "silu": lambda graph, x: _times(graph, x, graph.node("Sigmoid", x)),
    "hard_silu": lambda graph, x: _times(graph, x, graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "mish": lambda graph, x: _times(graph, x, graph.node("Tanh", graph.node("Softplus", x))),
    "tanh_shrink": lambda graph, x: graph.node("Sub", x, graph.node("Tanh", x)),
    "log_sigmoid": _negative_softplus_of_negative,
    "gelu": _gelu,
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
}


def name_of(activation: Any) -> str:
    """The name of one of this package's activations. Raises ValueError for others."""
    name = activations.engine_name(activation)
    if name is None:
        raise ValueError(f"its activation is one of your own, {activation!r:.100}")
    return name


def in_rnn(activation: Any) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """What recurrent operators call an activation, its alphas and its betas. Raises ValueError where it has none."""
    name = name_of(activation)
    if name not in IN_RNN:
        raise ValueError(f"ONNX's recurrent operators have no activation {name!r}, only {', '.join(sorted(IN_RNN))}")
    return IN_RNN[name]


def applied(graph: Graph, activation: Any, x: str) -> str:
    """The activation of x. Raises ValueError where ONNX has no operators for it."""
    name = name_of(activation)
    if name in OPERATORS:
        operator, attributes = OPERATORS[name]
        return graph.node(operator, x, **attributes)
    if name not in _FORMULAS:
        raise ValueError(f"its activation {name!r} is not supported")
    return _FORMULAS[name](graph, x)
