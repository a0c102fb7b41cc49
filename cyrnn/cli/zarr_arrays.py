"""``cyrnn predict MODEL x.zarr -o y.zarr``: from an array of zarr to another, chunk by chunk, here or on a cluster."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from cyrnn.cli.errors import during
from cyrnn.cli.text import printable


def predict(options: argparse.Namespace) -> int:
    """Run the command."""
    from cyrnn.dask.zarr_job import predict_zarr

    with during(f"running {options.model} on {options.input} (fewer samples at a time, --batch-size, take less)"):
        result: Any = predict_zarr(
            options.model,
            options.input,
            options.output,
            resume=not options.no_resume,
            progress=_shown,
            client=options.scheduler,
            batch_size=options.batch_size,
            num_threads=options.threads,
            precision=options.precision,
        )
    print(f"{printable(options.output, 500)}: {result.shape} {result.dtype}")
    return 0


def _shown(chunks: Iterable[int]) -> Iterable[int]:
    """The chunks, with a progress bar at a terminal, if there is the package for it."""
    if not sys.stderr.isatty():
        return chunks
    try:
        from tqdm import tqdm
    except ImportError:
        return chunks
    return tqdm(chunks, unit="chunk", leave=False)
