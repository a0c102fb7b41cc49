"""Programs of the engine: buffers, views, slots, inputs of any type, slices and waves."""

import threading

import numpy as np
import pytest

from cyrnn.engine.plan import Plan, Slot, Table, Vectors, replace
from cyrnn.engine.program import INPUT, MASK, MOST_AXES, STATE, Bound, Program, structure_changed, structure_now

FEATURES, UNITS = 5, 7
ENGINES = ["simd", "blas"]


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def weights(rng, features=FEATURES, units=UNITS, recurrent=True, dtype=np.float32):
    arrays = {"kernel": rng.standard_normal((features, units)) * 0.5, "bias": rng.standard_normal(units)}
    if recurrent:
        arrays["recurrent_kernel"] = rng.standard_normal((units, units)) * 0.3
    return {name: array.astype(dtype) for name, array in arrays.items()}


def slot_of(values, activation="tanh", engine=None):
    slot = Slot(values)
    plan = Plan(values["kernel"], values.get("recurrent_kernel"), values["bias"], activation, engine=engine)
    slot.pack(values, plan)
    return slot


def slot_with(packed):
    slot = Slot({})
    slot.pack(slot.values, packed)
    return slot


def recurrent(sequences=False, states=False, features=FEATURES, units=UNITS, dtype="float32", reverse=False):
    """A recurrent layer with all that a call may bring."""
    program = Program(dtype)
    time, slot = program.timeline(), program.slot()
    x = program.input("number", time, features)
    mask = program.input("mask", time, 1, optional=True)
    state = program.input("number", None, units, optional=True)
    out = program.buffer(time if sequences else None, units)
    final = program.buffer(None, units)
    program.recurrent(
        slot,
        program.reversed(x) if reverse else x,
        **{"outputs" if sequences else "last_output": out},
        mask=program.reversed(mask) if reverse else mask,
        initial=[state],
        final=[final] if states else [],
    )
    program.output(out)
    if states:
        program.output(final)
    program.finish()
    return program


def loop(x, values, mask=None, state=None):
    """All outputs and the last state, in float64."""
    h = np.zeros((len(x), values["bias"].size)) if state is None else state.astype(float)
    emitted, outputs = np.zeros_like(h), []
    for t in range(x.shape[1]):
        new = np.tanh(x[:, t] @ values["kernel"] + h @ values["recurrent_kernel"] + values["bias"])
        keep = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        h, emitted = np.where(keep, new, h), np.where(keep, new, emitted)
        outputs.append(emitted)
    return np.stack(outputs, 1), h


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool"])
@pytest.mark.parametrize("layout", ["plain", "fortran", "every other", "backwards", "unaligned"])
def test_inputs_of_any_type_and_strides_are_converted(dtype, layout, rng):
    values = weights(rng)
    plain = rng.integers(0, 4, (6, 9, FEATURES)).astype(dtype)
    array = {
        "plain": lambda: plain,
        "fortran": lambda: np.asfortranarray(plain),
        "every other": lambda: np.repeat(np.repeat(plain, 2, 1), 2, 2)[:, ::2, ::2],
        "backwards": lambda: plain[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
        "unaligned": lambda: unaligned(plain),
    }[layout]()
    assert np.array_equal(array, plain)
    got = recurrent(sequences=True).run((slot_of(values),), (array, None, None))
    expected = recurrent(sequences=True).run((slot_of(values),), (plain.astype(np.float32), None, None))
    assert np.array_equal(got, expected)
    np.testing.assert_allclose(got, loop(plain.astype(float), values)[0], atol=2e-6)


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3, FEATURES + 1), np.float32),
        np.zeros((2, 0, FEATURES), np.float32),
        np.zeros((2, 3, FEATURES), np.complex64),
        np.zeros((2, 3, FEATURES), np.float16),
        np.zeros((2, 3, FEATURES), np.dtype("float32").newbyteorder()),
        [[[0.0] * FEATURES]],
        None,
    ],
    ids=lambda array: f"{getattr(array, 'shape', type(array))} {getattr(array, 'dtype', '')}",
)
def test_what_is_no_plain_array_that_fits_is_left_to_the_caller(array, rng):
    assert recurrent().run((slot_of(weights(rng)),), (array, None, None)) is None


