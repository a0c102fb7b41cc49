"""Masks in the engine: masked rows are not computed, and live rows have the bits that they have alone."""

import numpy as np
import pytest
from helpers import ISAS, assert_close, pairs, weights
from recurrent_program import program_of, run
from reference import recurrence

from cyrnn.engine.plan import Plan, Slot
from cyrnn.engine.program import Program

DTYPES = ["float32", "float64"]
ENGINES = [*(("simd", isa) for isa in ISAS), ("blas", None)]
# batch, timesteps, features, units: one row, few and many; whole panels and others; chains of several stretches
SHAPES = [
    (1, 120, 5, 8),
    (2, 9, 3, 40),
    (3, 70, 6, 100),
    (5, 13, 4, 3),
    (64, 20, 32, 96),
    (40, 7, 300, 33),
    (100, 11, 1, 17),
]
MASKS = ["ones", "zeros", "one row", "right", "left", "right, sorted", "both", "holes", "every other", "alternating"]


@pytest.fixture
def rng():
    return np.random.default_rng(33)


def mask_of(kind, rng, batch, timesteps):
    """A mask (batch, timesteps); rows of all lengths, in any order, where they are padded."""
    lengths = rng.permutation(np.linspace(0, timesteps, batch).round().astype(int))[:, None]
    time = np.arange(timesteps)
    return {
        "ones": lambda: np.ones((batch, timesteps), bool),
        "zeros": lambda: np.zeros((batch, timesteps), bool),
        "one row": lambda: np.repeat(np.arange(batch)[:, None] == batch // 2, timesteps, axis=1),
        "right": lambda: time < lengths,
        "left": lambda: time >= timesteps - lengths,
        "right, sorted": lambda: time < np.sort(lengths, axis=0)[::-1],
        "both": lambda: (time < lengths) & (time >= lengths // 3),
        "holes": lambda: rng.random((batch, timesteps)) < 0.6,
        "every other": lambda: np.broadcast_to(time % 2 == 1, (batch, timesteps)),
        "alternating": lambda: (np.arange(batch)[:, None] + time) % 3 > 0,
    }[kind]()


@pytest.mark.parametrize(("kind", "activation", "isa", "dtype"), pairs(MASKS, ["tanh", "softmax"], ISAS, DTYPES))
def test_each_row_has_the_bits_of_its_live_timesteps_alone(kind, activation, isa, dtype, rng):
    for batch, timesteps, features, units in SHAPES:
        plan = Plan(*weights(rng, features, units, dtype), activation, isa, "simd")
        x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
        state = rng.standard_normal((batch, units)).astype(dtype)
        mask = mask_of(kind, rng, batch, timesteps)
        x[~mask] = np.nan
        rows = rng.permutation(batch)[:12]
        form = [0] if batch == 1 else [0, 0]  # a batch of one row has a form of its own
        for zero in (False, True):
            program = program_of(features, units, dtype, zero)
            outputs, last, final = run(program, plan, x, mask, state)
            for row in rows:
                live = np.flatnonzero(mask[row])
                kept, expected = state[row], np.zeros((timesteps, units), dtype)
                if live.size:
                    alone = run(program, plan, x[row, live][None][form], state=state[row][None][form])
                    kept, expected[live] = alone[2][0], alone[0][0]
                if not zero:
                    for t in np.flatnonzero(~mask[row]):
                        expected[t] = expected[t - 1] if t > 0 else 0
                np.testing.assert_array_equal(outputs[row], expected)
                np.testing.assert_array_equal(final[row], kept)
            np.testing.assert_array_equal(last, outputs[:, -1])


@pytest.mark.parametrize(("kind", "reverse", "backend", "dtype"), pairs(MASKS, [False, True], ENGINES, DTYPES))
def test_masks_and_dropout_agree_with_the_oracle(kind, reverse, backend, dtype, rng):
    engine, isa = backend
    for batch, timesteps, features, units in ((1, 20, 5, 8), (3, 60, 6, 40), (33, 9, 4, 19)):
        kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
        recurrent_kernel *= 0.5
        plan = Plan(kernel, recurrent_kernel, bias, "relu6", isa, engine)
        x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
        state = rng.standard_normal((batch, units)).astype(dtype)
        mask = mask_of(kind, rng, batch, timesteps)
        dirty = np.where(mask[..., None], x, np.nan).astype(dtype)
        factors = [rng.integers(0, 3, (batch, width)).astype(dtype) / 2 for width in (features, units)]
        for given in ((None, None), (factors[0], None), (None, factors[1]), tuple(factors)):
            zero = bool(rng.integers(0, 2))
            program = program_of(features, units, dtype, zero, reverse)
            results = run(program, plan, dirty, mask, state, given)
            outputs, final = recurrence(x, kernel, recurrent_kernel, bias, "relu6", state, mask, reverse, zero, *given)
            for actual, expected in zip(results, (outputs, outputs[:, -1], final), strict=True):
                scale = max(1, np.abs(expected).max())
                assert_close(actual / scale, expected / scale, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", MASKS)
def test_masks_have_the_same_bits_on_any_number_of_threads(kind, dtype, rng):
    batch, timesteps, features, units = 200, 40, 24, 64
    plan = Plan(*weights(rng, features, units, dtype), "tanh", engine="simd")
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    mask = mask_of(kind, rng, batch, timesteps)
    program = program_of(features, units, dtype, False)
    alone = run(program, plan, x, mask)
    for num_threads in (2, 3):
        for actual, expected in zip(run(program, plan, x, mask, num_threads=num_threads), alone, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("engine", ["simd", "blas"])
def test_outputs_between_others_are_filled_alone(engine, rng):
    """The columns of a wider array, as the two directions of a Bidirectional fill them."""
    units, features, batch, timesteps = 7, 5, 20, 12
    plan = Plan(*weights(rng, features, units), "tanh", engine=engine)
    x = rng.standard_normal((batch, timesteps, features)).astype("float32")
    mask = mask_of("holes", rng, batch, timesteps)
    program = Program("float32")
    time, slot = program.timeline(), program.slot()
    views = program.input("number", time, features), program.input("mask", time, 1)
    wide = program.buffer(time, 2 * units)
    program.recurrent(slot, views[0], outputs=program.columns(wide, 0, units), mask=views[1])
    backward = program.reversed(program.columns(wide, units, units))
    program.recurrent(slot, program.reversed(views[0]), outputs=backward, mask=program.reversed(views[1]))
    program.output(wide)
    program.finish()
    filled = Slot({})
    filled.pack(filled.values, plan)
    both = program.run((filled,), (x, mask))
    forward = run(program_of(features, units, "float32", False), plan, x, mask)[0]
    backward = run(program_of(features, units, "float32", False, True), plan, x, mask)[0][:, ::-1]
    np.testing.assert_array_equal(both, np.concatenate([forward, backward], axis=2))
