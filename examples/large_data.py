"""Data larger than memory: Dask over a zarr store.

The store has chunks of whole sequences. Dask reads a chunk, a model computes it, and a second store takes the result;
only the chunks in work are in memory. Results have the bits of one `predict`.
"""

import tempfile
from pathlib import Path

import dask.array
import numpy as np
import zarr

import cyrnn

cyrnn.utils.set_random_seed(0)
model = cyrnn.Sequential([cyrnn.Input((50, 8)), cyrnn.layers.GRU(32), cyrnn.layers.Dense(2)])


def predicted(chunk):
    return model.predict(chunk, num_threads=1, verbose=0)


with tempfile.TemporaryDirectory() as name:
    store = zarr.create_array(Path(name) / "x.zarr", shape=(20_000, 50, 8), chunks=(2000, 50, 8), dtype="float32")
    rng = np.random.default_rng(0)
    for begin in range(0, store.shape[0], 2000):
        store[begin : begin + 2000] = rng.standard_normal((2000, 50, 8), dtype=np.float32)

    x = dask.array.from_zarr(store)
    y = x.map_blocks(predicted, dtype=np.float32, drop_axis=(1, 2), new_axis=1, chunks=(x.chunks[0], 2))
    target = zarr.create_array(Path(name) / "y.zarr", shape=y.shape, chunks=(2000, 2), dtype="float32")
    dask.array.store(y, target, lock=False)

    same = np.array_equal(target[:], model.predict(store[:], verbose=0))
    print(f"{y.shape[0]:,} sequences in {x.numblocks[0]} chunks; equal to one predict: {same}")
    assert same
