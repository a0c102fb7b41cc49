"""What this machine and this build use, and Keras' settings: the dtypes of layers that are made without one."""

import platform
from typing import Any, Literal, overload

import numpy

from cyrnn._version import __version__
from cyrnn.backend import backend, epsilon
from cyrnn.dtypes import dtype_policy, floatx, set_dtype_policy, set_floatx
from cyrnn.engine import plan, precision, threads

__all__ = [
    "backend",
    "dtype_policy",
    "epsilon",
    "facts",
    "floatx",
    "set_dtype_policy",
    "set_floatx",
    "show_config",
]


def facts() -> dict[str, Any]:
    """Versions, engine, instruction set, BLAS and threads, by name.

    Returns
    -------
    dict
    """
    import cyrnn.engine.engine_blas as blas  # imports SciPy's BLAS

    return {
        "cyrnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "engine": plan.engine(),
        "instruction_set": plan.isa(),
        "precision": precision.get_precision(),
        "blas": blas.version,
        "blas_core": blas.core,
        "blas_single_threaded": blas.threads_controlled,
        "threads": threads.get_num_threads(),
        "usable_cpus": threads.usable_cpus(),
    }


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """What this machine and this build use, printed or as a dict, as `numpy.show_config` has it.

    Parameters
    ----------
    mode : "stdout" or "dicts"
        "stdout" prints a line for each fact, "dicts" prints nothing.

    Returns
    -------
    None or dict
        None with "stdout". With "dicts" the facts by name, such as "engine", "instruction_set" and "threads"; the dict
        is a new one each time.

    Raises
    ------
    ValueError
        For another mode.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}")
    found = facts()
    if mode == "dicts":
        return found
    width = max(map(len, found))
    for key, value in found.items():
        print(f"{key:<{width}}  {value}")
    return None
