"""Modules of torch, and their weights, as layers, without torch: ``torch.nn.RNN``, `LSTM` and `GRU`, and others."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cyrnn.arrays import quietly
from cyrnn.layers import RNN, Bidirectional, Input, Layer
from cyrnn.layers.base.arguments import Array
from cyrnn.models.sequential import Sequential
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.safetensors import SAFETENSORS, tensors_in
from cyrnn.saving.torch.models import export_torch, fill_from_torch
from cyrnn.saving.torch.modules import from_module, is_module
from cyrnn.saving.torch.weights import as_array, is_recurrent, layer_of


@quietly
def from_torch(
    source: Any,
    nonlinearity: str | None = None,
    *,
    prefix: str = "",
    return_sequences: bool = True,
    return_state: bool = False,
) -> Layer:
    """The layer that computes what a ``torch.nn.RNN``, `LSTM` or `GRU`, or a cell of them, does in inference.

    Parameters
    ----------
    source : torch module, mapping of str to array, or path
        The module; or an ``nn.Sequential`` of recurrent modules with Linear, Embedding, LayerNorm, Dropout and
        activations around them; or the `state_dict()` of a recurrent module, or any mapping of its names to arrays; or
        the path of a .safetensors file of them. Files of pickles (.pt, .pth) are not read. torch is not imported.
    nonlinearity : {"tanh", "relu"}, optional
        That of an RNN; its weights do not say it, a module does. Default: the module's, "tanh" for weights.
    prefix : str
        What stands before the names, as ``"encoder.rnn."`` in the weights of a larger module.
    return_sequences : bool
        Return the output of each timestep, as torch does, not only of the last one. This is for the last recurrent
        layer: those before it always do. In an ``nn.Sequential`` the next module gets these outputs, without states.
    return_state : bool
        Return the final states too, and take `initial_state`. This is for a recurrent module alone.

    Returns
    -------
    SimpleRNNCell, LSTMCell, GRUCell, SimpleRNN, LSTM, GRU, Bidirectional, RNN, Sequential or Model
        A cell for a cell, a recurrent layer for one layer, a Bidirectional of it for both directions, and for several
        layers a Sequential of these; for an ``nn.Sequential`` a Sequential. With `return_state` several layers are an
        RNN of cells: it returns the output and then the states of each layer, takes as many as `initial_state`, and has
        a stepper. Of both directions, it is a Model that returns a list of the output and all states, and takes none.
        Inputs are (batch, timesteps, features): torch's with batch_first. Weights are float64 if those of the source
        are, else float32; biases are added in float64. Without sequences, a Bidirectional returns the last output of
        each direction: ``torch.cat`` of both `h_n`, not ``output[:, -1]``.

    Raises
    ------
    ValueError
        Weights are missing, are of another module, or do not fit together; it is an LSTM with projections; or a module
        of an ``nn.Sequential`` is not known. Modules with code that you have written are not traced.
    TypeError
        The source is something else.
    ModelFileError
        The file is damaged.
    OSError
        There is no such file, or it cannot be read.

    Examples
    --------
    >>> model = cyrnn.saving.from_torch(torch.nn.Sequential(net.lstm, net.fc), return_sequences=False)  # doctest: +SKIP
    """
    if nonlinearity not in ("tanh", "relu", None):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    if is_module(source):
        for name, value in (("nonlinearity", nonlinearity), ("prefix", prefix)):
            if value:
                raise ValueError(f"{name} is for weights, the module says it itself; got {value!r}")
        return from_module(source, return_sequences, return_state)
    if not isinstance(source, (Mapping, str, os.PathLike)):
        hint = ": pass its state_dict()" if hasattr(source, "state_dict") else ""
        raise TypeError(
            "source must be a state_dict, another mapping of names to arrays, a recurrent module of torch, an "
            f"nn.Sequential, or the path of a .safetensors file, got {_type_of(source)}{hint}"
        )
    if isinstance(source, Mapping):
        arrays = {name: as_array(name, value) for name, value in source.items() if _belongs(name, prefix)}
    else:
        arrays = _of_file(source, prefix)
    weights = {name.removeprefix(prefix): array for name, array in arrays.items()}
    if not is_recurrent(weights):
        raise ValueError(f"the source has no weight_ih_l0 or weight_ih after the prefix {prefix!r}: {_some(source)}")
    return layer_of(weights, nonlinearity or "tanh", return_sequences, return_state)


def _belongs(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix)


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


def _type_of(source: Any) -> str:
    """The name of its type, and whose it is: cyrnn and Keras have a Sequential too."""
    kind, package = type(source), type(source).__module__.partition(".")[0]
    return kind.__name__ if package == "builtins" else f"{kind.__name__} of {package}"


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


def _fill(layer: Layer, file: OpenFile) -> None:
    fill_from_torch(layer, _of_tensors(file, ""))


TORCH = replace(
    SAFETENSORS,
    name="torch",
    ends=(".torch.safetensors",),
    sniff=_sniff,
    write_weights=None,
    load=_load,
    fill=_fill,
    export=export_torch,
    options=("nonlinearity",),
)