def test_masks_and_states_must_fit_the_batch(rng):
    slots, x = (slot_of(weights(rng)),), np.zeros((2, 3, FEATURES), np.float32)
    for mask in (np.ones((2, 4), bool), np.ones((1, 3), bool), np.ones((2, 3), np.int8)):
        assert recurrent().run(slots, (x, mask, None)) is None
    assert recurrent().run(slots, (x, None, np.zeros((3, UNITS), np.float32))) is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_and_states(engine, dtype, reverse, rng):
    values = weights(rng, dtype=dtype)
    x, state = rng.standard_normal((70, 8, FEATURES)), rng.standard_normal((70, UNITS))
    mask = rng.random((70, 8)) > 0.4
    program = recurrent(sequences=True, states=True, dtype=dtype, reverse=reverse)
    outputs, final = program.run((slot_of(values, engine=engine),), (x, mask, state))
    turned = (x[:, ::-1], mask[:, ::-1]) if reverse else (x, mask)
    expected, h = loop(turned[0], values, turned[1], state)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(final, h, atol=1e-5)
    assert outputs.dtype == final.dtype == np.dtype(dtype)


@pytest.mark.parametrize("timesteps", [1, 5, 3000])
def test_what_is_absent_is_copied_as_what_it_stands_for(timesteps, rng):
    """A mask is true, and numbers and tokens are zeros; also of a view of them."""
    program = Program("float32")
    time = program.timeline()
    x, mask = program.input("number", time, 2), program.input("mask", time, 1, optional=True)
    state = program.input("number", None, 3, optional=True)
    series = program.input("number", time, 4, optional=True)
    tokens = program.input("token", time, 1, optional=True)
    views = mask, state, series, tokens, program.reversed(mask), program.columns(program.reversed(series), 1, 2)
    for view in (x, *views):
        program.output(view)
    program.finish()
    shapes = [(9, timesteps, 1), (9, 3), (9, timesteps, 4), (9, timesteps, 1), (9, timesteps, 1), (9, timesteps, 2)]
    x = rng.standard_normal((9, timesteps, 2)).astype(np.float32)
    same, *absent = program.run((), (x, None, None, None, None))
    assert np.array_equal(same, x)
    for array, shape, dtype, stands_for in zip(
        absent, shapes, ["?", "f4", "f4", "i8", "?", "f4"], [1, 0, 0, 0, 1, 0], strict=True
    ):
        assert array.shape == shape and array.dtype == dtype and np.all(array == stands_for)
    keep, begin = rng.random((9, timesteps)) < 0.5, rng.standard_normal((9, 3)).astype(np.float32)
    numbers, words = rng.standard_normal((9, timesteps, 4)).astype(np.float32), rng.integers(-3, 3, (9, timesteps))
    _, *given = program.run((), (x, keep, begin, numbers, words))
    turned = keep[:, ::-1, None], numbers[:, ::-1, 1:3]
    for array, expected in zip(given, (keep[..., None], begin, numbers, words[..., None], *turned), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("batch", [1, 3, 300])
def test_what_a_recurrence_reads_may_be_absent(batch, rng):
    """Its mask and states are read by other ops too; in slices, and in a wave of several threads."""
    units, timesteps = 64, 900
    values = [weights(rng, units, units) for _ in range(2)]
    slots = tuple(map(slot_of, values))
    program = Program("float32")
    time = program.timeline()
    clock = program.input("number", time, 1)
    x, mask = program.input("number", time, units, optional=True), program.input("mask", time, 1, optional=True)
    state = program.input("number", None, units, optional=True)
    first, second = program.buffer(time, units), program.buffer(time, units)
    program.recurrent(program.slot(), x, outputs=first, mask=mask, initial=[state])
    program.recurrent(program.slot(), first, outputs=second, mask=mask, initial=[state])
    for view in (second, mask, state, clock):
        program.output(view)
    program.finish()
    clock = np.zeros((batch, timesteps, 1), np.float32)
    filled = np.zeros((batch, timesteps, units)), np.ones((batch, timesteps), bool), np.zeros((batch, units))
    expected = program.run(slots, (clock, *filled), num_threads=1)
    for num_threads in (1, 2):
        for found, wanted in zip(program.run(slots, (clock, None, None, None), 0, num_threads), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_tokens_that_are_absent_are_the_first_row_of_a_table(rng):
    program = Program("float32")
    x, tokens = program.input("number", None, 1), program.input("token", None, 2, optional=True)
    rows, keep = program.buffer(None, 6), program.buffer(None, 1, "mask")
    program.embedding(program.slot(), tokens, rows)
    program.nonzero(program.columns(tokens, 0, 1), keep)
    for view in (x, rows, keep):
        program.output(view)
    program.finish()
    table = rng.standard_normal((4, 3)).astype(np.float32)
    _, found, keep = program.run((slot_with(Table(table)),), (np.zeros((2, 1)), None))
    assert np.array_equal(found, [[*table[0], *table[0]]] * 2) and not keep.any()
    assert program.run((slot_with(Table(table[:0])),), (np.zeros((2, 1)), None)) is None


def test_a_call_without_any_array_is_left_to_the_caller():
    for constant in (None, 3):
        program = Program("float32")
        time = None if constant is None else program.timeline(constant=constant)
        program.output(program.input("number", time, 2, optional=True))
        program.finish()
        assert program.run((), (None,)) is None


# ---------------------------------------------------------------- programs of several ops


def tagger(bidirectional=True):
    """Tokens to rows of a table, two directions, and a softmax for each timestep."""
    program = Program("float32")
    time = program.timeline()
    slots = [program.slot() for _ in range(4)]
    tokens = program.input("token", time, 1)
    rows, keep = program.buffer(time, FEATURES), program.buffer(time, 1, "mask")
    program.embedding(slots[0], tokens, rows)
    program.nonzero(tokens, keep)
    both = program.buffer(time, 2 * UNITS)
    program.recurrent(slots[1], rows, outputs=program.columns(both, 0, UNITS), mask=keep)
    program.recurrent(
        slots[2],
        program.reversed(rows),
        outputs=program.reversed(program.columns(both, UNITS, UNITS)),
        mask=program.reversed(keep),
    )
    tags, soft = program.buffer(time, 3), program.buffer(time, 3)
    program.dense(slots[3], both, tags)
    program.activation("softmax", tags, soft, 3)
    program.output(soft)
    program.output(keep, shape=())
    program.finish()
    return program


def test_a_tagger_is_what_its_ops_are(rng):
    table = rng.standard_normal((11, FEATURES)).astype(np.float32)
    forward, backward, last = weights(rng), weights(rng), weights(rng, 2 * UNITS, 3, recurrent=False)
    slots = (slot_with(Table(table)), slot_of(forward), slot_of(backward), slot_of(last, "linear"))
    tokens = rng.integers(0, 11, (40, 13)) * (rng.random((40, 13)) > 0.3)
    got, keep = tagger().run(slots, (tokens.astype(np.int32),))
    x, mask = table[tokens].astype(float), tokens != 0
    ahead = loop(x, forward, mask)[0]
    back = loop(x[:, ::-1], backward, mask[:, ::-1])[0][:, ::-1]
    logits = np.concatenate([ahead, back], -1) @ last["kernel"] + last["bias"]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert keep.shape == (40, 13) and keep.dtype == bool and np.array_equal(keep, mask)
    for wrong in (-1, 11):
        assert tagger().run(slots, (np.full((1, 2), wrong),)) is None
    assert tagger().run(slots, (tokens + 0.5,)) is None  # fractions are left to the caller


def stack(layers, features, units, sequences, dtype="float32"):
    program = Program(dtype)
    time = program.timeline()
    slots = [program.slot() for _ in range(layers + 1)]
    at = program.input("number", time, features)
    for slot in slots[:-1]:
        out = program.buffer(time, units)
        program.recurrent(slot, at, outputs=out)
        at = out
    last = program.buffer(time, 3)
    program.dense(slots[-1], at, last)
    program.output(last)
    if sequences:
        program.output(at)
    program.finish()
    return program


@pytest.mark.parametrize(
    ("other", "made"),
    [("", True), ("features", False), ("units", False), ("dtype", False)],
)
def test_weights_of_another_size_or_dtype_are_left_to_the_caller(other, made, rng):
    sizes = {"features": FEATURES, "units": UNITS, "dtype": np.float32}
    changed = sizes if not other else {**sizes, other: np.float64 if other == "dtype" else sizes[other] + 1}
    dense = Program("float32")
    out = dense.buffer(None, UNITS)
    dense.dense(dense.slot(), dense.input("number", None, FEATURES), out)
    dense.output(out)
    dense.finish()
    x = np.zeros((2, 3, FEATURES), np.float32)
    assert (dense.run((slot_of(weights(rng, recurrent=False, **changed)),), (x[0],)) is not None) == made
    assert (recurrent().run((slot_of(weights(rng, **changed)),), (x, None, None)) is not None) == made


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_a_wave_has_the_bits_of_one_thread(engine, batch, rng):
    features, units, timesteps = 40, 96, 700  # enough work for several threads
    values = [weights(rng, features if i == 0 else units, units) for i in range(3)]
    slots = (
        *(slot_of(v, engine=engine) for v in values),
        slot_of(weights(rng, units, 3, recurrent=False), "linear", engine),
    )
    x = rng.standard_normal((batch, timesteps, features)).astype(np.float32)
    for sequences in (False, True):
        program = stack(3, features, units, sequences)
        one = program.run(slots, (x,), num_threads=1)
        several = program.run(slots, (x,), num_threads=5)
        doubles = program.run(slots, (x.astype(float),), num_threads=5)
        for a, b, c in zip(*((r if sequences else (r,)) for r in (one, several, doubles)), strict=True):
            assert np.array_equal(a, b) and np.array_equal(a, c)


@pytest.mark.parametrize("batch", [1, 2, 50, 300])
def test_a_program_has_the_bits_of_its_ops_one_by_one(batch, rng):
    values, last = weights(rng), weights(rng, UNITS, 3, recurrent=False)
    x = rng.standard_normal((batch, 100, FEATURES)).astype(np.float32)
    slot, dense_slot = slot_of(values, engine="simd"), slot_of(last, "softmax", engine="simd")
    together = stack(1, FEATURES, UNITS, True)
    tags, hidden = together.run((slot, dense_slot), (x,))
    assert np.array_equal(hidden, recurrent(sequences=True).run((slot,), (x, None, None)))
    alone = Program("float32")
    time = alone.timeline()
    given, out = alone.input("number", time, UNITS), alone.buffer(time, 3)
    alone.dense(alone.slot(), given, out)
    alone.output(out)
    alone.finish()
    assert np.array_equal(tags, alone.run((dense_slot,), (hidden,)))


def test_reshaped_rows_keep_their_order(rng):
    program = Program("float32")
    time, other = program.timeline(), program.timeline(constant=10)
    x = program.input("number", time, 5)
    program.output(program.reshaped(x, other, 3), shape=(3,))
    program.output(program.reshaped(x, None, 30), shape=(2, 15))
    program.finish()
    x = rng.standard_normal((4, 6, 5)).astype(np.float32)
    first, second = program.run((), (x,))
    assert np.array_equal(first, x.reshape(4, 10, 3)) and np.array_equal(second, x.reshape(4, 2, 15))


# ---------------------------------------------------------------- forms, results, slots


def test_the_form_is_that_of_the_nominal_batch(rng):
    values = weights(rng, 3, 16)
    values["recurrent_kernel"] = (rng.standard_normal((16, 16)) * 0.4).astype(np.float32)
    x = rng.standard_normal((8, 30, 3)).astype(np.float32)
    program, slots = recurrent(sequences=True, features=3, units=16), (slot_of(values, engine="simd"),)
    whole = program.run(slots, (x, None, None))
    assert np.array_equal(program.run(slots, (x[:1], None, None), nominal_batch=8), whole[:1])


def test_outputs_are_written_to_the_arrays_that_are_given(rng):
    slots, x = (slot_of(weights(rng)),), rng.standard_normal((3, 4, FEATURES)).astype(np.float32)
    program = recurrent(sequences=True)
    expected, room = program.run(slots, (x, None, None)), np.zeros((3, 9, UNITS), np.float32)
    assert program.run(slots, (x, None, None), out=(room[:, 1:8:2],)).base is room
    assert np.array_equal(room[:, 1:8:2], expected) and not room[:, ::2].any()
    for wrong in (np.zeros((3, 4, UNITS)), np.zeros((3, 5, UNITS), np.float32), room[:, ::-2, ::-1]):
        with pytest.raises(ValueError, match="out must be a writeable array"):
            program.run(slots, (x, None, None), out=(wrong,))


def test_a_batch_of_no_rows_has_outputs_of_no_rows(rng):
    outputs, final = recurrent(True, True).run((slot_of(weights(rng)),), (np.zeros((0, 4, FEATURES)), None, None))
    assert outputs.shape == (0, 4, UNITS) and final.shape == (0, UNITS)


def test_slots_that_are_not_made_ready_are_left_to_the_caller(rng):
    values, x = weights(rng), np.zeros((1, 1, FEATURES), np.float32)
    slot = slot_of(values)
    assert recurrent().run((slot,), (x, None, None)) is not None
    replace([slot], [values])
    assert slot.packed is None and recurrent().run((slot,), (x, None, None)) is None
    slot.pack({}, Plan(values["kernel"], values["recurrent_kernel"], values["bias"], "tanh"))
    assert slot.packed is None  # these are not the slot's values any more


def test_weights_of_other_shapes_do_not_run(rng):
    x = np.zeros((1, 1, FEATURES), np.float32)
    for other in (weights(rng, FEATURES + 1), weights(rng, FEATURES, UNITS + 1), weights(rng, dtype=np.float64)):
        assert recurrent().run((slot_of(other),), (x, None, None)) is None


def test_a_call_sees_the_weights_of_one_moment(rng):
    """Two dense layers that undo each other, replaced together again and again."""
    program = Program("float32")
    x, middle, out = program.input("number", None, 1), program.buffer(None, 1), program.buffer(None, 1)
    program.dense(program.slot(), x, middle)
    program.dense(program.slot(), middle, out)
    program.output(out)
    program.finish()
    slots = [Slot({}), Slot({})]
    sets = [[dense_by(2.0**power), dense_by(0.5**power)] for power in range(4)]

    def put(pair):
        replace(slots, [values for values, _ in pair])
        for slot, (values, plan) in zip(slots, pair, strict=True):
            slot.pack(values, plan)

    put(sets[0])
    ended, seen = threading.Event(), []

    def call():
        one = np.ones((1, 1), np.float32)
        while not ended.is_set():
            result = program.run(tuple(slots), (one,))
            if result is not None:
                seen.append(float(result[0, 0]))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3000):
        put(sets[number % 4])
    ended.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {1.0}


def dense_by(factor):
    values = {"kernel": np.full((1, 1), factor, np.float32), "bias": np.zeros(1, np.float32)}
    return values, Plan(values["kernel"], None, values["bias"], "linear")


# ---------------------------------------------------------------- bound to slots


def test_a_bound_program_finds_its_inputs_in_a_call(rng):
    values, program = weights(rng), recurrent(states=True)
    parts = program, (slot_of(values),), ((INPUT, 0), (MASK, 0), (STATE, 0)), (), structure_now()
    alone, named = Bound(*parts), Bound(*parts, keys=("x",))
    x, mask = rng.standard_normal((2, 3, FEATURES)).astype(np.float32), np.array([[1, 1, 0], [0, 1, 1]], bool)
    state = rng.standard_normal((2, UNITS)).astype(np.float32)
    expected = loop(x, values, mask, state)[1]
    single, listed = (x, mask, state), [([x], [mask], [state]), ((x,), (mask,), (state,)), ({"x": x}, [mask], state)]
    for bound, calls in ((alone, [single, (x, mask, [state])]), (named, [single, *listed])):
        for call in calls:
            output, final = bound.call(*call)
            np.testing.assert_allclose(final, expected, atol=2e-6)
            assert np.array_equal(output, final)
    wrong_ones = ([x, x],), (x, [mask, mask]), (x, None, [state, state]), (x, None, [None]), (x.tolist(),)
    for wrong in (*wrong_ones, ([x],), (x, [mask]), ({"x": x},)):
        assert alone.call(*wrong) is None
    for wrong in (*wrong_ones, ({"y": x},)):
        assert named.call(*wrong) is None
    structure_changed()
    assert not alone.up_to_date and alone.call(x) is None


def test_a_finished_program_does_not_change():
    program = recurrent()
    for change in (program.timeline, program.slot, program.finish, lambda: program.buffer(None, 1)):
        with pytest.raises(ValueError, match="finished"):
            change()


def test_an_output_has_as_many_axes_as_the_engine_makes():
    for timed in (False, True):
        program = Program("float32")
        timeline = program.timeline() if timed else None
        x = program.input("number", timeline, 1)
        most = MOST_AXES - (2 if timed else 1)
        with pytest.raises(ValueError, match=f"at most {MOST_AXES} axes"):
            program.output(x, (1,) * (most + 1))
        program.output(x, (1,) * most)
        program.finish()
        array = np.ones((2, 3, 1) if timed else (2, 1), np.float32)
        assert program.run((), (array,)).shape == (*array.shape[:-1], *(1,) * most)


def test_what_is_no_slot_is_refused(rng):
    program, x = recurrent(), np.ones((2, 3, FEATURES), np.float32)
    for wrong in (1.5, None, "slot", weights(rng), program):
        with pytest.raises(TypeError, match="Packed"):
            program.run((wrong,), (x, None, None))
        with pytest.raises(TypeError, match="Packed"):
            Bound(program, (wrong,), ((INPUT, 0), (MASK, 0), (STATE, 0)), (), 0)


def test_a_program_of_many_inputs_outputs_and_slots(rng):
    """Their tables lie on the stack only as long as they are small."""
    program, count = Program("float32"), 1500
    views = [program.input("number", program.timeline(), 2) for _ in range(count)]
    for view in views:
        out = program.buffer_like(view)
        program.affine(program.slot(), view, out, 2)
        program.output(out)
    program.finish()
    packed = tuple(slot_with(Vectors(np.full(2, number, np.float32))) for number in range(count))
    x = rng.standard_normal((3, 4, 2)).astype(np.float32)
    bound = Bound(program, packed, tuple((INPUT, number) for number in range(count)), (), structure_now())
    for outputs in (program.run(packed, (x,) * count), bound.call([x] * count)):
        assert len(outputs) == count
        for number in (0, 1, 700, count - 1):
            np.testing.assert_array_equal(outputs[number], x * np.float32(number))


def test_the_structure_changes_once_for_each_change_in_any_thread():
    before, count = structure_now(), 10_000
    changes = [threading.Thread(target=lambda: [structure_changed() for _ in range(count)]) for _ in range(4)]
    for change in changes:
        change.start()
    for change in changes:
        change.join()
    assert structure_now() == before + 4 * count
