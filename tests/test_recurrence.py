"""The engine against the float64 oracle, over shapes, strides, dtypes and flags."""

import functools
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ISAS, assert_close, run_python, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_program import outputs_of, program_of
from reference import recurrence

from cyrnn import initializers
from cyrnn.engine import plan as engine
from cyrnn.engine.plan import ACTIVATIONS, Plan, Slot

DTYPES = ["float32", "float64"]
ENGINES = ["simd", "blas"]
SIZES = st.one_of(st.integers(0, 5), st.sampled_from([8, 15, 16, 17, 31, 33, 64, 65]))


def dense_outputs_of(plan, x):
    slot = Slot({})
    slot.pack(slot.values, plan)
    return program_of(plan.features, plan.units, plan.dtype.name, recurrent=False).run((slot,), (x,))


LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": np.asfortranarray,
    "time_major": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "every_other": lambda x: np.repeat(np.repeat(np.repeat(x, 2, 0), 2, 1), 2, 2)[::2, ::2, ::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_engine_agrees_with_the_oracle(data):
    draw = data.draw
    batch, features = draw(SIZES), draw(SIZES)
    timesteps, units = draw(SIZES.filter(bool)), draw(SIZES.filter(bool))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
    # It is always a contraction: what rounding adds at one step dies away, and does not grow.
    recurrent_kernel *= 0.5 / max(1, np.linalg.norm(recurrent_kernel, 2))
    kernel *= 2 / max(2, features**0.5)  # the rounding of a sum is in proportion to its terms
    bias = bias if draw(st.booleans()) else None
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    x = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](x)
    x.flags.writeable = False
    options = {
        "initial_state": rng.standard_normal((batch, units)).astype(dtype) if draw(st.booleans()) else None,
        "mask": rng.random((batch, timesteps)) < draw(st.sampled_from([0, 0.5, 1])) if draw(st.booleans()) else None,
        "zero_output_for_mask": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "input_dropout": rng.integers(0, 3, (batch, features)).astype(dtype) / 2 if draw(st.booleans()) else None,
        "recurrent_dropout": rng.integers(0, 3, (batch, units)).astype(dtype) / 2 if draw(st.booleans()) else None,
    }
    activation = draw(st.sampled_from(["tanh", "linear", "relu6", "sigmoid", "softmax"]))
    expected, expected_state = recurrence(x, kernel, recurrent_kernel, bias, activation, **options)
    plan = Plan(kernel, recurrent_kernel, bias, activation, draw(st.sampled_from(ISAS)), draw(st.sampled_from(ENGINES)))
    scale = max(1, np.abs(expected).max(initial=0))  # a small sum of large terms has the rounding of the terms
    outputs, last, state = outputs_of(plan, x, num_threads=draw(st.integers(1, 3)), **options)
    assert_close(outputs / scale, expected / scale, dtype)
    assert_close(last / scale, expected[:, -1] / scale, dtype)
    assert_close(state / scale, expected_state / scale, dtype)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 0, 2), (2, 5, 9, 300), (130, 3, 700, 65), (2000, 2, 3, 2)])
def test_shapes_at_the_edges(shape, dtype, engine):
    batch, timesteps, features, units = shape
    rng = np.random.default_rng(1)
    kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
    x = rng.standard_normal((batch, timesteps, features)).astype(dtype)
    outputs, *_ = outputs_of(Plan(kernel, recurrent_kernel, bias, "tanh", engine=engine), x)
    assert_close(outputs, recurrence(x, kernel, recurrent_kernel, bias)[0])


@functools.cache  # all engines run the same case
def a_thousand_steps(batch):
    kernel = initializers.GlorotUniform(seed=1)((64, 256))
    recurrent_kernel = initializers.Orthogonal(seed=2)((256, 256))
    x = np.random.default_rng(3).standard_normal((batch, 1000, 64)).astype("float32")
    return kernel, recurrent_kernel, x, recurrence(x, kernel, recurrent_kernel, None)[0]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("engine_name", "isa"), [*(("simd", isa) for isa in ISAS), ("blas", None)])
