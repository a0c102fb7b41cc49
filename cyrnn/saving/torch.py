"""Weights of ``torch.nn.RNN``, `LSTM` and `GRU`, and of their cells, without torch.

torch multiplies from the left, so its matrices are Keras' transposed; and it has two biases, which are only ever added,
except those of a GRU's candidate.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from cyrnn.arrays import quietly
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
from cyrnn.models.sequential import Sequential
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.safetensors import SAFETENSORS, tensors_in
from cyrnn.saving.weight_paths import fill, places


class _Module(NamedTuple):
    """What modules of torch are here, and the places of Keras' gates among theirs."""

    name: str
    cell: type[Any]
    layer: type[RNN]
    gates: tuple[int, ...]


_MODULES = {  # by how many gates there are in one array
    1: _Module("RNN", SimpleRNNCell, SimpleRNN, (0,)),
    3: _Module("GRU", GRUCell, GRU, (1, 0, 2)),
    4: _Module("LSTM", LSTMCell, LSTM, (0, 1, 2, 3)),
}


@quietly
def from_torch(
    source: Mapping[str, Any] | str | os.PathLike[str],
    nonlinearity: str = "tanh",
    *,
    prefix: str = "",
    return_sequences: bool = True,
    return_state: bool = False,
) -> Layer:
    """The layer that computes what a ``torch.nn.RNN``, `LSTM` or `GRU`, or a cell of them, of these weights does.

    Parameters
    ----------
    source : mapping of str to array, or path
        The module's `state_dict()`, or any mapping of its names to arrays; or the path of a .safetensors file of them.
        Files of pickles (.pt, .pth) are not read: pass the `state_dict()`, or save it as .safetensors.
    nonlinearity : {"tanh", "relu"}
        That of an RNN; its weights do not say it.
    prefix : str
        What stands before the names, as ``"encoder.rnn."`` in the weights of a larger module.
    return_sequences : bool
        Return the output of each timestep, as torch does, not only of the last one. This is for the last layer: those
        before it always do.
    return_state : bool
        Return the final state too. This is for a module of one layer.

    Returns
    -------
    SimpleRNNCell, LSTMCell, GRUCell, SimpleRNN, LSTM, GRU, Bidirectional or Sequential
        A cell for a cell, a recurrent layer for one layer, a Bidirectional of it for both directions, and for several
        layers a Sequential of these. Inputs are (batch, timesteps, features): torch's with batch_first. Weights are
        float64 if those of the source are, else float32; biases are added in float64.

    Raises
    ------
    ValueError
        Weights are missing, are of another module, or do not fit together; or it is an LSTM with projections.
    TypeError
        The source is something else, such as the module itself.
    ModelFileError
        The file is damaged.
    OSError
        There is no such file, or it cannot be read.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    if not isinstance(source, (Mapping, str, os.PathLike)):
        hint = ": pass its state_dict()" if hasattr(source, "state_dict") else ""
        raise TypeError(
            "source must be a state_dict, another mapping of names to arrays, or the path of a .safetensors file, "
            f"got {type(source).__name__}{hint}"
        )
    if isinstance(source, Mapping):
        arrays = {name: _as_array(name, value) for name, value in source.items() if _belongs(name, prefix)}
    else:
        arrays = _of_file(source, prefix)
    weights = {name.removeprefix(prefix): array for name, array in arrays.items()}
    double = any(array.dtype == np.float64 for array in weights.values())
    ends = {match[1] for name in weights if (match := re.fullmatch(r"weight_ih(|_l\d+(?:_reverse)?)", name))}
    if not ends:
        raise ValueError(f"the source has no weight_ih_l0 or weight_ih after the prefix {prefix!r}: {_some(source)}")
    module = _module_of(weights, min(ends))
    options: dict[str, Any] = {"dtype": "float64" if double else "float32"}
    if module.name == "RNN":
        options["activation"] = nonlinearity
    elif nonlinearity != "tanh":
        raise ValueError(f"nonlinearity must be 'tanh' for weights of a module {module.name}, got {nonlinearity!r}")
    if ends == {""}:
        own = _keras_weights(weights, "", module)
        return _filled(module.cell(len(own[1]), use_bias=len(own) == 3, **options), (None, len(own[0])), own)
    ends_of_layers = _ends_of_layers(ends)
    if return_state and len(ends_of_layers) > 1:
        raise ValueError("return_state=True needs a single layer: a Sequential returns one output")
    layers: list[Layer] = []
    values: list[Array] = []
    for directions in ends_of_layers:
        own = [weight for end in directions for weight in _keras_weights(weights, end, module)]
        values += own
        if len(own) not in (2 * len(directions), 3 * len(directions)):
            raise ValueError(f"both directions of a layer must have biases or none, {' and '.join(directions)} differ")
        layer = module.layer(
            len(own[1]),
            use_bias=len(own) == 3 * len(directions),
            return_sequences=return_sequences or len(layers) + 1 < len(ends_of_layers),
            return_state=return_state,
            **options,
        )
        layers.append(layer if len(directions) == 1 else Bidirectional(layer, dtype=options["dtype"]))
    shape = (None, None, len(values[0]))
    with deferred_building():
        whole = layers[0] if len(layers) == 1 else Sequential([Input(shape[1:]), *layers])
    return _filled(whole, shape, values)


def _filled(layer: Layer, input_shape: tuple[int | None, ...], values: list[Array]) -> Layer:
    """The layer, built with these weights: initial ones are not made."""
    rest = iter(values)
    of_a_layer = places(layer, input_shape)
    fill(of_a_layer, [{spec.name: next(rest) for spec in place.specs} for place in of_a_layer])
    return layer


def _ends_of_layers(ends: set[str]) -> list[list[str]]:
    """For each layer how the names of its directions end: ``_l0``, ``_l0_reverse``. Raises ValueError for others."""
    count = len({end.removesuffix("_reverse") for end in ends})
    directions = ["", "_reverse"] if any(end.endswith("_reverse") for end in ends) else [""]
    expected = [[f"_l{number}{direction}" for direction in directions] for number in range(count)]
    if ends != {end for layer in expected for end in layer}:
        raise ValueError(f"the source must have the weights of each layer in the same directions, got {sorted(ends)}")
    return expected


def _module_of(weights: dict[str, Array], end: str) -> _Module:
    """The module whose weights they are. Raises ValueError for one that has no counterpart."""
    projected = sorted(name for name in weights if name.startswith("weight_hr"))
    if projected:
        raise ValueError(f"{projected[0]} is of an LSTM with proj_size, which Keras has no layer for")
    shape = weights.get(f"weight_hh{end}", np.empty((0, 0))).shape
    gates = shape[0] // shape[1] if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 else 1
    if gates not in _MODULES:
        raise ValueError(f"weight_hh{end} must have 1, 3 or 4 gates, of an RNN, GRU or LSTM, got shape {shape}")
    return _MODULES[gates]


def _keras_weights(weights: dict[str, Array], end: str, module: _Module) -> list[Array]:
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


def _belongs(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix)


def _as_array(name: str, value: Any) -> Array:
    """A tensor as an array of floats. Raises TypeError for anything else."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must be an array of floats, got dtype {array.dtype}")
    return in_native_order(array)


