"""Cells of several states and sums, which the engine knows by their records: a cell of the tests against a loop."""

import cells
import numpy as np
import pytest
from helpers import ISAS, assert_close

from cyrnn.engine.plan import Plan, Slot
from cyrnn.engine.program import Program
from cyrnn.engine.runner import Runner

DTYPES = ["float32", "float64"]
ENGINES = [*(("simd", isa) for isa in ISAS), ("blas", None)]
# batch, timesteps, features, units: one row, few, many; a last panel of each width; projecting ahead over 48 timesteps
SHAPES = [(1, 1, 3, 5), (1, 100, 6, 32), (2, 60, 4, 3), (3, 7, 0, 9), (7, 20, 5, 17), (40, 9, 16, 33), (130, 3, 2, 8)]
MASKS = ["none", "ones", "zeros", "prefix", "suffix", "holes", "rows"]


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    return cells.two_states(tmp_path_factory.mktemp("cell"))


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def mask_of(kind, rng, batch, timesteps):
    lengths, time = rng.integers(0, timesteps + 1, (batch, 1)), np.arange(timesteps)
    return {
        "none": lambda: None,
        "ones": lambda: np.ones((batch, timesteps), bool),
        "zeros": lambda: np.zeros((batch, timesteps), bool),
        "prefix": lambda: time < lengths,
        "suffix": lambda: time >= lengths,
        "holes": lambda: rng.random((batch, timesteps)) < 0.5,
        "rows": lambda: np.repeat(rng.random((batch, 1)) < 0.5, timesteps, 1),
    }[kind]()


def slot_of(plan):
    slot = Slot({})
    slot.pack(slot.values, plan)
    return slot


def program_of(features, units, dtype, zero_output_for_mask=False, layers=1):
    """Layers of cells in sequence: of all outputs, the last output, and the states of the last one."""
    program = Program(dtype)
    time = program.timeline()
    x, mask = program.input("number", time, features), program.input("mask", time, 1, optional=True)
    drops = [program.input("number", None, width, optional=True) for width in (features, units)]
    initial = [program.input("number", None, units, optional=True) for _ in range(2)]
    for layer in range(layers):
        last = layer == layers - 1
        outputs = program.buffer(time, units)
        ends = [program.buffer(None, units) for _ in range(3)] if last else [None]
        program.recurrent(
            program.slot(),
            x,
            outputs=outputs,
            last_output=ends[0],
            mask=mask,
            initial=initial if layer == 0 else (),
            final=ends[1:],
            zero_output_for_mask=zero_output_for_mask,
            input_dropout=drops[0] if layer == 0 else None,
            recurrent_dropout=drops[1] if layer == 0 else None,
        )
        x = outputs
    for view in (outputs, *ends):
        program.output(view)
    program.finish()
    return program


def run(program, plans, x, mask=None, states=(None, None), dropout=(None, None), num_threads=1):
    """All outputs, the last one, and h and c."""
    results = program.run(tuple(map(slot_of, plans)), (x, mask, *dropout, *states), num_threads=num_threads)
    assert results is not None
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "isa"), ENGINES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_cell_of_two_states_is_its_equations(shape, engine, isa, dtype, cell, rng):
    batch, timesteps, features, units = shape
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    states = rng.standard_normal((2, batch, units)).astype(dtype)
    for bias in (True, False):
        arrays = cells.weights(rng, features, units, dtype)
        arrays[2] = arrays[2] if bias else None
        plan = Plan(*arrays, "linear", isa, engine, cell=cell)
        assert plan.units == units and plan.carried == 2 * units
        for given in (None, states):
            got = run(program_of(features, units, dtype), [plan], x, states=(None, None) if given is None else given)
            outputs, h, c = cells.loop(x, *arrays, states=given)
            for actual, expected in zip(got, (outputs, outputs[:, -1], h, c), strict=True):
                assert_close(actual, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "isa"), ENGINES)
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_masks_and_dropout_keep_and_drop_both_states(kind, dropout, engine, isa, dtype, cell, rng):
    for batch, timesteps, features, units in SHAPES:
        arrays = cells.weights(rng, features, units, dtype)
        plan = Plan(*arrays, "linear", isa, engine, cell=cell)
        mask = mask_of(kind, rng, batch, timesteps)
        x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
        if mask is not None:
            x[~mask] = np.nan
        clean = np.nan_to_num(x)
        states = rng.standard_normal((2, batch, units)).astype(dtype)
        factors = [rng.integers(0, 3, (batch, width)).astype(dtype) / 2 for width in (features, units)]
        for zero in (False, True):
            program = program_of(features, units, dtype, zero)
            got = run(program, [plan], x, mask, states, factors if dropout else (None, None))
            outputs, h, c = cells.loop(
                clean,
                *arrays,
                mask=mask,
                states=states,
                zero_output_for_mask=zero,
                dropout=factors if dropout else (1, 1),
            )
            for actual, expected in zip(got, (outputs, outputs[:, -1], h, c), strict=True):
                assert_close(actual, expected, dtype)


