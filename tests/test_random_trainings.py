"""Trainings at random: a step that is one compiled call computes what the general one does."""

import numpy as np
import pytest
from trainings import training

import cyrnn
from cyrnn.models.programs.training_step import ProgramStep

SEEDS = 80
COMPILED = 40  # at least so many of them have steps that are compiled calls; others have losses of NumPy's road


@pytest.mark.thread_unsafe
def test_steps_are_the_same_on_both_roads(monkeypatch):
    counted, gradients = [], ProgramStep.gradients

    def counting(self, batch):
        taken = gradients(self, batch)
        counted.append(taken is not None)
        return taken

    monkeypatch.setattr(ProgramStep, "gradients", counting)
    compiled = 0
    for seed in range(SEEDS):
        cyrnn.utils.set_random_seed(seed)
        ours = training(cyrnn, seed)
        begin = ours.model.get_weights()
        counted.clear()
        found = results(ours)
        if not any(counted):
            continue
        compiled += 1
        other = training(cyrnn, seed)
        other.model.set_weights(begin)
        other.model._compiled._step_of = lambda _: None
        for mine, its in zip(found, results(other), strict=True):
            np.testing.assert_allclose(mine, its, rtol=2e-5, atol=2e-5, err_msg=f"training {seed}")
    assert compiled >= COMPILED


def results(made):
    """What a fit and a step after it come to, and the weights then."""
    history = made.model.fit(made.x, made.y, sample_weight=made.weights, shuffle=False, verbose=0, **made.fit).history
    step = made.model.train_on_batch(made.x, made.y, sample_weight=made.weights)
    return [*history.values(), np.atleast_1d(step), *made.model.get_weights()]
