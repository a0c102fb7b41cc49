"""Runs calls while allocations fail: ``python failing_run.py LIBRARY FOLDER WHOSE MOST [NAME]``.

The library is tests/native/failing.cpp, which is preloaded too. WHOSE allocations fail is one of

- ours: those of the compiled modules, and of the C++ library for them: alone, or with all that follow;
- numpy: those of NumPy's core, which is where arrays get their memory;
- python: those of Python's objects.

MOST is how many of a call's allocations fail in turn, spread evenly; 0 stands for all. With NAME, only cases in whose
names that is. It prints each number before the call, so that when the process dies the last line says where.
"""

import contextlib
import ctypes
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import failing_cases
import numpy as np
from failing_cases import Case


class Switch:
    """The preloaded library, which knows whose allocations it counts."""

    def __init__(self, library: str, whose: str) -> None:
        self._library, self.whose = ctypes.CDLL(library), whose
        self._library.failing_end.restype = self._library.failing_end_python.restype = ctypes.c_int64
        self._library.failing_begin.argtypes = [ctypes.c_int64, ctypes.c_int]
        self._library.failing_begin_python.argtypes = [ctypes.c_int64]
        self._library.failing_begin.restype = self._library.failing_begin_python.restype = None
        self._library.failing_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.watched = self._watch(
            {"ours": ["/cyrnn/engine/", "/libstdc++"], "numpy": ["/_multiarray_umath"], "python": []}[whose]
        )

    def _watch(self, parts: list[str]) -> list[str]:
        names = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            addresses, access, *_, path = line.split(maxsplit=5)
            if "x" in access and any(part in path for part in parts):
                begin, end = (int(address, 16) for address in addresses.split("-"))
                assert self._library.failing_watch(begin, end)
                names.append(Path(path).name)
        return names

    def begin(self, number: int, and_all_after: bool = False) -> None:
        if self.whose == "python":
            self._library.failing_begin_python(number)
        else:
            self._library.failing_begin(number, and_all_after)

    def end(self) -> int:
        end = self._library.failing_end_python if self.whose == "python" else self._library.failing_end
        try:
            return int(end())
        except MemoryError:  # its own, of Python
            return int(end())


def flat(result: Any) -> Iterator[Any]:
    """The bits of all arrays and numbers in a result."""
    if isinstance(result, (list, tuple)):
        for item in result:
            yield from flat(item)
    else:
        yield result if isinstance(result, bytes) else (np.shape(result), np.asarray(result).tobytes())


def is_of_others(error: BaseException) -> bool:
    """Whether it was raised by code of Python or h5py that we call, which may hide that there was no memory."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "/cyrnn/" not in trace.tb_frame.f_code.co_filename


def bits(result: Any) -> list[Any]:
    return list(flat(result))


@dataclass
class Grid:
    """Which allocations of a call fail."""

    switch: Switch
    most: int
    after: dict[str, list[Any]] = field(default_factory=dict)  # what is watched, after a call

    def numbers(self, count: int) -> list[int]:
        if not self.most:
            return [number for number in range(1, count + 1) for _ in range(2 if self.switch.whose == "ours" else 1)]
        return sorted({1 + i * count // self.most for i in range(self.most) if count})

    def attempt(self, case: Case, number: int, and_all_after: bool = False) -> tuple[Any, int]:
        """The bits of a call in which this allocation fails, None if that was an error; how many there were."""
        subject = case.begin()
        before, result, error = bits(case.watch(subject)), None, None
        try:
            self.switch.begin(number, and_all_after)
            result = case.act(subject)
        except BaseException as error_:
            if not isinstance(error_, MemoryError) and not (self.switch.whose == "python" and is_of_others(error_)):
                raise
            error = error_
        finally:
            count = self.switch.end()
        now = bits(case.watch(subject))
        if result is not None:
            self.after.setdefault(case.name, now)
            return bits(result) + now, count
        if now != before and not (case.whole_step and now == self.after[case.name]):
            raise AssertionError("something has changed") from error
        return None, count

    def run(self, case: Case) -> str:
        for _ in range(3):  # what is made once, is made
            expected, count = self.attempt(case, 0)
        ends = {"MemoryError": 0, "result": 0}
        for turn, number in enumerate(self.numbers(count)):
            print(f"{case.name}: {number} of {count}", file=sys.stderr, flush=True)
            result, _ = self.attempt(case, number, turn % 2 == 1)
            ends["result" if result is not None else "MemoryError"] += 1
            assert result is None or result == expected, "other bits"
            if turn % 4 == 0:
                assert self.attempt(case, 0)[0] == expected, "other bits afterwards"
        return f"{case.name}: {count} allocations, {ends['MemoryError']} errors, {ends['result']} results"


def check_first_threads(switch: Switch) -> None:
    """In a child the pool and its threads are made anew: with fewer threads, or none, there is the same result."""
    model = failing_cases.chain()
    expected = bits(failing_cases.many(model))
    for number in range(1, 12):
        child = os.fork()
        if child == 0:
            result = None
            switch.begin(number, number % 2 == 0)
            with contextlib.suppress(MemoryError):
                result = failing_cases.many(model)
            switch.end()
            whole = result is None or bits(result) == expected
            os._exit(0 if whole and bits(failing_cases.many(model)) == expected else 1)
        assert os.waitpid(child, 0)[1] == 0, f"in a child, allocation {number}"


def main(library: str, folder: str, whose: str, most: str, wanted: str = "") -> None:
    warnings.simplefilter("ignore")
    cases = [case for case in failing_cases.all_cases(Path(folder)) if wanted in case.name]
    switch = Switch(library, whose)
    print("watched:", *switch.watched)
    if whose == "ours":
        check_first_threads(switch)
    gc.disable()  # so that each call has the same number of allocations
    for case in cases:
        print(Grid(switch, int(most)).run(case), flush=True)
        gc.collect()


main(*sys.argv[1:])
