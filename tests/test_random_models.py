"""Random models: with programs they compute what their layers do one by one, however the calls are divided."""

import copy

import numpy as np
import pytest
import reference_program
from helpers import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import cyrnn
from cyrnn import layers
from cyrnn.engine import plan
from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.models import executor

FEATURES = 3  # of every sequence between the layers, so that any layer can follow any other one
WORDS = 6


class Shifted(layers.Layer):
    """A cut."""

    supports_masking = True

    def call(self, inputs):
        return inputs + 0.5


def recurrent(draw, **options):
    """A recurrent layer of some class and options, whose output has FEATURES."""
    chosen = {name: draw(st.booleans()) for name in ("go_backwards", "zero_output_for_mask", "stateful")} | options
    kind = draw(st.sampled_from(["simple", "cells", "both"]))
    if kind == "simple":
        activation = draw(st.sampled_from(["tanh", "relu", "softmax", "linear"]))
        return layers.SimpleRNN(FEATURES, activation=activation, use_bias=draw(st.booleans()), **chosen)
    if kind == "cells":
        return layers.RNN([layers.SimpleRNNCell(2), layers.SimpleRNNCell(FEATURES)], **chosen)
    del chosen["go_backwards"], chosen["zero_output_for_mask"]
    halves = [layers.SimpleRNN(units, **chosen, go_backwards=units == 2) for units in (1, 2)]
    return layers.Bidirectional(halves[0], backward_layer=halves[1])


def normalization(draw):
    return draw(
        st.sampled_from(
            [
                lambda: layers.LayerNormalization(),
                lambda: layers.Normalization(mean=0.5, variance=2.0),
                lambda: layers.Rescaling([0.5, 1.0, 2.0], 1.0),
                lambda: layers.PReLU(shared_axes=[1]),
                lambda: layers.ELU(0.5),
                lambda: layers.LeakyReLU(0.3),
            ]
        )
    )()


def of_other_timesteps(draw):
    """A layer that adds, removes, repeats or pools timesteps."""
    return draw(
        st.sampled_from(
            [
                lambda: cyrnn.Sequential([layers.ZeroPadding1D((0, 2)), layers.Cropping1D((1, 0))]),
                lambda: layers.UpSampling1D(2),
                lambda: layers.MaxPooling1D(2, padding="same"),
                lambda: layers.AveragePooling1D(3, 1, padding="same"),
            ]
        )
    )()


def merged(draw, tensors):
    """Two of the tensors as one, of those of one length."""
    first = draw(st.sampled_from(tensors))
    second = draw(st.sampled_from([tensor for tensor in tensors if tensor[1] == first[1]]))
    kind = draw(st.sampled_from([layers.Add, layers.Average, layers.Multiply, layers.Maximum, layers.Concatenate]))
    output = kind()([first[0], second[0]])
    return layers.Dense(FEATURES)(output) if kind is layers.Concatenate else output, first[1]


def layer_of_sequences(draw):
    """A layer from sequences to sequences, all of FEATURES."""
    return draw(
        st.sampled_from(
            [
                lambda: recurrent(draw, return_sequences=True),
                lambda: recurrent(draw, return_sequences=True),
                lambda: layers.Dense(FEATURES, activation=draw(st.sampled_from(["relu", "softmax", None]))),
                lambda: layers.TimeDistributed(layers.Dense(FEATURES)),
                lambda: layers.Activation(draw(st.sampled_from(["gelu", "log_softmax", "linear"]))),
                lambda: layers.Masking(draw(st.sampled_from([0.0, 0.5]))),
                lambda: layers.Dropout(0.5),
                lambda: layers.ReLU(),
                lambda: layers.Identity(),
                lambda: Shifted(),
                lambda: normalization(draw),
                lambda: of_other_timesteps(draw),
                lambda: cyrnn.Sequential([layers.Dense(FEATURES), recurrent(draw, return_sequences=True)]),
            ]
        )
    )()


@st.composite
def chains(draw):
    """A Sequential."""
    begin = [layers.Embedding(WORDS, FEATURES, mask_zero=draw(st.booleans()))] if draw(st.booleans()) else []
    middle = [layer_of_sequences(draw) for _ in range(draw(st.integers(0, 4)))]
    end = [recurrent(draw), layers.Dense(2)] if draw(st.booleans()) else []
    return cyrnn.Sequential([*begin, *middle, *end] or [layers.Dense(2)])


