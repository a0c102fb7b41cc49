"""Calls of a model that fail, and change nothing."""

import numpy as np
import pytest


def unchanged(model, match, call, error=ValueError):
    """The call fails, and leaves the model, its optimizer and what it is compiled with as they were."""

    def all_of_it():
        compiled, optimizer = model._compiled, model.optimizer
        arrays = [*model.get_weights(), *(state for layer in model.layers for state in layer.states or [])]
        arrays += [] if optimizer is None else [variable.numpy() for variable in optimizer.variables]
        kinds = [] if compiled is None else [*map(str, compiled.loss.losses), *(m.name for m in compiled.all_metrics)]
        return arrays, (model.built, compiled, kinds)

    before, others = all_of_it()
    with pytest.raises(error, match=match):
        call()
    after, others_after = all_of_it()
    assert [type(each) for each in others] == [type(each) for each in others_after]
    assert others == others_after
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
