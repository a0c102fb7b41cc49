"""Inference over more data than memory holds, with Dask: lazy arrays, and arrays of zarr, here or on a cluster.

Only names stand here; each is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyrnn.dask.arrays.predict import predict
    from cyrnn.dask.zarr_job import predict_zarr

_MODULES = {"predict": "cyrnn.dask.arrays.predict", "predict_zarr": "cyrnn.dask.zarr_job"}

__all__ = ["predict", "predict_zarr"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'cyrnn.dask' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
