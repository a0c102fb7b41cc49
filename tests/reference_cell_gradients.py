"""The oracle of the cells' gradients: back-propagation through time in float64 NumPy, written from the equations alone.

The equations are those of `reference_cells`; dropout factors may be one for all gates, or (gates, batch, width).
"""

import numpy as np
from reference import ACTIVATIONS
from reference_cells import GATES, STATES, STEPS, multiplied
from reference_derivatives import pulled_back


def _multiplied_back(x, kernel, factors, gates, d):
    """The gradients of x and of the kernel, of that of `multiplied`."""
    parts = np.split(kernel, gates, axis=1), np.split(d, gates, axis=1), np.broadcast_to(factors, (gates, *x.shape))
    d_x = sum((part_d @ part.T) * factor for part, part_d, factor in zip(*parts, strict=True))
    return d_x, np.concatenate([(x * factor).T @ part_d for _, part_d, factor in zip(*parts, strict=True)], axis=1)


def _lstm_back(x, states, kernel, recurrent_kernel, bias, functions, into_x, into_h, d_states):
    (h, c), (d_h, d_c), (activation, gate) = states, d_states, functions
    sums = multiplied(x, kernel, into_x, 4) + multiplied(h, recurrent_kernel, into_h, 4) + bias
    z_i, z_f, z_g, z_o = np.split(sums, 4, axis=1)
    i, f, o = (ACTIVATIONS[gate](z) for z in (z_i, z_f, z_o))
    g = ACTIVATIONS[activation](z_g)
    c_new = f * c + i * g
    d_c = d_c + pulled_back(activation, c_new, d_h * o)
    d = np.concatenate(
        [
            pulled_back(gate, z_i, d_c * g),
            pulled_back(gate, z_f, d_c * c),
            pulled_back(activation, z_g, d_c * i),
            pulled_back(gate, z_o, d_h * ACTIVATIONS[activation](c_new)),
        ],
        axis=1,
    )
    d_x, d_kernel = _multiplied_back(x, kernel, into_x, 4, d)
    d_before, d_recurrent = _multiplied_back(h, recurrent_kernel, into_h, 4, d)
    return d_x, [d_before, d_c * f], d_kernel, d_recurrent, d.sum(axis=0)


def _gru_back(x, states, kernel, recurrent_kernel, bias, functions, into_x, into_h, d_states):
    (h,), (d_h,), (activation, gate) = states, d_states, functions
    x_z, x_r, x_n = np.split(multiplied(x, kernel, into_x, 3) + bias[0], 3, axis=1)
    h_z, h_r, h_n = np.split(multiplied(h, recurrent_kernel, into_h, 3) + bias[1], 3, axis=1)
    z, r = ACTIVATIONS[gate](x_z + h_z), ACTIVATIONS[gate](x_r + h_r)
    n = ACTIVATIONS[activation](x_n + r * h_n)
    d_n = pulled_back(activation, x_n + r * h_n, d_h * (1 - z))
    d_z, d_r = pulled_back(gate, x_z + h_z, d_h * (h - n)), pulled_back(gate, x_r + h_r, d_n * h_n)
    of_x, of_h = np.concatenate([d_z, d_r, d_n], axis=1), np.concatenate([d_z, d_r, d_n * r], axis=1)
    d_x, d_kernel = _multiplied_back(x, kernel, into_x, 3, of_x)
    d_before, d_recurrent = _multiplied_back(h, recurrent_kernel, into_h, 3, of_h)
    return d_x, [d_before + d_h * z], d_kernel, d_recurrent, np.stack([of_x.sum(axis=0), of_h.sum(axis=0)])


def _gru_reset_before_back(x, states, kernel, recurrent_kernel, bias, functions, into_x, into_h, d_states):
    (h,), (d_h,), (activation, gate) = states, d_states, functions
    v_z, v_r, v_n = np.split(recurrent_kernel, 3, axis=1)
    m_z, m_r, m_n = np.broadcast_to(into_h, (3, *h.shape))
    x_z, x_r, x_n = np.split(multiplied(x, kernel, into_x, 3) + bias, 3, axis=1)
    z_z, z_r = x_z + (h * m_z) @ v_z, x_r + (h * m_r) @ v_r
    z, r = ACTIVATIONS[gate](z_z), ACTIVATIONS[gate](z_r)
    seen = r * (h * m_n)
    z_n = x_n + seen @ v_n
    n = ACTIVATIONS[activation](z_n)
    d_n = pulled_back(activation, z_n, d_h * (1 - z))
    d_z = pulled_back(gate, z_z, d_h * (h - n))
    d_seen = d_n @ v_n.T
    d_r = pulled_back(gate, z_r, d_seen * (h * m_n))
    d_before = d_h * z + d_seen * r * m_n + (d_z @ v_z.T) * m_z + (d_r @ v_r.T) * m_r
    of_x = np.concatenate([d_z, d_r, d_n], axis=1)
    d_x, d_kernel = _multiplied_back(x, kernel, into_x, 3, of_x)
    d_recurrent = np.concatenate([(h * m_z).T @ d_z, (h * m_r).T @ d_r, seen.T @ d_n], axis=1)
    return d_x, [d_before], d_kernel, d_recurrent, of_x.sum(axis=0)


_BACK = {"lstm": _lstm_back, "gru": _gru_back, "gru_reset_before": _gru_reset_before_back}


def cell_gradients(
    cell,
    x,
    weights,
    d_outputs,
    d_states,
    *,
    functions=("tanh", "sigmoid"),
    mask=None,
    input_dropout=1,
    recurrent_dropout=1,
):
    """The gradients of x, of the kernel, the recurrent kernel and the bias, and of the initial states, which are zeros.

    d_outputs : (batch, timesteps, units)
    d_states : (batch, units) each, of the final states
    """
    batch, timesteps, _ = x.shape
    units = len(weights[1])
    keep = np.ones((batch, timesteps), bool) if mask is None else mask
    states, before = [np.zeros((batch, units))] * STATES[cell], []
    for t in range(timesteps):
        before.append(states)
        new = STEPS[cell](x[:, t], states, *weights, *functions, recurrent_dropout, input_dropout)
        states = [np.where(keep[:, t, None], *pair) for pair in zip(new, states, strict=True)]
    d_x, d_weights = np.zeros_like(x), [np.zeros_like(weight) for weight in weights]
    d_states, d_o = list(d_states), np.zeros((batch, units))  # d_o: of an output that later timesteps repeat
    for t in reversed(range(timesteps)):
        live = keep[:, t, None]
        d_o = d_o + d_outputs[:, t]
        given = [np.where(live, d, 0) for d in (d_o + d_states[0], *d_states[1:])]
        d_x[:, t], of_before, *of_weights = _BACK[cell](
            x[:, t], before[t], *weights, functions, input_dropout, recurrent_dropout, given
        )
        d_weights = [total + d for total, d in zip(d_weights, of_weights, strict=True)]
        d_states = [np.where(live, *pair) for pair in zip(of_before, d_states, strict=True)]
        d_o = np.where(live, 0, d_o)
    return d_x, *d_weights, *d_states


def gate_factors(rng, cell, batch, width):
    """Dropout factors for each gate, (gates, batch, width)."""
    return rng.integers(0, 2, (GATES[cell], batch, width)) * 1.5