def test_a_thousand_steps_of_a_layer_as_keras_begins_it(engine_name, isa, batch):
    kernel, recurrent_kernel, x, expected = a_thousand_steps(batch)
    outputs, *_ = outputs_of(Plan(kernel, recurrent_kernel, None, "tanh", isa, engine_name), x)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_runs_in_the_recurrence(activation, dtype):
    rng = np.random.default_rng(3)
    kernel, recurrent_kernel, bias = weights(rng, 5, 19, dtype)
    x = rng.standard_normal((4, 1, 5)).astype(dtype)
    h = rng.standard_normal((4, 19)).astype(dtype)
    outputs, *_ = outputs_of(Plan(kernel, recurrent_kernel, bias, activation), x, initial_state=h)
    expected, _ = recurrence(x, kernel, recurrent_kernel, bias, activation, initial_state=h)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_recurrent_kernel_it_is_a_dense_layer(dtype, engine):
    rng = np.random.default_rng(4)
    kernel, _, bias = weights(rng, 6, 10, dtype)
    x = rng.standard_normal((33, 4, 6)).astype(dtype)
    plan = Plan(kernel, None, bias, "softmax", engine=engine)
    outputs = dense_outputs_of(plan, x)
    assert_close(outputs, recurrence(x, kernel, None, bias, "softmax")[0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 7, 20, 70])
def test_nan_in_masked_steps_does_not_leak(batch, engine):
    rng = np.random.default_rng(5)
    plan = Plan(*weights(rng, 3, 8), "tanh", engine=engine)
    x = rng.standard_normal((batch, 6, 3)).astype("float32")
    mask = rng.random((batch, 6)) < 0.5
    clean = outputs_of(plan, np.where(mask[..., None], x, np.float32(0)), mask=mask)
    dirty = outputs_of(plan, np.where(mask[..., None], x, np.float32(np.nan)), mask=mask)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 7, 20, 70])
