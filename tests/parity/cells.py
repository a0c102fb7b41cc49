"""Cells of a user's own, written once for both Keras and cyrnn."""

import numpy as np


def gated(module, units, **options):
    """A layer of `module` as a cell of two states, of which neither is the output."""

    ops = getattr(module, "ops", np)  # Keras' functions for its arrays, or NumPy's

    class Gated(module.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.state_size = (units, units + 1)
            self.output_size = units + 2

        def build(self, input_shape):
            def matrix(rows, columns, name):
                return self.add_weight(shape=(rows, columns), initializer="glorot_uniform", name=name)

            self.kernel = matrix(input_shape[-1], self.units, "kernel")
            self.mixer = matrix(self.units, self.units + 1, "mixer")
            self.reader = matrix(self.units + 1, self.units + 2, "reader")

        def call(self, inputs, states, training=False):
            first, second = states
            first = ops.tanh(ops.matmul(inputs, self.kernel) + first * (0.5 if training else 0.9))
            second = ops.tanh(ops.matmul(first, self.mixer) + second)
            return ops.matmul(second, self.reader), [first, second]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Gated(units, **options)


class Averaging:
    """No layer: a cell of one state, which the output is made of."""

    def __init__(self, units):
        self.state_size = units
        self.output_size = units

    def __call__(self, inputs, states):
        return self.call(inputs, states)

    def call(self, inputs, states):
        new = 0.5 * states[0] + inputs.mean(axis=-1, keepdims=True)
        return new * 2, [new]
