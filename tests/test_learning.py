"""Learning as such: after a short training a model does what it was trained for, on data that it has not seen."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers, optimizers
from cyrnn.demo.digits import data, fitted, held_out, one_hot, to_learn_from, warped


@pytest.mark.parametrize(
    ("layer", "seed"), [("SimpleRNN", 0), ("SimpleRNN", 1), ("SimpleRNN", 2), ("LSTM", 0), ("GRU", 0)]
)
def test_it_learns_to_add_numbers(layer, seed):
    """The sum of two marked numbers of a sequence: the task that recurrent networks were tested with first."""
    cyrnn.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    values, marks = rng.random((2000, 8)), np.zeros((2000, 8))
    for row in marks:
        row[rng.choice(8, 2, replace=False)] = 1
    x, y = np.stack([values, marks], -1), np.sum(values * marks, 1)
    model = cyrnn.Sequential([cyrnn.Input((8, 2)), getattr(layers, layer)(32), layers.Dense(1)])
    model.compile(optimizers.Adam(0.003), "mse")
    model.fit(x[:1800], y[:1800], epochs=40, verbose=0)
    assert model.evaluate(x[1800:], y[1800:], verbose=0) < 0.1 * np.var(y)


def sines(rng, rows, timesteps):
    """Sines (rows, timesteps, 1) of different periods and phases."""
    periods, phases = rng.uniform(15, 25, (rows, 1)), rng.uniform(0, 1, (rows, 1))
    return np.sin(2 * np.pi * (np.arange(timesteps) / periods + phases)).astype(np.float32)[..., None]


@pytest.mark.parametrize("seed", range(3))
def test_it_continues_sines(seed):
    """It learns the next value of each timestep. Then its own values are its inputs, for one and a half periods."""
    cyrnn.utils.set_random_seed(seed)
    known, steps, seen = 60, 30, sines(np.random.default_rng(seed), 512, 61)
    model = cyrnn.Sequential([cyrnn.Input((None, 1)), layers.SimpleRNN(32, return_sequences=True), layers.Dense(1)])
    schedule = optimizers.schedules.CosineDecay(0.01, 60 * 16)
    model.compile(optimizers.Adam(schedule, clipnorm=1.0), "mse")
    model.fit(seen[:, :-1], seen[:, 1:], epochs=60, verbose=0)

    new, stepper = sines(np.random.default_rng(100 + seed), 64, known + steps), model.stepper(64)
    for t in range(known):
        value = stepper.step(new[:, t])
    continued = [value]
    while len(continued) < steps:
        continued.append(stepper.step(continued[-1]))
    error = np.sqrt(np.mean((np.stack(continued, axis=1) - new[:, known:]) ** 2))
    assert error < 0.2 * np.std(new)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "units", "seed"), [("SimpleRNN", 64, 0), ("SimpleRNN", 64, 1), ("SimpleRNN", 64, 2), ("GRU", 32, 0)]
)
def test_it_reads_digits_of_other_hands(layer, units, seed):
    cyrnn.utils.set_random_seed(seed)
    images, targets = data(to_learn_from(), seed)
    (x, labels), _ = held_out()
    model = fitted(cyrnn, images, targets, layer, units, verbose=0)
    assert model.evaluate(x, one_hot(labels), verbose=0, return_dict=True)["accuracy"] >= 0.96


# ---------------------------------------------------------------- the data of the demo


def test_no_digit_is_both_learned_from_and_held_out():
    (learned, _), ((x, labels), _) = to_learn_from(), held_out()
    assert len(learned) == 1437 and len(x) == 360
    assert not {image.tobytes() for image in learned} & {image.tobytes() for image in x}
    assert set(labels.tolist()) == set(range(10))
    assert x.dtype == np.float32 and x.min() == 0 and x.max() == 1


class Constant:
    """A generator whose draws are given numbers, in their order: of angle and slant, of the stretching, of the way."""

    def __init__(self, *pairs):
        self.pairs = list(pairs)

    def normal(self, mean, scale, shape):
        return np.broadcast_to(np.reshape(self.pairs.pop(0), (2, 1, 1, 1)), shape)


@pytest.mark.parametrize(
    ("pairs", "changed"),
    [
        ([(0, 0), (1, 1), (0, 0)], lambda images: images),
        ([(0, 0), (1, 1), (2, 0)], lambda images: np.pad(images, ((0, 0), (0, 2), (0, 0)))[:, 2:]),
        ([(0, 0), (1, 1), (0, -0.5)], lambda images: (images + np.pad(images, ((0, 0), (0, 0), (1, 0)))[..., :-1]) / 2),
        ([(np.pi / 2, 0), (1, 1), (0, 0)], lambda images: np.rot90(images, -1, axes=(1, 2))),
        ([(0, 0), (1, -1), (0, 0)], lambda images: images[:, :, ::-1]),
    ],
)
def test_warped_images(pairs, changed):
    images = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(warped(images, Constant(*pairs)), changed(images), atol=1e-5)
