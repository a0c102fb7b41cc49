"""The limits of one core of this machine: `peak.cpp` is compiled for it and run."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("peak.cpp")
CACHES = Path("/sys/devices/system/cpu")


@dataclass
class Cache:
    """One level of the caches, as one core sees it."""

    name: str
    bytes: int
    gigabytes: float = 0.0  # read per second


@dataclass
class Peak:
    """The measured limits of one core, or the reason why there are none."""

    gigaflops: dict[int, float] = field(default_factory=dict)  # by vector bits: float32 multiply-adds, counted as two
    caches: list[Cache] = field(default_factory=list)  # the smallest first
    reason: str = ""

    @property
    def facts(self) -> dict[str, str]:
        if self.reason:
            return {"peak of one core": f"not measured: {self.reason}"}
        flops = ", ".join(f"{rate:.0f} GFLOP/s ({bits} bits)" for bits, rate in self.gigaflops.items())
        reads = ", ".join(f"{c.name} ({c.bytes >> 10} KiB) {c.gigabytes:.0f} GB/s" for c in self.caches)
        return {
            "FMA peak of one core, float32": flops,
            "read bandwidth of one core": reads or "not measured: the sizes of the caches are unknown",
        }

    def cache_for(self, size: int) -> Cache | None:
        """The smallest cache that holds `size` bytes."""
        return next((cache for cache in self.caches if size <= cache.bytes), None)


def measure_peak() -> Peak:
    """Compile and run `peak.cpp`, on the processor that contenders with one thread run on."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    caches = _caches()
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = str(Path(folder, "peak"))
            command = [*compiler, "-O2", "-march=native", "-std=c++17", "-o", program, str(SOURCE)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
            command = [program, *(str(size) for size in _buffers(caches))]
            printed = subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=60, preexec_fn=_hold_to_one_processor
            ).stdout
    except FileNotFoundError:
        return Peak(reason=f"there is no C++ compiler {compiler[0]!r}")
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines()
        return Peak(reason=lines[0] if lines else f"{Path(command[0]).name} ended with code {error.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Peak(reason=str(error))
    peak = Peak(caches=caches)
    unmeasured = iter(caches)
    for what, size, rate in map(str.split, printed.splitlines()):
        if what == "flops":
            peak.gigaflops[int(size)] = float(rate)
        else:
            next(unmeasured).gigabytes = float(rate)
    return peak


def _hold_to_one_processor() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])


def _caches() -> list[Cache]:
    """The data caches of the first processor that this process may use, as Linux reports them."""
    first = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    found = []
    for path in (CACHES / f"cpu{first}" / "cache").glob("index*/size"):
        level, kind, size = (path.with_name(name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            found.append(Cache(f"L{level}", int(size.removesuffix("K")) << 10))
    return sorted(found, key=lambda cache: cache.bytes)


def _buffers(caches: list[Cache]) -> list[int]:
    """Bytes to read from each cache: half of it; from the last, shared one, at most four times the one before."""
    sizes = [cache.bytes // 2 for cache in caches]
    if len(caches) > 1:
        sizes[-1] = min(sizes[-1], 4 * caches[-2].bytes)
    return sizes
