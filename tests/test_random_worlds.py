"""Random scripts of calls on a few models, against a slow obvious model of what must hold after each of them.

    CYRNN_WORLDS=500 pytest -m fuzz tests/test_random_worlds.py      takes about a minute

Every model has a twin: its weights as plain arrays, the states it carries, and float64 NumPy for its results. A script
builds, calls, predicts, steps, trains, saves, loads, copies, forks, uses threads, is interrupted, and makes mistakes.
After each of these, no model but the one that was asked for has changed, and no earlier result has.
"""

import copy
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from reference import recurrence
from reference_cells import STATES, cell_recurrence

import cyrnn
from cyrnn import layers

EXAMPLES = int(os.environ.get("CYRNN_WORLDS", "12"))
FEATURES, BATCH = 3, 4
LAYERS = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU, "gru_reset_before": layers.GRU}
FORMATS = {
    ".keras": "save",
    ".h5": "save",
    ".weights.h5": "save_weights",
    ".npz": "save_weights",
    ".safetensors": "save_weights",
}


class Twin:
    """What must be true of one model: recurrent layers of these kinds and units, then a Dense."""

    def __init__(self, kinds, stateful, weights):
        self.kinds = kinds
        self.stateful = stateful
        self.weights = weights
        self.states = self.zeros(BATCH)

    def zeros(self, batch):
        return [[np.zeros((batch, units))] * STATES.get(kind, 1) for kind, units in self.kinds]

    def call(self, x, mask=None):
        """The outputs in float64, and the states after them."""
        states = self.states if self.stateful else self.zeros(len(x))
        y, final = np.asarray(x, np.float64), []
        weights = [np.asarray(array, np.float64) for array in self.weights]
        for (kind, _), before in zip(self.kinds, states, strict=True):
            kernel, recurrent_kernel, bias, *weights = weights
            if kind == "simple":
                y, state = recurrence(y, kernel, recurrent_kernel, bias, initial_state=before[0], mask=mask)
                final.append([state])
            else:
                y, after = cell_recurrence(kind, y, kernel, recurrent_kernel, bias, states=before, mask=mask)
                final.append(after)
        kernel, bias = weights
        return y @ kernel + bias, final


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-5)


