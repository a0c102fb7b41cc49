"""The time of `import cyrnn` after `import numpy`, in new processes: `python benchmarks/import_time.py`.

The minimum is the figure to compare: other work on the machine only adds time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

CHILD = """
from time import perf_counter
began = perf_counter()
import numpy
between = perf_counter()
import cyrnn
print(between - began, perf_counter() - between)
"""


def import_times() -> tuple[float, float]:
    """Milliseconds of `import numpy`, and of `import cyrnn` after it, in one new process."""
    command = [sys.executable, "-P", "-c", CHILD]  # the installed package, never the sources in this folder
    # With PYTHONDONTWRITEBYTECODE, each process could compile all sources again, which no user's does.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    numpy_seconds, cyrnn_seconds = map(float, printed.split())
    return numpy_seconds * 1e3, cyrnn_seconds * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/import_time.py", description=__doc__)
    parser.add_argument("--processes", type=int, default=51, help="default: %(default)s")
    import_times()  # not counted: the first import may compile bytecode and read files from disk
    numpy_times, cyrnn_times = zip(*(import_times() for _ in range(parser.parse_args().processes)), strict=True)
    for name, times in (("import numpy", numpy_times), ("import cyrnn, after it", cyrnn_times)):
        print(f"{name:<24} {min(times):7.1f} ms at least, {statistics.median(times):7.1f} ms in the median")
    return 0


if __name__ == "__main__":
    sys.exit(main())
