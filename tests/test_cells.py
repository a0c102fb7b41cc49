"""The cells of the engine that have gates, against a loop over their equations."""

import functools
import pickle

import numpy as np
import pytest
from helpers import ISAS, assert_close, pairs
from reference_cells import STATES, STEPS, cell_recurrence, cell_weights

from cyrnn.engine.plan import ACTIVATIONS, CELLS, Plan, Slot
from cyrnn.engine.program import Program
from cyrnn.engine.runner import Runner

DTYPES = ["float32", "float64"]
ENGINES = [*(("simd", isa) for isa in ISAS), ("blas", None)]
COMPILED = [(*engine, dtype) for engine in ENGINES for dtype in DTYPES]
# batch, timesteps, features, units: one row, few, many; a last panel of each width; projecting ahead over 48 timesteps
SHAPES = [(1, 1, 3, 5), (1, 100, 6, 32), (2, 60, 4, 3), (3, 7, 0, 9), (7, 20, 5, 17), (40, 9, 16, 33), (130, 3, 2, 8)]
MASKS = ["none", "ones", "zeros", "prefix", "suffix", "holes", "rows"]


def plan_of(cell, arrays, isa=None, engine=None, functions=("tanh", "sigmoid")):
    """The plan of weights as Keras has them."""
    kernel, recurrent_kernel, bias = arrays
    bias = None if bias is None else bias.reshape(-1)
    return Plan(kernel, recurrent_kernel, bias, functions[0], isa, engine, cell, functions[1])


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


def program_of(cell, features, units, dtype, zero_output_for_mask=False, layers=1):
    """Layers of cells in sequence: of all outputs, the last output, and the states of the last one."""
    program = Program(dtype)
    time = program.timeline()
    x, mask = program.input("number", time, features), program.input("mask", time, 1, optional=True)
    drops = [program.input("number", None, width, optional=True) for width in (features, units)]
    initial = [program.input("number", None, units, optional=True) for _ in range(STATES[cell])]
    for layer in range(layers):
        last = layer == layers - 1
        outputs = program.buffer(time, units)
        ends = [program.buffer(None, units) for _ in range(1 + STATES[cell])] if last else [None]
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


def run(program, plans, x, mask=None, states=None, dropout=(None, None), num_threads=1):
    """All outputs, the last one, and the states."""
    given = [None] * STATES[plans[0].cell] if states is None else states
    results = program.run(tuple(map(slot_of, plans)), (x, mask, *dropout, *given), num_threads=num_threads)
    assert results is not None
    return results


def random_states(rng, cell, batch, units, dtype):
    return list(rng.standard_normal((STATES[cell], batch, units)).astype(dtype))


@functools.cache  # all engines run the same cases
def plain_cases(cell, shape, dtype):
    """The arrays of a cell, x, states, and what its program returns."""
    rng, cases = np.random.default_rng(21), []
    batch, timesteps, features, units = shape
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    states = random_states(rng, cell, batch, units, dtype)
    for bias in (True, False):
        arrays = cell_weights(rng, cell, features, units, dtype, bias)
        for given in (None, states):
            outputs, after = cell_recurrence(cell, x, *arrays, states=given)
            cases.append((arrays, x, given, (outputs, outputs[:, -1], *after)))
    return cases


@pytest.mark.parametrize(("cell", "shape", "compiled"), pairs([*STEPS], SHAPES, COMPILED))
def test_a_cell_is_its_equations(cell, shape, compiled):
    engine, isa, dtype = compiled
    _, _, features, units = shape
    for arrays, x, states, expected in plain_cases(cell, shape, dtype):
        plan = plan_of(cell, arrays, isa, engine)
        assert plan.units == units and plan.carried == STATES[cell] * units
        got = run(program_of(cell, features, units, dtype), [plan], x, states=states)
        for actual, wanted in zip(got, expected, strict=True):
            assert_close(actual, wanted, dtype)


@functools.cache  # all engines run the same cases
def activation_cases(cell, dtype):
    """Units, functions, x, the arrays of a cell, and its outputs."""
    rng, cases = np.random.default_rng(21), []
    x = rng.standard_normal((9, 4, 5)).astype(dtype)
    for units in (3, 16, 21):
        kernel, recurrent_kernel, bias = cell_weights(rng, cell, 5, units, dtype)
        arrays = [kernel / 2, recurrent_kernel / 8, bias / 2]
        for name in sorted(set(ACTIVATIONS) - {"exponential", "hard_shrink"}):  # these explode, or jump
            for functions in (name, "sigmoid"), ("tanh", name):
                activation, recurrent_activation = functions
                outputs, _ = cell_recurrence(
                    cell, x, *arrays, activation=activation, recurrent_activation=recurrent_activation
                )
                cases.append((units, functions, x, arrays, outputs))
    return cases


