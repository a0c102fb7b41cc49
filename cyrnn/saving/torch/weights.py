"""Weights of ``torch.nn.RNN``, `LSTM` and `GRU`, and of their cells, as layers.

torch multiplies from the left, so its matrices are Keras' transposed; and it has two biases, which are only ever added,
except those of a GRU's candidate.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cyrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    GRUCell,
    Input,
    Layer,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
)
from cyrnn.layers.base.arguments import Array, in_native_order
from cyrnn.layers.base.building import deferred_building
from cyrnn.models import Model, Sequential
from cyrnn.saving.weight_paths import fill, places


class _Module(NamedTuple):
    """What modules of torch are here, and the places of Keras' gates among theirs."""

    name: str
    cell: type[Any]
    layer: Any  # the class, of those that have the cell's arguments too
    gates: tuple[int, ...]


_MODULES = {  # by how many gates there are in one array
    1: _Module("RNN", SimpleRNNCell, SimpleRNN, (0,)),
    3: _Module("GRU", GRUCell, GRU, (1, 0, 2)),
    4: _Module("LSTM", LSTMCell, LSTM, (0, 1, 2, 3)),
}


class Part(NamedTuple):
    """A layer, and the weights that it is to have.

    Parameters
    ----------
    layer : Layer
        It is not built.
    values : list of array
    """

    layer: Layer
    values: list[Array]


def as_array(name: str, value: Any) -> Array:
    """A tensor as an array of floats. Raises TypeError for anything else."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must be an array of floats, got dtype {array.dtype}")
    return in_native_order(array)


def dtype_of(arrays: Sequence[Array]) -> str:
    """The dtype of a layer with these weights."""
    return "float64" if any(array.dtype == np.float64 for array in arrays) else "float32"


def is_recurrent(names: Mapping[str, Any]) -> bool:
    """Whether these are names of weights of a recurrent module, or of a cell."""
    return bool(_ends(names))


def layer_of(
    weights: Mapping[str, Array], nonlinearity: str = "tanh", return_sequences: bool = True, return_state: bool = False
) -> Layer:
    """What computes as a recurrent module of these weights, or a cell; see `from_torch`.

    Raises ValueError where weights are missing, do not fit together, or are of a module that has no counterpart.
    """
    ends = _ends(weights)
    module = _module_of(weights, min(ends))
    if ends == {""}:
        own = _keras_weights(weights, "", module)
        cell = module.cell(len(own[1]), use_bias=len(own) == 3, **_options(weights, module, nonlinearity))
        return _filled(cell, (None, len(own[0])), own)
    if return_state and len({end.removesuffix("_reverse") for end in ends}) > 1:
        stacked = _stack_with_states(weights, nonlinearity, return_sequences)
        if stacked is not None:
            return stacked
    parts = parts_of(weights, nonlinearity, return_sequences, return_state)
    if return_state and len(parts) > 1:
        return _with_states(parts)
    return whole(parts, (None, len(parts[0].values[0])))


def parts_of(
    weights: Mapping[str, Array], nonlinearity: str = "tanh", return_sequences: bool = True, return_state: bool = False
) -> list[Part]:
    """For each layer of a recurrent module one of Keras, or a Bidirectional. Raises ValueError as `layer_of` does."""
    ends_of_layers = _ends_of_layers(_ends(weights))
    module = _module_of(weights, ends_of_layers[0][0])
    options = _options(weights, module, nonlinearity)
    parts: list[Part] = []
    for directions in ends_of_layers:
        own = [weight for end in directions for weight in _keras_weights(weights, end, module)]
        if len(own) not in (2 * len(directions), 3 * len(directions)):
            raise ValueError(f"both directions of a layer must have biases or none, {' and '.join(directions)} differ")
        layer = module.layer(
            len(own[1]),
            use_bias=len(own) == 3 * len(directions),
            return_sequences=return_sequences or len(parts) + 1 < len(ends_of_layers),
            return_state=return_state,
            **options,
        )
        parts.append(Part(layer if len(directions) == 1 else Bidirectional(layer, dtype=options["dtype"]), own))
    return parts


def whole(parts: Sequence[Part], shape: tuple[int | None, ...], dtype: str | None = None) -> Layer:
    """The layers one after the other, with their weights: a single one alone, several as a Sequential.

    Parameters
    ----------
    parts : sequence of Part
    shape : tuple of int and None
        Of an input, without the batch.
    dtype : str, optional
        That of the input.
    """
    with deferred_building():
        layers = [part.layer for part in parts]
        alone = len(layers) == 1 and dtype is None
        made: Layer = layers[0] if alone else Sequential([Input(shape, dtype=dtype), *layers])
    return _filled(made, (None, *shape), [value for part in parts for value in part.values])


def _stack_with_states(weights: Mapping[str, Array], nonlinearity: str, return_sequences: bool) -> RNN | None:
    """An RNN of a cell for each layer, which has their states; None for a module of both directions."""
    ends_of_layers = _ends_of_layers(_ends(weights))
    if any(len(directions) > 1 for directions in ends_of_layers):
        return None
    module = _module_of(weights, "_l0")
    options = _options(weights, module, nonlinearity)
    of_cells = [_keras_weights(weights, end, module) for (end,) in ends_of_layers]
    with deferred_building():
        cells = [module.cell(len(own[1]), use_bias=len(own) == 3, **options) for own in of_cells]
        rnn = RNN(cells, return_sequences=return_sequences, return_state=True, dtype=options["dtype"])
    _filled(rnn, (None, None, len(of_cells[0][0])), [weight for own in of_cells for weight in own])
    return rnn


def _with_states(parts: Sequence[Part]) -> Layer:
    """A model that returns the output of the last layer, and the final states of all layers."""
    x = begin = Input((None, len(parts[0].values[0])), dtype=parts[0].layer.dtype)
    states: list[Any] = []
    for part in parts:
        x, *own = part.layer(x)
        states += own
    model: Layer = Model(begin, [x, *states])
    model.set_weights([value for part in parts for value in part.values])
    return model


def _options(weights: Mapping[str, Array], module: _Module, nonlinearity: str) -> dict[str, Any]:
    """The arguments that all layers or cells of a module have."""
    dtype = dtype_of(list(weights.values()))
    if module.name == "RNN":
        return {"dtype": dtype, "activation": nonlinearity}
    if nonlinearity != "tanh":
        raise ValueError(f"nonlinearity must be 'tanh' for weights of a module {module.name}, got {nonlinearity!r}")
    return {"dtype": dtype}


def _filled(layer: Layer, input_shape: tuple[int | None, ...], values: list[Array]) -> Layer:
    """The layer, built with these weights: initial ones are not made."""
    rest = iter(values)
    of_a_layer = places(layer, input_shape)
    fill(of_a_layer, [{spec.name: next(rest) for spec in place.specs} for place in of_a_layer])
    return layer


def _ends(weights: Mapping[str, Any]) -> set[str]:
    """How the names of the layers' weights end: with nothing for a cell."""
    return {match[1] for name in weights if (match := re.fullmatch(r"weight_ih(|_l\d+(?:_reverse)?)", name))}


