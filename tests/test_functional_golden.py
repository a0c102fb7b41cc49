"""Functional models of Keras 3 and 2 on TensorFlow, as recorded by golden/make_functional.py. No Keras is needed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import cli
from cyrnn.saving import load_model

GOLDEN = Path(__file__).parent / "golden"
RECORDED = json.loads((GOLDEN / "functional.json").read_text())


def inputs(recorded):
    """Recorded inputs as arrays, in a list or dict."""
    if isinstance(recorded, dict):
        return {key: np.array(part) for key, part in recorded.items()}
    return [np.array(part) for part in recorded]


def assert_outputs(actual, expected):
    if isinstance(expected, dict):
        assert isinstance(actual, dict) and actual.keys() == expected.keys()
        actual, expected = list(actual.values()), [expected[key] for key in actual]
    assert isinstance(actual, list)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, np.array(b), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RECORDED["files"])
def test_files_of_keras_3(name):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model, recorded = load_model(GOLDEN / name), RECORDED["files"][name]
    x = inputs(recorded["x"])
    assert isinstance(model, cyrnn.Model)
    assert_outputs(model.predict(x), recorded["outputs"])
    assert_outputs(model.predict(x, batch_size=3), recorded["outputs"])
    again = cyrnn.from_json(model.to_json())
    again.set_weights(model.get_weights())
    assert_outputs(again.predict(x), recorded["outputs"])
    assert json.loads(again.to_json()) == json.loads(model.to_json())


@pytest.mark.parametrize("class_name", ["Functional", "Model"])  # Model up to Keras 2.3
@pytest.mark.parametrize("name", RECORDED["keras2"])
def test_configs_of_keras_2(name, class_name):
    recorded = RECORDED["keras2"][name]
    model = cyrnn.from_json(recorded["json"].replace('"Functional"', f'"{class_name}"'))
    model.set_weights([np.array(weight) for weight in recorded["weights"]])
    assert_outputs(model.predict(inputs(recorded["x"])), recorded["outputs"])


def test_a_graph_on_the_command_line(tmp_path, capsys):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    assert cli.main(["info", str(GOLDEN / "translator.keras")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"encoder +SimpleRNN +\[\(None, 3\), \(None, 3\)\] +18 ", printed) and "95 parameters" in printed
    np.save(tmp_path / "x.npy", np.ones((2, 5, 2), "float32"))
    assert (
        cli.main(["predict", str(GOLDEN / "branches.keras"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y")]) != 0
    )
    assert "holds one array, the model has the inputs " in capsys.readouterr().err
    assert not (tmp_path / "y").exists()
