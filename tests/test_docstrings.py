"""What `help` says of functions whose docstrings are put together: it fits the signature."""

import inspect
import re

import pytest

import cyrnn

ACTIVATIONS = [
    getattr(cyrnn.activations, name)
    for name in cyrnn.activations.__all__
    if isinstance(getattr(cyrnn.activations, name), cyrnn.activations.Activation)
]
LOSSES = [
    getattr(cyrnn.losses, name)
    for name in cyrnn.losses.__all__
    if isinstance(getattr(cyrnn.losses, name), cyrnn.losses.LossFunction)
]


def test_there_are_some():
    assert len(ACTIVATIONS) > 20
    assert len(LOSSES) > 10


@pytest.mark.parametrize("function", [*ACTIVATIONS, *LOSSES], ids=lambda function: function.__name__)
def test_the_parameters_are_those_of_the_signature(function):
    summary, parameters, returns = re.split(r"\n\n(?:Parameters|Returns)\n-+\n", inspect.getdoc(function))
    assert summary.endswith(".")
    assert returns.startswith("array\n")
    said = dict(re.findall(r"^(\w+) : .*?(?:, default (.*))?$", parameters, re.M))
    expected = inspect.signature(function).parameters.values()
    assert list(said) == [parameter.name for parameter in expected]
    for parameter in expected:
        usual = "" if parameter.default in (parameter.empty, None) else str(parameter.default)
        assert said[parameter.name] == usual, parameter.name
