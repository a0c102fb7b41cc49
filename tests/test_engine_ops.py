"""The ops of programs that are no recurrences and no dense layers, against NumPy: numbers, masks, NaN and infinity."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import TOLERANCE, pairs, run_python

from cyrnn.engine.plan import Plan, Slot, Vectors
from cyrnn.engine.program import Program

WIDTH = 6  # elements of a row's timestep
SIZES = [(1, 5), (3, 8), (200, 150)]  # (batch, timesteps); the last one in slices and blocks
DTYPES = ["float32", "float64"]


def arrays(batch, timesteps, dtype="float32", special=False):
    """What the ops of a case read: x and y over the timesteps, a row, and masks, of which one is never true."""
    rng = np.random.default_rng(0)
    given = {
        "x": rng.standard_normal((batch, timesteps, WIDTH)),
        "y": rng.standard_normal((batch, timesteps, WIDTH)),
        "row": rng.standard_normal((batch, WIDTH)),
    }
    if special:
        for array in given.values():
            for value in (np.nan, np.inf, -np.inf, 0, 1e38, -1e38, 1e-38):
                array[rng.random(array.shape) < 0.03] = value
    masks = {"keep": rng.random((batch, timesteps)) < 0.6, "keep_y": rng.random((batch, timesteps)) < 0.5}
    masks["keep"][0], masks["keep_y"][0] = False, False
    return SimpleNamespace(**{name: array.astype(dtype) for name, array in given.items()}, **masks)


def vectors(length, dtype="float32"):
    rng = np.random.default_rng(length)
    return tuple((1 + rng.standard_normal(length)).astype(dtype) for _ in range(3))


class Case:
    """An op, and what NumPy computes in its place.

    Parameters
    ----------
    add : callable
        Adds the op to `program`: it takes that and views of `arrays`, and returns (view, shape of its last axes).
    expected : callable
        The result for `arrays`.
    length : int
        That of the vectors in the slot of the op; 0 for none.
    exact : bool
        Whether it only moves numbers.
    """

    def __init__(self, add, expected, length=0, exact=False):
        self.add, self.expected, self.length, self.exact = add, expected, length, exact

    def program(self, dtype, absent=(), before=None):
        """x, y and masks are copied first, so that they are buffers, of which blocks are kept.

        `before` adds ops and returns what the op reads in the place of x.
        """
        program = Program(dtype)
        time = program.timeline()
        given = SimpleNamespace(time=time, slot=program.slot() if self.length else None)
        for name in ("x", "y", "row", "keep", "keep_y"):
            kind, timeline = ("mask" if name[0] == "k" else "number"), (None if name == "row" else time)
            width = 1 if kind == "mask" else WIDTH
            view = program.input(kind, timeline, width, optional=name in absent)
            if name not in absent:
                copied = program.buffer(timeline, width, kind)
                program.copy(view, copied)
                view = copied
            setattr(given, name, view)
        if before is not None:
            given.x = before(program, given.x, time)
        program.output(*self.add(program, given))
        program.finish()
        return program

    def slots(self, dtype):
        return (slot_of(Vectors(*vectors(self.length, dtype))),) if self.length else ()


def slot_of(packed):
    slot = Slot({})
    slot.pack(slot.values, packed)
    return slot


def pointwise(name, *arguments, slot_first=False, **options):
    """Adds an op of x, of which each timestep is computed alone. Some take their slot first, others by name."""

    def add(program, given):
        out = program.buffer(given.time, WIDTH)
        first = [given.slot] if slot_first else []
        named = {} if given.slot is None or slot_first else {"slot": given.slot}
        getattr(program, name)(*first, given.x, out, *arguments, **options, **named)
        return out, (WIDTH,)

    return add


def dropout(factors):
    """Adds the op of x and of factors of this name."""

    def add(program, given):
        out = program.buffer(given.time, WIDTH)
        program.dropout(given.x, getattr(given, factors), out)
        return out, (WIDTH,)

    return add


def spread(vector, inner=1):
    """A vector along an axis, repeated over the elements of a timestep."""
    repeated = np.repeat(vector, inner)
    return np.tile(repeated, WIDTH // len(repeated))


def affine(length, inner=1):
    def expected(a):
        scale, shift, offset = (spread(v, inner) for v in vectors(length, a.x.dtype))
        return (a.x - shift) * scale + offset

    return Case(pointwise("affine", length, inner, slot_first=True), expected, length)


def prelu(length, inner=1):
    def expected(a):
        slope = spread(vectors(length, a.x.dtype)[0], inner)
        return np.maximum(a.x, 0) + slope * np.minimum(a.x, 0)

    return Case(pointwise("prelu", length, inner, slot_first=True), expected, length)


def relu(slope=0.0, threshold=0.0, most=None):
    def expected(a):
        x, kind = a.x, a.x.dtype.type
        y = np.maximum(x, 0) if threshold == 0 else np.where(x > kind(threshold), x, kind(0))
        y = y if most is None else np.clip(y, 0, kind(most))
        return y - kind(slope) * np.maximum(kind(threshold) - x, 0) if slope else y

    options = {"slope": slope, "threshold": threshold, **({} if most is None else {"most": most})}
    return Case(pointwise("relu", **options), expected)


def layer_norm(length, centered=True, weights=True, epsilon=1e-3):
    def expected(a):
        x = a.x.reshape(*a.x.shape[:2], -1, length)
        mean = x.mean(-1, keepdims=True)
        factor = 1 / np.sqrt(np.square(x - mean).mean(-1, keepdims=True) + x.dtype.type(epsilon))
        scale, _, offset = vectors(length, x.dtype)
        y = (x - mean if centered else x) * (factor * scale if weights else factor)
        return (y + offset if weights else y).reshape(a.x.shape)

    return Case(pointwise("layer_norm", length, epsilon, centered=centered), expected, length * weights)


def unit_norm(length):
    def expected(a):
        x = a.x.reshape(*a.x.shape[:2], -1, length)
        factor = np.minimum(1 / np.sqrt(np.square(x).sum(-1, keepdims=True)), x.dtype.type(1e12))
        return (x * factor).reshape(a.x.shape)

    return Case(pointwise("unit_norm", length, 1e12), expected)


def merge(name, expected, axes=None, masks=(), rows=True):
    """Of x, parts of y, and the row."""

    def add(program, given):
        out = program.buffer(given.time, WIDTH)
        y = given.y if axes is None else program.columns(given.y, 0, axes[1][0])
        xs = [given.x, y, *([given.row] if rows else [])]
        program.merge(name, xs, out, axes=axes, masks=[mask and getattr(given, mask) for mask in masks])
        return out, (WIDTH,)

    return Case(add, expected)


def masked_product(a):
    x, y = np.where(a.keep[..., None], a.x, 1), np.where(a.keep_y[..., None], a.y, 1)
    return np.where((a.keep | a.keep_y)[..., None], x * y, 0).astype(a.x.dtype)


def masked_maximum(a):
    keep, keep_y = a.keep[..., None], a.keep_y[..., None]
    y = np.where(keep_y, a.y, a.x)
    return np.maximum(np.where(keep, a.x, y), y)


def masks_merged(all_):
    def add(program, given):
        out = program.buffer(given.time, 1, "mask")
        program.merge_masks([given.keep, given.keep_y], out, all=all_)
        return out, ()

    return Case(add, lambda a: a.keep & a.keep_y if all_ else a.keep | a.keep_y, exact=True)


def join(pieces=1):
    def add(program, given):
        out = program.buffer(given.time, 2 * WIDTH + WIDTH)
        program.join([given.x, given.y, given.row], out, pieces)
        return out, (3 * WIDTH,)

    def expected(a):
        row = np.broadcast_to(a.row[:, None], a.x.shape)
        parts = [part.reshape(*a.x.shape[:2], pieces, -1) for part in (a.x, a.y, row)]
        return np.concatenate(parts, -1).reshape(*a.x.shape[:2], 3 * WIDTH)

    return Case(add, expected, exact=True)


def dot(length, x_inner, y_inner):
    def add(program, given):
        size = (WIDTH // length) ** 2
        out = program.buffer(given.time, size)
        program.dot(given.x, given.y, out, length, x_inner, y_inner)
        return out, (size,)

    def expected(a):
        sides = [part.reshape(*a.x.shape[:2], -1, length, inner) for part, inner in ((a.x, x_inner), (a.y, y_inner))]
        product = np.einsum("btoki,btpkj->btoipj", *sides)
        return product.reshape(*a.x.shape[:2], -1)

    return Case(add, expected)


def copied_row(program, given):
    out = program.buffer(program.timeline(constant=7), WIDTH)
    program.copy(given.row, out)
    return out, (WIDTH,)


def select(index, reverse=False):
    def add(program, given):
        out = program.buffer(None, WIDTH)
        program.select(program.reversed(given.x) if reverse else given.x, out, index)
        return out, (WIDTH,)

    return Case(add, lambda a: (a.x[:, ::-1] if reverse else a.x)[:, index], exact=True)


def take(expected, timeline, view=lambda program, given: given.x, **options):
    def add(program, given):
        out = program.buffer(program.timeline(given.time, **timeline), WIDTH)
        program.take(view(program, given), out, **options)
        return out, (WIDTH,)

    return Case(add, expected, exact=True)


def pool(name, size, stride, padded):
    def add(program, given):
        shape = {"add": stride - 1, "size": stride} if padded else {"size": size}
        out = program.buffer(program.timeline(given.time, **shape, stride=stride), WIDTH)
        program.pool(name, given.x, out, size, stride, padded=padded)
        return out, (WIDTH,)

    def expected(a):
        timesteps = a.x.shape[1]
        count = -(-timesteps // stride) if padded else (timesteps - size) // stride + 1
        before = max(0, (count - 1) * stride + size - timesteps) // 2 if padded else 0
        windows = [a.x[:, max(0, n * stride - before) : n * stride - before + size] for n in range(count)]
        if name == "max":
            return np.stack([window.max(1) for window in windows], 1)
        return np.stack([window.sum(1) / a.x.dtype.type(window.shape[1]) for window in windows], 1)

    return Case(add, expected, exact=name == "max")


def global_pool(name, mask=False):
    def add(program, given):
        out = program.buffer(None, WIDTH)
        program.global_pool(name, given.x, out, given.keep if mask else None)
        return out, (WIDTH,)

    def expected(a):
        if name == "max":
            return a.x.max(1)
        keep = a.keep if mask else np.ones_like(a.keep)
        sums = np.where(keep[..., None], a.x, 0).astype(float).sum(1).astype(a.x.dtype)
        return sums if name == "sum" else sums / keep.sum(1, dtype=a.x.dtype)[:, None]

    return Case(add, expected, exact=name == "max")


def reshaped(program, given):
    other = program.timeline(given.time, times=WIDTH, size=2, stride=2)
    return program.reshaped(given.x, other, 2), (2,)


def permuted_within(program, given):
    out = program.buffer(given.time, WIDTH)
    program.permute(given.x, out, (0, 2, 3), (0, 2, 1))
    return out, (WIDTH,)


def softmax_over_time(program, given):
    """The largest, what is above it, exponentials, their sum: five ops."""
    largest, total = program.buffer(None, WIDTH), program.buffer(None, WIDTH)
    above, powers, out = (program.buffer(given.time, WIDTH) for _ in range(3))
    program.global_pool("max", given.x, largest)
    program.merge("subtract", [given.x, largest], above)
    program.activation("exponential", above, powers, WIDTH)
    program.global_pool("sum", powers, total)
    program.merge("divide", [powers, total], out)
    return out, (WIDTH,)


def softmax(x):
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


CASES = {
    "affine": affine(WIDTH),
    "affine of one number": affine(1, WIDTH),
    "affine along another axis": affine(3, 2),
    "affine of several vectors": affine(2),
    "prelu": prelu(WIDTH),
    "prelu along another axis": prelu(3, 2),
    "dropout": Case(dropout("y"), lambda a: np.where(a.y == 0, 0, a.x * a.y)),
    "dropout of all timesteps": Case(
        dropout("row"), lambda a: np.where(a.row == 0, 0, a.x.swapaxes(0, 1) * a.row).swapaxes(0, 1)
    ),
    "scale": Case(
        pointwise("scale", factor=2.5, offset=-1.0), lambda a: a.x * a.x.dtype.type(2.5) + a.x.dtype.type(-1.0)
    ),
    "relu": relu(),
    "relu with a slope": relu(0.25),
    "relu with a limit": relu(most=0.75),
    "relu with a threshold": relu(threshold=0.5),
    "relu with all": relu(0.25, 0.5, 1.5),
    "layer norm": layer_norm(WIDTH),
    "layer norm of several vectors": layer_norm(3),
    "layer norm without weights": layer_norm(WIDTH, weights=False),
    "layer norm without epsilon": layer_norm(WIDTH, epsilon=0),
    "rms": layer_norm(WIDTH, centered=False),
    "unit norm": unit_norm(WIDTH),
    "unit norm of several vectors": unit_norm(2),
    "add": merge("add", lambda a: a.x + a.y + a.row[:, None]),
    "subtract": merge("subtract", lambda a: a.x - a.y, rows=False),
    "multiply": merge("multiply", lambda a: a.x * a.y * a.row[:, None]),
    "divide": merge("divide", lambda a: a.x / a.y, rows=False),
    "average": merge("average", lambda a: (a.x + a.y + a.row[:, None]) / a.x.dtype.type(3)),
    "maximum": merge("maximum", lambda a: np.maximum(np.maximum(a.x, a.y), a.row[:, None])),
    "minimum": merge("minimum", lambda a: np.minimum(np.minimum(a.x, a.y), a.row[:, None])),
    "merge with one number": merge("multiply", lambda a: a.x * a.y[..., :1], axes=[(WIDTH, 1), (1, WIDTH)], rows=False),
    "merge along the last axis": merge(
        "add", lambda a: a.x + np.tile(a.y[..., :2], 3), axes=[(WIDTH, 1), (2, 1)], rows=False
    ),
    "merge along another axis": merge(
        "add", lambda a: a.x + np.repeat(a.y[..., :3], 2, -1), axes=[(WIDTH, 1), (3, 2)], rows=False
    ),
    "multiply with masks": merge("multiply", masked_product, masks=("keep", "keep_y"), rows=False),
    "multiply with a mask": merge(
        "multiply",
        lambda a: np.where(a.keep[..., None], a.x, 1).astype(a.x.dtype) * a.y,
        masks=("keep", None),
        rows=False,
    ),
    "maximum with masks": merge("maximum", masked_maximum, masks=("keep", "keep_y"), rows=False),
    "some mask": masks_merged(False),
    "all masks": masks_merged(True),
    "join": join(),
    "join pieces": join(2),
    "dot": dot(WIDTH, 1, 1),
    "dot of matrices": dot(2, 3, 1),
    "row for all timesteps": Case(copied_row, lambda a: np.repeat(a.row[:, None], 7, 1), exact=True),
    "first": select(0),
    "fourth": select(3),
    "last": select(-1),
    "third from the end": select(-3),
    "first of a reversed view": select(0, reverse=True),
    "padding": take(lambda a: np.pad(a.x, ((0, 0), (2, 3), (0, 0))), {"add": 5}, before=2),
    "cropping": take(lambda a: a.x[:, 1:-2], {"add": -3}, before=-1),
    "every third": take(lambda a: a.x[:, 1::3], {"add": -1, "stride": 3}, before=-1, stride=3),
    "upsampling": take(lambda a: np.repeat(a.x, 3, 1), {"times": 3}, repeats=3),
    "cropping of a reversed view": take(
        lambda a: a.x[:, ::-1][:, 1:], {"add": -1}, lambda program, given: program.reversed(given.x), before=-1
    ),
    **{
        f"{name} pool {size} {stride} {'same' if padded else 'valid'}": pool(name, size, stride, padded)
        for name in ("average", "max")
        for size, stride in ((2, 2), (3, 1), (1, 3), (5, 2))
        for padded in (False, True)
    },
    "padding larger than the input": pool("average", 1000, 4, True),
    "global average": global_pool("average"),
    "global average with a mask": global_pool("average", mask=True),
    "global sum with a mask": global_pool("sum", mask=True),
    "global max": global_pool("max"),
    "reshape": Case(reshaped, lambda a: a.x.reshape(len(a.x), -1, 2), exact=True),
    "permute within": Case(
        permuted_within,
        lambda a: a.x.reshape(*a.x.shape[:2], 2, 3).swapaxes(2, 3).reshape(a.x.shape),
        exact=True,
    ),
    "softmax over timesteps": Case(softmax_over_time, lambda a: softmax(a.x)),
}


def run(case, given, dtype, absent=(), num_threads=1):
    inputs = [None if name in absent else getattr(given, name) for name in ("x", "y", "row", "keep", "keep_y")]
    return case.program(dtype, absent).run(case.slots(dtype), tuple(inputs), num_threads=num_threads)


def expected_of(case, given):
    with np.errstate(all="ignore"):
        return case.expected(given)


@pytest.mark.parametrize(("name", "sizes", "dtype"), pairs([*CASES], SIZES, DTYPES))
def test_an_op_is_what_numpy_computes(name, sizes, dtype):
    case, given = CASES[name], arrays(*sizes, dtype)
    got, expected = run(case, given, dtype), expected_of(case, given)
    assert got.dtype == expected.dtype
    if case.exact:
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=5 * TOLERANCE[dtype], atol=5 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_nan_and_infinity_come_where_numpy_has_them(name, dtype):
    case, given = CASES[name], arrays(40, 30, dtype, special=True)
    got, expected = run(case, given, dtype), expected_of(case, given)
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(got), kind(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def stack():
    """The slots of two recurrent layers and a dense one, and, for each of some shapes, what they make of x."""
    rng, units = np.random.default_rng(1), 96
    slots = []
    for features, width, recurrent in ((WIDTH, units, True), (units, units, True), (units, WIDTH, False)):
        kernels = [(rng.standard_normal((n, width)) / n**0.5).astype("f4") for n in (features, width)]
        bias = np.zeros(width, "f4")
        slots.append(slot_of(Plan(kernels[0], kernels[1] if recurrent else None, bias, "tanh", engine="simd")))
    hidden = {}
    for sizes in WAVES_AND_SLICES:
        program = Program("float32")
        time = program.timeline()
        out, kept = stacked(program, program.input("number", time, WIDTH), time), program.buffer(time, WIDTH)
        program.copy(out, kept)
        program.output(kept)
        program.finish()
        hidden[sizes] = program.run(tuple(slots), (arrays(*sizes).x,), num_threads=1)
    return SimpleNamespace(slots=tuple(slots), hidden=hidden)


def stacked(program, x, time):
    for width, recurrent in ((96, True), (96, True), (WIDTH, False)):
        out = program.buffer(time, width)
        if recurrent:
            program.recurrent(program.slot(), x, outputs=out)
        else:
            program.dense(program.slot(), x, out)
        x = out
    return x


WAVES_AND_SLICES = [(2, 3000), (300, 40)]


@pytest.mark.parametrize("sizes", WAVES_AND_SLICES, ids=["wave", "slices"])
@pytest.mark.parametrize("name", CASES)
def test_an_op_in_a_larger_program_has_its_bits_on_any_number_of_threads(name, sizes, stack):
    """It reads what a stack of recurrences computes, block by block."""
    case, given = CASES[name], arrays(*sizes)
    inputs = (given.x, given.y, given.row, given.keep, given.keep_y)
    slots = case.slots("float32") + stack.slots
    expected = run(case, SimpleNamespace(**{**vars(given), "x": stack.hidden[sizes]}), "float32")
    for num_threads in (1, 3):
        got = case.program("float32", before=stacked).run(slots, inputs, num_threads=num_threads)
        assert np.array_equal(got, expected, equal_nan=True)


# ---------------------------------------------------------------- several of them


def norms_and_pools(program, given):
    """Normalized, added to itself before, pooled; and the same of its last timestep."""
    normalized, together, pooled = (program.buffer(given.time, WIDTH) for _ in range(3))
    program.layer_norm(given.x, normalized, WIDTH, 1e-3)
    program.merge("add", [given.x, normalized, given.row], together)
    program.take(together, pooled)
    most, last, out = (program.buffer(None, WIDTH) for _ in range(3))
    program.global_pool("max", pooled, most)
    program.select(together, last, -1)
    program.merge("subtract", [most, last], out)
    return out, (WIDTH,)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_ops_after_each_other(sizes):
    given = arrays(*sizes, "float64")
    got = run(Case(norms_and_pools, None), given, "float64")
    mean, variance = given.x.mean(-1, keepdims=True), given.x.var(-1, keepdims=True)
    together = given.x + (given.x - mean) / np.sqrt(variance + 1e-3) + given.row[:, None]
    np.testing.assert_allclose(got, together.max(1) - together[:, -1], atol=1e-12)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux reports it")
@pytest.mark.unsanitized(reason="measures memory")
def test_pointwise_ops_and_global_pools_need_the_memory_of_blocks():
    """Of 400,000 timesteps that are one number each, widened to 256 floats; all at once they were 400 MB."""
    code = """
