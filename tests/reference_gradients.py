"""The oracle of gradients: back-propagation through time in float64 NumPy, written from the equations alone.

A step k, in the order in which it runs, with the factors D and R of dropout and the mask M (true: keep):

    z_k = (x_k D) W + b + (h_{k-1} R) V;   c_k = f(z_k)
    h_k = c_k where M else h_{k-1};        o_k = c_k where M else o_{k-1}, or zeros with `zero_output_for_mask`
"""

import numpy as np
from reference import ACTIVATIONS
from reference_derivatives import pulled_back


def recurrence_gradients(
    x,
    kernel,
    recurrent_kernel,
    bias,
    d_outputs,
    d_state,
    activation="tanh",
    initial_state=None,
    mask=None,
    go_backwards=False,
    zero_output_for_mask=False,
    input_dropout=None,
    recurrent_dropout=None,
):
    """The gradients of x, of the initial state, of the kernels and the bias.

    d_outputs : (batch, timesteps, units), in the order of the outputs
    d_state : (batch, units), of the final state
    """
    batch, timesteps, features = x.shape
    units = kernel.shape[1]
    into_x = np.ones((batch, features)) if input_dropout is None else input_dropout
    into_h = np.ones((batch, units)) if recurrent_dropout is None else recurrent_dropout
    keep = np.ones((batch, timesteps), bool) if mask is None else mask
    h = np.zeros((batch, units)) if initial_state is None else initial_state
    order = list(range(timesteps))[::-1] if go_backwards else list(range(timesteps))
    sums, before = [], []
    for t in order:
        before.append(h)
        with np.errstate(invalid="ignore"):
            sums.append((x[:, t] * into_x) @ kernel + (h * into_h) @ recurrent_kernel + bias)
            h = np.where(keep[:, t, None], ACTIVATIONS[activation](sums[-1]), h)
    d_x, d_kernel, d_recurrent, d_bias = (
        np.zeros_like(x),
        np.zeros_like(kernel),
        np.zeros((units, units)),
        np.zeros(units),
    )
    d_h, d_o = d_state, np.zeros((batch, units))  # of the state; and of an output that later steps repeat
    for k in reversed(range(timesteps)):
        t, live = order[k], keep[:, order[k], None]
        d_o = d_o + d_outputs[:, k]
        d_z = np.where(live, pulled_back(activation, sums[k], np.where(live, d_o + d_h, 0)), 0)
        d_o = np.where(live | zero_output_for_mask, 0, d_o)
        seen = np.where(live, x[:, t] * into_x, 0)
        d_kernel += seen.T @ d_z
        d_recurrent += (before[k] * into_h).T @ d_z
        d_bias += d_z.sum(axis=0)
        d_x[:, t] = (d_z @ kernel.T) * into_x
        d_h = np.where(live, (d_z @ recurrent_kernel.T) * into_h, d_h)
    return d_x, d_h, d_kernel, d_recurrent, d_bias


def differences(function, arrays, number, dy, step=1e-6):
    """The gradient of sum(dy * function(*arrays)) with respect to one of the arrays."""
    found = np.zeros(arrays[number].shape)
    for index in range(found.size):
        values = []
        for sign in (1, -1):
            moved = arrays[number].copy()
            moved.flat[index] += sign * step
            values.append(np.sum(dy * function(*arrays[:number], moved, *arrays[number + 1 :])))
        found.flat[index] = (values[0] - values[1]) / (2 * step)
    return found
