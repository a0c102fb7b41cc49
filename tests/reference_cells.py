"""The oracle of the cells with gates: their steps and the loop in float64 NumPy, written from the equations alone."""

import numpy as np
from reference import ACTIVATIONS


def multiplied(x, kernel, factors, gates):
    """(x factors) . kernel, where the factors may be those of each gate, (gates, batch, features)."""
    parts = zip(np.broadcast_to(factors, (gates, *x.shape)), np.split(kernel, gates, axis=1), strict=True)
    return np.concatenate([(x * factor) @ part for factor, part in parts], axis=1)


def lstm(x, states, kernel, recurrent_kernel, bias, activation, recurrent_activation, into_h=1, into_x=1):
    h, c = states
    sums = multiplied(x, kernel, into_x, 4) + multiplied(h, recurrent_kernel, into_h, 4) + (0 if bias is None else bias)
    i, f, g, o = np.split(sums, 4, axis=1)
    gate, bend = ACTIVATIONS[recurrent_activation], ACTIVATIONS[activation]
    c = gate(f) * c + gate(i) * bend(g)
    return [gate(o) * bend(c), c]


def gru(x, states, kernel, recurrent_kernel, bias, activation, recurrent_activation, into_h=1, into_x=1):
    (h,) = states
    of_x, of_h = (0, 0) if bias is None else bias
    x_z, x_r, x_n = np.split(multiplied(x, kernel, into_x, 3) + of_x, 3, axis=1)
    h_z, h_r, h_n = np.split(multiplied(h, recurrent_kernel, into_h, 3) + of_h, 3, axis=1)
    gate = ACTIVATIONS[recurrent_activation]
    z, r = gate(x_z + h_z), gate(x_r + h_r)
    return [z * h + (1 - z) * ACTIVATIONS[activation](x_n + r * h_n)]


def gru_reset_before(x, states, kernel, recurrent_kernel, bias, activation, recurrent_activation, into_h=1, into_x=1):
    (h,) = states
    x_z, x_r, x_n = np.split(multiplied(x, kernel, into_x, 3) + (0 if bias is None else bias), 3, axis=1)
    v_z, v_r, v_n = np.split(recurrent_kernel, 3, axis=1)
    gate, (seen_z, seen_r, seen_n) = ACTIVATIONS[recurrent_activation], h * np.broadcast_to(into_h, (3, *h.shape))
    z, r = gate(x_z + seen_z @ v_z), gate(x_r + seen_r @ v_r)
    return [z * h + (1 - z) * ACTIVATIONS[activation](x_n + (r * seen_n) @ v_n)]


STEPS = {"lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}
GATES = {"lstm": 4, "gru": 3, "gru_reset_before": 3}
STATES = {"lstm": 2, "gru": 1, "gru_reset_before": 1}


def cell_recurrence(
    cell,
    x,
    kernel,
    recurrent_kernel,
    bias=None,
    *,
    activation="tanh",
    recurrent_activation="sigmoid",
    states=None,
    mask=None,
    go_backwards=False,
    zero_output_for_mask=False,
    input_dropout=1,
    recurrent_dropout=1,
):
    """All outputs (batch, timesteps, units) in processing order, and the final states, (batch, units) each.

    The arrays are Keras': so the bias of "gru" is (2, 3 units). A masked step keeps all states. Dropout factors may be
    those of each gate, (gates, batch, width).
    """
    x, kernel, recurrent_kernel = (np.asarray(array, np.float64) for array in (x, kernel, recurrent_kernel))
    batch, timesteps, _ = x.shape
    shape = (batch, len(recurrent_kernel))
    states = [np.zeros(shape)] * STATES[cell] if states is None else [np.asarray(s, np.float64) for s in states]
    output, outputs = np.zeros(shape), np.zeros((batch, timesteps, shape[1]))
    order = range(timesteps)[::-1] if go_backwards else range(timesteps)
    for step, t in enumerate(order):
        new = STEPS[cell](
            x[:, t],
            states,
            kernel,
            recurrent_kernel,
            None if bias is None else np.asarray(bias, np.float64),
            activation,
            recurrent_activation,
            recurrent_dropout,
            input_dropout,
        )
        keep = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        output = np.where(keep, new[0], 0 if zero_output_for_mask else output)
        states = [np.where(keep, after, before) for after, before in zip(new, states, strict=True)]
        outputs[:, step] = output
    return outputs, states


def cell_weights(rng, cell, features, units, dtype="float64", bias=True):
    """A kernel, a recurrent kernel and a bias as Keras has them."""
    columns = GATES[cell] * units
    kernel = rng.standard_normal((features, columns)) / max(1, features) ** 0.5
    recurrent_kernel = rng.standard_normal((units, columns)) / units**0.5
    of_bias = rng.standard_normal((2, columns) if cell == "gru" else columns)
    return [kernel.astype(dtype), recurrent_kernel.astype(dtype), of_bias.astype(dtype) if bias else None]
