"""Seeds and draws: the pairs that Keras' NumPy backend draws from, and what becomes of wrong arguments."""

import copy
import pickle
import random as python_random
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from golden.make_keras_objects import error_of_case, load

from cyrnn import objects, random, utils

GOLDEN = load()["seeds"]
ERRORS = load()["errors"]["random"]


def test_pairs_follow_keras():
    generator = random.SeedGenerator(7)
    pairs = [generator.next(ordered) for ordered in (True, True, False, False, True)]
    assert [pair.tolist() for pair in pairs] == GOLDEN["next"]
    assert {pair.dtype for pair in pairs} == {np.dtype("uint32")}


def test_counter_wraps_at_32_bits():
    generator = random.SeedGenerator(5)
    generator._state = np.array([5, 2**32 - 1], np.uint32)
    assert [generator.next().tolist() for _ in range(2)] == [[5, 2**32 - 1], [5, 0]]


def test_no_pair_is_given_out_twice():
    generator = random.SeedGenerator(1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            batches = list(pool.map(lambda _: [int(generator.next()[1]) for _ in range(500)], range(16)))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(counter for batch in batches for counter in batch) == list(range(8000))


def test_pairs_and_state_are_copies():
    generator = random.SeedGenerator(3)
    clone = copy.copy(generator)
    generator.next()[:] = 0
    generator.state[:] = 0
    assert generator.state.tolist() == [3, 1]
    assert clone.state.tolist() == [3, 0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda obj: pickle.loads(pickle.dumps(obj))])
def test_duplicates_go_on_alone(duplicate):
    generator = random.SeedGenerator(3, name="mine")
    generator.next()
    other = duplicate(generator)
    assert other.name == "mine"
    assert [other.next().tolist(), other.next().tolist()] == [[3, 1], [3, 2]]
    assert generator.state.tolist() == [3, 1]


def test_config_is_that_of_keras():
    generator = random.SeedGenerator(7, name="seeds")
    generator.next()
    assert objects.serialize(generator) == GOLDEN["envelope"]
    again = objects.deserialize(GOLDEN["envelope"], "keras.random")
    assert isinstance(again, random.SeedGenerator)
    assert again.state.tolist() == [7, 0]
    assert random.SeedGenerator().get_config() == {"seed": None, "name": "seed_generator"}


@pytest.mark.thread_unsafe(reason="seeds Python's own random numbers")
def test_no_seed_means_one_from_pythons_random():
    python_random.seed(4)
    expected = python_random.randint(1, 10**9)
    python_random.seed(4)
    assert random.SeedGenerator().state.tolist() == [expected, 0]
    python_random.seed(4)
    assert random.make_default_seed() == expected


@pytest.mark.parametrize(("name", "kwargs", "call", "error"), ERRORS)
def test_errors_are_those_of_keras(name, kwargs, call, error):
    assert error_of_case(random, name, kwargs, call) == error


def test_draw_seed():
    generator = random.SeedGenerator(9)
    assert random.draw_seed(4).tolist() == [4, 0]
    assert random.draw_seed(True).tolist() == [1, 0]
    assert [random.draw_seed(generator).tolist() for _ in range(2)] == [[9, 0], [9, 1]]
    assert random.draw_seed(None).tolist() != random.draw_seed(None).tolist()


DRAWS = [random.normal, random.uniform, random.truncated_normal]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_depend_on_the_seed_alone(draw):
    first, again = draw((4, 3), seed=5), draw([np.int64(4), 3], dtype=np.float32, seed=5)
    assert first.dtype == again.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, draw((4, 3), seed=6))
    assert not np.array_equal(draw((4, 3)), draw((4, 3)))
    generator = random.SeedGenerator(5)
    np.testing.assert_array_equal(first, draw((4, 3), seed=generator))
    assert not np.array_equal(first, draw((4, 3), seed=generator))


@pytest.mark.parametrize("draw", DRAWS)
def test_float32_is_the_rounded_float64(draw):
    wide = draw((50,), dtype="float64", seed=5)
    np.testing.assert_array_equal(draw((50,), seed=5), wide.astype(np.float32))
    assert not np.array_equal(wide, wide.astype(np.float32))


def test_truncated_normal_leaves_out_what_is_outside():
    """The obvious twin: filter a longer stream."""
    generator = np.random.default_rng(np.array([3, 0], np.uint32))
    stream = generator.normal(1.0, 2.0, 3000)
    inside = stream[np.abs(stream - 1.0) <= 4.0]
    draws = random.truncated_normal((1000,), 1.0, 2.0, "float64", 3)
    np.testing.assert_array_equal(draws, inside[:1000])
    assert np.abs(draws - 1.0).max() <= 4.0


def test_ranges():
    draws = random.uniform((10000,), -3.0, 5.0, seed=1)
    assert -3 <= draws.min() < -2.9
    assert 4.9 < draws.max() < 5
    assert random.normal((10000,), 7.0, 0.1, seed=1).mean() == pytest.approx(7.0, abs=0.01)


