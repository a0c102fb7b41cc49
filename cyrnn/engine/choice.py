"""Which engine runs a plan."""

import os


def choose_engine(engine: str | None, isa: str, units: int) -> str:
    """simd or blas: the one asked for, by argument or CYRNN_ENGINE, else the faster one. Raises ValueError."""
    name = engine or os.environ.get("CYRNN_ENGINE") or "auto"
    if name not in ("auto", "simd", "blas"):
        raise ValueError(f"{'engine' if engine else 'CYRNN_ENGINE'} must be 'auto', 'simd' or 'blas', got {name!r}")
    if name == "auto":  # as benchmarks/engines.py measured
        return "blas" if isa == "generic" and units > 8 else "simd"
    return name
