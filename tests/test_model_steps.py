"""Programs of whole models, stepped: the bits of calls. From C: test_model_c.py; refused: test_not_steppable.py."""

import copy
import pickle

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from program_models import ROWS, Model, call_from_c, classifier, drawn_tokens, stack, two_inputs

from cyrnn.engine.plan import Plan, Table, Vectors
from cyrnn.engine.runner import Runner


@pytest.fixture
def rng():
    return np.random.default_rng(5)


# ---------------------------------------------------------------- the bits of calls


@pytest.mark.parametrize("batch", [1, 3, 100, 230])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_steps_of_a_classifier_are_calls(batch, dtype, zeros, sequences, rng):
    model = classifier(rng, sequences, dtype, zeros, engine="simd")
    tokens, runner = drawn_tokens(rng, batch, 9), model.runner(batch)
    for t in range(9):
        called = model.call(tokens[:, : t + 1].copy())
        np.testing.assert_array_equal(runner.step(tokens[:, t]), called[:, t] if sequences else called)
    assert called.dtype == dtype


@pytest.mark.parametrize("sequences", [False, True])
def test_steps_on_the_blas_engine_are_calls_within_rounding(sequences, rng):
    model = classifier(rng, sequences, engine="blas")
    tokens, runner = drawn_tokens(rng, 50, 9), model.runner(50)
    for t in range(9):
        called = model.call(tokens[:, : t + 1].copy())
        np.testing.assert_allclose(runner.step(tokens[:, t]), called[:, t] if sequences else called, atol=1e-6)


@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("batch", [1, 7, 150])
def test_steps_of_a_stack_are_those_of_a_call(engine, batch, rng):
    model = stack(rng, engine=engine)
    x, runner = rng.standard_normal((batch, 8, 5)).astype("f"), model.runner(batch)
    upper, lower = model.call(x)
    out = (np.empty((batch, 9), "f"), np.empty((batch, 20), "f"))
    for t in range(8):
        got = runner.step(x[:, t], out) if t % 2 else runner.step(x[:, t])
        assert (got is out) == bool(t % 2)
        np.testing.assert_array_equal(got[0], upper[:, t])
        np.testing.assert_array_equal(got[1], lower[:, t])
    np.testing.assert_array_equal(runner.get_state(0), lower[:, -1])
    np.testing.assert_array_equal(runner.get_state(1), upper[:, -1])


@pytest.mark.parametrize("batch", [1, 40])
def test_steps_of_two_inputs_are_calls(batch, rng):
    model = two_inputs(rng, engine="simd")
    x, tokens = rng.standard_normal((batch, 6, 5)).astype("f"), drawn_tokens(rng, batch, 6)
    runner = model.runner(batch, names=(("numbers", "words"), ("scores",), ("left", "table", "mask", "right")))
    assert [(port.name, port.kind, port.shape) for port in runner.inputs] == [
        ("numbers", "number", (5,)), ("words", "token", ()),
    ]  # fmt: skip
    assert [port.name for port in (*runner.outputs, *runner.states)] == ["scores", "left", "right"]
    other = model.runner(batch, order=(1, 0))
    np.testing.assert_array_equal(
        other.step((tokens[:, 0], x[:, 0])), model.runner(batch).step((x[:, 0], tokens[:, 0]))
    )
    for t in range(6):
        called = model.call(x[:, : t + 1].copy(), tokens[:, : t + 1].copy())
        np.testing.assert_array_equal(runner.step((x[:, t], tokens[:, t])), called)


