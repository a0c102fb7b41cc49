"""Layers, models and steppers are copied, pickled, and sent to other processes, by all the ways that people use."""

import copy
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn.layers import RNN, Bidirectional, Dense, SimpleRNN, SimpleRNNCell

rng = np.random.default_rng(5)
X = rng.standard_normal((3, 6, 4)).astype("f")


def a_model():
    return cyrnn.Sequential([cyrnn.Input((6, 4)), SimpleRNN(5, return_sequences=True), SimpleRNN(3), Dense(2)])


THINGS = {
    "cell": lambda: SimpleRNNCell(5),
    "SimpleRNN": lambda: SimpleRNN(5, return_sequences=True, dropout=0.1, seed=3),
    "stateful": lambda: SimpleRNN(5, stateful=True, return_state=True),
    "stack": lambda: RNN([SimpleRNNCell(5), SimpleRNNCell(4)]),
    "Bidirectional": lambda: Bidirectional(SimpleRNN(5)),
    "float64": lambda: SimpleRNN(5, dtype="float64"),
    "model": a_model,
}


def made(name):
    thing = THINGS[name]()
    answer(thing)  # builds it, and moves its states
    return thing


def answer(thing):
    """What a thing gives for X, as a list of arrays."""
    if isinstance(thing, SimpleRNNCell):
        return [thing(X[:, 0], [np.ones((3, 5), "f")])[0]]
    result = thing(X)
    return list(result) if isinstance(result, tuple) else [result]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def steps(stepper):
    return [stepper.step(X[:, t]) for t in range(3)]


def by_cloudpickle(thing):
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    return pickle.loads(cloudpickle.dumps(thing))


WAYS = {
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda thing, n=n: pickle.loads(pickle.dumps(thing, n)) for n in range(2, 6)},
    "cloudpickle": by_cloudpickle,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", THINGS)
def test_a_copy_answers_alike_and_goes_its_own_way(name, way):
    thing = made(name)
    other = way(thing)
    assert type(other) is type(thing)
    assert_same(answer(other), answer(thing))
    assert_same(answer(other), answer(thing))  # from the states that each has
    assert other.to_json() == thing.to_json()
    before = answer(thing) if name != "stateful" else None
    other.set_weights([w * 0 for w in other.get_weights()])
    assert not any(w.any() for w in other.get_weights())
    if before is not None:
        assert_same(answer(thing), before)


@pytest.mark.parametrize("way", [copy.copy, *WAYS.values()], ids=["copy", *WAYS])
@pytest.mark.parametrize("name", ["SimpleRNN", "stack", "float64"])
def test_a_stepper_is_copied_with_its_state(name, way):
    layer = made(name)
    sizes = layer.state_size[0] if isinstance(layer.state_size[0], list) else layer.state_size
    stepper = layer.stepper(3, initial_state=[rng.standard_normal((3, size)) for size in sizes])
    steps(stepper)
    other = way(stepper)
    assert type(other) is type(stepper)
    assert other.address != stepper.address
    assert_same(steps(other), steps(stepper))
    other.reset()
    stepper.reset()
    assert_same(steps(other), steps(stepper))


def test_narrow_steppers_are_copied():
    stepper = SimpleRNN(5, dtype="mixed_float16")
    stepper(X)
    stepper = stepper.stepper(3)
    other = pickle.loads(pickle.dumps(stepper))
    assert_same(steps(other), steps(stepper))
    assert other.step(X[:, 0]).dtype == np.float16


def test_copies_of_a_stepper_share_its_weights():
    stepper = made("SimpleRNN").stepper(3)
    assert copy.deepcopy(stepper).packed[0] is stepper.packed[0]


# In interpreters of their own: a fork of this one would take along what pytest's threads hold.
PREPARED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_travel import THINGS, answer, assert_same, made, steps
"""


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_processes(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {start}")
    code = f"""{PREPARED}
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({start!r})) as pool:
    for name in THINGS:
        thing = made(name)
        assert_same(pool.submit(answer, thing).result(), answer(thing))
    stepper = made("stack").stepper(3)
    steps(stepper)
    assert_same(pool.submit(steps, stepper).result(), steps(stepper))
print("ok")
"""
    assert run_python(code).stdout == "ok\n"


def test_loky():
    pytest.importorskip("joblib", reason="joblib is not installed")
    code = f"""{PREPARED}
from joblib import Parallel, delayed
things = [made(name) for name in THINGS]
results = Parallel(n_jobs=2)(delayed(answer)(thing) for thing in things)
for thing, result in zip(things, results):
    assert_same(result, answer(thing))
print("ok")
"""
    assert run_python(code).stdout == "ok\n"
