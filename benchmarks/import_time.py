"""The time of imports and of the command line, in new processes: `python benchmarks/import_time.py`.

`import cyrnn` imports names alone, so its layers and models are measured with the first model that is made of them.

The minimum is the figure to compare: other work on the machine only adds time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from time import perf_counter

CHILD = """
from time import perf_counter
began = perf_counter()
import numpy
between = perf_counter()
import cyrnn
cyrnn.Sequential([cyrnn.layers.SimpleRNN(1), cyrnn.layers.Dense(1)])
print(between - began, perf_counter() - between)
"""
COMMANDS = (["--version"], ["--help"], ["config"])


def environment() -> dict[str, str]:
    """That of a user's process: the installed package, never the sources in this folder, and compiled modules kept."""
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def import_times() -> tuple[float, float]:
    """Milliseconds of `import numpy`, and of a first model after it, in one new process."""
    command = [sys.executable, "-P", "-c", CHILD]
    printed = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout
    numpy_seconds, cyrnn_seconds = map(float, printed.split())
    return numpy_seconds * 1e3, cyrnn_seconds * 1e3


def process_time(*arguments: str) -> float:
    """Milliseconds of a process of Python with these arguments, from its start to its end."""
    began = perf_counter()
    subprocess.run([sys.executable, "-P", *arguments], env=environment(), check=True, capture_output=True)
    return (perf_counter() - began) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/import_time.py", description=__doc__)
    parser.add_argument("--processes", type=int, default=21, help="default: %(default)s")
    count = parser.parse_args().processes
    found: dict[str, list[float]] = {}
    for each in range(count + 1):  # the first is not counted: it may compile bytecode and read files from disk
        numpy_time, cyrnn_time = import_times()
        times = {"import numpy": numpy_time, "a first model after it": cyrnn_time, "python": process_time("-c", "pass")}
        times["import cyrnn"] = process_time("-c", "import cyrnn")
        times |= {f"cyrnn {' '.join(command)}": process_time("-m", "cyrnn", *command) for command in COMMANDS}
        for name, time in times.items():
            found.setdefault(name, []).extend([time] if each else [])
    for name, each_time in found.items():
        print(f"{name:<24} {min(each_time):7.1f} ms at least, {statistics.median(each_time):7.1f} ms in the median")
    return 0


if __name__ == "__main__":
    sys.exit(main())
