"""The ways back through ops that merge, join, pool and move, with views of columns and reversed ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_gradients import differences

from cyrnn.engine.gradients.taped import Taped
from cyrnn.engine.program import Program

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5, 4))
ROWS, ONE_FEATURE = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 5, 1))
SHARES = [[True, False, True, True, False], [True] * 5, [False, False, True, False, True]]
OTHER_SHARES = [[True, True, False, True, False], [False] * 5, [True, False, False, False, True]]


def run_back(build, arrays, seed=0):
    """The gradients through a program of ops, and what central differences of a program without notes are.

    build : callable
        Adds ops to a program and its inputs, and returns the view of the output.
    arrays : list of arrays
        The inputs: (batch, timesteps, width), or (batch, width).
    """

    def made(kind):
        program = kind("float64")
        timelines = {}
        for array in arrays:
            if array.ndim == 3 and array.shape[1] not in timelines:
                timelines[array.shape[1]] = program.timeline()
        views = [
            program.input(
                "number" if array.dtype == float else "mask",
                timelines[array.shape[1]] if array.ndim == 3 or array.dtype == bool else None,
                1 if array.dtype == bool else array.shape[-1],
            )
            for array in arrays
        ]
        program.output(build(program, *views))
        program.finish()
        return program

    taped, plain = made(Taped), made(Program)
    found = taped.run((), tuple(arrays))
    found = found if isinstance(found, tuple) else (found,)
    y = plain.run((), tuple(arrays))
    np.testing.assert_array_equal(found[0], y)
    dy = np.random.default_rng(seed).standard_normal(y.shape)
    numbers = [number for number, array in enumerate(arrays) if array.dtype == float]
    way = taped.way_back(frozenset(numbers), (True,))
    known = {
        "gradient": lambda number: dy,
        "value": lambda storage: found[taped.tape[storage]],
        "length": lambda timeline: found[taped.lengths[timeline]],
        "zeros": lambda _: None,
    }
    gradients = way.program.run((), tuple(known[kind](number) for kind, number in way.inputs))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    expected = [differences(lambda *xs: plain.run((), xs), arrays, number, dy) for number in way.reached]
    assert way.reached == numbers
    for a, b in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def turned_columns(program, view, first, width):
    return program.reversed(program.columns(view, first, width))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "average", "maximum", "minimum"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_merges_of_parts_turned_and_repeated(name, masked, count):
    keeps = [np.array(SHARES), np.array(OTHER_SHARES), np.array(OTHER_SHARES)[::-1].copy()][:count]

    def build(program, x, row, *others):
        columns, masks = others[: count - 2], others[count - 2 :]
        out = program.reversed(program.buffer(program.form_of(x)[1], 3))
        xs = [turned_columns(program, x, 1, 3), row, *map(program.reversed, columns)]
        axes = [(3, 1), (3, 1), (1, 3)][:count]
        program.merge(name, xs, out, axes=axes, masks=[program.reversed(mask) for mask in masks])
        return out

    xs = [X, ROWS[:, :3] + 3, ONE_FEATURE + 5][:count]
    run_back(build, [*xs, *keeps] if masked else xs)


def test_the_gradients_of_a_quotient_do_not_overflow_on_the_way():
    program = Taped("float32")
    x, y, out = program.input("number", None, 1), program.input("number", None, 1), program.buffer(None, 1)
    program.merge("divide", [x, y], out)
    program.output(out)
    program.finish()
    way = program.way_back(frozenset([0, 1]), (True,))
    large = np.full((1, 1), 1e30, "f4")
    found = way.program.run((), tuple(large for _ in way.inputs))
    np.testing.assert_array_equal(found, [large / large, -large / large])


def test_joins_of_parts_turned_and_repeated():
    def build(program, x, row):
        out = program.buffer(program.form_of(x)[1], 8)
        program.join([turned_columns(program, x, 2, 2), row, x], out, 2)
        return turned_columns(program, out, 1, 6)

    run_back(build, [X, ROWS[:, :2]])


def test_products_with_timesteps_and_without():
    def build(program, x, row):
        out = program.reversed(program.buffer(program.form_of(x)[1], 4))
        program.dot(program.reversed(x), row, out, 2, 2, 1)
        return out

    run_back(build, [X, ROWS])


def test_a_product_of_a_value_with_itself():
    def build(program, x):
        out = program.buffer(program.form_of(x)[1], 4)
        program.dot(x, x, out, 2, 2, 2)
        return out

    run_back(build, [X])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("index", [0, 1, 4, -1, -2, -5])
def test_one_timestep(index, turned):
    def build(program, x):
        out = program.buffer(None, 3)
        view = program.columns(x, 1, 3)
        program.select(program.reversed(view) if turned else view, out, index)
        return out

    run_back(build, [X])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("before", "stride", "repeats", "count"), [(0, 2, 1, 3), (-1, 2, 1, 2), (2, 3, 1, 4), (0, 1, 3, 20), (1, 2, 3, 12)]
)
def test_some_timesteps(before, stride, repeats, count, turned):
    def build(program, x):
        out = program.buffer(program.timeline(constant=count), 2)
        view = program.columns(x, 2, 2)
        program.take(program.reversed(view) if turned else view, out, before=before, stride=stride, repeats=repeats)
        return out

    run_back(build, [X])


@pytest.mark.parametrize("name", ["average", "max"])
@pytest.mark.parametrize("padded", [False, True])
def test_windows_over_many_blocks(name, padded):
    def build(program, x):
        size, stride = 7, 3
        formula = {"add": stride - 1, "size": stride} if padded else {"size": size}
        out = program.buffer(program.timeline(program.form_of(x)[1], stride=stride, **formula), 600)
        wide = program.buffer(program.form_of(x)[1], 600)
        program.join([x] * 600, wide)  # so wide that a block is a few timesteps
        program.pool(name, program.reversed(wide), out, size, stride, padded=padded)
        total = program.buffer(None, 600)
        program.global_pool("sum", out, total)
        return total

    run_back(build, [RNG.standard_normal((1, 70, 1))])


@pytest.mark.parametrize(("name", "masked"), [("sum", False), ("sum", True), ("average", True), ("max", False)])
def test_all_timesteps_turned(name, masked):
    def build(program, x, *mask):
        out = program.buffer(None, 2)
        program.global_pool(name, turned_columns(program, x, 1, 2), out, *map(program.reversed, mask))
        return out

    run_back(build, [X, np.array(SHARES)] if masked else [X])


def adjoint(program_of, x, seed):
    """sum(dy * f(x)) and sum(d_x * x), which are equal for a linear f."""
    taped = Taped("float64")
    view = taped.input("number", taped.timeline(), x.shape[2])
    taped.output(program_of(taped, view))
    taped.finish()
    found = taped.run((), (x,))
    found = found if isinstance(found, tuple) else (found,)
    dy = np.random.default_rng(seed).standard_normal(found[0].shape)
    way = taped.way_back(frozenset({0}), (True,))
    known = {"gradient": lambda _: dy, "length": lambda timeline: found[taped.lengths[timeline]]}
    d_x = way.program.run((), tuple(known[kind](number) for kind, number in way.inputs))
    return np.sum(dy * found[0]), np.sum(d_x * x)


@settings(max_examples=150, deadline=None)
@given(
    timesteps=st.integers(1, 40), before=st.integers(-9, 9), stride=st.integers(1, 6), repeats=st.integers(1, 6),
    count=st.integers(1, 60), turned=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_way_back_of_taking_is_its_adjoint(timesteps, before, stride, repeats, count, turned, seed):
    def taken(program, x):
        out = program.buffer(program.timeline(constant=count), 3)
        view = program.reversed(x) if turned else x
        program.take(view, out, before=before, stride=stride, repeats=repeats)
        return out

    there, back = adjoint(taken, np.random.default_rng(seed).standard_normal((2, timesteps, 3)), seed)
    assert abs(there - back) < 1e-10


@settings(max_examples=150, deadline=None)
@given(
    timesteps=st.integers(1, 40), size=st.integers(1, 50), stride=st.integers(1, 9), padded=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_way_back_of_means_of_windows_is_their_adjoint(timesteps, size, stride, padded, seed):
    size = size if padded else min(size, timesteps)

    def pooled(program, x):
        formula = {"add": stride - 1, "size": stride} if padded else {"size": size}
        out = program.buffer(program.timeline(program.form_of(x)[1], stride=stride, **formula), 3)
        program.pool("average", x, out, size, stride, padded=padded)
        return out

    there, back = adjoint(pooled, np.random.default_rng(seed).standard_normal((2, timesteps, 3)), seed)
    assert abs(there - back) < 1e-10


def test_repeated_and_moved_rows():
    def build(program, x, row):
        timed = program.form_of(x)[1]
        out, moved = program.buffer(timed, 4), program.buffer(program.timeline(constant=4), 5)
        program.copy(row, program.reversed(out))
        both = program.buffer(timed, 4)
        program.merge("multiply", [out, program.reversed(x)], both)
        program.permute(program.reversed(both), moved, [5, 4], [1, 0])
        return program.reshaped(program.reversed(moved), program.timeline(constant=2), 10)

    run_back(build, [X, ROWS])
