"""How the calls of a model are divided into programs and cuts: their order, dtypes, and the work that it takes."""

import numpy as np
import pytest
from helpers import assert_close

import cyrnn
from cyrnn import layers
from cyrnn.models import executor
from cyrnn.models.executor import Call
from cyrnn.models.programs.parts import ProgramPart


def sequences(batch=2, timesteps=3, features=3):
    return np.random.default_rng(0).standard_normal((batch, timesteps, features)).astype("float32")


def names_of(model):
    """For each part the names of the layers, in a tuple for a program."""
    parts = model.known_partition().parts
    return [
        tuple(call.layer.name for call in part.calls) if isinstance(part, ProgramPart) else part.layer.name
        for part in parts
    ]


INNER = {
    "of each timestep": lambda: layers.TimeDistributed(layers.Dense(2, dtype="float64", name="inner")),
    "of a direction": lambda: layers.Bidirectional(layers.SimpleRNN(2, dtype="float64", name="inner")),
    "of the outer dtype": lambda: layers.TimeDistributed(layers.Dense(2, name="inner"), dtype="float64"),
}


@pytest.mark.parametrize("case", INNER)
def test_a_layer_in_another_one_that_computes_in_another_dtype_is_a_cut(case):
    layer = INNER[case]()
    model = cyrnn.Sequential([cyrnn.Input((None, 3)), layer, layers.Dense(2)])
    x = sequences()
    result = model(x)
    ((name, reason),) = model.known_partition().cuts
    assert name == layer.name and "inner" in reason and "float64" in reason and "float32" in reason
    with executor.alone():
        assert_close(result, model(x))


def test_a_program_takes_all_that_waits_for_no_cut():
    x = cyrnn.Input((4,))
    cut = layers.Dense(4, dtype="float16", name="cut")(layers.Dense(4, name="a")(x))
    b = layers.Dense(4, name="b")(x)
    c = layers.Dense(4, name="c")(layers.Rescaling(2.0, name="scale")(cut))
    model = cyrnn.Model(x, [c, b])
    assert names_of(model) == [("a", "b"), "cut", ("scale", "c")]
    first, middle, last = model.known_partition().parts
    assert first.needs == model.known_partition().inputs and last.needs == middle.fills
    assert len(first.fills) == 2 and middle.needs == first.fills[:1]


def test_programs_of_two_dtypes_take_turns():
    x = cyrnn.Input((4,))
    wide = [layers.Dense(2, dtype="float64", name=f"wide_{number}") for number in range(2)]
    narrow = [layers.Dense(2, name=f"narrow_{number}") for number in range(2)]
    outputs = [layer(x) for pair in zip(wide, narrow, strict=True) for layer in pair]
    model = cyrnn.Model(x, outputs)
    assert sorted(map(sorted, names_of(model))) == [["narrow_0", "narrow_1"], ["wide_0", "wide_1"]]
    given = np.ones((3, 4), "float32")
    results = model(given)
    assert [result.dtype.name for result in results] == ["float64", "float32"] * 2
    with executor.alone():
        for result, alone in zip(results, model(given), strict=True):
            assert_close(result, alone)


def test_calls_of_a_layer_that_carries_states_keep_their_order():
    x = cyrnn.Input((2, 3), batch_size=2)
    rnn = layers.SimpleRNN(3, stateful=True, return_sequences=True, name="rnn")
    late = rnn(layers.Activation("tanh", dtype="float16", name="cut")(x))
    model = cyrnn.Model(x, [late, rnn(x)])
    assert names_of(model) == ["cut", ("rnn", "rnn")]
    given = sequences(2, 2)
    first = model(given)
    model.reset_states()
    with executor.alone():
        for result, alone in zip(first, model(given), strict=True):
            assert_close(result, alone)


GRAPHS = {
    "cuts between programs": lambda x, n: layers.Rescaling(1.5, dtype="float16" if n % 2 else "float32")(x),
    "programs alone": lambda x, n: layers.Rescaling(1.5)(x),
    "operations and cuts": lambda x, n: layers.Rescaling(1.5, dtype="float16")(x) if n % 2 else x * 2.0,
}


@pytest.mark.parametrize("case", GRAPHS)
@pytest.mark.parametrize("wide", [False, True])
def test_the_work_grows_as_the_graph_does(monkeypatch, case, wide):
    """A file may describe 20,000 calls, in any order."""
    looked_at = [0]
    needs = Call.needs.fget
    monkeypatch.setattr(Call, "needs", property(lambda call: looked_at.__setitem__(0, looked_at[0] + 1) or needs(call)))

    def work(count):
        begin = x = cyrnn.Input((4,))
        outputs = [x := GRAPHS[case](begin if wide else x, number) for number in range(count)]
        model = cyrnn.Model(begin, outputs if wide else x)
        looked_at[0] = 0
        model.known_partition()
        return looked_at[0]

    small = work(100)
    assert 100 <= small <= 1000 and work(400) <= 4.5 * small
