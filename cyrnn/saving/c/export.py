"""A trained layer or model as one C file: what is exported is checked here, and `source` writes the C."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn.arrays import quietly
from cyrnn.engine.recorded import RecordedProgram
from cyrnn.engine.runner import Runner
from cyrnn.layers import RNN, Embedding, InputLayer, Layer, StackedRNNCells
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell
from cyrnn.layers.recurrent.stepper import Stepper
from cyrnn.models.calls import ModelOfCalls
from cyrnn.models.model_stepper import ModelStepper
from cyrnn.models.sequential import Sequential
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.c.replay import NotWrittenError, Replay
from cyrnn.saving.c.source import Step, source

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


@quietly
def export_c(layer: Layer, path: str | os.PathLike[str], *, name: str | None = None) -> None:
    """Write a layer or model with its weights as one C99 file, which needs a C compiler and its library alone.

    The file has ``<name>_init(state)``, ``<name>_step(state, x, output)``, ``<name>_forward(state, x, timesteps,
    outputs)`` and ``<name>_output(state, output)`` on a ``<name>_state``; its first comment says how to use them. A
    step takes x (features,) of one sequence through all layers, in inference, and writes the output (units,) that a
    sequence has which ends there: what ``stepper().step`` returns. Nothing is allocated or locked, and only the
    caller's state changes.

    Several inputs are parameters ``x1, x2, ...`` in the model's order, several outputs ``output1, output2, ...``; those
    of a dict in the order of its sorted keys. Inputs that no output reads are left out.
    Integer inputs, as an Embedding takes them, are arrays of ``int32_t``. A token that the table does not have gives
    NaN in its row.

    Parameters
    ----------
    layer : Layer
        A model, Sequential or Functional, that `stepper` takes: the engine computes all of it, and no layer needs later
        timesteps. Or a built layer of which that holds, alone; or a cell or StackedRNNCells. A Dense and
        others get the features of a timestep in each step. float32 layers make C functions of float, float64 ones of
        double. A state begins as the layers' `get_initial_state(1)` says, not with what a stateful layer carries.
    path : str or PathLike
        The file to write; it appears whole or not at all.
    name : str, optional
        Prefix of all names in the file, an identifier in C and C++; default: from the layer's name.

    Raises
    ------
    ValueError
        If the layer or model is not built or cannot be stepped, as with Bidirectional, go_backwards, pooling over
        timesteps, custom classes and functions, and other dtypes than the two; the text names the layer. Or if `name`
        is no identifier.
    TypeError
        If `layer` is not a layer.
    OSError
        If the file cannot be written.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer or model of cyrnn, got {type(layer).__name__}")
    name = _sanitised(layer.name) if name is None else _checked_name(name)
    _check_dtypes(layer)
    step = _step(layer)
    file = Path(path).name
    text = source(name, step, file if file == _printable(file) else f"{name}.c")
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


# ---------------------------------------------------------------- layers to steps


def _refuse(layer: Layer, reason: str) -> ValueError:
    return ValueError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be exported to C: {reason}")


def _step(layer: Layer) -> Step:
    """The step of a layer or model. Raises ValueError where it has none."""
    stepper = _stepper(layer)
    owners = stepper.names[2] if isinstance(layer, ModelOfCalls) else [layer.name] * stepper.program.ops
    if not stepper.inputs:
        raise _refuse(layer, "a step of it has no inputs")
    if any(0 in port.shape for port in (*stepper.inputs, *stepper.outputs)):
        raise _refuse(layer, "an input or output has no elements")
    try:
        return step_of(stepper, owners)
    except NotWrittenError as error:
        raise _refuse(layer, f"layer {owners[error.number]!r}: {error}") from None


def step_of(runner: Runner, owners: Sequence[str]) -> Step:
    """The step of a runner, from the states that it has now; `owners` are the titles of its program's ops.

    Raises NotWrittenError if there is no C for an op.
    """
    assert isinstance(runner.program, RecordedProgram)
    replay = Replay(runner.program, runner.packed)
    returned = [(port.name, port.number) for port in runner.outputs]
    if isinstance(runner, ModelStepper):
        returned = runner.returned
    return Step(
        [(_printable(port.name), replay.inputs[port.number]) for port in runner.inputs],
        [(_printable(name), replay.outputs[number]) for name, number in returned],
        [(_printable(owners[number]), op) for number, op in replay.ops],
        _records(runner),
        runner.dtype.name == "float32",
    )


def _records(runner: Runner) -> list[Array]:
    """What each recurrence begins with: its states, one after another."""
    found: dict[int, list[Array]] = {}
    for index, port in enumerate(runner.states):
        found.setdefault(port.number, []).append(runner.get_state(index)[0])
    return [np.concatenate(states) for states in found.values()]


def _stepper(layer: Any) -> Stepper:
    """A stepper that begins as the C file does. Raises ValueError where there is none."""
    try:
        return _steppable(layer).stepper()
    except ValueError as error:
        whole, _, reason = str(error).partition(" cannot be stepped: ")
        raise _refuse(layer, reason or whole) from None


def _steppable(layer: Any) -> Any:
    """What has the stepper of a layer: itself, an RNN of a cell, or a model of the layer alone."""
    if isinstance(layer, (RNN, ModelOfCalls)):
        return layer
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} is not built yet: call it or build(input_shape) first")
    shape = (layer.get_build_config() or {}).get("input_shape")
    if shape is None or not nest.is_shape(tuple(shape)):
        raise ValueError("its input is not one array of a known shape; put it into a model")
    if len(shape) == 2 and not isinstance(layer, Embedding):  # each timestep has what the layer takes
        shape = (shape[0], None, shape[1])
    cell = isinstance(layer, (RecurrentCell, StackedRNNCells))
    name, dtype = layer.name, layer.dtype_policy.name
    alone: Any = RNN(layer, name=name, dtype=dtype) if cell else Sequential([layer], name=name)
    alone.build(shape)
    return alone


def _check_dtypes(whole: Layer) -> None:
    """Raises ValueError unless all layers compute in float32, or all in float64."""
    first: Any = None
    for layer in whole.layers_within():
        if isinstance(layer, (ModelOfCalls, InputLayer)):  # which cast nothing
            continue
        if layer.dtype_policy.name not in ("float32", "float64"):
            raise _refuse(layer, f"its dtype must be float32 or float64, got {layer.dtype_policy.name}")
        first = first or layer
        if layer.dtype_policy != first.dtype_policy:
            other = f"{first.dtype_policy.name} of {first.name!r}"
            raise _refuse(layer, f"its dtype must be the {other}, got {layer.dtype_policy.name}")
