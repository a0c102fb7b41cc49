"""The engine against the float64 oracle, over shapes, strides, dtypes and flags."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ISAS, assert_close, run_python, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import recurrence

from cyrnn import initializers
from cyrnn.engine import plan as engine
from cyrnn.engine.plan import ACTIVATIONS, Plan

DTYPES = ["float32", "float64"]
ENGINES = ["simd", "blas"]
SIZES = st.one_of(st.integers(0, 5), st.sampled_from([8, 15, 16, 17, 31, 33, 64, 65]))


def run(plan, x, return_sequences=True, num_threads=1, **options):
    batch, timesteps, _ = x.shape
    outputs = np.full((batch, timesteps, plan.units), np.nan, plan.dtype) if return_sequences else None
    last = None if return_sequences else np.full((batch, plan.units), np.nan, plan.dtype)
    state = np.full((batch, plan.units), np.nan, plan.dtype)
    engine.run([plan.call(x, outputs=outputs, last_output=last, state=state, **options)], num_threads)
    return (outputs if return_sequences else last), state


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
    batch, timesteps, features = draw(SIZES), draw(SIZES), draw(SIZES)
    units = draw(SIZES.filter(bool))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
    recurrent_kernel *= 0.5  # a contraction: what rounding adds at one step dies away, it does not grow
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
    outputs, state = run(plan, x, num_threads=draw(st.integers(1, 3)), **options)
    assert_close(outputs / scale, expected / scale, dtype)
    assert_close(state / scale, expected_state / scale, dtype)
    if timesteps:
        last, state = run(plan, x, return_sequences=False, **options)
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
    outputs, _ = run(Plan(kernel, recurrent_kernel, bias, "tanh", engine=engine), x)
    assert_close(outputs, recurrence(x, kernel, recurrent_kernel, bias)[0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("engine_name", "isa"), [*(("simd", isa) for isa in ISAS), ("blas", None)])
def test_a_thousand_steps_of_a_layer_as_keras_begins_it(engine_name, isa, batch):
    kernel = initializers.GlorotUniform(seed=1)((64, 256))
    recurrent_kernel = initializers.Orthogonal(seed=2)((256, 256))
    x = np.random.default_rng(3).standard_normal((batch, 1000, 64)).astype("float32")
    outputs, _ = run(Plan(kernel, recurrent_kernel, None, "tanh", isa, engine_name), x)
    expected, _ = recurrence(x, kernel, recurrent_kernel, None)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_runs_in_the_recurrence(activation, dtype):
    rng = np.random.default_rng(3)
    kernel, recurrent_kernel, bias = weights(rng, 5, 19, dtype)
    x = rng.standard_normal((4, 1, 5)).astype(dtype)
    h = rng.standard_normal((4, 19)).astype(dtype)
    outputs, _ = run(Plan(kernel, recurrent_kernel, bias, activation), x, initial_state=h)
    expected, _ = recurrence(x, kernel, recurrent_kernel, bias, activation, initial_state=h)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_recurrent_kernel_it_is_a_dense_layer(dtype, engine):
    rng = np.random.default_rng(4)
    kernel, _, bias = weights(rng, 6, 10, dtype)
    x = rng.standard_normal((33, 4, 6)).astype(dtype)
    outputs, _ = run(Plan(kernel, None, bias, "softmax", engine=engine), x)
    assert_close(outputs, recurrence(x, kernel, None, bias, "softmax")[0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 7, 20, 70])
def test_nan_in_masked_steps_does_not_leak(batch, engine):
    rng = np.random.default_rng(5)
    plan = Plan(*weights(rng, 3, 8), "tanh", engine=engine)
    x = rng.standard_normal((batch, 6, 3)).astype("float32")
    mask = rng.random((batch, 6)) < 0.5
    clean = run(plan, np.where(mask[..., None], x, np.float32(0)), mask=mask)
    dirty = run(plan, np.where(mask[..., None], x, np.float32(np.nan)), mask=mask)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 7, 20, 70])
def test_nan_in_one_row_stays_in_that_row(batch, engine):
    rng = np.random.default_rng(6)
    plan = Plan(*weights(rng, 3, 8), "tanh", engine=engine)
    x = rng.standard_normal((batch, 4, 3)).astype("float32")
    clean, _ = run(plan, x)
    x[batch // 2, 1, 0] = np.nan
    dirty, _ = run(plan, x)
    assert np.isnan(dirty[batch // 2, 1:]).all()
    others = np.arange(batch) != batch // 2
    np.testing.assert_array_equal(dirty[others], clean[others])


def test_a_plan_keeps_its_own_weights():
    rng = np.random.default_rng(7)
    kernel, recurrent_kernel, bias = weights(rng, 3, 4)
    plan = Plan(kernel, recurrent_kernel, bias, "tanh")
    x = rng.standard_normal((2, 3, 3)).astype("float32")
    before, _ = run(plan, x)
    for array in (kernel, recurrent_kernel, bias):
        array[:] = 0
    np.testing.assert_array_equal(run(plan, x)[0], before)


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


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (X.astype("f8"), {}, "x must be"),
        (X[0], {}, "x must be"),
        (X[:, :, :2], {}, "x must be"),
        (X.astype(">f4"), {}, "x must be"),
        (X, {"initial_state": np.zeros((1, 4), "f4")}, "initial_state"),
        (X, {"initial_state": np.zeros((4, 2), "f4").T}, "initial_state must be C-contiguous"),
        (X, {"mask": np.ones((2, 4), bool)}, "mask"),
        (X, {"mask": np.ones((2, 5), "u1")}, "mask"),
        (X, {"outputs": np.zeros((2, 5, 5), "f4")}, "outputs"),
        (X, {"state": np.zeros((2, 4), "f8")}, "state"),
    ],
)
def test_wrong_arrays_are_refused(x, options, words):
    with pytest.raises(ValueError, match=words):
        engine.run([Plan(K, R, B, "tanh").call(x, **options)])


@pytest.mark.parametrize("num_threads", [0, -5])
def test_wrong_numbers_of_threads_are_refused(num_threads):
    with pytest.raises(ValueError, match=f"num_threads.*{num_threads}"):
        engine.run([Plan(K, R, B, "tanh").call(X)], num_threads)


def test_calls_of_different_plans_and_dtypes_run_together():
    calls, alone = [], []
    for dtype in ("f4", "f8"):
        for backwards in (False, True):
            plan = Plan(K.astype(dtype), R.astype(dtype), None, "tanh", engine=ENGINES[backwards])
            alone.append(run(plan, X.astype(dtype), go_backwards=backwards)[0])
            calls.append((plan, np.empty_like(alone[-1]), backwards))
    jobs = [plan.call(X.astype(out.dtype), outputs=out, go_backwards=backwards) for plan, out, backwards in calls]
    engine.run(jobs, 2)
    for (_, together, _), expected in zip(calls, alone, strict=True):
        assert np.array_equal(together, expected)
    engine.run([])
    with pytest.raises(ValueError, match="at most 16 calls"):
        engine.run(jobs * 5)
    for wrong in (None, engine.Call()):
        with pytest.raises(TypeError, match=r"Plan\.call"):
            engine.run([wrong])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_two_workers_share_the_slices_of_several_calls(engine_name):
    rng = np.random.default_rng(3)
    calls = []
    for dtype, batch in (("f4", 300), ("f8", 170), ("f4", 1)):
        plan = Plan(*weights(rng, 24, 40, dtype), "tanh", engine=engine_name)
        x = rng.standard_normal((batch, 30, 24)).astype(dtype)
        calls.append((plan, x, run(plan, x)[0], np.empty((batch, 30, 40), dtype)))
    for num_threads in (2, 3):
        engine.run([plan.call(x, outputs=out) for plan, x, _, out in calls], num_threads)
        for _, _, alone, together in calls:
            np.testing.assert_array_equal(together, alone)
            together.fill(np.nan)


def test_outputs_may_be_part_of_a_larger_array():
    plan = Plan(K, R, B, "tanh")
    expected, _ = run(plan, X)
    wide = np.full((2, 5, 9), 7, "f4")
    engine.run([plan.call(X, outputs=wide[:, ::-1, 3:7])])
    assert np.array_equal(wide[:, ::-1, 3:7], expected)
    assert np.all(wide[:, :, :3] == 7) and np.all(wide[:, :, 7:] == 7)
    last = np.full((2, 9), 7, "f4")
    engine.run([plan.call(X, last_output=last[:, 5:])])
    assert np.array_equal(last[:, 5:], expected[:, -1]) and np.all(last[:, :5] == 7)
    with pytest.raises(ValueError, match="outputs must be contiguous along its last axis"):
        plan.call(X, outputs=np.zeros((2, 5, 8), "f4")[:, :, ::2])


MEMORY = 200  # elements; x lies in their middle


def shared(**arrays):
    """Arrays (batch 2, timesteps 5, 4 wide) that begin at these elements of the same memory; and that memory."""
    memory = np.arange(MEMORY, dtype="f4")
    shapes = {"x": (2, 5, 4), "outputs": (2, 5, 4), "input_dropout": (2, 4), "recurrent_dropout": (2, 4)}
    parts = {}
    for name, first in arrays.items():
        shape = shapes.get(name, (2, 4))
        parts[name] = memory[first : first + np.prod(shape)].reshape(shape)
    return parts, memory


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize(
    "arrays",
    [
        {"x": 80, "outputs": 80},
        {"x": 80, "outputs": 119},
        {"x": 80, "outputs": 41},
        {"x": 80, "last_output": 100},
        {"x": 80, "state": 73},
        {"x": 80, "initial_state": 0, "outputs": 7},
        {"x": 80, "initial_state": 0, "state": 1},
        {"x": 80, "input_dropout": 0, "outputs": 4},
        {"x": 80, "recurrent_dropout": 0, "state": 0},
        {"x": 80, "outputs": 0, "last_output": 36},
        {"x": 80, "outputs": 0, "state": 36},
        {"x": 80, "last_output": 0, "state": 0},
    ],
)
def test_arrays_to_fill_that_share_memory_are_refused(arrays, engine_name):
    parts, memory = shared(**arrays)
    plan = Plan(np.ones((4, 4), "f4"), np.ones((4, 4), "f4"), None, "linear", engine=engine_name)
    with pytest.raises(ValueError, match="must have memory of its own, but shares some with") as caught:
        plan.call(**parts)
    assert any(name in str(caught.value) for name in list(arrays)[1:])
    np.testing.assert_array_equal(memory, np.arange(MEMORY))


def test_a_mask_in_the_memory_of_the_outputs_is_refused():
    outputs = np.zeros((2, 5, 4), "f4")
    mask = outputs.view(bool)[..., 0]
    with pytest.raises(ValueError, match="outputs must have memory of its own, but shares some with mask"):
        Plan(K, R, B, "tanh").call(X, mask=mask, outputs=outputs)
    with pytest.raises(ValueError, match="outputs must have memory of its own, but shares some with x"):
        Plan(R, R, B, "tanh").call(outputs[::-1, ::-1], outputs=outputs[:, ::-1])


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("batch", [1, 2, 40])
def test_arrays_beside_and_between_each_other_are_right(batch, engine_name):
    rng = np.random.default_rng(8)
    plan = Plan(*weights(rng, 4, 4), "tanh", engine=engine_name)
    x, begin = rng.standard_normal((batch, 5, 4)).astype("f4"), rng.standard_normal((batch, 4)).astype("f4")
    expected, expected_state = run(plan, x, initial_state=begin)
    between = np.full((batch, 5, 12), np.nan, "f4")  # x, outputs and the last output in the same lines of memory
    between[:, :, :4] = x
    state = begin.copy()  # where the initial state is
    call = plan.call(
        between[:, :, :4], initial_state=state, outputs=between[:, :, 4:8], last_output=between[:, 2, 8:], state=state
    )
    engine.run([call])
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
from reference import recurrence
from cyrnn.engine import engine_blas, plan

rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for batch, features, units in [(1, 3, 5), (2, 8, 8), (9, 7, 33), (40, 64, 31), (3, 0, 4)]:
        kernel, recurrent_kernel, bias = weights(rng, features, units, dtype)
        x = rng.standard_normal((batch, 4, features)).astype(dtype)
        outputs = np.full((batch, 4, units), np.nan, dtype)
        made = plan.Plan(kernel, recurrent_kernel / 2, bias, "tanh", engine="blas")
        plan.run([made.call(x, outputs=outputs)])
        assert_close(outputs, recurrence(x, kernel, recurrent_kernel / 2, bias)[0])
print(engine_blas.core)
"""


@pytest.mark.parametrize("core", ["Haswell", "SkylakeX"])
def test_both_products_of_the_blas_engine_agree_with_the_oracle(core):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}){AGREES}"
    found = run_python(code, OPENBLAS_CORETYPE=core).stdout.strip()
    if found != core:
        pytest.skip(f"this machine's BLAS has no kernels for {core}: it uses those for {found}")


def test_read_only_outputs_are_refused():
    out = np.zeros((2, 5, 4), "f4")
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        Plan(K, R, B, "tanh").call(X, outputs=out)


def test_a_plan_cannot_be_made_empty_or_changed_and_is_pickled_with_its_weights():
    plan = Plan(K, R, B, "tanh")
    with pytest.raises(TypeError):
        Plan.__new__(Plan)
    with pytest.raises(AttributeError):
        plan.units = 3
    again = pickle.loads(pickle.dumps(plan))
    x = np.random.default_rng(0).standard_normal((2, 3, plan.features)).astype(plan.dtype)
    got, expected = (np.empty((2, 3, plan.units), plan.dtype) for _ in range(2))
    engine.run([again.call(x, outputs=got)])
    engine.run([plan.call(x, outputs=expected)])
    np.testing.assert_array_equal(got, expected)