@pytest.mark.parametrize(("cell", "compiled"), pairs([*STEPS], COMPILED))
def test_each_activation_is_applied_to_the_candidate_and_the_gates(cell, compiled):
    """`softmax` and its like get the units of one gate at a time."""
    engine, isa, dtype = compiled
    for units, functions, x, arrays, outputs in activation_cases(cell, dtype):
        (got, *_) = run(program_of(cell, 5, units, dtype), [plan_of(cell, arrays, isa, engine, functions)], x)
        scale = max(1, np.abs(outputs).max())
        assert_close(got / scale, outputs / scale, dtype)


@functools.cache  # all engines run the same cases
def masked_cases(cell, kind, dropout, dtype):
    """The arrays of a cell of each shape, the inputs of its program, and what that returns without and with zeros."""
    rng, cases = np.random.default_rng(21), []
    for batch, timesteps, features, units in SHAPES:
        arrays = cell_weights(rng, cell, features, units, dtype)
        mask = mask_of(kind, rng, batch, timesteps)
        x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
        if mask is not None:
            x[~mask] = np.nan
        clean = np.nan_to_num(x)
        states = random_states(rng, cell, batch, units, dtype)
        factors = [rng.integers(0, 3, (batch, width)).astype(dtype) / 2 for width in (features, units)]
        drops = dict(zip(("input_dropout", "recurrent_dropout"), factors, strict=True)) if dropout else {}
        options = {"mask": mask, "states": states, **drops}
        expected = [
            (outputs, outputs[:, -1], *after)
            for outputs, after in (
                cell_recurrence(cell, clean, *arrays, zero_output_for_mask=zero, **options) for zero in (False, True)
            )
        ]
        cases.append((arrays, (x, mask, states, factors if dropout else (None, None)), expected))
    return cases


@pytest.mark.parametrize(("cell", "kind", "dropout", "compiled"), pairs([*STEPS], MASKS, [False, True], COMPILED))
def test_masks_and_dropout_keep_and_drop_all_states(cell, kind, dropout, compiled):
    engine, isa, dtype = compiled
    for (_, _, features, units), case in zip(SHAPES, masked_cases(cell, kind, dropout, dtype), strict=True):
        arrays, given, expected = case
        plan = plan_of(cell, arrays, isa, engine)
        for zero in (False, True):
            got = run(program_of(cell, features, units, dtype, zero), [plan], *given)
            for actual, wanted in zip(got, expected[zero], strict=True):
                assert_close(actual, wanted, dtype)


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


@pytest.mark.parametrize(
    ("functions", "cell", "batch", "compiled"),
    pairs([("tanh", "sigmoid"), ("relu", "hard_sigmoid_keras2")], [*STEPS], [1, 3, 40], COMPILED),
)
def test_steps_have_the_bits_of_the_sequence(functions, cell, batch, compiled, rng):
    engine, isa, dtype = compiled
    features, units, timesteps = 6, 19, 60
    first, second = (cell_weights(rng, cell, width, units, dtype) for width in (features, units))
    plans = [plan_of(cell, arrays, isa, engine, functions) for arrays in (first, second)]
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    states = random_states(rng, cell, batch, units, dtype)
    runner = Runner(chain(features, units, dtype, 2), plans, batch)
    for index, state in enumerate(states):
        runner.set_state(index, state)
    steps = np.stack([runner.step(np.ascontiguousarray(x[:, t])).copy() for t in range(timesteps)], axis=1)
    outputs, last, *after = run(program_of(cell, features, units, dtype, layers=2), plans, x, states=states)
    np.testing.assert_array_equal(steps, outputs)
    assert [port.shape for port in runner.states] == 2 * STATES[cell] * [(units,)]
    for index, state in enumerate(after):
        np.testing.assert_array_equal(runner.get_state(STATES[cell] + index), state)
    np.testing.assert_array_equal(last, outputs[:, -1])


