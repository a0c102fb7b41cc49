"""Metadata of zarr with bytes and values changed: each array is opened, or refused by one error, in bounded time.

CYRNN_FUZZ_EXAMPLES=4000 pytest tests/test_fuzz_zarr.py      takes more of these
"""

import json
import os
import random

import numpy as np
import pytest
from changed_json import places, replaced
from measured import within

zarr = pytest.importorskip("zarr", reason="needs dask, distributed and zarr: pip install '.[dask]'")

from cyrnn.dask import zarr_arrays  # noqa: E402

EXAMPLES = int(os.environ.get("CYRNN_FUZZ_EXAMPLES", "60"))
VALUES = [None, True, 0, -1, 7, 2.5, 10**30, float("nan"), "", "x", [], [7], [-1, 5, 3], [[]], {}, {"name": "x"}]
SECONDS, MEMORY = 2, 16 << 20  # of one array, whose metadata has less than two kilobytes
METADATA = {2: ".zarray", 3: "zarr.json"}


@pytest.fixture(params=METADATA)
def array(request, tmp_path):
    """The path of an array, and that of its metadata."""
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=np.ones((10, 5, 3), "f"), chunks=(4, 5, 3), zarr_format=request.param)
    return path, path / METADATA[request.param]


def is_opened(path):
    with within(SECONDS, MEMORY):
        try:
            found = zarr_arrays.opened(str(path))
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error) and len(str(error)) < len(str(path)) + 300
            return False
    assert found.ndim > 0 and isinstance(found.shape, tuple) and isinstance(found.dtype, np.dtype)
    return True


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")  # dtypes that other packages may not know
def test_values_are_opened_or_refused(array):
    path, metadata = array
    sound, draw, opened = json.loads(metadata.read_text()), random.Random(0), 0
    everywhere = list(places(sound))
    for _ in range(EXAMPLES):
        changed = replaced(sound, draw.choice(everywhere), draw.choice(VALUES))
        metadata.write_text(json.dumps(changed))
        opened += is_opened(path)
    assert 0 < opened < EXAMPLES


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
def test_bytes_are_opened_or_refused(array):
    path, metadata = array
    sound, draw, opened = metadata.read_bytes(), random.Random(1), 0
    for _ in range(EXAMPLES):
        changed = bytearray(sound)
        for _ in range(draw.randint(1, 3)):
            begin = draw.randrange(len(changed))
            changed[begin : begin + draw.choice([0, 1, 1, 8])] = draw.randbytes(draw.choice([0, 1, 1, 8]))
        metadata.write_bytes(changed)
        opened += is_opened(path)
    assert opened < EXAMPLES


@pytest.mark.parametrize("many", [10_000, 100_000])
@pytest.mark.parametrize("knot", ["[", '{"a":'])
def test_nested_metadata_is_refused(array, knot, many):
    path, metadata = array
    metadata.write_text('{"zarr_format": 2, "attributes": ' + knot * many)
    assert not is_opened(path)
