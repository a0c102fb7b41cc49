"""A trained layer or model as one C file: the layers are checked here, and `c_source` writes the C."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn import activations, objects
from cyrnn.arrays import quietly
from cyrnn.layers import (
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Layer,
    Masking,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)
from cyrnn.layers.base import nest
from cyrnn.models.functional import Functional
from cyrnn.models.sequential import Sequential
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.c.source import Part, source

# Of C up to C23 and of C++ up to C++23; and those whose names with _init behind them C's library has.
_KEYWORDS = """
    atomic cnd mtx
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
    co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete
    do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    requires restrict return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile
    wchar_t while xor xor_eq
"""

_REFUSED = {
    Bidirectional: "it needs the end of a sequence before its first output",
    Functional: "the C functions run layers one after the other; make a Sequential of them",
    Embedding: "its inputs are indices, and those of the C functions are rows of numbers",
    Masking: "a step of the C functions cannot be masked; leave it out of the model and skip such steps",
}
_RECURRENT = (RNN, SimpleRNNCell, StackedRNNCells)
_KNOWN: tuple[type, ...] = (*_RECURRENT, Sequential, TimeDistributed, Dense, Activation, Dropout)
_EXPORTABLE = "SimpleRNN, RNN of SimpleRNNCells, Dense, Activation, Dropout, and TimeDistributed of the last three"


@quietly
def export_c(layer: Layer, path: str | os.PathLike[str], *, name: str | None = None) -> None:
    """Write a layer or model with its weights as one C99 file, which needs a C compiler and <math.h> alone.

    The file has ``<name>_init(state)``, ``<name>_step(state, x, output)``, ``<name>_forward(state, x, timesteps,
    outputs)`` and ``<name>_output(state, output)`` on a ``<name>_state``; its first comment says how to use them. A
    step takes x (features,) of one sequence through all layers, in inference, and writes the output (units,) that a
    sequence has which ends there. Nothing is allocated or locked, and only the caller's state changes.

    Parameters
    ----------
    layer : a built SimpleRNN, RNN, SimpleRNNCell or StackedRNNCells of this package's cells and activations; or a
        Sequential of those with Dense, Activation, Dropout, and TimeDistributed of these three. float32 layers make C
        functions of float, float64 ones of double. A state begins as the layers' `get_initial_state(1)` says, not with
        what a stateful layer carries
    path : the file to write; it appears whole or not at all
    name : prefix of all names in the file, an identifier in C and C++; default from the layer's name

    Raises ValueError, which names the layer, for one that is not built or cannot be said so (Bidirectional, Masking,
    Embedding, go_backwards, custom activations and classes, other dtypes, a recurrent layer after one without
    `return_sequences`), and for a bad name; TypeError if `layer` is not a layer; OSError if the file cannot be written.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer or model of cyrnn, got {layer!r:.100}")
    name = _sanitised(layer.name) if name is None else _checked_name(name)
    parts = list(_parts(layer))
    _check_chain(layer, parts)
    file = Path(path).name
    text = source(name, [part for _, part in parts], file if file == _printable(file) else f"{name}.c")
    with written_at_once(path) as stream:
        stream.write(text.encode("ascii"))


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _KEYWORDS.split():
        raise ValueError(f"name must be an identifier of C and C++: a letter, then letters, digits and _; got {name!r}")
    return name


