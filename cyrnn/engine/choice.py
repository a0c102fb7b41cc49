"""Which engine runs a plan."""

import os


def choose_engine(engine: str | None, preferred: bool, units: int) -> str:
    """simd or blas: the one asked for, by argument or CYRNN_ENGINE, else the faster one. Raises ValueError.

    Parameters
    ----------
    engine : str or None
    preferred : bool
        Whether the plan's instruction set is one that is as wide as that of a BLAS.
    units : int
    """
    name = engine or os.environ.get("CYRNN_ENGINE") or "auto"
    if name not in ("auto", "simd", "blas"):
        raise ValueError(f"{'engine' if engine else 'CYRNN_ENGINE'} must be 'auto', 'simd' or 'blas', got {name!r}")
    if name == "auto":  # as benchmarks/engines.py measured
        return "simd" if preferred or units <= 8 else "blas"
    return name
