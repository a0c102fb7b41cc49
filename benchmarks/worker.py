"""The child process: it runs one contender on a fixed number of threads, and answers with the time for each case.

The runner starts `python -P worker.py MODULE FORM THREADS`, without a PYTHONPATH. So nothing but this folder can be
imported from the checkout: `import cyrnn` finds the installed package, never the unbuilt sources. Questions and answers
are lines of JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

TOLERANCE = 1e-4  # from the float64 answer; a contender that differs by more is not timed
WARM_UP = 0.05  # seconds of calls that are not counted: pools wake up, the pool of another contender falls asleep
SAMPLE = 1e-3  # seconds: shorter calls are repeated until a sample lasts about this long


def hold_process(threads: int) -> bool:
    """Limit the process to as many processors as threads. Returns False if the system cannot do that."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    return True


def load(name: str) -> ModuleType:
    """A module of this folder, which is a package that is found here alone."""
    if "benchmarks" not in sys.modules:
        folder = Path(__file__).parent
        spec = importlib.util.spec_from_file_location(
            "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"benchmarks.{name}")


def bind_checked(contender: ModuleType, form: str, case: Any) -> tuple[Callable[[], Any], float]:
    """The contender's call for the case, and the largest difference of its answer from the one in float64."""
    call = contender.bind(case, form)
    call()  # the second answer is checked, to find a state that leaks from one call to the next
    return call, _difference(call(), case.expected())


def bind_trained(contender: ModuleType, form: str, training: Any) -> tuple[Callable[[], Any], float]:
    """An epoch of the contender with shuffled rows, and the largest difference of weights from those in float64.

    These are compared after an epoch that is the same for all: see `Training.alike`.
    """
    alike = training.alike()
    difference = _difference(contender.fit(alike, form)(False), alike.expected())
    return partial(contender.fit(training, form), True), difference


def _difference(answer: Any, expected: Any) -> float:
    import numpy as np

    answer = np.concatenate([np.ravel(part) for part in answer]) if isinstance(answer, tuple) else np.asarray(answer)
    if answer.shape != expected.shape:
        raise ValueError(f"answer of shape {answer.shape}, expected {expected.shape}")
    return float(np.max(np.abs(answer - expected)))


def time_call(call: Callable[[], Any], seconds: float) -> float:
    """The median time of one call, in microseconds."""
    stop, once = perf_counter() + WARM_UP, float("inf")
    while (began := perf_counter()) < stop:
        call()
        once = min(once, perf_counter() - began)
    number = max(1, round(SAMPLE / once))
    samples: list[float] = []
    least = 3 if once < seconds else 1  # of a call that takes longer than all its time, the rounds are the samples
    stop = perf_counter() + seconds
    while len(samples) < least or perf_counter() < stop:
        began = perf_counter()
        for _ in range(number):
            call()
        samples.append((perf_counter() - began) / number)
    return statistics.median(samples) * 1e6


def blas_cores() -> dict[str, str]:
    """The kernels that each OpenBLAS in this process uses, by the folder of the library."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {"BLAS core": "unknown (threadpoolctl is not installed)"}
    libraries = [library for library in threadpool_info() if library["internal_api"] == "openblas"]
    return {
        f"BLAS core of {Path(lib['filepath']).parent.name}": f"{lib['architecture']}, {lib['version']}"
        for lib in libraries
    }


def start(name: str, threads: int) -> tuple[ModuleType | None, dict[str, Any]]:
    """The contender, limited to `threads`, and the first answer to the runner: facts, or why it cannot start."""
    held = hold_process(threads)
    try:
        contender = load(f"contenders.{name}")
        facts = contender.hold(threads)
    except ModuleNotFoundError as error:
        return None, {"not installed": str(error)}
    except Exception as error:
        return None, {"failed": f"{type(error).__name__}: {error}"}
    return contender, {"facts": {"processes held to their processors": "yes" if held else "no", **facts}}


def main() -> None:
    name, form, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # so that output of a library does not mix with the answers

    def reply(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    contender, introduction = start(name, threads)
    reply(**introduction)
    if contender is None:
        return
    left_out: Callable[[Any, str], str] = getattr(contender, "left_out", lambda case, form: "")
    make_case, trainings = load("cases").make_case, load("trainings")
    calls: dict[tuple[Any, ...], Callable[[], Any]] = {}
    for line in sys.stdin:
        question = json.loads(line)
        key = (question["model"], *question["shape"])
        try:
            if key not in calls:
                trains = question["model"] in trainings.TRAININGS
                if not hasattr(contender, "fit" if trains else "bind"):
                    reply(skipped="it has no training" if trains else "it has training alone")
                    continue
                if trains:
                    training = trainings.make_training(question["model"], question["shape"])
                    call, difference = bind_trained(contender, form, training)
                else:
                    case = make_case(question["model"], question["shape"])
                    if reason := left_out(case, form):
                        reply(skipped=reason)
                        continue
                    call, difference = bind_checked(contender, form, case)
                if not difference < getattr(contender, "TOLERANCES", {}).get(form, TOLERANCE):
                    reply(wrong=f"differs by {difference:.1e} from the float64 answer")
                    continue
                calls[key] = call
            reply(microseconds=time_call(calls[key], question["seconds"]), facts=blas_cores())
        except Exception as error:
            reply(failed=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
