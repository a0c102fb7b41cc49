"""Recurrent layers at random against Keras: kind x options x masks x states x dtype x training."""

import numpy as np
from parity.cells import gated
from parity.twins import (
    ACTIVATIONS,
    ON_NUMPY,
    assert_same,
    flat,
    follow_tensorflow,
    hypothesis,
    random_settings,
    twins,
)

st = hypothesis.strategies
ROUNDED_BY_TENSORFLOW = {"gelu", "leaky_relu", "squareplus"}  # by up to 2e-8 in float64, and 2e-6 in float32
JUMPING_OR_EXPLODING = {"hard_shrink", "exponential"}
STEADY = sorted(set(ACTIVATIONS) - JUMPING_OR_EXPLODING - (set() if ON_NUMPY else ROUNDED_BY_TENSORFLOW))
RATES = st.sampled_from([0.0, 0.0, 0.25, 0.6, 1.0] if ON_NUMPY else [0.0])  # the masks are those of Keras on NumPy
CELL = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["SimpleRNN", "LSTM", "GRU", "GRU"]),
        "recurrent_activation": st.sampled_from(["sigmoid", "sigmoid", "hard_sigmoid", "softsign", "softmax", None]),
        "reset_after": st.booleans(),
        "units": st.integers(1, 9),
        "activation": st.sampled_from(STEADY),
        "use_bias": st.booleans(),
        "dropout": RATES,
        "recurrent_dropout": RATES,
        "seed": st.integers(0, 2**32 - 1),
    }
)
ONLY_OF = {"recurrent_activation": ("LSTM", "GRU"), "reset_after": ("GRU",)}  # options of some kinds
OF_THE_LAYER = st.fixed_dictionaries(
    {
        key: st.booleans()
        for key in ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
    }
)
FORMS = {  # of an initial state, from its arrays
    "list": list,
    "tuple": tuple,
    "nested": lambda arrays: [[array] for array in arrays],
}
CALL = st.fixed_dictionaries(
    {
        "timesteps": st.integers(1, 8),
        "keep": st.sampled_from([None, 0.0, 0.5, 0.8, 1.0]),
        "mask_dtype": st.sampled_from(["bool", "int32", "float32"]),
        "mask_axes": st.sampled_from([2, 3]),
        "state": st.sampled_from([None, *FORMS]),
    }
)


def leaky(x):
    """An activation of the user's own: the engine does not know it."""
    return x * 0.5 + abs(x) * 0.25


@st.composite
def configurations(draw):
    """A layer's options, and the calls that are made of it."""
    kind = draw(st.sampled_from(["layer", "RNN", "stack", "mixed stack", "gated"]))
    count = draw(st.integers(2, 3)) if kind in ("stack", "mixed stack") else 1
    cells = [draw(CELL) for _ in range(count)]
    if kind == "mixed stack":
        cells[draw(st.integers(0, count - 1))] |= draw(st.sampled_from([{"gated": True}, {"own_activation": True}]))
    if kind == "gated":
        cells[0]["gated"] = True
    merge = draw(st.sampled_from(["no", "no", "concat", "sum", "mul", "ave", None]))
    options = draw(OF_THE_LAYER)
    if merge != "no":
        options["go_backwards"] = False  # or both directions would be one
        if kind == "layer":
            kind = "RNN"  # Keras forgets the seed of a SimpleRNN when it makes the two directions
        if any({"gated", "own_activation"} & set(cell) for cell in cells):
            merge = "no"  # Keras makes the directions from configs, in which it does not find such things
        if options["return_state"]:
            options["stateful"] = False  # Keras fails with both
    return {
        "kind": kind,
        "merge": merge,
        "cells": cells,
        "options": options,
        # Keras has no LSTM of an empty batch on TensorFlow
        "shape": (draw(st.integers(0 if ON_NUMPY else 1, 5)), draw(st.integers(1, 6))),
        "calls": draw(st.lists(CALL, min_size=1, max_size=3)),
        "training": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "numbers": draw(st.integers(0, 2**16)),
    }


