"""What reads files does work and takes memory in proportion to their size, however knotted they are."""

import json
import sys

import knots
import pytest
from counted_work import SIZES, check, memory_of, quietly, work_of

import cyrnn
from cyrnn.layers import Dense, Input
from cyrnn.models.outline import outline
from cyrnn.saving import load_model, load_weights

pytestmark = [
    pytest.mark.thread_unsafe,
    pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger, or what measures coverage, traces already"),
]


@pytest.mark.parametrize(
    "read", [cyrnn.from_json, lambda text: outline(json.loads(text))], ids=["from_json", "outline"]
)
@pytest.mark.parametrize("knot", knots.CONFIGS)
def test_configs(knot, read):
    texts = [json.dumps(knots.CONFIGS[knot](size)) for size in SIZES]
    acts = [quietly(lambda text=text: read(text)) for text in texts]
    check(acts, work_of, 500)
    check(acts, memory_of, 64_000)


@pytest.mark.parametrize("knot", knots.FILES)
def test_files(tmp_path, knot):
    end, make = knots.FILES[knot]
    paths = [tmp_path / f"{size}{end}" for size in SIZES]
    for path, size in zip(paths, SIZES, strict=True):
        path.write_bytes(make(size))
    target = cyrnn.Sequential([Input((3,)), Dense(2, name="dense")])
    for read in (load_model, lambda path: load_weights(target, path)):
        acts = [quietly(lambda path=path, read=read: read(path)) for path in paths]
        check(acts, work_of, 500)
        check(acts, memory_of, 64_000)


def test_growth_is_noticed():
    """A guard of this file."""

    def squares(size):
        return lambda: [row * column for row in range(size) for column in range(size)]

    with pytest.raises(AssertionError):
        check([squares(size) for size in SIZES], memory_of, 500)

    def loops(size):
        for row in range(size):
            for _ in range(size):
                row += 1

    with pytest.raises(AssertionError):
        check([lambda size=size: loops(size) for size in SIZES], work_of, 500)


def test_models_in_models_take_bounded_work():
    """Each model is built of all those within it, so it is not linear; Python's stack bounds the depth."""
    text = json.dumps(knots.nest(40))
    assert work_of(lambda: cyrnn.from_json(text)) < 800_000
