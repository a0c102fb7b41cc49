"""Programs of whole models from C: several inputs and outputs, tokens, lengths; and what is refused."""

import ctypes

import numpy as np
import pytest
from program_models import ROWS, Model, call_from_c, classifier, drawn_tokens, stack, two_inputs

import cyrnn

C = cyrnn.capi.functions()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 120])
def test_tokens_in_c(dtype, batch, rng):
    model, f = classifier(rng, True, dtype, engine="simd"), {"float32": "f32", "float64": "f64"}[dtype]
    tokens, runner = drawn_tokens(rng, batch, 100), model.runner(batch)
    expected, outputs = model.call(tokens), np.empty((batch, 40, 4), dtype)
    for t in range(20):
        output = np.empty((batch, 4), dtype)
        assert call_from_c(f"step_tokens_{f}", runner, tokens[:, t].copy(), output) == "ok"
        np.testing.assert_array_equal(output, expected[:, t])
    for first in (20, 60):
        part = tokens[:, first : first + 40].copy()
        assert call_from_c(f"forward_tokens_{f}", runner, 40, part, outputs) == "ok"
        np.testing.assert_array_equal(outputs, expected[:, first : first + 40])


@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("batch", [1, 4, 200])
def test_lengths_are_a_right_padded_mask(engine, batch, rng):
    model = stack(rng, engine=engine)
    x, lengths = rng.standard_normal((batch, 130, 5)).astype("f"), rng.integers(0, 131, batch)
    x[np.arange(130) >= lengths[:, None]] = np.nan
    expected = model.call(x, np.arange(130) < lengths[:, None])
    runner, outputs = model.runner(batch), [np.empty_like(array) for array in expected]
    assert call_from_c("forward", runner, 130, lengths, [x], outputs) == "ok"
    rounding = 1e-6 if engine == "blas" else 0  # a BLAS rounds by the rows of a product, which blocks may cut otherwise
    for got, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=rounding)
    # in chunks, the second of which has rows that ended before it; and then rows that go on
    runner = model.runner(batch)
    for first, last in ((0, 50), (50, 130)):
        part = [np.empty((batch, last - first, width), "f") for width in (9, 20)]
        within = np.clip(lengths - first, 0, last - first)
        assert call_from_c("forward", runner, last - first, within, [x[:, first:last].copy()], part) == "ok"
        for got, want in zip(part, expected, strict=True):
            np.testing.assert_allclose(got, want[:, first:last], rtol=0, atol=rounding)
    more = rng.standard_normal((batch, 3, 5)).astype("f")
    states = runner.get_state(0), runner.get_state(1)
    assert call_from_c("forward", runner, 3, None, [more], [None, None]) == "ok"
    fresh = model.runner(batch)
    for index, state in enumerate(states):
        fresh.set_state(index, state)
    for t in range(3):
        fresh.step(more[:, t])
    for index in range(2):
        np.testing.assert_array_equal(runner.get_state(index), fresh.get_state(index))


def test_lengths_of_one_call_are_not_those_of_the_next(rng):
    """A mask that other ops read than recurrences is all true again."""
    model = Model(rng, engine="simd")
    x, merged = model.input(3), model.buffer(1, model.time, "mask")
    model.program.merge_masks([model.mask()], merged)
    model.finished(model.recurrent(x, 4, mask=merged))
    x, lengths = rng.standard_normal((3, 9, 3)).astype("f"), np.array([0, 5, 3])
    expected, outputs, runner = (
        model.call(x, np.arange(9) < lengths[:, None]),
        np.empty((3, 9, 4), "f"),
        model.runner(3),
    )
    assert call_from_c("forward", runner, 9, lengths, [x], [outputs]) == "ok"
    np.testing.assert_array_equal(outputs, expected)
    other = model.runner(3)
    other.set_state(0, runner.get_state(0))
    for t in range(2):
        np.testing.assert_array_equal(runner.step(x[:, t]), other.step(x[:, t]))
    assert runner.get_seen().all()


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
def test_outputs_that_are_not_wanted_are_left_out(wanted, rng):
    model = stack(rng, engine="simd")
    x, runner = rng.standard_normal((4, 60, 5)).astype("f"), model.runner(4)
    expected = model.call(x)
    outputs = [np.zeros((4, 59, n), "f") if want else None for n, want in zip((9, 20), wanted, strict=True)]
    assert call_from_c("forward", runner, 59, None, [x[:, :59].copy()], outputs) == "ok"
    step = [np.zeros((4, n), "f") if want else None for n, want in zip((9, 20), wanted, strict=True)]
    assert call_from_c("step", runner, [x[:, 59].copy()], step) == "ok"
    for many, one, array in zip(outputs, step, expected, strict=True):
        assert many is None or np.array_equal(many, array[:, :59])
        assert one is None or np.array_equal(one, array[:, 59])
    for index in range(2):
        np.testing.assert_array_equal(runner.get_state(index), expected[1 - index][:, 59])


