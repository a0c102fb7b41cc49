"""The parent process: it starts a process per contender and number of threads, and asks them in turn, in rounds."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .machine import Peak, measure_peak

CONTENDERS = {  # name: (file in contenders/, form of the call)
    "cyrnn": ("cyrnn_", "call"),
    "cyrnn-predict": ("cyrnn_", "predict"),
    "cyrnn-stepper": ("cyrnn_", "stepper"),
    "cyrnn-bfloat16": ("cyrnn_", "bfloat16"),
    "torch": ("torch_", ""),
    "torch-traced": ("torch_", "traced"),
    "keras": ("tensorflow_", "call"),
    "keras-predict": ("tensorflow_", "predict"),
    "keras-jax": ("keras_jax_", ""),
    "tensorflow": ("tensorflow_", "graph"),
    "tensorflow-xla": ("tensorflow_", "xla"),
    "numpy": ("numpy_", ""),
    "onnxruntime": ("onnxruntime_", ""),
    "onnxruntime-bound": ("onnxruntime_", "bound"),
    "openvino": ("openvino_", ""),
    "openvino-default": ("openvino_", "default"),
    "jax": ("jax_", ""),
    "jax-unrolled": ("jax_", "unrolled"),
    "tflite": ("tflite_", ""),
}

Shape = tuple[int, int, int, int]  # batch, or rows of `fit`, timesteps, features, units


class Question(NamedTuple):
    """What the contenders are asked to run: a model of `cases.MODELS` or `trainings.TRAININGS`, of a shape."""

    model: str
    shape: Shape


@dataclass
class Result:
    """The times of one contender for one question, or why there are none."""

    contender: str
    threads: int
    question: Question
    rounds: list[float] = field(default_factory=list)  # microseconds
    verdict: str = ""  # "wrong", "failed", or "skipped" if it does not take part; empty if it was timed
    reason: str = ""

    @property
    def microseconds(self) -> float | None:
        return statistics.median(self.rounds) if self.rounds and not self.verdict else None


@dataclass
class Run:
    """All results of one run of the benchmark."""

    facts: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # contender: why it could not start
    results: list[Result] = field(default_factory=list)
    peak: Peak = field(default_factory=lambda: Peak(reason="not asked for"))  # of one core

    @property
    def sound(self) -> bool:
        """Whether every contender that is installed started and returned right answers."""
        started = all(reason.startswith("not installed") for reason in self.absent.values())
        return started and all(result.verdict in ("", "skipped") for result in self.results)

    def find(self, contender: str, threads: int, question: Question) -> Result | None:
        wanted = (contender, threads, question)
        return next((r for r in self.results if (r.contender, r.threads, r.question) == wanted), None)


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts(blas_core: str | None) -> dict[str, str]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    facts = {
        "processor": f"{model}, {processors()} of {os.cpu_count()} usable",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "OPENBLAS_CORETYPE": blas_core or "unset",
        "OPENBLAS_L2_SIZE": "unset",
    }
    return facts | {name: os.environ[name] for name in ("CYRNN_ENGINE", "CYRNN_ISA") if name in os.environ}


def child_environment(threads: int, blas_core: str | None) -> dict[str, str]:
    """The environment, without variables that change a library's kernels or threads, or which cyrnn is imported."""
    changing = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "XLA_", "ONEDNN_", "TF_", "TORCH_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(changing)}
    environment = {name: value for name, value in kept.items() if name != "CYRNN_NUM_THREADS"}
    if blas_core:
        environment["OPENBLAS_CORETYPE"] = blas_core
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    return environment


class Worker:
    """A child process with one contender: the facts that it reported, or why it cannot run."""

    def __init__(self, contender: str, threads: int, blas_core: str | None, verbose: bool) -> None:
        module, form = CONTENDERS[contender]
        self.contender = contender
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), module, form, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            env=child_environment(threads, blas_core),
            encoding="utf-8",
        )
        answer = self._read()
        self.facts: dict[str, str] = answer.get("facts", {})
        self.absence = " ".join(f"{verdict}: {answer[verdict]}" for verdict in answer if verdict != "facts")

    def ask(self, question: Question, seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({**question._asdict(), "seconds": seconds}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended: `_read` reports how
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"failed": f"process ended with code {self.process.wait()}"}

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def time_question(
    workers: Sequence[Worker], threads: int, question: Question, rounds: int, seconds: float, run: Run
) -> list[Result]:
    """Time all contenders in turn, `rounds` times. A contender that returned no time is not asked again."""
    results = [(worker, Result(worker.contender, threads, question)) for worker in workers]
    for _ in range(rounds):
        for worker, result in results:
            if result.verdict:
                continue
            answer = worker.ask(question, seconds)
            run.facts.update(answer.get("facts", {}))
            if "microseconds" in answer:
                result.rounds.append(answer["microseconds"])
            else:
                result.verdict, result.reason = answer.popitem()
    return [result for _, result in results]


def measure(
    questions: Sequence[Question],
    thread_counts: Sequence[int],
    contenders: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    blas_core: str | None = None,
    peak: bool = True,
    verbose: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Run:
    """Time `contenders` on `questions`. `tell` is called with lines about the progress."""
    run = Run(machine_facts(blas_core))
    if peak:
        tell("measuring the limits of one core")
        run.peak = measure_peak()
        run.facts.update(run.peak.facts)
    for threads in thread_counts:
        with ExitStack() as stack:
            workers: list[Worker] = []
            for contender in contenders:
                tell(f"threads {threads}: starting {contender}")
                worker = Worker(contender, threads, blas_core, verbose)
                stack.callback(worker.close)
                run.facts.update(worker.facts)
                if worker.absence:
                    run.absent[contender] = worker.absence
                else:
                    workers.append(worker)
            for question in questions:
                tell(f"threads {threads}: {question.model} {question.shape}")
                run.results.extend(time_question(workers, threads, question, rounds, seconds, run))
    return run