def test_nan_in_one_row_stays_in_that_row(batch, engine):
    rng = np.random.default_rng(6)
    plan = Plan(*weights(rng, 3, 8), "tanh", engine=engine)
    x = rng.standard_normal((batch, 4, 3)).astype("float32")
    clean, *_ = outputs_of(plan, x)
    x[batch // 2, 1, 0] = np.nan
    dirty, *_ = outputs_of(plan, x)
    assert np.isnan(dirty[batch // 2, 1:]).all()
    others = np.arange(batch) != batch // 2
    np.testing.assert_array_equal(dirty[others], clean[others])


def test_a_plan_keeps_its_own_weights():
    rng = np.random.default_rng(7)
    kernel, recurrent_kernel, bias = weights(rng, 3, 4)
    plan = Plan(kernel, recurrent_kernel, bias, "tanh")
    x = rng.standard_normal((2, 3, 3)).astype("float32")
    before, *_ = outputs_of(plan, x)
    for array in (kernel, recurrent_kernel, bias):
        array[:] = 0
    np.testing.assert_array_equal(outputs_of(plan, x)[0], before)


K, R, B = np.zeros((3, 4), "f4"), np.zeros((4, 4), "f4"), np.zeros(4, "f4")
X = np.zeros((2, 5, 3), "f4")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((K.astype("i4"), R, B, "tanh"), TypeError, "kernel.*int32"),
        ((K[0], R, B, "tanh"), ValueError, r"kernel.*\(4,\)"),
        ((K, R[:3], B, "tanh"), ValueError, r"recurrent_kernel.*\(4, 4\).*\(3, 4\)"),
        ((K, R.astype("f8"), B, "tanh"), ValueError, "recurrent_kernel.*float32.*float64"),
        ((K, R, B[:3], "tanh"), ValueError, r"bias.*\(4,\).*\(3,\)"),
        ((K, R, B, "tanhh"), ValueError, "tanhh"),
        ((K, R, B, "tanh", "sse9"), ValueError, "sse9"),
        ((K, R, B, "tanh", None, "mkl"), ValueError, "engine.*'mkl'"),
    ],
)
def test_wrong_weights_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        Plan(*arguments)


def test_arrays_that_do_not_fit_are_not_run():
    slot = Slot({})
    slot.pack(slot.values, Plan(K, R, B, "tanh"))
    program, state = program_of(3, 4, "float32"), np.zeros((2, 4), "f4")
    fitting = (X, None, None, None, state)
    assert program.run((slot,), fitting) is not None
    for place, wrong in [
        (0, X[0]),
        (0, X[:, :, :2]),
        (0, X[:, :0]),
        (0, X.astype(">f4")),
        (1, np.ones((2, 4), bool)),
        (1, np.ones((2, 5), "u1")),
        (2, np.zeros((2, 4), "f4")),
        (3, np.zeros((3, 4), "f4")),
        (4, state[:1]),
        (4, state.T),
    ]:
        assert program.run((slot,), (*fitting[:place], wrong, *fitting[place + 1 :])) is None, (place, wrong.shape)


def test_outputs_may_be_part_of_a_larger_array():
    plan = Plan(*weights(np.random.default_rng(2), 3, 4), "tanh")
    x = np.random.default_rng(9).standard_normal((2, 5, 3)).astype("f4")
    expected, expected_last, expected_state = outputs_of(plan, x)
    wide, last, state = np.full((2, 5, 9), 7, "f4"), np.full((2, 9), 7, "f4"), np.empty((2, 4), "f4")
    outputs_of(plan, x, out=(wide[:, ::-1, 3:7], last[:, 5:], state))
    assert np.array_equal(wide[:, ::-1, 3:7], expected)
    assert np.all(wide[:, :, :3] == 7) and np.all(wide[:, :, 7:] == 7)
    assert np.array_equal(last[:, 5:], expected_last) and np.all(last[:, :5] == 7)
    assert np.array_equal(state, expected_state)


@pytest.mark.parametrize("wrong", ["every other column", "turned", "read-only", "float64", "too few"])
def test_arrays_that_cannot_be_filled_are_refused(wrong):
    fitting = [np.zeros(shape, "f4") for shape in [(2, 5, 4), (2, 4), (2, 4)]]
    outputs = {
        "every other column": np.zeros((2, 5, 8), "f4")[:, :, ::2],
        "turned": np.zeros((4, 5, 2), "f4").T,
        "read-only": np.zeros((2, 5, 4), "f4"),
        "float64": np.zeros((2, 5, 4)),
        "too few": np.zeros((2, 4, 4), "f4"),
    }[wrong]
    outputs.flags.writeable = wrong != "read-only"
    with pytest.raises(ValueError, match=r"out must be a writeable array of shape \(2, 5, 4\)"):
        outputs_of(Plan(K, R, B, "tanh"), X, out=(outputs, *fitting[1:]))


def test_arrays_of_no_rows_can_be_filled():
    program, slot = program_of(3, 4, "float32"), Slot({})
    slot.pack(slot.values, Plan(K, R, B, "tanh"))
    out = np.empty((0, 5, 8), "f4")[:, :, ::2], np.empty((4, 0), "f4").T, np.empty((0, 4), "f4")
    filled = program.run((slot,), (X[:0], None, None, None, None), out=out)
    assert all(a is b for a, b in zip(filled, out, strict=True))


@pytest.mark.parametrize("engine_name", ENGINES)
def test_dropout_factors_may_lie_in_any_rows(engine_name):
    rng = np.random.default_rng(9)
    plan = Plan(*weights(rng, 3, 4), "tanh", engine=engine_name)
    x = rng.standard_normal((6, 5, 3)).astype("f4")
    factors, others = rng.integers(0, 3, (6, 3)).astype("f4"), rng.integers(0, 3, (6, 4)).astype("f4")
    expected = outputs_of(plan, x, input_dropout=factors, recurrent_dropout=others)
    for spread in (lambda a: np.repeat(a, 2, 0)[::2], lambda a: np.ascontiguousarray(a[::-1])[::-1]):
        found = outputs_of(plan, x, input_dropout=spread(factors), recurrent_dropout=spread(others))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("batch", [1, 2, 40])
def test_arrays_beside_and_between_each_other_are_right(batch, engine_name):
    rng = np.random.default_rng(8)
    plan = Plan(*weights(rng, 4, 4), "tanh", engine=engine_name)
    x, begin = rng.standard_normal((batch, 5, 4)).astype("f4"), rng.standard_normal((batch, 4)).astype("f4")
    expected, _, expected_state = outputs_of(plan, x, initial_state=begin)
    between = np.full((batch, 5, 12), np.nan, "f4")  # x, outputs and the last output in the same lines of memory
    between[:, :, :4] = x
    state = np.empty_like(begin)
    out = between[:, :, 4:8], between[:, 2, 8:], state
    outputs_of(plan, between[:, :, :4], initial_state=begin, out=out)
    np.testing.assert_array_equal(between[:, :, :4], x)
    np.testing.assert_array_equal(between[:, :, 4:8], expected)
    np.testing.assert_array_equal(between[:, 2, 8:], expected[:, -1])
    np.testing.assert_array_equal(state, expected_state)
    assert np.isnan(between[:, [0, 1, 3, 4], 8:]).all()


def test_a_bias_within_what_is_activated_is_refused():
    z = np.ones((3, 4), "f4")
    with pytest.raises(ValueError, match="bias must have memory of its own, but shares some with z"):
        engine.activate("relu", z, z[1])
    assert np.all(z == 1)


RESIDENT = """
import sys
from pathlib import Path
import numpy as np
from cyrnn.engine import engine_blas, plan

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

features, units = 1024, 1024
kernel, recurrent_kernel = np.ones((features, units), "f4"), np.ones((units, units), "f4")
plan.Plan(kernel[:, :1], recurrent_kernel[:1, :1], None, "tanh", engine="blas")
before = resident()
made = [plan.Plan(kernel, recurrent_kernel, None, "tanh", engine="blas") for _ in range(8)]
print(engine_blas.core, (resident() - before) / 8 / (kernel.nbytes + recurrent_kernel.nbytes))
"""


@pytest.mark.unsanitized(reason="measures memory")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system has no /proc")
@pytest.mark.parametrize("core", ["Haswell", "SkylakeX"])
def test_the_blas_engine_keeps_the_weights_once_where_it_reads_them_once(core):
    found, copies = run_python(RESIDENT, OPENBLAS_CORETYPE=core).stdout.split()
    if found != core:
        pytest.skip(f"this machine's BLAS has no kernels for {core}: it uses those for {found}")
    assert round(float(copies)) == (1 if core == "SkylakeX" else 2)


AGREES = """
import sys
import numpy as np
from helpers import assert_close, weights
from recurrent_program import outputs_of
from reference import recurrence
from cyrnn.engine import engine_blas, plan

rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for batch, features, units in [(1, 3, 5), (2, 8, 8), (9, 7, 33), (40, 64, 31), (3, 0, 4)]:
        kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
        x = rng.standard_normal((batch, 4, features)).astype(dtype)
        made = plan.Plan(kernel, recurrent_kernel / 2, bias, "tanh", engine="blas")
        outputs, *_ = outputs_of(made, x)
        assert_close(outputs, recurrence(x, kernel, recurrent_kernel / 2, bias)[0])
print(engine_blas.core)
"""


@pytest.mark.parametrize("core", ["Haswell", "SkylakeX"])
def test_both_products_of_the_blas_engine_agree_with_the_oracle(core):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}){AGREES}"
    run = run_python(code, OPENBLAS_CORETYPE=core, check=False)
    if os.name != "nt" and run.returncode == -signal.SIGILL:
        pytest.skip(f"this machine's BLAS obeys, and the processor cannot run the kernels for {core}")
    assert run.returncode == 0, run.stderr
    if run.stdout.strip() != core:
        pytest.skip(f"this machine's BLAS has no kernels for {core}: it uses those for {run.stdout.strip()}")


def test_a_plan_cannot_be_made_empty_or_changed_and_is_pickled_with_its_weights():
    plan = Plan(K, R, B, "tanh")
    with pytest.raises(TypeError):
        Plan.__new__(Plan)
    with pytest.raises(AttributeError):
        plan.units = 3
    again = pickle.loads(pickle.dumps(plan))
    x = np.random.default_rng(0).standard_normal((2, 3, plan.features)).astype(plan.dtype)
    np.testing.assert_array_equal(outputs_of(again, x)[0], outputs_of(plan, x)[0])