def chain(features, units, dtype, layers):
    """The program of layers one after the other, which returns the outputs of the last."""
    program = Program(dtype)
    timeline = program.timeline()
    x = program.input("number", timeline, features)
    for _ in range(layers):
        out = program.buffer(timeline, units)
        program.recurrent(program.slot(), x, outputs=out)
        x = out
    program.output(x)
    program.finish()
    return program


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "isa"), ENGINES)
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_steps_have_the_bits_of_the_sequence(batch, engine, isa, dtype, cell, rng):
    features, units, timesteps = 6, 19, 60
    first, second = (cells.weights(rng, width, units, dtype) for width in (features, units))
    plans = [Plan(*arrays, "linear", isa, engine, cell=cell) for arrays in (first, second)]
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    states = rng.standard_normal((2, batch, units)).astype(dtype)
    runner = Runner(chain(features, units, dtype, 2), plans, batch)
    for index, state in enumerate(states):
        runner.set_state(index, state)
    steps = np.stack([runner.step(np.ascontiguousarray(x[:, t])).copy() for t in range(timesteps)], axis=1)
    outputs, last, h, c = run(program_of(features, units, dtype, layers=2), plans, x, states=states)
    np.testing.assert_array_equal(steps, outputs)
    assert [port.shape for port in runner.states] == 4 * [(units,)]  # h and c of each layer
    np.testing.assert_array_equal(runner.get_state(2), h)
    np.testing.assert_array_equal(runner.get_state(3), c)
    np.testing.assert_array_equal(last, outputs[:, -1])
    between, _, _ = cells.loop(x, *first, states=states)
    assert_close(outputs, cells.loop(between, *second)[0], dtype)


def test_the_place_of_a_step_may_be_that_of_its_input(cell, rng):
    arrays = cells.weights(rng, 5, 5, "float32")
    plan = Plan(*arrays, "linear", engine="simd", cell=cell)
    runner, other = (Runner(chain(5, 5, "float32", 1), [plan], 20) for _ in range(2))
    for _ in range(3):
        x = rng.standard_normal((20, 5)).astype("float32")
        expected = runner.step(x.copy())
        assert other.step(x, x) is x
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_wave_of_layers_has_the_bits_of_one_after_another(batch, kind, engine, dtype, cell, rng):
    features, units, timesteps = 200, 200, 150
    plans = [Plan(*cells.weights(rng, features, units, dtype), "linear", engine=engine, cell=cell) for _ in range(3)]
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    mask = mask_of(kind, rng, batch, timesteps)
    together = run(program_of(features, units, dtype, layers=3), plans, x, mask, num_threads=2)
    for plan in plans:
        outputs, *ends = run(program_of(x.shape[2], units, dtype), [plan], x, mask)
        x = outputs
    for actual, expected in zip(together, (outputs, *ends), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_weights_that_do_not_fit_a_cell_are_refused(cell, rng):
    kernel, recurrent_kernel, bias = cells.weights(rng, 3, 4, "float32")
    with pytest.raises(ValueError, match="kernel must have 2 columns for each unit, .* got 7"):
        Plan(kernel[:, :7], recurrent_kernel, bias, "linear", cell=cell)
    with pytest.raises(ValueError, match=r"recurrent_kernel.*\(4, 8\).*\(4, 4\)"):
        Plan(kernel, recurrent_kernel[:, :4], bias, "linear", cell=cell)
    with pytest.raises(ValueError, match=r"bias.*\(8,\).*\(4,\)"):
        Plan(kernel, recurrent_kernel, bias[:4], "linear", cell=cell)
    with pytest.raises(ValueError, match="recurrent_kernel must be an array where there is a cell, got None"):
        Plan(kernel, None, bias, "linear", cell=cell)
    with pytest.raises(ValueError, match="PyCapsule"):
        Plan(kernel, recurrent_kernel, bias, "linear", cell=object())