def _of_file(path: str | os.PathLike[str], prefix: str) -> dict[str, Array]:
    with opened(path) as file:
        if not SAFETENSORS.sniff(file):
            raise ModelFileError(
                "it is not a .safetensors file; pickles (.pt, .pth) are never run", Reason.UNKNOWN_FORMAT
            )
        return _of_tensors(file, prefix)


def _of_tensors(file: OpenFile, prefix: str) -> dict[str, Array]:
    tensors = tensors_in(file)
    return {name: tensors.read(name) for name in tensors.names if _belongs(name, prefix)}


def _some(source: Any) -> str:
    return f"its names are {', '.join(list(map(str, source))[:8])}" if isinstance(source, Mapping) else str(source)


# ------------------------------------------------------------ among the file formats

_NAMES = re.compile(r"(.*?)(weight|bias)_(ih|hh)(_l\d+(_reverse)?)?", re.DOTALL)


def _sniff(file: OpenFile) -> bool:
    return SAFETENSORS.sniff(file) and any(map(_NAMES.fullmatch, tensors_in(file).names))


def _load(file: OpenFile, nonlinearity: str = "tanh") -> Layer:
    """The model of an RNN that is alone in a file. Raises ValueError for weights beside it, which would be lost."""
    names = tensors_in(file).names
    matches = [_NAMES.fullmatch(name) for name in names]
    prefixes = {match[1] for match in matches if match}
    if len(prefixes) > 1 or not all(matches):
        others = [name for name, match in zip(names, matches, strict=True) if not match]
        lost = f"also {', '.join(others[:3])}" if others else f"RNNs called {', '.join(sorted(prefixes))}"
        raise ValueError(f"the file holds {lost}, which would be lost: use cyrnn.saving.from_torch(path, prefix=...)")
    prefix = prefixes.pop()
    layer = from_torch(_of_tensors(file, prefix), nonlinearity, prefix=prefix)
    if isinstance(layer, (RNN, Bidirectional)):  # a model of one layer, as files of models want it
        return Sequential([Input((None, layer.weights[0].shape[0]), dtype=layer.dtype), layer])
    return layer


TORCH = replace(SAFETENSORS, name="torch", sniff=_sniff, write_weights=None, load=_load, options=("nonlinearity",))