import resource
import numpy as np
from cyrnn.engine.program import Program
program = Program("float32")
time, n = program.timeline(), 256
x = program.input("number", time, 1)
wide, normalized, soft = (program.buffer(time, n) for _ in range(3))
program.merge("add", [x], wide, axes=[(1, n)])
program.layer_norm(wide, normalized, n, 1e-3)
program.relu(normalized, soft, slope=0.5)
for name in ("average", "max"):
    out = program.buffer(None, n)
    program.global_pool(name, soft, out)
    program.output(out)
program.finish()
x = np.zeros((1, 400_000, 1), "f4")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
program.run((), (x,), num_threads=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    kilobytes = int(run_python(code).stdout)
    assert kilobytes < 20_000


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_is_zeros_or_a_mask_that_is_true(name, sizes):
    """Each input of each op, where it is optional; one is left, which tells how many rows and timesteps there are."""
    case, given = CASES[name], arrays(*sizes)
    stands_for = {name: np.zeros_like(array) for name, array in vars(given).items()}
    stands_for |= {name: np.ones_like(given.keep) for name in ("keep", "keep_y")}
    for absent in (("x",), ("y",), ("row",), ("keep",), ("keep_y",), ("x", "row", "keep", "keep_y")):
        filled = SimpleNamespace(**{**vars(given), **{name: stands_for[name] for name in absent}})
        found = run(case, given, "float32", absent, num_threads=2)
        np.testing.assert_array_equal(found, run(case, filled, "float32"))


# ---------------------------------------------------------------- what does not fit


def refused(make, x, slots=()):
    """Whether a program of x refuses to run."""
    program = Program("float32")
    time = program.timeline()
    make(program, program.input("number", time, WIDTH), time)
    program.finish()
    return program.run(slots, (x,)) is None


@pytest.mark.parametrize(
    "make, fitting",
    [
        (lambda program, x, time: program.output(program.reshaped(x, None, 4 * WIDTH)), [4]),
        (lambda program, x, time: program.output(program.reshaped(x, program.timeline(constant=6), 4)), [4]),
        (lambda program, x, time: program.output(program.reshaped(x, program.timeline(constant=9), 2)), [3]),
        (lambda program, x, time: selected(program, x, 3), [4, 5]),
        (lambda program, x, time: selected(program, x, -4), [4, 5]),
        (lambda program, x, time: cropped(program, x, time, 3), [4, 5]),
        (lambda program, x, time: program.output(transposed(program, x, 4)), [4]),
    ],
    ids=["to a row", "to more timesteps", "to thirds", "select", "select from the end", "crop", "transpose"],
)
def test_lengths_that_do_not_fit_are_left_to_the_caller(make, fitting):
    for timesteps in range(1, 6):
        x = np.zeros((2, timesteps, WIDTH), "f4")
        assert refused(make, x) == (timesteps not in fitting)


def selected(program, x, index):
    out = program.buffer(None, WIDTH)
    program.select(x, out, index)
    program.output(out)


def cropped(program, x, time, count):
    out = program.buffer(program.timeline(time, add=-count), WIDTH)
    program.take(x, out, before=-count)
    program.output(out)


def transposed(program, x, timesteps):
    out = program.buffer(program.timeline(constant=WIDTH), timesteps)
    program.permute(x, out, (timesteps, WIDTH), (1, 0))
    return out


def test_transposed():
    program = Program("float32")
    program.output(transposed(program, program.input("number", program.timeline(), WIDTH), 9))
    program.finish()
    x = arrays(200, 9).x
    assert np.array_equal(program.run((), (x,)), x.swapaxes(1, 2))


def test_a_long_product():
    """Of vectors longer than the parts that are added up side by side."""
    for dtype in DTYPES:
        program, rng = Program(dtype), np.random.default_rng(0)
        x, y = program.input("number", None, 3 * 21, shape=(3, 21)), program.input("number", None, 21)
        out = program.buffer(None, 3)
        program.dot(x, y, out, 21)
        program.output(out)
        program.finish()
        a, b = rng.standard_normal((4, 3, 21)).astype(dtype), rng.standard_normal((4, 21)).astype(dtype)
        np.testing.assert_allclose(program.run((), (a, b)), np.einsum("nik,nk->ni", a, b), rtol=1e-5, atol=1e-5)


def test_axes_in_any_order():
    """(timesteps, 2, 3) to (3, timesteps, 2), of masks too."""
    for kind, dtype in (("number", "f4"), ("mask", "?")):
        program = Program("float32")
        x = program.input(kind, program.timeline(), WIDTH)
        out = program.buffer(program.timeline(constant=3), 10, kind)
        program.permute(x, out, (5, 2, 3), (2, 0, 1))
        program.output(out)
        program.finish()
        given = arrays(200, 5).x.astype(dtype)
        expected = given.reshape(200, 5, 2, 3).transpose(0, 3, 1, 2).reshape(200, 3, 10)
        assert np.array_equal(program.run((), (given,)), expected)


def test_inputs_on_a_timeline_of_known_length_must_have_it():
    program = Program("float32")
    first = program.timeline()
    constant, shorter = program.timeline(constant=4), program.timeline(first, add=-1)
    for timeline in (first, constant, shorter):
        out = program.buffer(timeline, 1)
        program.copy(program.input("number", timeline, 1), out)
        program.output(out)
    program.finish()
    for lengths in ((3, 4, 2), (3, 5, 2), (3, 4, 3), (1, 4, 0)):
        inputs = tuple(np.zeros((1, n, 1), "f4") for n in lengths)
        assert (program.run((), inputs) is None) == (lengths != (3, 4, 2))


def test_inputs_of_another_dtype_are_refused_where_they_change_the_result():
    program = Program("float32")
    x, y = program.input("number", None, 2), program.input("number", None, 2)
    out = program.buffer(None, 2)
    program.merge("add", [x, y], out)
    program.output(out)
    program.take_exactly(y)
    with pytest.raises(ValueError, match="must be an input"):
        program.take_exactly(out)
    program.finish()
    assert program.run((), (np.ones((1, 2), int), np.ones((1, 2), "f4"))).tolist() == [[2, 2]]
    for dtype in ("f8", "i4", "?"):
        assert program.run((), (np.ones((1, 2), "f4"), np.ones((1, 2), dtype))) is None


def test_vectors_of_another_length_or_dtype_do_not_run():
    case, given = CASES["affine"], arrays(3, 8)
    inputs = (given.x, given.y, given.row, given.keep, given.keep_y)
    for packed in (Vectors(*vectors(WIDTH + 1)), Vectors(*vectors(WIDTH, "float64"))):
        assert case.program("float32").run((slot_of(packed),), inputs) is None
    with pytest.raises(ValueError, match="shift must have shape"):
        Vectors(np.ones(3, "f4"), np.ones(2, "f4"))
    with pytest.raises(ValueError, match="scale must be a float array"):
        Vectors(np.ones(3, int))


@pytest.mark.parametrize(
    "add, message",
    [
        (lambda p, v: p.affine(0, v.x, v.out, 4), "cannot be divided into parts of 4"),
        (lambda p, v: p.affine(1, v.x, v.out, 3), "there is no slot 1"),
        (lambda p, v: p.affine(0, v.x, v.row, 3), "on timeline"),
        (lambda p, v: p.layer_norm(v.x, v.narrow, 3, 0.1), "must have one width"),
        (lambda p, v: p.layer_norm(v.x, v.out, 0, 0.1), "cannot be divided into parts of 0"),
        (lambda p, v: p.relu(v.x, v.mask), "of another kind|of one kind|one width"),
        (lambda p, v: p.merge("plus", [v.x], v.out), "unknown merge 'plus'"),
        (lambda p, v: p.merge("add", [], v.out), "as many as xs"),
        (lambda p, v: p.merge("add", [v.x, v.narrow], v.out), "must be as long"),
        (lambda p, v: p.merge("add", [v.x, v.other], v.out), "on timeline"),
        (lambda p, v: p.merge("add", [v.x], v.out, masks=[v.row]), "of another kind"),
        (lambda p, v: p.join([v.x, v.narrow], v.out), "as wide as xs together"),
        (lambda p, v: p.dot(v.x, v.x, v.out, 6), "other axes of x and y"),
        (lambda p, v: p.select(v.x, v.out, 0), "out must not"),
        (lambda p, v: p.take(v.x, v.other, stride=0), "numbers of timesteps"),
        (lambda p, v: p.take(v.row, v.other), "x must have timesteps"),
        (lambda p, v: p.pool("min", v.x, v.other, 2, 2), "'average' or 'max'"),
        (lambda p, v: p.global_pool("max", v.x, v.row, v.mask), "'max' without a mask"),
        (lambda p, v: p.permute(v.x, v.other, (4, 6), (1, 0)), "axes of x in the order"),
        (lambda p, v: p.permute(v.x, v.out, (4, 6), (0, 2)), "order must hold the axes"),
        (lambda p, v: p.timeline(v.time, stride=0), "numbers of timesteps"),
    ],
)
def test_ops_of_views_that_do_not_fit_raise(add, message):
    program = Program("float32")
    time = program.timeline()
    views = SimpleNamespace(
        time=time,
        x=program.input("number", time, WIDTH),
        out=program.buffer(time, WIDTH),
        narrow=program.buffer(time, 2),
        row=program.buffer(None, WIDTH),
        mask=program.buffer(time, 1, "mask"),
        other=program.buffer(program.timeline(), WIDTH),
    )
    program.slot()
    with pytest.raises(ValueError, match=message):
        add(program, views)
