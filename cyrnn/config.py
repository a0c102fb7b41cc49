"""What this machine and this build use."""

import platform
from typing import Any, Literal

import numpy

from cyrnn._version import __version__
from cyrnn.engine import plan, threads


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print version, engine, instruction set, BLAS and threads; with ``mode="dicts"`` return them instead."""
    import cyrnn.engine.engine_blas as blas  # imports SciPy's BLAS

    config = {
        "cyrnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "engine": plan.engine(),
        "instruction_set": plan.isa(),
        "blas": blas.version,
        "blas_core": blas.core,
        "blas_single_threaded": blas.threads_controlled,
        "threads": threads.get_num_threads(),
        "usable_cpus": threads.usable_cpus(),
    }
    if mode == "dicts":
        return config
    if mode != "stdout":
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}")
    width = max(map(len, config))
    for key, value in config.items():
        print(f"{key:<{width}}  {value}")
    return None
