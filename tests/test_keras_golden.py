"""Layers and models of Keras on TensorFlow, as recorded by golden/make_layers.py. No Keras is needed here."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import TOLERANCE

import cyrnn
from cyrnn.saving import load_model

GOLDEN = Path(__file__).parent / "golden"
RECORDED = json.loads((GOLDEN / "layers.json").read_text())
LAYERS, MODELS = RECORDED["layers"], RECORDED["models"]


def recorded(name, dtype="float32"):
    """One of the recorded arrays, or a list of them for a list of names; None for None."""
    if isinstance(name, list):
        return [recorded(part, dtype) for part in name]
    return None if name is None else np.array(RECORDED["arrays"][name], dtype)


def flat(result):
    """What a layer returned, as a list of arrays."""
    return [a for part in result for a in flat(part)] if isinstance(result, (list, tuple)) else [result]


def assert_all_close(actual, expected, tolerance):
    for a, b in zip(actual, expected, strict=True):
        b = np.array(b)
        assert a.shape == b.shape
        assert np.max(np.abs(a - b) / np.maximum(1, np.abs(b)), initial=0) <= tolerance  # false for NaN as well


def run(layer, call):
    x = recorded(call["x"])
    if "states" in call:
        listed = isinstance(call["states"], list)
        output, states = layer(x, [recorded("h")] if listed else recorded("h"))
        assert isinstance(states, list) is listed
        return [output, *flat(states)]
    mask = recorded(call.get("mask"), bool)
    if call.get("mask_axes") == 3:
        mask = mask[:, :, None]
    return flat(layer(x, initial_state=recorded(call.get("initial_state")), mask=mask))


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case):
    layer = cyrnn.from_json(json.dumps(LAYERS[case]["config"]))
    layer.set_weights(recorded(LAYERS[case]["weights"]))
    for call in LAYERS[case]["calls"]:
        results = run(layer, call)
        assert_all_close(results, call["results"], TOLERANCE[results[0].dtype.name])


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    model, x = load_model(GOLDEN / name), np.array(MODELS[name]["x"])
    for expected in MODELS[name]["outputs"]:
        assert_all_close([model.predict(x, batch_size=5)], [expected], 1e-5)


def test_there_is_a_case_for_every_activation():
    built_in = set(cyrnn.engine.plan.ACTIVATIONS) - {"hard_sigmoid_keras2"}  # Keras 3 has no such activation
    assert built_in <= set(LAYERS)