def _sanitised(name: str) -> str:
    """An identifier that resembles a layer's name."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return words if re.match(r"[A-Za-z]", words) and words not in _KEYWORDS.split() else f"model_{words}".rstrip("_")


def _printable(text: str) -> str:
    """`text` without what could end a comment or a line of C."""
    return re.sub(r"[^A-Za-z0-9_.+ -]", "_", text)


# ---------------------------------------------------------------- layers to parts


def _refuse(layer: Any, reason: str, owner: Any = None) -> ValueError:
    """The error for a layer, or for a cell or layer within its `owner`."""
    label = f"{layer.name!r} ({type(layer).__name__})" if isinstance(layer, Layer) else f"{layer!r:.100}"
    label = f"layer {label}" if owner in (None, layer) else f"{label} of layer {owner.name!r}"
    return ValueError(f"{label} cannot be exported to C: {reason}")


def _parts(layer: Any) -> Iterator[tuple[Layer, Part]]:
    """The parts of a layer, in the order of work, each with the layer that its errors name."""
    kind = _checked_kind(layer, layer)
    if kind is Sequential:
        for inner in layer.layers:
            yield from _parts(inner)
    elif kind in _RECURRENT:
        yield from _recurrent_parts(layer)
    else:
        yield from _stateless_parts(layer)


def _stateless_parts(layer: Any) -> Iterator[tuple[Layer, Part]]:
    inner: Any = layer.layer if isinstance(layer, TimeDistributed) else layer
    kind = _checked_kind(inner, layer)
    if kind not in (Dense, Activation, Dropout):
        raise _refuse(layer, f"it applies a {type(inner).__name__}; it must be a Dense, Activation or Dropout")
    if kind is not Dropout:  # which does nothing in inference
        weights = (inner.kernel, inner.bias) if kind is Dense else (None, None)
        yield layer, Part(_printable(inner.name), _activation(inner, layer), *weights)


def _recurrent_parts(layer: Any) -> Iterator[tuple[Layer, Part]]:
    if isinstance(layer, RNN):
        if layer.go_backwards:
            raise _refuse(layer, "go_backwards begins with the last timestep, which a step cannot know")
        if layer.time_major:
            raise _refuse(layer, "time_major is not supported")
    cells = list(_cells(layer, layer))
    states = [np.asarray(state) for state in nest.flatten(layer.get_initial_state(1))]
    if [state.shape for state in states] != [(1, cell.units) for cell in cells]:
        raise _refuse(layer, f"get_initial_state(1) must give a row of units for each cell, got {states!r:.200}")
    for number, (cell, state) in enumerate(zip(cells, states, strict=True), 1):
        yield (
            layer,
            Part(
                title=_printable(layer.name if len(cells) == 1 else f"{layer.name} cell {number}"),
                activation=_activation(cell, layer),
                kernel=cell.kernel,
                bias=cell.bias,
                recurrent_kernel=cell.recurrent_kernel,
                initial_state=state[0].astype(cell.dtype_policy.compute_dtype) if np.any(state) else None,
            ),
        )


def _cells(layer: Any, owner: Any) -> Iterator[SimpleRNNCell]:
    """The cells of a recurrent layer, from the input to the output."""
    kind = _checked_kind(layer, owner)
    if kind is SimpleRNNCell:
        yield layer
    elif kind in _RECURRENT:
        for cell in [layer.cell] if kind is RNN else layer.cells:
            yield from _cells(cell, owner)
    else:
        raise _refuse(layer, "it is not a cell", owner)


def _checked_kind(layer: Any, owner: Any) -> type:
    """The class of `_KNOWN` whose calls are the layer's calls."""
    for refused, reason in _REFUSED.items():
        if isinstance(layer, refused):
            raise _refuse(layer, reason, owner)
    ways = ("__call__", "call", "call_and_mask")
    kind = next((known for known in _KNOWN if isinstance(layer, known)), None)
    if kind is None or any(getattr(type(layer), way) is not getattr(kind, way) for way in ways):
        if isinstance(layer, Layer) and objects.is_builtin(type(layer)):
            raise _refuse(layer, f"there is no C code for this class, only for {_EXPORTABLE}", owner)
        raise _refuse(layer, "its class is not one of cyrnn's, and C cannot run what it does", owner)
    if not layer.built:
        raise _refuse(layer, "it is not built yet: call it or build(input_shape) first", owner)
    return kind


def _activation(layer: Any, owner: Any) -> str:
    name = activations.engine_name(layer.activation)
    if name is None:
        raise _refuse(layer, f"its activation is one of your own, {layer.activation!r:.100}", owner)
    return name


# ---------------------------------------------------------------- what must fit together


def _check_chain(whole: Layer, parts: list[tuple[Layer, Part]]) -> None:
    """Raises ValueError if one row after the other cannot go through the parts as sequences go through the layers."""
    _check_dtypes(whole)
    if not any(part.recurrent_kernel is not None for _, part in parts):
        raise _refuse(whole, "it holds no recurrent layer, so there is no state to step")
    width: int | None = None
    ended: Any = None  # the recurrent layer after which there are no sequences any more
    for layer, part in parts:
        recurrent = part.recurrent_kernel is not None
        if ended not in (None, layer) and (recurrent or isinstance(layer, TimeDistributed)):
            raise _refuse(layer, f"it needs sequences, and {ended.name!r} before it has no return_sequences")
        if recurrent and getattr(layer, "return_state", False) and layer is not parts[-1][0]:
            raise _refuse(layer, "return_state passes its states to the layer after it")
        if recurrent and not getattr(layer, "return_sequences", True):
            ended = layer
        if part.kernel is not None:
            inputs, units = part.kernel.shape
            if inputs == 0 or width not in (None, inputs):
                raise _refuse(layer, f"its kernel is made for {inputs} inputs, and it gets {width or 0}")
            width = units


def _check_dtypes(whole: Layer) -> None:
    """Raises ValueError unless all layers compute in float32, or all in float64."""
    first: Any = None
    for layer in whole.layers_within():
        if isinstance(layer, Sequential):  # which casts nothing
            continue
        if layer.dtype_policy.name not in ("float32", "float64"):
            raise _refuse(layer, f"its dtype must be float32 or float64, got {layer.dtype_policy.name}")
        first = first or layer
        if layer.dtype_policy != first.dtype_policy:
            other = f"{first.dtype_policy.name} of {first.name!r}"
            raise _refuse(layer, f"its dtype must be the {other}, got {layer.dtype_policy.name}")
