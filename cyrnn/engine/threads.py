"""How many threads a call may use."""

import contextlib
import os
import threading
from collections.abc import Iterator

_MOST = 1024  # more threads than that are a mistake
_chosen: int | None = None  # by set_num_threads
_default: int | None = None  # by the environment and the machine, once asked
_this_thread = threading.local()  # .count: within `using`


def set_num_threads(n: int | None) -> None:
    """Use at most `n` threads (>= 1) for a call, in the whole process; None returns to the default.

    The default is CYRNN_NUM_THREADS, else OMP_NUM_THREADS, else the processors that this process may use (its
    affinity and its cgroup's quota). Results do not depend on the number of threads, to the last bit.

    Parameters
    ----------
    n : int or None
        The number, at least 1; None returns to the default.

    Examples
    --------
    >>> cyrnn.set_num_threads(1)
    >>> cyrnn.get_num_threads()
    1
    >>> cyrnn.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n is None else checked_count("n", n)


def get_num_threads() -> int:
    """The number of threads that a call from this thread may use.

    Returns
    -------
    int
    """
    count = getattr(_this_thread, "count", None)
    if count is not None:
        return count
    return _chosen if _chosen is not None else default_num_threads()


@contextlib.contextmanager
def using(n: int | None) -> Iterator[None]:
    """Within the block, calls from this thread use at most `n` threads; None changes nothing."""
    before = getattr(_this_thread, "count", None)
    _this_thread.count = before if n is None else checked_count("num_threads", n)
    try:
        yield
    finally:
        _this_thread.count = before


def default_num_threads() -> int:
    global _default
    if _default is None:
        _default = _from_environment() or usable_cpus()
    return _default


def _from_environment() -> int | None:
    for variable in ("CYRNN_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()  # OMP_NUM_THREADS may list one number per level
        if text:
            if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST:
                return int(text)
            if variable == "CYRNN_NUM_THREADS":  # somebody else's variable is not ours to judge
                raise ValueError(f"CYRNN_NUM_THREADS must be between 1 and {_MOST}, got {text!r}")
    return None


def usable_cpus() -> int:
    """The processors that this process may use: its affinity, and its cgroup's quota rounded up."""
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, quota) if quota else cpus)


def _cgroup_quota() -> int | None:
    """Whole processors that the cgroup's quota amounts to, or None where there is none (cgroup v2, then v1)."""
    from pathlib import Path

    for files in ((f"{_own_cgroup()}/cpu.max",), ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((Path("/sys/fs/cgroup") / file).read_text() for file in files).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue  # no such file, or "max"
        return -(-quota // period) if quota > 0 else None
    return None


def _own_cgroup() -> str:
    """The path of this process' cgroup (v2) below the root; "." if that cannot be said."""
    from pathlib import Path

    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "."
    return next((line[3:].strip("/") for line in lines if line.startswith("0::")), ".") or "."


def checked_count(name: str, n: int) -> int:
    """A number of threads that was asked for. Raises TypeError and ValueError."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{name} must be a positive integer, got {n!r}")
    count = n.__index__()
    if not 1 <= count <= _MOST:
        raise ValueError(f"{name} must be between 1 and {_MOST}, got {count}")
    return count