@pytest.mark.parametrize(("shape", "rate", "values"), GOLDEN["dropout"])
def test_dropout_mask_is_that_of_keras(shape, rate, values):
    mask = random.dropout_mask(shape, rate, seed=9)
    assert mask.dtype == np.float32
    assert mask.shape == tuple(shape)
    np.testing.assert_array_equal(mask.ravel()[-len(values) :], np.array(values, np.float32))


@pytest.mark.parametrize(("rate", "counter"), [(0.0, 0), (0.25, 1), (1.0, 0)])
def test_dropout_draws_only_between_0_and_1(rate, counter):
    generator = random.SeedGenerator(2)
    mask = random.dropout_mask((2, 3), rate, generator, "float64")
    assert mask.dtype == np.float64
    assert set(np.unique(mask)) <= {0.0, 1.0 / (1.0 - rate) if rate < 1 else 0.0}
    assert generator.state.tolist() == [2, counter]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random.SeedGenerator(1.5), ValueError, "seed must be an integer or None, got 1.5"),
        (lambda: random.SeedGenerator(np.int64(1)), ValueError, "seed must be an integer"),
        (lambda: random.SeedGenerator(-1), OverflowError, r"seed must be in 0\.\.2\*\*32-1, got -1"),
        (lambda: random.draw_seed("1"), ValueError, "a SeedGenerator or None, got '1'"),
        (lambda: random.normal((2, -1)), ValueError, r"shape must hold no negative size, got \(2, -1\)"),
        (lambda: random.normal((2, 1.5)), TypeError, r"shape must be a tuple of integers, got \(2, 1.5\)"),
        (lambda: random.normal(None), TypeError, "shape must be a tuple of integers, got None"),
        (
            lambda: random.normal((2,), dtype="f4"),
            ValueError,
            "dtype must be the name of a dtype .* got 'f4'",
        ),
        (lambda: random.normal((2,), dtype="str"), ValueError, "dtype must be"),
        (lambda: random.normal((2,), np.nan), ValueError, "mean must be finite .* got nan and 1.0"),
        (lambda: random.truncated_normal((2,), 0.0, np.inf), ValueError, "stddev finite and >= 0"),
        (
            lambda: random.uniform((2,), 3.0, 2.0),
            ValueError,
            "minval must not be above maxval, got 3.0 and 2.0",
        ),
        (lambda: random.uniform((2,), -1e308, 1e308), OverflowError, "finite range"),
        (lambda: random.dropout_mask((2,), 1.5), ValueError, r"rate must be in 0\.\.1, got 1.5"),
        (lambda: random.dropout_mask((2,), np.nan), ValueError, "rate must be"),
    ],
)
def test_messages_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_wrong_argument_leaves_the_generator_alone():
    generator = random.SeedGenerator(2)
    for wrong in [
        lambda: random.normal((-1,), seed=generator),
        lambda: random.uniform((1,), 2.0, 1.0, seed=generator),
        lambda: random.truncated_normal((1,), 0.0, -1.0, seed=generator),
        lambda: random.dropout_mask((1,), 2.0, generator),
    ]:
        with pytest.raises(ValueError):
            wrong()
    assert generator.state.tolist() == [2, 0]


@pytest.mark.thread_unsafe  # one seed for the whole process
def test_one_seed_for_all_draws_without_one():
    def draws():
        return python_random.random(), np.random.rand(), random.normal((3,)).tolist(), random.make_default_seed()  # noqa: NPY002

    random.set_random_seed(7)
    first = draws()
    assert draws() != first
    utils.set_random_seed(7)
    assert draws() == first


@pytest.mark.parametrize(("seed", "error"), [(1.5, ValueError), (None, ValueError), (-1, OverflowError)])
def test_a_seed_for_all_draws_that_is_none_changes_nothing(seed, error):
    before = python_random.getstate()
    with pytest.raises(error, match=f"seed must be .*, got {seed}"):
        random.set_random_seed(seed)
    assert python_random.getstate() == before


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rate", [1e-9, 0.2, 0.5, 0.99])
def test_dropout_factors_follow_numpys_stream(rate, dtype):
    shape = (7, 11)
    for seed in (0, 7, 2**32 - 1):
        generator = random.SeedGenerator(seed)
        for counter in range(3):
            drawn = np.random.default_rng(np.array([seed, counter], np.uint32)).uniform(size=shape)
            kept = np.ones((), dtype) / (1.0 - rate)
            factors = random.dropout_mask(shape, rate, generator, dtype)
            assert factors.dtype == dtype
            np.testing.assert_array_equal(factors, np.where(drawn < 1.0 - rate, kept, np.zeros((), dtype)))
    assert random.dropout_mask((0, 3), 0.5, 1, dtype).shape == (0, 3)
