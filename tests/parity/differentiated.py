"""Gradients of Keras, by the means of the backend that it runs on."""

import numpy as np
from parity.twins import keras

from cyrnn.layers.base import nest

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)  # before the first array; what is float32 stays float32


def on_tensorflow(theirs, x, dy, begin, options):
    import tensorflow as tf

    x, begin = tf.constant(x), nest.mapped(tf.constant, begin)
    states = nest.leaves(begin)
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        y = theirs(x, **options, **({"initial_state": begin} if states else {}))
        pairs = zip(nest.leaves(dy), tf.nest.flatten(y), strict=True)
        loss = tf.add_n([tf.reduce_sum(tf.constant(a) * tf.cast(b, a.dtype)) for a, b in pairs])
    found = tape.gradient(loss, [x, *states, *theirs.trainable_variables], unconnected_gradients="zero")
    return y, found[0], found[1 : 1 + len(states)], found[1 + len(states) :]


def on_jax(theirs, x, dy, begin, options):
    variables = theirs.trainable_variables

    def loss(x, begin, weights):
        with keras.StatelessScope(list(zip(variables, weights, strict=True))):
            y = theirs(x, **options, **({"initial_state": begin} if nest.leaves(begin) else {}))
        pairs = zip(nest.leaves(dy), jax.tree.leaves(y), strict=True)
        return sum((a * b.astype(a.dtype)).sum() for a, b in pairs), y

    weights = [variable.value for variable in variables]
    differentiated = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    (of_inputs, of_states, of_weights), y = differentiated(
        jax.numpy.asarray(x), nest.mapped(jax.numpy.asarray, begin), weights
    )
    return y, of_inputs, nest.leaves(of_states), of_weights


def gradients_of_keras(theirs, x, dy, initial_state=None, **options):
    """The outputs, and the gradients of the inputs, of each initial state and of each weight, of the sum of dy * y."""
    means = {"tensorflow": on_tensorflow, "jax": on_jax}[keras.backend.backend()]
    y, of_inputs, of_states, of_weights = means(theirs, x, dy, initial_state or [], options)
    dense = keras.ops.convert_to_numpy  # of a table of vectors TensorFlow has slices
    found = None if np.issubdtype(np.asarray(x).dtype, np.integer) else dense(of_inputs)
    return y, found, [dense(part) for part in of_states], [dense(part) for part in of_weights]