class World(RuleBasedStateMachine):
    names = Bundle("names")

    def __init__(self):
        super().__init__()
        self.models = {}
        self.twins = {}
        self.results = []  # of earlier calls, each with a copy
        self.rng = np.random.default_rng(0)

    # ------------------------------------------------------------ what the rules share

    def add(self, model, twin):
        name = f"model {len(self.models)}"
        self.models[name], self.twins[name] = model, twin
        return name

    def inputs(self, seed, timesteps, batch=BATCH):
        return np.random.default_rng(seed).standard_normal((batch, timesteps, FEATURES)).astype(np.float32)

    def check_call(self, name, result, x, mask=None):
        """A result of a call, after which a stateful model has gone on."""
        expected, states = self.twins[name].call(x, mask)
        close(result, expected)
        if self.twins[name].stateful:
            self.twins[name].states = states
        self.results.append((result, result.copy()))

    def unchanged_call(self, name, x):
        """The bits of a call that leaves the states as they are."""
        model = copy.deepcopy(self.models[name])
        return model(x)

    @invariant()
    def nothing_else_has_changed(self):
        for name, model in self.models.items():
            twin = self.twins[name]
            for actual, expected in zip(model.get_weights(), twin.weights, strict=True):
                np.testing.assert_array_equal(actual, expected, strict=True)
            for layer, states in zip(model.layers, twin.states, strict=False):
                if twin.stateful and layer.states is not None:
                    found = layer.states if isinstance(layer.states, (list, tuple)) else [layer.states]
                    for actual, expected in zip(found, states, strict=True):
                        close(actual, expected)
        for result, before in self.results:
            np.testing.assert_array_equal(result, before)

    # ------------------------------------------------------------ models come

    @initialize(target=names, seed=st.integers(0, 99))
    def begin(self, seed):
        return self.build([("simple", 5)], False, seed)

    @rule(
        target=names,
        kinds=st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(1, 20)), min_size=1, max_size=2),
        stateful=st.booleans(),
        seed=st.integers(0, 99),
    )
    def new(self, kinds, stateful, seed):
        return self.build(kinds, stateful, seed)

    def build(self, kinds, stateful, seed):
        shape = {"batch_shape": (BATCH, None, FEATURES)} if stateful else {"shape": (None, FEATURES)}
        parts = []
        for kind, units in kinds:
            options = {"reset_after": kind == "gru"} if "gru" in kind else {}
            parts.append(LAYERS[kind](units, return_sequences=True, stateful=stateful, **options))
        model = cyrnn.Sequential([cyrnn.Input(**shape), *parts, layers.Dense(2)])
        rng = np.random.default_rng(seed)
        weights = [(0.3 * rng.standard_normal(weight.shape)).astype(np.float32) for weight in model.weights]
        model.set_weights(weights)
        return self.add(model, Twin(kinds, stateful, weights))

    @rule(target=names, name=names, how=st.sampled_from(["deepcopy", "pickle", "json"]))
    def copied(self, name, how):
        model, twin = self.models[name], copy.deepcopy(self.twins[name])
        if how == "deepcopy":
            model = copy.deepcopy(model)
        elif how == "pickle":
            model = pickle.loads(pickle.dumps(model))
        else:  # a config has neither weights nor states
            weights = model.get_weights()
            model = cyrnn.from_json(model.to_json())
            model.set_weights(weights)
            twin.states = twin.zeros(BATCH)
        return self.add(model, twin)

    @rule(target=names, name=names, form=st.sampled_from(sorted(FORMATS)))
    def saved_and_loaded(self, name, form):
        path = self.folder / f"{len(self.models)}{form}"
        model, twin = self.models[name], copy.deepcopy(self.twins[name])
        getattr(model, FORMATS[form])(path)
        if FORMATS[form] == "save":
            loaded = cyrnn.models.load_model(path)
        else:
            loaded = cyrnn.from_json(model.to_json())
            loaded.load_weights(path)
        path.unlink()
        twin.states = twin.zeros(BATCH)  # no file has states
        return self.add(loaded, twin)

    # ------------------------------------------------------------ models compute

    @rule(name=names, seed=st.integers(0, 99), timesteps=st.integers(1, 6), form=st.sampled_from("abc"))
    def called(self, name, seed, timesteps, form):
        x = self.inputs(seed, timesteps)
        if form == "b":  # another memory order, and other numbers between them
            x = np.repeat(np.asfortranarray(x), 2, axis=2)[:, :, ::2]
        elif form == "c":
            x = x.astype(np.float64)
        self.check_call(name, self.models[name](x), x.astype(np.float32))

    @rule(name=names, seed=st.integers(0, 99), batch=st.integers(1, 40), batch_size=st.integers(1, 50))
    def predicted(self, name, seed, batch, batch_size):
        if self.twins[name].stateful:
            batch = batch_size = BATCH
        x = self.inputs(seed, 3, batch)
        self.check_call(name, self.models[name].predict(x, batch_size=batch_size, verbose=0), x)

    @rule(name=names, seed=st.integers(0, 99), timesteps=st.integers(1, 5))
    def stepped(self, name, seed, timesteps):
        x = self.inputs(seed, timesteps)
        twin = copy.deepcopy(self.twins[name])
        twin.states = twin.zeros(BATCH)
        stepper = self.models[name].stepper(batch_size=BATCH)
        steps = np.stack([stepper.step(x[:, t]) for t in range(timesteps)], axis=1)
        close(steps, twin.call(x)[0])

    @rule(name=names)
    def reset(self, name):
        self.models[name].reset_states()
        self.twins[name].states = self.twins[name].zeros(BATCH)

    @rule(name=names, seed=st.integers(0, 99))
    def masked(self, name, seed):
        model, twin = self.models[name], self.twins[name]
        x = self.inputs(seed, 5)
        mask = np.random.default_rng(seed).random((BATCH, 5)) < 0.7
        mask[:, -1] = True  # the last output of a row is that of its last step
        y = x
        for layer in model.layers[:-1]:
            y = layer(y, mask=mask)
        self.check_call(name, model.layers[-1](y), x, mask)
        assert twin is self.twins[name]

    # ------------------------------------------------------------ models change

    @rule(name=names, seed=st.integers(0, 99))
    def weights_set(self, name, seed):
        rng = np.random.default_rng(seed)
        weights = [(0.3 * rng.standard_normal(w.shape)).astype(np.float32) for w in self.twins[name].weights]
        self.models[name].set_weights(weights)
        self.twins[name].weights = [weight.copy() for weight in weights]
        for weight in weights:
            weight[...] = np.nan  # the caller's own arrays are the caller's

    @rule(name=names, seed=st.integers(0, 99), rate=st.sampled_from([0.0, 0.05]))
    def trained(self, name, seed, rate):
        model, twin = self.models[name], self.twins[name]
        x = self.inputs(seed, 3)
        target = np.random.default_rng(seed).standard_normal((BATCH, 3, 2)).astype(np.float32)
        other = copy.deepcopy(model)
        y, pullback = other.vjp(x, training=True)
        gradients = pullback(2 * (y - target) / y.size, inputs=False).weights
        model.compile(cyrnn.optimizers.SGD(rate), "mse")
        loss = model.train_on_batch(x, target)
        expected, states = twin.call(x)
        close(loss, np.mean((expected - target) ** 2))
        for weight, before, gradient in zip(model.get_weights(), twin.weights, gradients, strict=True):
            close(weight, before - rate * gradient)
        twin.weights = model.get_weights()
        if twin.stateful:
            twin.states = states

    # ------------------------------------------------------------ the world is rough

    @rule(
        name=names, seed=st.integers(0, 99), mistake=st.sampled_from(["features", "rank", "weights", "text", "state"])
    )
    def mistaken(self, name, seed, mistake):
        model, x = self.models[name], self.inputs(seed, 3)
        with pytest.raises((ValueError, TypeError)):
            if mistake == "features":
                model(x[:, :, :2])
            elif mistake == "rank":
                model(x[0, 0])
            elif mistake == "weights":
                model.set_weights([*model.get_weights()[:-1], np.zeros(7)])
            elif mistake == "text":
                model(np.full(x.shape, "x"))
            else:
                model.layers[0](x, initial_state=np.zeros((BATCH + 1, 2)))

    @rule(name=names, seed=st.integers(0, 99))
    def called_in_threads(self, name, seed):
        x = self.inputs(seed, 4)
        if self.twins[name].stateful:
            return
        expected = self.models[name](x)
        with ThreadPoolExecutor(3) as pool:
            for result in pool.map(self.models[name], [x] * 6):
                np.testing.assert_array_equal(result, expected)

    @rule(name=names, seed=st.integers(0, 99))
    def forked(self, name, seed):
        x = self.inputs(seed, 4)
        expected = self.unchanged_call(name, x)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(self.models[name](x), expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    @rule(name=names, seed=st.integers(0, 99), delay=st.floats(1e-5, 2e-3))
    def interrupted(self, name, seed, delay):
        """After Ctrl-C a call has happened or has not."""
        x = self.inputs(seed, 40)
        result = None
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            result = self.models[name](x)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        if result is not None:
            self.check_call(name, result, x)
        elif self.twins[name].stateful:  # the states are those before or those after
            self.models[name].reset_states()
            self.twins[name].states = self.twins[name].zeros(BATCH)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C in a callback of Python's gc
@pytest.mark.thread_unsafe  # signals, and forks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_nothing_changes_but_what_was_asked_for(tmp_path):
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        run_state_machine_as_test(
            type("WorldOfAFolder", (World,), {"folder": tmp_path}),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=25,
                deadline=None,
                database=None,
                derandomize=True,  # what fails is what was changed; more of them are other ones
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        signal.signal(signal.SIGALRM, before)