@pytest.mark.parametrize("cell", STEPS)
def test_the_place_of_a_step_may_be_that_of_its_input(cell, rng):
    plan = plan_of(cell, cell_weights(rng, cell, 5, 5, "float32"), engine="simd")
    runner, other = (Runner(chain(5, 5, "float32", 1), [plan], 20) for _ in range(2))
    for _ in range(3):
        x = rng.standard_normal((20, 5)).astype("float32")
        expected = runner.step(x.copy())
        assert other.step(x, x) is x
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize(
    ("cell", "batch", "kind", "engine", "dtype"), pairs([*STEPS], [1, 3], MASKS, ["simd", "blas"], DTYPES)
)
def test_a_wave_of_layers_has_the_bits_of_one_after_another(cell, batch, kind, engine, dtype, rng):
    features, units, timesteps = 100, 100, 120
    plans = [plan_of(cell, cell_weights(rng, cell, features, units, dtype), engine=engine) for _ in range(3)]
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    mask = mask_of(kind, rng, batch, timesteps)
    together = run(program_of(cell, features, units, dtype, layers=3), plans, x, mask, num_threads=2)
    for plan in plans:
        outputs, *ends = run(program_of(cell, x.shape[2], units, dtype), [plan], x, mask)
        x = outputs
    for actual, expected in zip(together, (outputs, *ends), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("cell", STEPS)
def test_any_number_of_threads_gives_the_same_bits(cell, engine, rng):
    plan = plan_of(cell, cell_weights(rng, cell, 40, 70, "float32"), engine=engine)
    x = rng.standard_normal((300, 12, 40)).astype("float32")
    program = program_of(cell, 40, 70, "float32")
    once, *others = (run(program, [plan], x, num_threads=threads) for threads in (1, 2, 3, 8))
    for result in others:
        for actual, expected in zip(result, once, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("engine", "isa"), ENGINES)
@pytest.mark.parametrize("cell", STEPS)
def test_inputs_may_be_infinite(cell, engine, isa, rng):
    """A gate is then closed or open: the candidate's part of h is no part of x."""
    for units in (3, 16, 40):
        arrays = cell_weights(rng, cell, 4, units, "float32")
        x = rng.standard_normal((5, 3, 4)).astype("float32")
        x[1:3, 1, 2] = np.inf
        (got, *_) = run(program_of(cell, 4, units, "float32"), [plan_of(cell, arrays, isa, engine)], x)
        assert np.isfinite(got).all()
        outputs, _ = cell_recurrence(cell, np.where(np.isinf(x), 1e30, x), *arrays)
        assert_close(got, outputs, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("cell", STEPS)
def test_a_pickled_plan_has_the_same_weights(cell, engine, dtype, rng, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    for bias in (True, False):
        plan = plan_of(cell, cell_weights(rng, cell, 6, 13, dtype, bias), functions=("relu", "hard_sigmoid"))
        other = pickle.loads(pickle.dumps(plan))
        facts = [(p.cell, p.activation, p.recurrent_activation, p.engine, p.units) for p in (plan, other)]
        assert facts[0] == facts[1]
        x = rng.standard_normal((7, 5, 6)).astype(dtype)
        results = [run(program_of(cell, 6, 13, dtype), [p], x) for p in (plan, other)]
        for actual, expected in zip(*results, strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_weights_that_do_not_fit_a_cell_are_refused(rng):
    kernel, recurrent_kernel, bias = cell_weights(rng, "lstm", 3, 4, "float32")
    with pytest.raises(ValueError, match="kernel must have 4 columns for each unit, .* got 15"):
        Plan(kernel[:, :15], recurrent_kernel, bias, "tanh", cell="lstm")
    with pytest.raises(ValueError, match=r"recurrent_kernel.*\(4, 16\).*\(4, 4\)"):
        Plan(kernel, recurrent_kernel[:, :4], bias, "tanh", cell="lstm")
    with pytest.raises(ValueError, match=r"bias.*\(16,\).*\(4,\)"):
        Plan(kernel, recurrent_kernel, bias[:4], "tanh", cell="lstm")
    with pytest.raises(ValueError, match="recurrent_kernel must be an array where there is a cell, got None"):
        Plan(kernel, None, bias, "tanh", cell="lstm")
    with pytest.raises(ValueError, match="unknown cell 'peephole': expected one of lstm, gru"):
        Plan(kernel, recurrent_kernel, bias, "tanh", cell="peephole")
    with pytest.raises(ValueError, match="unknown activation 'bent'"):
        Plan(kernel, recurrent_kernel, bias, "tanh", cell="lstm", recurrent_activation="bent")


def test_programs_refuse_the_weights_of_another_cell(rng):
    plans = {cell: plan_of(cell, cell_weights(rng, cell, 4, 4, "float32")) for cell in CELLS}
    x = np.zeros((2, 3, 4), "float32")
    program = program_of("lstm", 4, 4, "float32")
    for cell in ("gru", "gru_reset_before"):  # which have one state
        assert program.run((slot_of(plans[cell]),), (x, None, None, None, None, None)) is None