def of_its_kind(options):
    """A cell's options without those that only other kinds have, and what is none."""
    return {
        key: value
        for key, value in options.items()
        if key not in ("kind", "own_activation") and options["kind"] in ONLY_OF.get(key, (options["kind"],))
    }


def state_sizes(cell):
    if "gated" in cell:
        return [cell["units"], cell["units"] + 1]
    return [cell["units"]] * (2 if cell["kind"] == "LSTM" else 1)


def maker(configuration):
    """A function from module (Keras or cyrnn) to the layer."""
    dtype = configuration["dtype"]

    def cell(module, options):
        if "gated" in options:
            return gated(module, options["units"], dtype=dtype)
        own = {"activation": leaky} if "own_activation" in options else {}
        return getattr(module.layers, f"{options['kind']}Cell")(**{**of_its_kind(options), **own}, dtype=dtype)

    def make(module):
        options = {**configuration["options"], "dtype": dtype}
        if configuration["kind"] == "layer":
            of_cell = configuration["cells"][0]
            return getattr(module.layers, of_cell["kind"])(**of_its_kind(of_cell), **options)
        cells = [cell(module, entry) for entry in configuration["cells"]]
        # Keras rounds in a stack that it makes of a list to float32, whatever the dtype of the cells
        stack = module.layers.StackedRNNCells(cells, dtype=dtype) if len(cells) > 1 else cells[0]
        layer = module.layers.RNN(stack, **options)
        if configuration["merge"] == "no":
            return layer
        return module.layers.Bidirectional(layer, merge_mode=configuration["merge"], dtype=dtype)

    return make


def states_of(configuration, rng, batch):
    """One array for each state."""
    widths = [size for cell in configuration["cells"] for size in state_sizes(cell)]
    widths *= 1 if configuration["merge"] == "no" else 2
    return [rng.standard_normal((batch, width)).astype(configuration["dtype"]) for width in widths]


def in_form(form, arrays, configuration):
    """An initial state; for Keras cells of two states must have theirs together."""
    stacked = configuration["kind"] in ("stack", "mixed stack")
    if not stacked or all(len(state_sizes(cell)) == 1 for cell in configuration["cells"]):
        return FORMS["list" if not stacked and form == "nested" else form](arrays)
    given, nested = iter(arrays), []
    for _ in range(1 if configuration["merge"] == "no" else 2):
        nested += [[next(given) for _ in state_sizes(cell)] for cell in configuration["cells"]]
    return nested


def scale_of_weights(configuration):
    """Of a size at which no recurrence blows rounding up: a gate without an activation is multiplied by the state."""
    linear = any(cell["kind"] != "SimpleRNN" and not cell["recurrent_activation"] for cell in configuration["cells"])
    return 0.1 if linear else 0.3


@random_settings()
@hypothesis.given(configurations())
def test_random_configurations_as_in_tensorflow(configuration):
    batch, features = configuration["shape"]
    rng, dtype = np.random.default_rng(configuration["numbers"]), configuration["dtype"]
    ours, theirs = twins(maker(configuration), (batch, 4, features), rng, scale_of_weights(configuration))
    for call in configuration["calls"]:
        mask = None
        if call["keep"] is not None:
            mask = (rng.random((batch, call["timesteps"])) < call["keep"]).astype(call["mask_dtype"])
            mask = mask[:, :, None] if call["mask_axes"] == 3 else mask
        arrays = states_of(configuration, rng, batch)
        x = rng.standard_normal((batch, call["timesteps"], features)).astype(dtype)
        arguments = {
            "mask": mask,
            "initial_state": in_form(call["state"], arrays, configuration) if call["state"] else None,
            "training": configuration["training"],
        }
        for layer in [theirs.forward_layer, theirs.backward_layer] if hasattr(theirs, "forward_layer") else [theirs]:
            layer.unroll = configuration["options"]["unroll"]
        follow_tensorflow(theirs, mask)
        ours_result, theirs_result = ours(x, **arguments), theirs(x, **arguments)
        assert isinstance(ours_result, tuple) == isinstance(theirs_result, tuple)
        assert_same(flat(ours_result), flat(theirs_result))
        if configuration["options"]["stateful"]:
            assert_same(flat(ours.states), [np.asarray(state) for state in flat(theirs.states)])
