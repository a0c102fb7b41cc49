"""Programs whose timesteps cannot be computed one after another, and weights that are not a program's."""

import numpy as np
import pytest
from program_models import Model, classifier

from cyrnn.engine.program import Program
from cyrnn.engine.runner import NotSteppableError, Runner, model_capsule


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def refused(make):
    model = Model(np.random.default_rng(0))
    outputs = make(model)
    model.finished(*(outputs if isinstance(outputs, tuple) else (outputs,)))
    with pytest.raises(NotSteppableError) as error:
        model.runner()
    with pytest.raises(NotSteppableError):
        model_capsule(model.program, model.packed)
    return error.value.op, error.value.reason


def backwards(model):
    return model.recurrent(model.reversed(model.recurrent(model.input(4), 5)), 5)


def turned_output(model):
    return model.reversed(model.recurrent(model.input(4), 5))


def reshaped(model):
    h = model.recurrent(model.input(4), 6)
    other = model.program.timeline(model.time, size=2, stride=2)
    return model.program.reshaped(h, other, 12)


def flattened(model):
    h = model.recurrent(model.input(4), 6)
    return model.program.reshaped(h, None, 12)


def repeated(model):
    constant = model.program.timeline(constant=3)
    return model.recurrent(model.input(4, time=constant), 5)


def last_before_first(model):
    end = model.buffer(6, None)
    h = model.recurrent(model.input(4), 6, last_output=end)
    return model.recurrent(h, 6, mask=model.masking(end)[1])


def pooled(model):
    out = model.buffer(6, None)
    model.program.global_pool("average", model.recurrent(model.input(4), 6), out)
    return model.dense(out, 2)


def first_timestep(model):
    out = model.buffer(6, None)
    model.program.select(model.recurrent(model.input(4), 6), out, 0)
    return model.dense(out, 2)


def shifted(model):
    out = model.buffer(6, model.time)
    model.program.take(model.recurrent(model.input(4), 6), out, before=-1)
    return out


def one_result(model):
    tokens, keep = model.input(1, "token"), model.buffer(1, None, "mask")
    model.program.nonzero(tokens, keep)
    return model.recurrent(model.input(4), 6), keep


def several_timelines(model):
    return model.recurrent(model.input(4), 6, mask=model.input(1, "mask", time=model.program.timeline()))


def encoder_and_decoder(model):
    x, state = model.input(4), model.buffer(6, None)
    model.recurrent(x, 6, sequences=False, final=[state])
    return model.recurrent(model.input(3, time=model.program.timeline()), 6, initial=[state])


def dense_over_a_final_state(model):
    state = model.buffer(6, None)
    model.recurrent(model.input(4), 6, final=[state])
    return model.dense(model._known(state, 6, None), 2)


def dropout(model):
    x, factors = model.input(4), model.input(4, time=None)
    return model.recurrent(x, 6, input_dropout=factors)


def no_timesteps(model):
    return model.dense(model.input(4, time=None), 3)


def one_timestep(model):
    return model.recurrent(model.input(4, time=None), 3, sequences=False)


@pytest.mark.parametrize(
    ("make", "op", "reason"),
    [
        (backwards, 1, "goes from the last timestep to the first"),
        (turned_output, 0, "has its last timestep first"),
        (reshaped, 1, "has other timesteps than the inputs"),
        (flattened, 1, "needs all timesteps at once"),
        (repeated, 0, "has other timesteps than the inputs"),
        (last_before_first, 2, "needs the last timestep before the first one"),
        (pooled, 1, "has one result for all timesteps"),
        (first_timestep, 1, "has one result for all timesteps"),
        (shifted, 1, "needs all timesteps at once"),
        (one_result, 0, "has one result for all timesteps"),
        (several_timelines, 0, "takes the timesteps of several inputs"),
        (encoder_and_decoder, 1, "begins with states that are computed"),
        (dense_over_a_final_state, 1, "reads the final states of a recurrence"),
        (dropout, 0, "has dropout"),
        (no_timesteps, -1, "has no timesteps"),
        (one_timestep, 0, "has no timesteps"),
    ],
)
def test_programs_that_have_no_steps(make, op, reason):
    assert refused(make) == (op, reason)


def test_programs_and_weights_that_do_not_belong_together(rng):
    model, other = classifier(rng), classifier(rng, dtype="float64")
    for packed, message in [
        (model.packed[:2], "weights for its 3 slots are needed, got 2"),
        (other.packed, "packed must be weights of float32, got float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            Runner(model.program, packed, 1)
    for packed in ([*model.packed[:2], model.packed[1]], [model.packed[1], *model.packed[1:]]):
        with pytest.raises(NotSteppableError, match="has weights of other shapes"):
            Runner(model.program, packed, 1)
    with pytest.raises(ValueError, match="a finished program"):
        Runner(Program("float32"), [], 1)
    for order in ((0, 0), (1,), ()):
        with pytest.raises(ValueError, match="order must hold the numbers of 1 inputs"):
            model.runner(order=order)
    for size in (0, -1, 2**62):
        with pytest.raises(
            ValueError, match=f"batch_size must be positive, and its states must fit in memory; got {size}"
        ):
            model.runner(size)
    with pytest.raises(TypeError):
        Runner(model.program, [None] * 3, 1)


def test_a_table_is_no_dense_layer(rng):
    model = Model(rng)
    model.finished(model.dense(model.recurrent(model.input(2), 4), 3))
    like = Model(rng)
    like.embedding(like.input(1, "token"), 4, 3)
    with pytest.raises(NotSteppableError, match="op 1 has weights of other shapes"):
        Runner(model.program, [model.packed[0], like.packed[0]], 1)
