"""Few units: rows that are computed side by side in vectors have the bits of other ways to compute them."""

import numpy as np
import pytest
from helpers import ISAS

import cyrnn
from cyrnn import layers

KINDS = {
    "simple": ("SimpleRNN", {}),
    "softmax": ("SimpleRNN", {"activation": "softmax"}),  # which needs whole rows
    "lstm": ("LSTM", {}),
    "lstm_softmax": ("LSTM", {"recurrent_activation": "softmax"}),
    "gru": ("GRU", {}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
}
ACTIVATIONS = ["tanh", "relu", "linear", "gelu", "sigmoid"]


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    """What the layers of a test are compiled for."""
    monkeypatch.setenv("CYRNN_ENGINE", "simd")
    monkeypatch.setenv("CYRNN_ISA", request.param)
    return request.param


@pytest.fixture(autouse=True)
def default_threads():
    yield
    cyrnn.set_num_threads(None)


class Case:
    """A layer of few units with random weights, and arrays for a call of it."""

    def __init__(self, kind, number):
        rng = np.random.default_rng(number)
        name, own = KINDS[kind]
        self.units, self.features = int(rng.integers(1, 18)), int(rng.integers(1, 20))
        self.batch, self.timesteps = int(rng.integers(1, 90)), int(rng.integers(2, 45))
        self.dtype = ("float32", "float64")[number % 2]
        self.zeros = bool(rng.random() < 0.5)
        self.backwards = bool(rng.random() < 0.3)
        options = {"activation": ACTIVATIONS[number % len(ACTIVATIONS)], "use_bias": bool(rng.random() < 0.8)}
        self.layer = getattr(layers, name)(
            self.units,
            return_sequences=True,
            return_state=True,
            zero_output_for_mask=self.zeros,
            go_backwards=self.backwards,
            dtype=self.dtype,
            **{**options, **own},
        )
        self.layer.build((None, None, self.features))
        self.layer.set_weights([0.4 * rng.standard_normal(weight.shape) for weight in self.layer.weights])
        self.x = rng.standard_normal((self.batch, self.timesteps, self.features)).astype(self.dtype)
        count = 2 if name == "LSTM" else 1
        self.states = [rng.standard_normal((self.batch, self.units)).astype(self.dtype) for _ in range(count)]
        self.mask = None
        if rng.random() < 0.5:
            lengths = rng.integers(0, self.timesteps + 1, (self.batch, 1))
            self.mask = np.arange(self.timesteps) < lengths if number % 3 else rng.random(self.x.shape[:2]) < 0.7
            self.x[~self.mask] = np.nan

    def call(self):
        return self.layer(self.x, initial_state=self.states, mask=self.mask)

    def one_timestep_at_a_time(self):
        """The same results, from as many calls as there are timesteps."""
        states, seen, outputs = self.states, np.zeros((self.batch, 1), bool), np.empty_like(self.call()[0])
        for i in range(self.timesteps):
            t = self.timesteps - 1 - i if self.backwards else i
            live = np.ones((self.batch, 1), bool) if self.mask is None else self.mask[:, t : t + 1]
            _, *states = self.layer(self.x[:, t : t + 1], initial_state=states, mask=live)
            seen = seen | live
            outputs[:, i] = np.where(live if self.zeros else seen, states[0], 0)
        return [outputs, *states]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_has_the_bits_of_its_timesteps(kind, isa):
    for number in range(40):
        case = Case(kind, number)
        same(case.call(), case.one_timestep_at_a_time())


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_bits_among_few_and_many(kind, isa):
    for number in range(15):
        case = Case(kind, number)
        every = case.call()
        for first in range(0, case.batch - 2, 7):
            rows = slice(first, first + 2)
            mask = None if case.mask is None else case.mask[rows]
            found = case.layer(case.x[rows], initial_state=[state[rows] for state in case.states], mask=mask)
            same(found, [array[rows] for array in every])


@pytest.mark.parametrize("kind", ["simple", "lstm"])
def test_the_number_of_threads_does_not_change_a_bit(kind, isa):
    case = Case(kind, 6)
    case.x = np.random.default_rng(0).standard_normal((2500, 70, case.features)).astype(case.dtype)
    case.states = [np.zeros((2500, case.units), case.dtype) for _ in case.states]
    case.mask = np.random.default_rng(1).random(case.x.shape[:2]) < 0.9
    results = []
    for count in (1, 2, 3, 8):
        cyrnn.set_num_threads(count)
        results.append(case.call())
    for result in results[1:]:
        same(result, results[0])


@pytest.mark.parametrize("kind", ["simple", "gru"])
def test_only_the_last_output_is_the_last_of_all(kind, isa):
    for number in range(12):
        case = Case(kind, number)
        every, *states = case.call()
        case.layer.return_sequences = False
        last, *others = case.call()
        same([last, *others], [every[:, -1], *states])


def test_all_layouts_of_inputs_and_outputs_in_a_model(isa):
    """Reversed, joined with others, and between ops: each timestep at its place."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, 21, 3)).astype("float32")
    around = layers.Bidirectional(layers.SimpleRNN(5, return_sequences=True))
    model = cyrnn.Sequential([cyrnn.Input((None, 3)), around, layers.LSTM(4, return_sequences=True), layers.GRU(3)])
    expected = around(x)
    forward, backward = around.forward_layer(x), around.backward_layer(x)[:, ::-1]
    np.testing.assert_array_equal(expected, np.concatenate([forward, backward], axis=2))
    for layer in model.layers[1:]:
        expected = layer(expected)
    np.testing.assert_array_equal(model(x), expected)