def test_the_simple_functions_are_for_one_input_and_one_output(rng):
    batch, outputs, tokens = 2, np.zeros((2, 40), "f"), np.ones((2, 1), np.int64)
    wrong = "the model has other inputs or outputs than this function takes"
    for model in (stack(rng), two_inputs(rng)):
        for name in ("step_f32", "step_f64", "step_tokens_f32"):
            assert call_from_c(name, model.runner(batch), tokens, outputs) == wrong
        assert call_from_c("forward_f32", model.runner(batch), 1, tokens, outputs) == wrong
    model = classifier(rng)
    assert call_from_c("step_f32", model.runner(batch), tokens, outputs) == wrong
    assert "float64 model" in call_from_c("step_tokens_f64", model.runner(batch), tokens, outputs)
    assert call_from_c("forward", model.runner(batch), 1, np.ones(2, np.int64), [tokens], [outputs]) == (
        "the model takes no mask, and so no lengths"
    )


def test_what_a_step_in_c_refuses_moves_nothing(rng):
    model = stack(rng)
    runner, x, outputs = model.runner(2), np.ones((2, 3, 5), "f"), [np.zeros((2, 3, 9), "f"), np.zeros((2, 3, 20), "f")]
    memory = np.zeros(400, "f")
    for expected, name, *arguments in [
        ("an argument is NULL that may not be", "step", [None], outputs),
        ("an argument is NULL that may not be", "step", None, outputs),
        ("an argument is NULL that may not be", "step", [x], None),
        ("an argument is NULL that may not be", "forward", 3, None, [None], outputs),
        ("inputs and outputs share memory", "step", [x], [memory, memory[8:]]),
        ("inputs and outputs share memory", "forward", 3, None, [x], [memory, memory[53:]]),
        ("inputs and outputs share memory", "forward", 3, None, [memory], [None, memory]),
        (
            "a batch, row, index, length or number of timesteps is out of range",
            "forward",
            3,
            np.array([4, 0]),
            [x],
            outputs,
        ),
        (
            "a batch, row, index, length or number of timesteps is out of range",
            "forward",
            3,
            np.array([0, -1]),
            [x],
            outputs,
        ),
        ("a batch, row, index, length or number of timesteps is out of range", "forward", -1, None, [x], outputs),
        ("a batch, row, index, length or number of timesteps is out of range", "forward", 2**60, None, [x], outputs),
    ]:
        assert call_from_c(name, runner, *arguments) == expected, (name, arguments)
    assert not any(runner.get_state(index).any() for index in range(2))
    assert call_from_c("step", runner, [x[:, 0].copy()], [memory, memory[18:]]) == "ok"  # side by side


@pytest.mark.parametrize("shift", [-30, -7, 0, 7, 30])
def test_outputs_of_a_step_may_share_memory_with_its_inputs(shift, rng):
    model = two_inputs(rng, engine="simd")
    x, tokens = rng.standard_normal((6, 4, 5)).astype("f"), drawn_tokens(rng, 6, 4)
    one, other, memory = model.runner(6), model.runner(6), np.zeros(100, "f")
    for t in range(4):
        block, out = memory[30:60].reshape(6, 5), memory[33 + shift : 57 + shift].reshape(6, 4)
        block[:] = x[:, t]
        one.step((block, tokens[:, t]), out)
        np.testing.assert_array_equal(out, other.step((x[:, t], tokens[:, t])))


@pytest.mark.parametrize("wrong", [-1, ROWS, 2**62, -(2**63)])
def test_tokens_that_are_not_in_the_table_move_nothing(wrong, rng):
    model = classifier(rng)
    runner, tokens = model.runner(3), np.array([1, wrong, 2])
    with pytest.raises(ValueError, match=rf"x_t must be indices from 0 to 10, got {min(wrong, 1)} to {max(wrong, 2)}"):
        runner.step(tokens)
    many = np.ones((3, 40), np.int64)
    many[1, 33] = wrong
    assert (
        call_from_c("step_tokens_f32", runner, tokens, np.zeros((3, 4), "f")) == "a token is not in the model's table"
    )
    assert (
        call_from_c("forward_tokens_f32", runner, 40, many, np.zeros((3, 40, 4), "f"))
        == "a token is not in the model's table"
    )
    assert call_from_c("step", runner, [tokens], [np.zeros((3, 4), "f")]) == "a token is not in the model's table"
    assert not runner.get_state(0).any()


def test_a_model_in_c_outlives_its_program(rng):
    model, made = classifier(rng), ctypes.c_void_p()
    tokens, outputs = drawn_tokens(rng, 1, 9), np.empty((1, 9, 4), "f")
    expected = classifier(np.random.default_rng(5), True).call(tokens)
    runner = model.runner()
    assert C["runner_create"](runner.model_address, 1, None, 0, ctypes.addressof(made)) == 0
    del model, runner
    assert C["forward_tokens_f32"](made, 9, tokens.ctypes.data, outputs.ctypes.data) == 0
    np.testing.assert_array_equal(outputs, expected)
    assert C["runner_destroy"](made) == 0