def _ends_of_layers(ends: set[str]) -> list[list[str]]:
    """For each layer how the names of its directions end: ``_l0``, ``_l0_reverse``. Raises ValueError for others."""
    count = len({end.removesuffix("_reverse") for end in ends})
    directions = ["", "_reverse"] if any(end.endswith("_reverse") for end in ends) else [""]
    expected = [[f"_l{number}{direction}" for direction in directions] for number in range(count)]
    if ends != {end for layer in expected for end in layer}:
        raise ValueError(f"the source must have the weights of each layer in the same directions, got {sorted(ends)}")
    return expected


def _module_of(weights: Mapping[str, Array], end: str) -> _Module:
    """The module whose weights they are. Raises ValueError for one that has no counterpart."""
    projected = sorted(name for name in weights if name.startswith("weight_hr"))
    if projected:
        raise ValueError(f"{projected[0]} is of an LSTM with proj_size, which Keras has no layer for")
    shape = weights.get(f"weight_hh{end}", np.empty((0, 0))).shape
    gates = shape[0] // shape[1] if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 else 1
    if gates not in _MODULES:
        raise ValueError(f"weight_hh{end} must have 1, 3 or 4 gates, of an RNN, GRU or LSTM, got shape {shape}")
    return _MODULES[gates]


def _keras_weights(weights: Mapping[str, Array], end: str, module: _Module) -> list[Array]:
    """Kernel, recurrent kernel and, if there are, the bias, of one layer in one direction."""
    used = [name + end for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if name + end in weights]
    if len(used) not in (2, 4) or f"weight_hh{end}" not in used:
        raise ValueError(f"expected weight_ih, weight_hh and both biases or none, each with {end!r}, got {used}")
    kernel, recurrent_kernel, *biases = (weights[name] for name in used)
    units = recurrent_kernel.shape[-1] if recurrent_kernel.ndim else 0
    rows = len(module.gates) * units
    shapes = [(rows, kernel.shape[-1] if kernel.ndim else 0), (rows, units), (rows,), (rows,)]
    for name, shape in zip(used, shapes, strict=False):
        if weights[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, of a module {module.name}, got {weights[name].shape}")

    def in_order(array: Array) -> Array:
        gates = np.split(array, len(module.gates), axis=-1)
        return np.concatenate([gates[place] for place in module.gates], axis=-1)

    kernels = [in_order(kernel.T), in_order(recurrent_kernel.T)]
    if not biases:
        return kernels
    both = np.stack([in_order(bias.astype(np.float64)) for bias in biases])
    return [*kernels, both if module.name == "GRU" else both.sum(axis=0)]


def keras_weights(weights: Mapping[str, Array], end: str) -> list[Array]:
    """The weights of a recurrent layer, of those of one layer and direction of a module, whose names end so."""
    return _keras_weights(weights, end, _module_of(weights, end))


def torch_weights(layer: Layer, end: str) -> dict[str, Array]:
    """The weights of a recurrent layer under torch's names, which end so.

    Raises ValueError for a layer whose options torch has not.
    """
    module = next(module for module in _MODULES.values() if module.layer is type(layer))
    config = layer.get_config()
    wanted: dict[str, tuple[object, ...]] = {"recurrent_activation": ("sigmoid",), "reset_after": (True,)}
    wanted["activation"] = ("tanh", "relu") if module.name == "RNN" else ("tanh",)
    for name, values in wanted.items():
        if name in config and config[name] not in values:
            texts = " or ".join(map(repr, values))
            raise ValueError(f"layer {layer.name!r} must have {name}={texts}, as torch has it, got {config[name]!r}")

    def in_order(array: Array) -> Array:
        gates = np.split(array, len(module.gates), axis=-1)
        return np.concatenate([gates[place] for place in np.argsort(module.gates)], axis=-1)

    kernel, recurrent_kernel, *bias = layer.get_weights()
    found = {f"weight_ih{end}": in_order(kernel).T, f"weight_hh{end}": in_order(recurrent_kernel).T}
    if bias:
        both = bias[0] if bias[0].ndim == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
        found |= {f"bias_ih{end}": in_order(both[0]), f"bias_hh{end}": in_order(both[1])}
    return found
