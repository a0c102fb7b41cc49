"""The ways back through single ops, as programs have them: over columns, and from the last timestep to the first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cyrnn
from cyrnn.engine.gradients.taped import Taped
from cyrnn.engine.plan import Table, Vectors
from cyrnn.engine.program import Ops, Program

SIZES = st.sampled_from([1, 2, 3, 5, 8, 9, 17, 33])
OPS = {  # each adds an op from x to out, whose vectors are (units, inner)
    "activation": lambda p, s, x, out, n, inner: p.activation("softplus", x, out, n * inner),
    "activation of rows": lambda p, s, x, out, n, inner: p.activation("log_softmax", x, out, inner),
    "activation of sums": lambda p, s, x, out, n, inner: p.activation("silu", x, out, n),
    "relu": lambda p, s, x, out, n, inner: p.relu(x, out),
    "relu6": lambda p, s, x, out, n, inner: p.relu(x, out, most=6.0),
    "relu with all": lambda p, s, x, out, n, inner: p.relu(x, out, slope=0.3, threshold=0.2, most=1.1),
    "scale": lambda p, s, x, out, n, inner: p.scale(x, out, factor=-2.5, offset=1.0),
    "affine": lambda p, s, x, out, n, inner: p.affine(s, x, out, n, inner),
    "prelu": lambda p, s, x, out, n, inner: p.prelu(s, x, out, n, inner),
    "layer_norm": lambda p, s, x, out, n, inner: p.layer_norm(x, out, n, 0.1, slot=s),
    "layer_norm without weights": lambda p, s, x, out, n, inner: p.layer_norm(x, out, n, 0.1),
    "rms": lambda p, s, x, out, n, inner: p.layer_norm(x, out, n, 0.1, slot=s, centered=False),
    "unit_norm": lambda p, s, x, out, n, inner: p.unit_norm(x, out, n, 1e6),
    "unit_norm of short vectors": lambda p, s, x, out, n, inner: p.unit_norm(x, out, n, 1e-3),
    "masking": lambda p, s, x, out, n, inner: p.masking(0.5, x, out),
}


def test_each_op_has_a_way_back():
    of_masks = {"nonzero", "merge_masks"}  # which have no gradients
    ops = {name for name in ("reshaped", *vars(Ops)) if not name.startswith("_")} - of_masks
    assert "dense" in ops and {name for name in ops if getattr(Taped, name) is getattr(Program, name)} == set()


def seen(program, view, first, width, reverse):
    view = program.columns(view, first, width)
    return program.reversed(view) if reverse else view


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_gradients_over_any_views_are_those_of_central_differences(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    name, timed = draw(st.sampled_from(sorted(OPS))), draw(st.booleans())
    units, inner, outer, batch, timesteps = (
        draw(SIZES),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        2,
        draw(SIZES),
    )
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    turned = [timed and draw(st.booleans()) for _ in range(2)]
    frozen = draw(st.booleans())
    width = units * inner * outer
    program = Taped("float64")
    timeline = program.timeline() if timed else None
    names = [] if frozen else ["scale"] if name == "prelu" else ["scale", "offset"]
    slot = program.slot(trainable=dict.fromkeys(names, (units,)))
    x = program.input("number", timeline, before + width + after)
    out = program.buffer(timeline, width)
    OPS[name](
        program, slot, seen(program, x, before, width, turned[0]), seen(program, out, 0, width, turned[1]), units, inner
    )
    program.output(out)
    program.finish()
    row = (timesteps,) if timed else ()
    array = rng.standard_normal((batch, *row, before + width + after))
    for kink in (0, 0.2, 1.1, 6):
        array = np.where(np.abs(array - kink) < 1e-3, kink + 1e-2, array)
    vectors = {
        "scale": rng.uniform(0.5, 2, units),
        "shift": rng.standard_normal(units),
        "offset": rng.standard_normal(units),
    }

    def run(array, vectors):
        results = program.run((Vectors(**vectors),), (array,))
        return results if isinstance(results, tuple) else (results,)

    results = run(array, vectors)
    way = program.way_back(frozenset([0]), (True,))
    dy = rng.standard_normal(results[0].shape)
    inputs = tuple(
        dy if kind == "gradient" else results[program.tape[number]] if kind == "value" else None
        for kind, number in way.inputs
    )
    found = way.program.run((Vectors(**vectors),) * len(way.slots), inputs)
    found = list(found) if isinstance(found, tuple) else [found]

    def slopes(place, loss):
        step, expected = 1e-6, np.zeros(place.shape)
        for index in range(min(place.size, 40)):
            for sign in (1, -1):
                moved = place.copy()
                moved.flat[index] += sign * step
                expected.flat[index] += sign * loss(moved) / (2 * step)
        return expected.reshape(-1)[:40]

    d_x = slopes(array, lambda moved: np.sum(run(moved, vectors)[0] * dy))
    np.testing.assert_allclose(found[0].reshape(-1)[:40], d_x, atol=1e-6 * max(1, np.abs(d_x).max()))
    assert frozen <= (way.weights == [])
    for (_, vector), gradient in zip(way.weights, found[1:], strict=True):
        expected = slopes(
            vectors[vector], lambda moved, vector=vector: np.sum(run(array, {**vectors, vector: moved})[0] * dy)
        )
        assert gradient.shape == (units,)
        np.testing.assert_allclose(gradient[:40], expected, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("given_tokens", [True, False])
def test_the_gradient_of_a_table_whose_tokens_are_absent_is_that_of_its_first_row(given_tokens):
    rng = np.random.default_rng(0)
    program = Taped("float32")
    timeline = program.timeline()
    slot = program.slot(trainable={"embeddings": (4, 3)})
    other = program.input("number", timeline, 3)
    tokens = program.input("token", timeline, 1, optional=True)
    out = program.buffer(timeline, 3)
    program.embedding(slot, tokens, out)
    added = program.buffer(timeline, 3)
    program.scale(other, added)
    program.output(out)
    program.output(added)
    program.finish()
    way = program.way_back(frozenset(), (True, False))
    dy, table = rng.standard_normal((2, 5, 3)).astype("f4"), rng.standard_normal((4, 3)).astype("f4")
    x = rng.integers(0, 4, (2, 5)) if given_tokens else None
    y, *_ = program.run((Table(table),), (np.zeros((2, 5, 3), "f4"), x))
    np.testing.assert_array_equal(y, table[np.zeros((2, 5), int) if x is None else x])
    known = {"gradient": dy, "value": None if x is None else x[..., None]}
    inputs = tuple(known.get(kind) for kind, _ in way.inputs)
    expected = np.zeros((4, 3), "f4")
    np.add.at(expected, np.zeros((2, 5), int) if x is None else x, dy)
    np.testing.assert_array_equal(way.program.run((), inputs), expected)


def test_long_sums_in_float32_keep_their_digits():
    """Chains of so many float32 additions lose digits: of a token that comes often, of a bias, of a shared `alpha`."""
    count, d = 1 << 21, np.float32(1 / 3)
    tokens = np.full(count, 2)
    tokens[::1000] = 1
    rare = (tokens == 1).sum()
    program = Taped("float32")
    x, d_y = program.input("token", None, 1), program.input("number", None, 1)
    table, total = program.once(4), program.once(1)
    program.embedding_gradient(x, d_y, table, 1)
    program.batch_sum(d_y, total)
    program.output(table)
    program.output(total)
    program.finish()
    found, summed = program.run((), (tokens, np.full((count, 1), d)))
    np.testing.assert_allclose(found, np.array([0, rare, count - rare, 0]) * float(d), rtol=1e-6)
    np.testing.assert_allclose(summed, [count * float(d)], rtol=1e-6)

    program = Taped("float32")
    x, total = program.input("number", None, count), program.once(2)
    program.batch_sum(x, total, count // 2)
    program.output(total)
    program.finish()
    np.testing.assert_allclose(program.run((), (np.full((3, count), d),)), [1.5 * count * float(d)] * 2, rtol=1e-6)

    _, pullback = cyrnn.layers.Dense(1).vjp(np.zeros((count, 1), "f4"))
    of_bias = pullback(np.full((count, 1), d)).weights[1]
    np.testing.assert_allclose(of_bias, [count * float(d)], rtol=1e-6)


def test_wrong_ways_back_are_refused():
    program = Taped("float32")
    timeline = program.timeline()
    x, narrow = program.input("number", timeline, 4), program.input("number", timeline, 3)
    keep, tokens = program.input("mask", timeline, 1), program.input("token", timeline, 1)
    row, table, slot = program.buffer(None, 4), program.once(8), program.slot()
    for call in (
        lambda: program.relu_gradient(x, narrow, x),
        lambda: program.relu_gradient(x, row, x),
        lambda: program.affine_gradient(slot, x, x, None, None, 4),
        lambda: program.affine_gradient(slot, x, x, x, None, 3),
        lambda: program.affine_gradient(5, x, x, x, None, 4),
        lambda: program.prelu_gradient(slot, x, x, narrow, None, 4),
        lambda: program.layer_norm_gradient(x, x, x, None, 3, 0.1),
        lambda: program.unit_norm_gradient(x, x, x, 0, 1.0),
        lambda: program.masking_gradient(x, x, x),
        lambda: program.masking_gradient(keep, x, narrow),
        lambda: program.embedding_gradient(tokens, x, table, 3),
        lambda: program.embedding_gradient(x, x, table, 4),
        lambda: program.embedding_gradient(tokens, x, row, 4),
        lambda: program.batch_sum(x, table),
        lambda: program.batch_sum(x, row),
        lambda: program.batch_sum(x, program.once(4), 2),
    ):
        with pytest.raises(ValueError):
            call()
