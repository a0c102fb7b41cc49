"""Modules that torch has in memory, as layers: recurrent ones, their cells, and an ``nn.Sequential`` of such.

torch is not imported, and no module is called: its attributes and weights are read.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cyrnn.layers import ELU, Activation, Dense, Dropout, Embedding, Layer, LayerNormalization, LeakyReLU
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.torch.weights import Part, as_array, dtype_of, layer_of, parts_of, whole

_RECURRENT = ("RNN", "LSTM", "GRU")
_CELLS = ("RNNCell", "LSTMCell", "GRUCell")

# Activations by torch's names, with the arguments with which Keras' are the same.
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ReLU": ("relu", {}),
    "ReLU6": ("relu6", {}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "LogSigmoid": ("log_sigmoid", {}),
    "SiLU": ("silu", {}),
    "Mish": ("mish", {}),
    "SELU": ("selu", {}),
    "CELU": ("celu", {"alpha": 1.0}),
    "Softplus": ("softplus", {"beta": 1.0}),
    "Softsign": ("softsign", {}),
    "Hardtanh": ("hard_tanh", {"min_val": -1.0, "max_val": 1.0}),
    "Hardsigmoid": ("hard_sigmoid", {}),
    "Hardswish": ("hard_silu", {}),
    "Tanhshrink": ("tanh_shrink", {}),
    "Softshrink": ("soft_shrink", {"lambd": 0.5}),
    "Hardshrink": ("hard_shrink", {"lambd": 0.5}),
}


class _Input(NamedTuple):
    """What comes to a module of a Sequential: the number of axes, the batch among them, and the dtype; and the module's
    name."""

    axes: int
    dtype: str
    name: str


def is_module(value: Any) -> bool:
    """Whether it is a module of torch, or of a class made of one."""
    return hasattr(value, "state_dict") and any(cls.__module__.startswith("torch.nn.") for cls in type(value).__mro__)


def from_module(module: Any, return_sequences: bool, return_state: bool) -> Layer:
    """What computes as a module does in inference; see `from_torch`. Raises ValueError and TypeError."""
    kind = _kind(module)
    if kind in _RECURRENT or kind in _CELLS:
        return layer_of(_weights(module), _nonlinearity(module), return_sequences, return_state)
    if kind != "Sequential":
        raise TypeError(f"source must be a recurrent module of torch or an nn.Sequential, got {_described(module)}")
    if return_state:
        raise ValueError("return_state=True is for a recurrent module alone, got an nn.Sequential")
    return _from_sequential(module, return_sequences)


def _from_sequential(sequential: Any, return_sequences: bool) -> Layer:
    modules = list(_flat(sequential))
    recurrent = [index for index, (_, module) in enumerate(modules) if _kind(module) in _RECURRENT]
    last = recurrent[-1] if recurrent else -1
    shape, dtype_of_input = _input_of(modules, bool(recurrent))
    dtype = dtype_of([as_array(name, value) for name, value in sequential.state_dict().items()])
    axes, parts = 1 + len(shape), list[Part]()
    for index, (name, module) in enumerate(modules):
        kind = _kind(module)
        if kind in _RECURRENT:
            whole_sequences = return_sequences or index != last
            parts += parts_of(_weights(module), _nonlinearity(module), whole_sequences)
            axes = 3 if whole_sequences else 2
            continue
        found = _MADE.get(kind)
        if found is None:
            raise ValueError(f"module {name!r} cannot be read: got {_described(module)}")
        made = found(module, _Input(axes, dtype, name))
        parts += made
        axes += kind == "Embedding"
    if not any(part.values for part in parts):
        raise ValueError("source must have modules with weights, got an nn.Sequential without")
    return whole(parts, shape, dtype_of_input)


def _flat(sequential: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential, and of those in it, in their order, with their names."""
    for name, module in sequential.named_children():
        if _kind(module) == "Sequential":
            yield from _flat(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _kind(module: Any) -> str | None:
    """The name of torch's class; None for a class that somebody else wrote, which may compute anything."""
    cls = type(module)
    return cls.__name__ if cls.__module__.startswith("torch.nn.modules.") else None


def _described(module: Any) -> str:
    """What messages say of a module that is not read."""
    if _kind(module) is not None:
        return f"a {_kind(module)}, for which there is no layer here"
    return (
        f"a {type(module).__name__}, a class of your own, whose code is not read: a module that picks the output of a "
        "recurrent one is not needed, since that is what the next module gets here; for the last timestep pass "
        "return_sequences=False. So pass the modules around it, as nn.Sequential(model.rnn, model.fc)"
    )


def _input_of(modules: list[tuple[str, Any]], recurrent: bool) -> tuple[tuple[int | None, ...], str | None]:
    """The shape of an input, without the batch, and its dtype; None for the default. The first module with weights
    says it."""
    for _, module in modules:
        kind = _kind(module)
        if kind == "Embedding":
            return (None,), "int32"
        width = {
            **dict.fromkeys(_RECURRENT, getattr(module, "input_size", None)),
            "Linear": getattr(module, "in_features", None),
            "LayerNorm": tuple(getattr(module, "normalized_shape", ()))[-1:],
        }.get(str(kind))
        if width:
            (features,) = width if isinstance(width, tuple) else (width,)
            return ((None, features) if recurrent else (features,)), None
    raise ValueError("source must have modules with weights, got an nn.Sequential without")


def _weights(module: Any) -> dict[str, Array]:
    """The weights of a module by their names. Raises TypeError for such as are no floats, as quantized ones."""
    return {name: as_array(name, value) for name, value in module.state_dict().items()}


def _nonlinearity(module: Any) -> str:
    return getattr(module, "nonlinearity", "tanh")


# ---------------------------------------------------------------- modules between recurrent ones


def _linear(module: Any, given: _Input) -> list[Part]:
    weights = _weights(module)
    kernel, bias = weights["weight"].T, weights.get("bias")
    layer = Dense(kernel.shape[1], use_bias=bias is not None, dtype=dtype_of([kernel]))
    return [Part(layer, [kernel] if bias is None else [kernel, bias])]


def _embedding(module: Any, given: _Input) -> list[Part]:
    if module.max_norm is not None:
        raise ValueError(
            f"module {given.name!r} must have no max_norm, which changes its weights, got {module.max_norm}"
        )
    table = _weights(module)["weight"]
    return [Part(Embedding(*table.shape, dtype=dtype_of([table])), [table])]


def _layer_norm(module: Any, given: _Input) -> list[Part]:
    weights = _weights(module)
    if len(module.normalized_shape) != 1:
        raise ValueError(
            f"module {given.name!r} must normalize the last axis, got normalized_shape={tuple(module.normalized_shape)}"
        )
    values = [weights[name] for name in ("weight", "bias") if name in weights]
    layer = LayerNormalization(
        epsilon=module.eps, center="bias" in weights, scale="weight" in weights, dtype=dtype_of(values)
    )
    return [Part(layer, values)]


def _softmax(module: Any, given: _Input) -> list[Part]:
    if module.dim not in (-1, given.axes - 1):
        raise ValueError(f"module {given.name!r} must have dim=-1, the features, got dim={module.dim}")
    return [Part(Activation("softmax" if _kind(module) == "Softmax" else "log_softmax", dtype=given.dtype), [])]


def _gelu(module: Any, given: _Input) -> list[Part]:
    if module.approximate != "none":  # Keras' activation of this name is the exact one, where a config names it
        raise ValueError(f"module {given.name!r} must have approximate='none', got {module.approximate!r}")
    return [Part(Activation("gelu", dtype=given.dtype), [])]


def _activation(module: Any, given: _Input) -> list[Part]:
    name, arguments = _ACTIVATIONS[str(_kind(module))]
    for argument, expected in arguments.items():
        if getattr(module, argument) != expected:
            raise ValueError(f"module {given.name!r} must have {argument}={expected}, got {getattr(module, argument)}")
    return [Part(Activation(name, dtype=given.dtype), [])]


_MADE: dict[str | None, Callable[[Any, _Input], list[Part]]] = {
    "Linear": _linear,
    "Embedding": _embedding,
    "LayerNorm": _layer_norm,
    "Dropout": lambda module, given: [Part(Dropout(float(module.p), dtype=given.dtype), [])] if module.p < 1 else [],
    "Identity": lambda module, given: [],
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "GELU": _gelu,
    "LeakyReLU": lambda module, given: [
        Part(LeakyReLU(negative_slope=float(module.negative_slope), dtype=given.dtype), [])
    ],
    "ELU": lambda module, given: [Part(ELU(alpha=float(module.alpha), dtype=given.dtype), [])],
    **dict.fromkeys(_ACTIVATIONS, _activation),
}
