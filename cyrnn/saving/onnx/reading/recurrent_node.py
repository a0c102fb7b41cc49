"""ONNX's RNN, LSTM and GRU operators as layers: a SimpleRNN, LSTM or GRU, or a Bidirectional of one."""

from typing import Any

import numpy as np

from cyrnn.layers import Bidirectional, Concatenate
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.activations import IN_RNN
from cyrnn.saving.onnx.cells import OPERATORS, CellOperator
from cyrnn.saving.onnx.reading.arranging import arranged
from cyrnn.saving.onnx.reading.learned import Form, learned_rows, learned_state
from cyrnn.saving.onnx.reading.lengths import kept_steps, lengths_of
from cyrnn.saving.onnx.reading.reader import Reader, TimeFirst
from cyrnn.saving.onnx.reading.values import Axes, Signal, Value, described, dims, item, of_length, size, zero

# Where a file gives no alphas or betas: those of the operators of these names.
_ALPHAS = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETAS = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


def recurrent(reader: Reader, node: Any) -> list[Value | None]:
    """What the operator returns: Y, the outputs of all timesteps; Y_h, the final states; and Y_c, those of an LSTM."""
    operator = OPERATORS[node.op_type]
    _check_plain(reader, node)
    layout = reader.attribute(node, "layout", 0)
    x = _sequences(reader, reader.signal(node), layout)
    lengths = lengths_of(reader, node, x)
    direction = reader.attribute(node, "direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ModelFileError(f"its direction is {direction!r:.100}")
    count = 2 if direction == "bidirectional" else 1
    activations = _activations(reader, node, operator, count)
    options: dict[str, Any] = {}
    if node.op_type == "GRU":
        options["reset_after"] = bool(reader.attribute(node, "linear_before_reset", 0))
    values = _weights(reader, node, operator, count, x.tensor.shape[-1], options)
    form = Form(layout, count, len(values[0][1]))
    if reader.attribute(node, "hidden_size", form.units) != form.units:
        raise ModelFileError(f"its hidden_size must be that of its weights, {form.units}")
    dtype = values[0][0].dtype.name
    if x.tensor.dtype != dtype:
        raise ModelFileError(f"its sequences are of {x.tensor.dtype}, its weights of {dtype}")

    sequences, *finals = (reader.needed(name) for name in [*node.output, "", "", ""][: 1 + operator.states])
    options["return_sequences"] = sequences
    options["return_state"] = any(finals if sequences or lengths is not None else finals[1:])
    options["zero_output_for_mask"] = sequences and lengths is not None
    options["use_bias"] = len(values[0]) == 3
    options["dtype"] = dtype
    if count == 2:
        pair = [operator.layer(form.units, go_backwards=n == 1, **activations[n], **options) for n in range(2)]
        layer: Any = reader.layer(Bidirectional, pair[0], backward_layer=pair[1], dtype=dtype)
    else:
        backwards = direction == "reverse"
        layer = reader.layer(operator.layer, form.units, go_backwards=backwards, **activations[0], **options)
    states = _initial_states(reader, reader.inputs(node, 5 + operator.states)[5:], form, x)
    given: dict[str, Any] = {"initial_state": states} if states else {}
    if lengths is not None:
        given["mask"] = kept_steps(reader, lengths, x)
    results = reader.called(layer, x.tensor, [array for part in values for array in part], **given)
    first, *last = results if isinstance(results, (list, tuple)) else [results]
    if options["return_state"] and (sequences or lengths is not None):  # not the output, which may be of no step at all
        of_states = [last[number :: operator.states] for number in range(operator.states)]
    elif sequences:
        of_states = [[]] * operator.states
    if sequences or lengths is not None:
        if direction == "reverse" and sequences:
            first = item(first, slice(None), slice(None, None, -1))  # ONNX has the outputs in the order of time
        return [
            _returned(reader, first, (x.stored[0],), form) if sequences else None,
            *(
                _final(reader, tensors, form) if needed else None
                for tensors, needed in zip(of_states, finals, strict=True)
            ),
        ]
    others = [last[number :: operator.states] for number in range(1, operator.states)]
    return [
        None,
        _returned(reader, first, (), form),
        *(_final(reader, tensors, form) if tensors else None for tensors in others),
    ]


def _final(reader: Reader, of_directions: list[KerasTensor], form: Form) -> Signal:
    """The final states of all directions as one."""
    final = of_directions[0]
    if form.directions == 2:
        final = reader.called(reader.layer(Concatenate, dtype=final.dtype), of_directions)
    return _returned(reader, final, (), form)


def _check_plain(reader: Reader, node: Any) -> None:
    """Raises ModelFileError for what Keras' layers do not have."""
    peepholes = reader.inputs(node, 8)[7]
    if peepholes is not None and not zero(peepholes):
        raise ModelFileError("its peepholes, the input P, are not supported")
    if reader.attribute(node, "clip", None) is not None:
        raise ModelFileError("its clip is not supported")
    if reader.attribute(node, "input_forget", 0):
        raise ModelFileError("its input_forget is not supported")


def _sequences(reader: Reader, x: Signal, layout: int) -> Signal:
    """The sequences in a tensor (batch, timesteps, features). Raises TimeFirst where the file has them otherwise."""
    if len(x.axes) != 3 or x.axes[0 if layout else 1] != reader.batch_axis:
        wanted = ("timesteps, batch, features", "batch, timesteps, features")[bool(layout)]
        message = f"its sequences must come as ({wanted}), got axes {described(x.axes)}"
        raise TimeFirst(f"{reader.label}: {message}")
    return arranged(reader, x, (x.axes[1 if layout else 0], x.axes[2]))


def _returned(reader: Reader, tensor: KerasTensor, timesteps: Axes, form: Form) -> Signal:
    """What a layer returns, whose directions are beside each other in the last axis; in the file they are an axis."""
    directions, features, batch = of_length(form.directions), of_length(form.units), reader.batch_axis
    place = len(timesteps) + (1 if form.layout else 0)
    axes = [batch, *timesteps, features] if form.layout else [*timesteps, batch, features]
    axes.insert(place, directions)
    return Signal(tensor, (*timesteps, directions + features), tuple(axes), directions=place)


def _weights(
    reader: Reader, node: Any, operator: CellOperator, count: int, features: int | None, options: dict[str, Any]
) -> list[list[Array]]:
    """For each direction kernel, recurrent kernel and, if there is one, bias."""
    w, r = reader.constant(node, 1), reader.constant(node, 2)
    units = r.shape[-1] if r.ndim else 0
    rows = len(operator.gates) * units
    expected: list[tuple[int, ...]] = [(count, rows, w.shape[-1] if w.ndim else 0), (count, rows, units)]
    given = [w, r]
    if len(node.input) > 3 and node.input[3]:
        given.append(reader.constant(node, 3))
        expected.append((count, 2 * rows))
    if [array.shape for array in given] != expected or not units or features not in (None, w.shape[-1]):
        raise ModelFileError(
            f"its weights must be of {count} directions and {features} features, "
            f"got shapes {[array.shape for array in given]}"
        )
    if any(array.dtype != w.dtype or array.dtype.kind != "f" for array in given):
        raise ModelFileError(f"its weights must be of one float type, got {[array.dtype.name for array in given]}")
    return [
        [operator.columns(w[n]), operator.columns(r[n]), *(operator.bias(both[n], options) for both in given[2:])]
        for n in range(count)
    ]


def _initial_states(reader: Reader, begins: list[Value | None], form: Form, x: Signal) -> list[KerasTensor]:
    """The states of each direction, one direction after the other; none for zeros."""
    names = ("initial_h", "initial_c")
    of_states = [_initial_state(reader, *facts, form, x) for facts in zip(names, begins, strict=False)]
    given = next((tensors for tensors in of_states if tensors), [])
    whole = [tensors or [applied("ZerosLike", tensor) for tensor in given] for tensors in of_states]
    return [tensor for of_direction in zip(*whole, strict=True) for tensor in of_direction]


def _initial_state(reader: Reader, name: str, begin: Value | None, form: Form, x: Signal) -> list[KerasTensor]:
    """A tensor for each direction; none for zeros."""
    if begin is None or zero(begin):
        return []
    if not isinstance(begin, Signal):
        return [learned_state(reader, row, x) for row in learned_rows(reader, name, begin, form)]
    axes, count, units = begin.axes, form.directions, form.units
    place = 0 if form.layout else 1
    rest = (*axes[:place], *axes[place + 1 :])
    if len(axes) != 3 or axes[place] != reader.batch_axis or [size(axis) for axis in rest] != [count, units]:
        raise ModelFileError(
            f"its {name} must have {count} directions, the batch and {units} units, got axes {described(axes)}"
        )
    tensor = arranged(reader, begin, (tuple(dims(rest)),)).tensor
    if count == 1:
        return [tensor]
    return [item(tensor, slice(None), slice(n * units, (n + 1) * units)) for n in range(count)]


def _activations(reader: Reader, node: Any, operator: CellOperator, count: int) -> list[dict[str, str]]:
    """For each direction the names here of the activations, by the layer's arguments that they are."""
    names = [name.lower() for name in reader.attribute(node, "activations", list(operator.usual) * count)]
    arguments = operator.functions * count
    if len(names) != len(arguments):
        raise ModelFileError(f"it must have {len(arguments)} activations, got {names!r:.200}")
    alphas = _parameters(reader, node, "activation_alpha", names, _ALPHAS)
    betas = _parameters(reader, node, "activation_beta", names, _BETAS)
    ours = [_activation(*facts) for facts in zip(names, alphas, betas, strict=True)]
    found = []
    for first in range(0, len(ours), len(operator.functions)):
        of_direction: dict[str, str] = {}
        for argument, name in zip(operator.functions, ours[first:], strict=False):
            if of_direction.setdefault(argument, name) != name:
                raise ModelFileError(
                    f"its activations must be the same for the candidate and for the cell state, got {names!r:.200}"
                )
        found.append(of_direction)
    return found


def _parameters(
    reader: Reader, node: Any, attribute: str, names: list[str], usual: dict[str, float]
) -> list[list[float]]:
    """For each activation its alpha or beta in a list, empty if it has none."""
    given, takers = reader.attribute(node, attribute, []), [name for name in names if name in usual]
    if given and len(given) != len(takers):
        raise ModelFileError(f"it must have an {attribute} for each of {takers}, got {given!r:.200}")
    rest = iter(given or [usual[name] for name in takers])
    return [[next(rest)] if name in usual else [] for name in names]


def _activation(name: str, alpha: list[float], beta: list[float]) -> str:
    for ours, (theirs, *parameters) in IN_RNN.items():
        if theirs.lower() == name and all(
            len(given) == len(wanted) and np.allclose(given, wanted, rtol=1e-6, atol=0)
            for given, wanted in zip((alpha, beta), parameters, strict=True)
        ):
            return ours
    raise ModelFileError(f"its activation {name!r:.100} with alpha {alpha} and beta {beta} is not supported")
