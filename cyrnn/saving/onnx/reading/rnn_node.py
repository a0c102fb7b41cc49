"""ONNX's RNN operator as a SimpleRNN or Bidirectional."""

from typing import Any

import numpy as np

from cyrnn.layers import Bidirectional, Concatenate, SimpleRNN
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.activations import IN_RNN
from cyrnn.saving.onnx.reading.arranging import arranged, in_file_order
from cyrnn.saving.onnx.reading.reader import Reader, TimeFirst
from cyrnn.saving.onnx.reading.values import Axes, Signal, Value, described, dims, item, of_length, size, zero

# Where a file gives no alphas or betas: those of the operators of these names.
_ALPHAS = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETAS = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


def rnn(reader: Reader, node: Any) -> list[Value | None]:
    """What the operator returns: Y, the outputs of all timesteps, and Y_h, the final states."""
    *_, biases, lengths, begin = reader.inputs(node, 6)
    if lengths is not None:
        raise ModelFileError("its sequence_lens are not supported: cut the sequences, or call the model with masks")
    if reader.attribute(node, "clip", None) is not None:
        raise ModelFileError("its clip is not supported")
    layout = reader.attribute(node, "layout", 0)
    x = _sequences(reader, reader.signal(node), layout)
    direction = reader.attribute(node, "direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ModelFileError(f"its direction is {direction!r:.100}")
    count = 2 if direction == "bidirectional" else 1
    names = _activations(reader, node, count)
    values = _weights(reader, node, count, x.tensor.shape[-1])
    units = len(values[0][1])
    if reader.attribute(node, "hidden_size", units) != units:
        raise ModelFileError(f"its hidden_size must be that of its weights, {units}")

    sequences, finals = (reader.needed(name) for name in [*node.output, "", ""][:2])
    options = {"return_sequences": sequences, "return_state": sequences and finals, "use_bias": biases is not None}
    dtype = values[0][0].dtype.name
    if x.tensor.dtype != dtype:
        raise ModelFileError(f"its sequences are of {x.tensor.dtype}, its weights of {dtype}")
    if count == 2:
        pair = [SimpleRNN(units, names[n], go_backwards=n == 1, dtype=dtype, **options) for n in range(2)]
        layer: Any = reader.layer(Bidirectional, pair[0], backward_layer=pair[1], dtype=dtype)
    else:
        backwards = direction == "reverse"
        layer = reader.layer(SimpleRNN, units, names[0], go_backwards=backwards, dtype=dtype, **options)
    states = _initial_states(reader, begin, layout, count, units)
    given = {"initial_state": states} if states else {}
    results = reader.called(layer, x.tensor, [array for part in values for array in part], **given)
    first, *last = results if isinstance(results, (list, tuple)) else [results]
    if not sequences:
        return [None, _returned(reader, first, (), layout, count, units)]
    if direction == "reverse":
        first = item(first, slice(None), slice(None, None, -1))  # ONNX has the outputs in the order of time
    steps = _returned(reader, first, (x.stored[0],), layout, count, units)
    if not finals:
        return [steps]
    final = last[0] if count == 1 else reader.called(reader.layer(Concatenate, dtype=dtype), list(last))
    return [steps, _returned(reader, final, (), layout, count, units)]


def _sequences(reader: Reader, x: Signal, layout: int) -> Signal:
    """The sequences in a tensor (batch, timesteps, features). Raises TimeFirst where the file has them otherwise."""
    batch = (reader.batch,)
    if len(x.axes) != 3 or x.axes[0 if layout else 1] != batch:
        wanted = ("timesteps, batch, features", "batch, timesteps, features")[bool(layout)]
        message = f"its sequences must come as ({wanted}), got axes {described(x.axes)}"
        raise TimeFirst(f"{reader.label}: {message}")
    return in_file_order(reader, x)


def _returned(reader: Reader, tensor: KerasTensor, timesteps: Axes, layout: int, count: int, units: int) -> Signal:
    """What a layer returns, whose directions are beside each other in the last axis; in the file they are an axis."""
    directions, features, batch = of_length(count), of_length(units), (reader.batch,)
    place = len(timesteps) + (1 if layout else 0)
    axes = [batch, *timesteps, features] if layout else [*timesteps, batch, features]
    axes.insert(place, directions)
    return Signal(tensor, (*timesteps, directions + features), tuple(axes), directions=place)


def _weights(reader: Reader, node: Any, count: int, features: int | None) -> list[list[Array]]:
    """For each direction kernel, recurrent kernel and, if there is one, bias."""
    w, r = reader.constant(node, 1), reader.constant(node, 2)
    units = r.shape[-1] if r.ndim else 0
    expected: list[tuple[int, ...]] = [(count, units, w.shape[-1] if w.ndim else 0), (count, units, units)]
    given = [w, r]
    if len(node.input) > 3 and node.input[3]:
        given.append(reader.constant(node, 3))
        expected.append((count, 2 * units))
    if [array.shape for array in given] != expected or not units or features not in (None, w.shape[-1]):
        raise ModelFileError(
            f"its weights must be of {count} directions and {features} features, "
            f"got shapes {[array.shape for array in given]}"
        )
    if any(array.dtype != w.dtype or array.dtype.kind != "f" for array in given):
        raise ModelFileError(f"its weights must be of one float type, got {[array.dtype.name for array in given]}")
    biases = (
        [[(both[:units] + both[units:]).astype(w.dtype)] for both in given[2].astype(np.float64)] if given[2:] else []
    )
    return [[w[n].T, r[n].T, *(biases[n] if biases else [])] for n in range(count)]


def _initial_states(reader: Reader, begin: Value | None, layout: int, count: int, units: int) -> list[KerasTensor]:
    """A tensor for each direction; none for zeros."""
    if begin is None or zero(begin):
        return []
    if not isinstance(begin, Signal):
        raise ModelFileError("it begins with constant states other than zeros")
    axes = begin.axes
    place = 0 if layout else 1
    rest = (*axes[:place], *axes[place + 1 :])
    if len(axes) != 3 or axes[place] != (reader.batch,) or [size(axis) for axis in rest] != [count, units]:
        raise ModelFileError(
            f"its initial_h must have {count} directions, the batch and {units} units, got axes {described(axes)}"
        )
    tensor = arranged(reader, begin, (tuple(dims(rest)),)).tensor
    if count == 1:
        return [tensor]
    return [item(tensor, slice(None), slice(n * units, (n + 1) * units)) for n in range(count)]


def _activations(reader: Reader, node: Any, count: int) -> list[str]:
    """The name here of the activation of each direction."""
    names = [name.lower() for name in reader.attribute(node, "activations", ["tanh"] * count)]
    if len(names) != count:
        raise ModelFileError(f"it must have {count} activations, got {names!r:.200}")
    alphas = _parameters(reader, node, "activation_alpha", names, _ALPHAS)
    betas = _parameters(reader, node, "activation_beta", names, _BETAS)
    return [_activation(*facts) for facts in zip(names, alphas, betas, strict=True)]


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