@st.composite
def graphs(draw):
    """A model of calls of any layers, some of them called twice, with any tensors; states may be edges."""
    inputs = [cyrnn.Input((None, FEATURES)), cyrnn.Input((None,), dtype="int32")]
    batch = [cyrnn.Input(batch_shape=(2, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in inputs]
    embedded = layers.Embedding(WORDS, FEATURES, mask_zero=draw(st.booleans()))(batch[1])
    tensors = [(batch[0], 4), (embedded, 5)]  # each with the number of its timesteps, see `arrays_of`
    known, states, rows = [], [], []
    for _ in range(draw(st.integers(1, 6))):
        x, timesteps = draw(st.sampled_from(tensors))
        kind = draw(st.sampled_from(["recurrent", "layer", "layer", "merge", "operation", "row"]))
        if kind == "recurrent":
            rnn = layers.SimpleRNN(FEATURES, return_sequences=True, return_state=True, stateful=draw(st.booleans()))
            begin = draw(st.sampled_from(states)) if states and draw(st.booleans()) else None
            output, state = rnn(x, initial_state=begin)
            states.append(state)
            tensors.append((output, timesteps))
        elif kind == "layer":
            layer = draw(st.sampled_from(known)) if known and draw(st.booleans()) else layer_of_sequences(draw)
            known.append(layer)
            tensors.append((layer(x), layer.compute_output_shape((2, timesteps, FEATURES))[1]))
        elif kind == "merge":
            tensors.append(merged(draw, tensors))
        elif kind == "operation":
            operation = draw(st.sampled_from([lambda x: x[:, ::-1], lambda x: 0.5 * x + 1, lambda x: x * x[..., :1]]))
            tensors.append((operation(x), timesteps))
            if timesteps > 2:
                tensors.append((x[:, 1:-1], timesteps - 2))
        else:
            pools = [layers.GlobalAveragePooling1D(), layers.GlobalMaxPooling1D(), lambda x: x[:, -1]]
            rows.append(draw(st.sampled_from(pools))(x))
    found = [*(tensor for tensor, _ in tensors[2:]), *states, *rows]
    outputs = draw(st.lists(st.sampled_from(found), min_size=1, max_size=3))
    return cyrnn.Model(batch, outputs)


def arrays_of(model, rng):
    """Arrays for the model: some timesteps are masked."""
    x = np.where(rng.random((2, 4, 1)) < 0.3, 0, rng.standard_normal((2, 4, FEATURES))).astype("float32")
    tokens = rng.integers(0, WORDS, (2, 5))
    if isinstance(model, cyrnn.Sequential):
        return tokens if isinstance(model.layers[0], layers.Embedding) else x
    return [x, tokens]


def masks_of(x, rng):
    return nest.mapped(lambda part: rng.random(part.shape[:2]) < 0.7, x)


# The engine's programs give the bits of the layers; BLAS rounds by the shape of a product, and may be taken here.
BITS = plan.engine() != "blas" and plan.isa() != "generic"
# The `call` of these computes with NumPy, which adds up in another order, or has other formulas than their ops.
ROUND_OTHERWISE = (
    layers.LayerNormalization,
    layers.Normalization,
    layers.ELU,
    layers.AveragePooling1D,
    layers.GlobalAveragePooling1D,
)


def same(got, expected, bits):
    for ours, theirs in zip(nest.leaves(got), nest.leaves(expected), strict=True):
        if theirs is None or theirs.dtype.kind != "f" or bits:
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours.dtype == theirs.dtype
            assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:.* does not pass the mask on")
@pytest.mark.parametrize("target", [reference_program.TARGET, ENGINE], ids=["reference", "engine"])
@pytest.mark.parametrize("models", [chains(), graphs()], ids=["chains", "graphs"])
def test_random_models(models, target):
    @settings(max_examples=40, deadline=None)
    @given(models, st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
    def check(model, seed, masked, training):
        rng = np.random.default_rng(seed)
        x = arrays_of(model, rng)
        mask = masks_of(x, rng) if masked else None
        model(x)
        model.reset_state()
        model.set_weights([rng.standard_normal(weight.shape) / 2 for weight in model.get_weights()])
        results = []
        for lowered_to in (None, target):
            one = copy.deepcopy(model)
            with executor.lowering_to(lowered_to):
                found = [one.call_and_mask(one.checked_inputs(x), mask, training) for _ in range(2)]
            results.append([found, [part.states for part in one.layers_within() if part.states is not None]])
        bits = BITS and not any(isinstance(part, ROUND_OTHERWISE) for part in model.layers_within())
        same(results[1], results[0], bits and target is ENGINE)

    check()