def test_the_last_timestep_is_taken_at_each_step(rng):
    model = Model(rng, engine="simd")
    last = model.buffer(6, None)
    h = model.recurrent(model.input(4), 6)
    model.program.select(h, last, -1)
    model.finished(model.dense(last, 3), last)
    x, runner = rng.standard_normal((5, 7, 4)).astype("f"), model.runner(5)
    for t in range(7):
        for got, expected in zip(runner.step(x[:, t]), model.call(x[:, : t + 1].copy()), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_a_recurrence_may_return_its_sequence_and_its_last_output(rng):
    model = Model(rng, engine="simd")
    x, last = model.input(4), model.buffer(6, None)
    h = model.recurrent(x, 6, last_output=last)
    model.finished(model.dense(last, 3), h, last)
    x, runner = rng.standard_normal((5, 7, 4)).astype("f"), model.runner(5)
    for t in range(7):
        scores, sequence, last = model.call(x[:, : t + 1].copy())
        got = runner.step(x[:, t])
        for a, b in zip(got, (scores, sequence[:, t], last), strict=True):
            np.testing.assert_array_equal(a, b)


def test_states_of_calls_are_records_of_runners(rng):
    """States that a call begins and ends with are neither inputs nor outputs; nor is dropout."""
    model = Model(rng, engine="simd")
    x, begin, end = model.input(4), model.input(6, time=None), model.buffer(6, None)
    drop = model.input(4, time=None, optional=True)
    model.finished(model.recurrent(x, 6, initial=[begin], final=[end], input_dropout=drop), end)
    x, state, runner = (
        rng.standard_normal((3, 5, 4)).astype("f"),
        rng.standard_normal((3, 6)).astype("f"),
        model.runner(3),
    )
    outputs, last = model.call(x, state)
    assert len(runner.inputs) == len(runner.outputs) == 1
    runner.set_state(0, state)
    for t in range(5):
        np.testing.assert_array_equal(runner.step(x[:, t]), outputs[:, t])
    np.testing.assert_array_equal(runner.get_state(0), last)


def test_an_optional_mask_that_lengths_cannot_tell_is_given_at_each_step(rng):
    """It has no timesteps, or several elements at each of them."""
    model = Model(rng, engine="simd")
    x = model.input(4)
    row, wide = model.input(1, "mask", time=None, optional=True), model.input(3, "mask", optional=True)
    keep = model.input(1, "mask", optional=True)
    copies = [model.copied(mask, timed=True, kind="mask") for mask in (row, wide, keep)]
    model.finished(model.recurrent(x, 6, mask=keep), *copies)
    runner = model.runner(2)
    assert [(port.kind, port.shape) for port in runner.inputs] == [("number", (4,)), ("mask", ()), ("mask", (3,))]
    given = [rng.random(shape) < 0.5 for shape in ((2,), (2, 3))]
    _, *masks = runner.step((rng.standard_normal((2, 4)).astype("f"), *given))
    for mask, expected in zip(masks, (given[0][:, None], given[1], np.ones((2, 1), bool)), strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_an_input_without_timesteps_is_given_at_each_step(rng):
    model = Model(rng, engine="simd")
    x, fixed = model.input(4), model.input(3, time=None)
    h = model.recurrent(x, 6, sequences=False)
    model.finished(model.dense(model.joined(h, model.dense(fixed, 5)), 2))
    x, fixed, runner = (
        rng.standard_normal((3, 70, 4)).astype("f"),
        rng.standard_normal((3, 3)).astype("f"),
        model.runner(3),
    )
    for t in range(4):
        np.testing.assert_array_equal(runner.step((x[:, t], fixed)), model.call(x[:, : t + 1].copy(), fixed))
    outputs, runner = np.empty((3, 70, 2), "f"), model.runner(3)
    assert call_from_c("forward", runner, 70, None, [x, fixed], [outputs]) == "ok"
    for t in (0, 5, 69):
        np.testing.assert_array_equal(outputs[:, t], model.call(x[:, : t + 1].copy(), fixed))


def test_an_input_without_timesteps_joins_those_that_have_them(rng):
    model = Model(rng, engine="simd")
    x, fixed = model.input(4), model.input(3, time=None)
    joined = model.joined(x, model.copied(model.dense(fixed, 5), timed=True), fixed)
    model.finished(model.dense(model.recurrent(joined, 6), 2))
    x, fixed, runner = (
        rng.standard_normal((9, 70, 4)).astype("f"),
        rng.standard_normal((9, 3)).astype("f"),
        model.runner(9),
    )
    expected, outputs = model.call(x, fixed), np.empty((9, 70, 2), "f")
    for t in range(4):
        np.testing.assert_array_equal(runner.step((x[:, t], fixed)), expected[:, t])
    assert call_from_c("forward", model.runner(9), 70, None, [x, fixed], [outputs]) == "ok"
    np.testing.assert_array_equal(outputs, expected)


LAYERS = st.lists(
    st.one_of(
        st.tuples(st.just("recurrent"), st.integers(1, 40), st.booleans()),
        st.tuples(st.just("dense"), st.integers(1, 40), st.sampled_from(["linear", "softmax", "tanh"])),
        st.tuples(st.just("activation"), st.sampled_from(["relu", "log_softmax"])),
        st.tuples(st.sampled_from(["affine", "layer_norm", "joined", "merged"])),
    ),
    max_size=6,
)


@hypothesis.given(
    LAYERS,
    st.sampled_from(["numbers", "masked numbers", "tokens"]),
    st.sampled_from([1, 2, 5, 97]),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_steps_of_any_chain_are_calls(layers, first, batch, dtype, sequences, seed):
    rng = np.random.default_rng(seed)
    model = Model(rng, dtype, engine="simd")
    keep = None
    if first == "tokens":
        tokens = model.input(1, "token")
        x, keep, given_x = model.embedding(tokens, ROWS, 5), model.nonzero(tokens), drawn_tokens(rng, batch, 6)
    else:
        x, given_x = model.input(5), rng.standard_normal((batch, 6, 5)).astype(dtype)
        if first == "masked numbers":
            x, keep = model.masking(x)
            given_x[rng.random((batch, 6)) < 0.3] = 0
    for kind, *options in layers:
        if kind == "recurrent":
            x = model.recurrent(x, options[0], mask=keep, zero_output_for_mask=options[1])
        elif kind == "dense":
            x = model.dense(x, *options)
        elif kind == "joined":
            x = model.joined(x, model.dense(x, 3))
        elif kind == "merged":
            x = model.merged("multiply", x, model.activation("tanh", x), x)
        else:
            x = getattr(model, kind)(*options, x)
    x = model.dense(model.recurrent(x, 3, sequences=sequences, mask=keep), 2)
    model.finished(x)
    runner, forward = model.runner(batch), np.empty((batch, 6, 2), dtype)
    assert call_from_c("forward", model.runner(batch), 6, None, [given_x], [forward]) == "ok"
    for t in range(6):
        called = model.call(given_x[:, : t + 1].copy())
        expected = called[:, t] if sequences else called
        np.testing.assert_array_equal(runner.step(given_x[:, t]), expected)
        np.testing.assert_array_equal(forward[:, t], expected)


# ---------------------------------------------------------------- arguments of steps in Python


def test_arrays_of_several_inputs_and_outputs_are_checked(rng):
    runner = two_inputs(rng).runner(2)
    x, tokens = np.zeros((2, 5), "f"), np.zeros(2, np.int64)
    for wrong, message in [
        (x, "x_t must be a tuple or list of 2 arrays, got ndarray"),
        ((x,), "x_t must be a tuple or list of 2 arrays, got 1"),
        ((x, tokens[:1]), r"x_t\[1\] must have shape \(2,\), got \(1,\)"),
        ((tokens, tokens), r"x_t\[0\] must have shape \(2, 5\), got \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            runner.step(wrong)
    runner = stack(rng).runner(2)
    upper, lower = np.zeros((2, 9), "f"), np.zeros((2, 20), "f")
    for wrong, message in [
        (upper, "out must be a tuple or list of 2 arrays, got ndarray"),
        ((lower, lower), r"out\[0\] must be a writeable, C-contiguous array of shape \(2, 9\) and dtype float32, got"),
        ((upper, [lower]), r"out\[1\] must be a writeable"),
        ((np.zeros(60, "f")[:18].reshape(2, 9),) * 2, r"out\[1\] must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            runner.step(x, wrong)
    memory = np.zeros(60, "f")
    with pytest.raises(ValueError, match="out must hold arrays that share no memory with each other"):
        runner.step(x, (memory[:18].reshape(2, 9), memory[10:50].reshape(2, 20)))
    assert not runner.get_state(0).any()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", ">i8", "longlong", "uint64"])
def test_tokens_of_any_integers_are_taken(dtype, rng):
    model = classifier(rng)
    tokens = drawn_tokens(rng, 4, 3)
    one, other = model.runner(4), model.runner(4)
    for t in range(3):
        np.testing.assert_array_equal(one.step(tokens[:, t].astype(dtype)), other.step(tokens[:, t]))


def test_shapes_of_inputs_and_outputs_are_those_of_the_model(rng):
    model = Model(rng)
    x = model.input(6)
    h = model.recurrent(x, 6)
    model.program.output(h, (3, 2))
    model.program.finish()
    runner, x = model.runner(2, shapes=[(2, 3)]), rng.standard_normal((2, 2, 3)).astype("f")
    expected = model.call(x.reshape(2, 1, 6))[:, 0]
    assert runner.step(x).shape == (2, 3, 2)
    np.testing.assert_array_equal(model.runner(2).step(x.reshape(2, 6)), expected)
    with pytest.raises(ValueError, match=r"x_t must have shape \(2, 2, 3\), got \(2, 6\)"):
        runner.step(x.reshape(2, 6))


# ---------------------------------------------------------------- lives


def test_a_program_is_pickled(rng):
    for model in (classifier(rng), stack(rng), two_inputs(rng)):
        for again in (pickle.loads(pickle.dumps(model.program)), copy.deepcopy(model.program)):
            assert again.ops == model.program.ops and again.slots == model.program.slots
            one, other = model.runner(2), Runner(again, model.packed, 2)
            assert one.inputs == other.inputs and one.outputs == other.outputs and one.states == other.states
            x = tuple(rng.integers(0, 9, (2, *port.shape)).astype("f") for port in one.inputs)
            x = x if len(x) > 1 else x[0]
            np.testing.assert_equal(one.step(x), other.step(x))


@pytest.mark.parametrize("engine", ["simd", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("features", "units"), [(0, 3), (5, 1), (3, 16), (7, 33), (2, 130)])
def test_weights_are_made_again_of_what_they_were_made_of(features, units, dtype, engine, rng):
    kernel, recurrent_kernel, bias = (
        rng.standard_normal(shape).astype(dtype) for shape in ((features, units), (units, units), (units,))
    )
    vectors = [rng.standard_normal(units).astype(dtype) for _ in range(3)]
    for packed, arrays in [
        (Plan(kernel, recurrent_kernel, bias, "relu", engine=engine), (kernel, recurrent_kernel, bias, "relu")),
        (Plan(kernel, recurrent_kernel, None, "tanh", engine=engine), (kernel, recurrent_kernel, None, "tanh")),
        (Plan(kernel, None, bias, "linear", engine=engine), (kernel, None, bias, "linear")),
        (Table(kernel), (kernel,)),
        (Vectors(*vectors), tuple(vectors)),
        (Vectors(*vectors, bias), (*vectors, bias)),
        (Vectors(vectors[0]), (vectors[0], np.zeros(units, dtype), np.zeros(units, dtype))),
    ]:
        for got, expected in zip(packed.__reduce__()[1], arrays, strict=True):
            assert type(got) is type(expected) and getattr(got, "dtype", None) == getattr(expected, "dtype", None)
            np.testing.assert_array_equal(got, expected)


def test_what_rows_have_seen_belongs_to_the_states(rng):
    """A masked timestep repeats the last output: zeros before the first unmasked one."""
    model = Model(rng)
    x, keep = model.masking(model.input(2))
    model.finished(model.recurrent(x, 3, mask=keep))
    runner, state = model.runner(2), rng.standard_normal((2, 3)).astype("f")
    runner.set_state(0, state)
    masked, x = np.zeros((2, 2), "f"), np.array([[1, 2], [0, 0]], "f")
    assert not runner.step(masked).any() and not runner.get_seen().any()
    output = runner.step(x)
    assert output[0].any() and not output[1].any()
    np.testing.assert_array_equal(runner.get_seen(), [[True, False]])
    other = model.runner(2)
    other.set_state(0, runner.get_state(0))
    assert not other.step(masked).any()
    other.set_seen(runner.get_seen())
    np.testing.assert_array_equal(other.step(masked), output)
    np.testing.assert_array_equal(runner.step(masked), output)
    runner.set_state(0, state[:1])  # the first row begins anew
    assert not runner.step(masked).any()
    with pytest.raises(ValueError, match="seen must be bools"):
        runner.set_seen(np.zeros((1, 2)))
