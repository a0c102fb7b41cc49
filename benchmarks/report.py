"""The report of a run: text, JSON and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .cases import GRADIENTS, LAYERS
from .equations import GATES
from .runner import Question, Result, Run
from .trainings import TRAININGS

OURS = "cyrnn"
WANTED = {  # how many times faster than the best peer cyrnn is meant to be, at least
    Question("SimpleRNN, Dense", (1, 1, 8, 32)): 0.7,
    Question("SimpleRNN, Dense", (1, 10, 8, 32)): 1.5,
    Question("SimpleRNN, Dense", (1, 100, 32, 64)): 2.5,
    Question("SimpleRNN, Dense", (32, 10, 8, 4)): 1.2,
    Question("SimpleRNN, Dense", (32, 100, 64, 128)): 1.15,
    Question("SimpleRNN and its gradients", (8, 20, 4, 16)): 4,
    Question("SimpleRNN and its gradients", (32, 10, 8, 32)): 3.5,
    Question("SimpleRNN and its gradients", (1, 200, 32, 64)): 3.5,
    Question("SimpleRNN and its gradients", (32, 100, 64, 128)): 1.8,
    Question("SimpleRNN and its gradients", (128, 50, 64, 128)): 1.55,
    Question("SimpleRNN and its gradients", (64, 50, 128, 256)): 1.35,
    **{Question(f"{layer} and its gradients", (8, 20, 4, 16)): 3 for layer in ("LSTM", "GRU")},
    **{Question(f"{layer} and its gradients", (32, 100, 64, 128)): 1.5 for layer in ("LSTM", "GRU")},
    Question("fit, SimpleRNN, Dense", (4096, 20, 8, 32)): 5,
    Question("fit, SimpleRNN, Dense", (2048, 50, 32, 64)): 2.2,
}
OF_GATES = {  # the same of layers with gates: LSTM, GRU
    (1, 1, 8, 32): (3, 3),
    (1, 1, 32, 64): (3, 3),
    (1, 100, 32, 64): (2, 2),
    (1, 1000, 128, 256): (1.3, 1.5),
    (32, 10, 8, 4): (1.5, 1.5),
    (32, 100, 64, 128): (1.05, 1.05),
    (256, 50, 128, 256): (1.05, 1.05),
}
WANTED |= {
    Question(layer, shape): least
    for shape, bars in OF_GATES.items()
    for layer, least in zip(LAYERS[1:], bars, strict=True)
}
MOST_OF_FORWARD = 3.3  # times of the forward pass that forward and gradients may take, from 64 units and 8 rows on


def _axes(run: Run) -> tuple[list[Question], list[str], list[int]]:
    """The questions, contenders and numbers of threads of the run, each once and in the order of the run."""
    questions = dict.fromkeys(result.question for result in run.results)
    contenders = dict.fromkeys(result.contender for result in run.results)
    counts = dict.fromkeys(result.threads for result in run.results)
    return list(questions), list(contenders), list(counts)


def _label(question: Question) -> str:
    shape = ", ".join(map(str, question.shape))
    return shape if question.model == LAYERS[0] else f"{question.model}: {shape}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _time(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.microseconds is None:
        return result.verdict
    return f"{result.microseconds:,.{0 if result.microseconds >= 100 else 2}f}"


def _quotient(above: Result | None, below: Result | None) -> float | None:
    """The median of the quotients of the rounds: other work on the machine slows both down in a round."""
    if above is None or below is None or above.microseconds is None or below.microseconds is None:
        return None
    return statistics.median(a / b for a, b in zip(above.rounds, below.rounds, strict=True))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(
    title: str, questions: Sequence[Question], columns: Sequence[str], cell: Callable[[Question, str], str]
) -> str:
    """A Markdown table with aligned columns."""
    of_models = any(question.model != LAYERS[0] for question in questions)
    first = "rows" if questions[0].model in TRAININGS else "batch"
    rows = [["model: " * of_models + f"{first}, timesteps, features, units", *columns]]
    rows += [[_label(question), *(cell(question, column) for column in columns)] for question in questions]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([title, "", lines[0], rule, *lines[1:]])


def _best_peers(run: Run, questions: Sequence[Question], contenders: Sequence[str], threads: int) -> str:
    """How the best peer of each model compares with each way to call cyrnn."""

    def cell(question: Question, column: str) -> str:
        found = [run.find(name, threads, question) for name in contenders if not name.startswith(OURS)]
        timed = [result for result in found if result is not None and result.microseconds is not None]
        best = min(timed, key=lambda result: result.microseconds or 0.0, default=None)
        if column == "wanted":
            return _number(WANTED.get(question))
        if column == "best peer":
            return best.contender if best else "-"
        if column == "its time":
            return _time(best)
        return _number(_quotient(best, run.find(column, threads, question)))

    ours = [name for name in contenders if name.startswith(OURS)]
    call = "fit" if questions[0].model in TRAININGS else "layer(x)" if questions[0].model in LAYERS else "model(x)"
    title = f"Time of the best peer / time of cyrnn, {_threads(threads)} (over 1: cyrnn is faster; `{OURS}` is {call}):"
    return _table(title, questions, ["best peer", "its time", ours[0], "wanted", *ours[1:]], cell)


def _over_forward(run: Run, questions: Sequence[Question], contenders: Sequence[str], threads: int) -> str:
    """Forward and gradients over forward alone."""

    def cell(question: Question, column: str) -> str:
        batch, _, _, units = question.shape
        if column == "wanted of cyrnn":
            return f"{MOST_OF_FORWARD:g}" if batch >= 8 and units >= 64 else "-"
        forward = run.find(column, threads, Question(GRADIENTS[question.model], question.shape))
        return _number(_quotient(run.find(column, threads, question), forward))

    of_gradients = [question for question in questions if question.model in GRADIENTS]
    title = f"Time of forward and gradients / time of forward alone, {_threads(threads)}:"
    return _table(title, of_gradients, ["wanted of cyrnn", *contenders], cell)


def _shares(run: Run, questions: Sequence[Question]) -> str:
    """How much of one core cyrnn uses: for its products, and to read the recurrent kernel."""

    def cell(question: Question, column: str) -> str:
        batch, timesteps, features, units = question.shape
        result = run.find(OURS, 1, question)
        if result is None or result.microseconds is None:
            return _time(result)
        columns = GATES[question.model] * units
        gigaflops = 2e-3 * batch * timesteps * (features + units) * columns / result.microseconds
        if column == "GFLOP/s":
            return f"{gigaflops:.1f}"
        if column in peaks:
            return f"{gigaflops / peaks[column]:.0%}"
        if batch > 1 or timesteps == 1:
            return "-"
        gigabytes = 4e-3 * (timesteps - 1) * units * columns / result.microseconds  # the first step has no state
        if column == "kernel GB/s":
            return f"{gigabytes:.1f}"
        cache = run.peak.cache_for(4 * (features + units + 1) * columns)
        return f"{gigabytes / cache.gigabytes:.0%} of {cache.name}" if cache else "-"

    peaks = {f"of {bits} bits": rate for bits, rate in run.peak.gigaflops.items()}
    reading = ["kernel GB/s", "of the cache"] if run.peak.caches else []
    title = f"GFLOP/s of {OURS}, 1 thread, and its share of the measured FMA peak of one core"
    if reading:
        title += (
            ";\nfor batch 1, the bytes of the recurrent kernel read per second, and their share of a cache's bandwidth"
        )
    return _table(f"{title}:", questions, ["GFLOP/s", *peaks, *reading], cell)


def as_text(run: Run) -> str:
    """The machine, versions, times, ratios, the speed-up by threads, shares of the peak, and errors."""
    questions, contenders, counts = _axes(run)
    peers = [name for name in contenders if name != OURS]
    with_bars = any(question.model != LAYERS[0] for question in questions)
    parts = ["\n".join(f"{name}: {value}".replace("\n", "\n    ") for name, value in run.facts.items())]
    parts += [f"{name}: {reason}" for name, reason in run.absent.items()]

    def time(question: Question, name: str) -> str:
        return _time(run.find(name, threads, question))

    def ratio(question: Question, name: str) -> str:
        return _number(_quotient(run.find(name, threads, question), run.find(OURS, threads, question)))

    def speed_up(question: Question, count: str) -> str:
        return _number(_quotient(run.find(OURS, 1, question), run.find(OURS, int(count), question)))

    a_call = "an epoch of fit" if questions and questions[0].model in TRAININGS else "a call"
    for threads in counts:
        parts.append(_table(f"Microseconds {a_call}, {_threads(threads)}, medians:", questions, contenders, time))
        if OURS in contenders and peers and not with_bars:
            title = f"Time of the contender / time of {OURS}, {_threads(threads)} (over 1: {OURS} is faster):"
            parts.append(_table(title, questions, peers, ratio))
        if OURS in contenders and peers and with_bars:
            parts.append(_best_peers(run, questions, contenders, threads))
        if any(question.model in GRADIENTS for question in questions):
            parts.append(_over_forward(run, questions, contenders, threads))
    more = [str(threads) for threads in counts if threads != 1]
    if OURS in contenders and 1 in counts and more:
        title = f"Time of {OURS} at 1 thread / its time at as many threads:"
        parts.append(_table(title, questions, more, speed_up))
    if (
        OURS in contenders
        and 1 in counts
        and not run.peak.reason
        and all(question.model in LAYERS for question in questions)
    ):
        parts.append(_shares(run, questions))
    reasons: dict[str, list[str]] = {}
    for result in run.results:
        if result.verdict:
            named = f"{result.contender}, {_threads(result.threads)}, {result.verdict}: {result.reason}"
            reasons.setdefault(named, []).append(_label(result.question))
    parts += [f"{named} ({'; '.join(labels)})" for named, labels in reasons.items()]
    return "\n\n".join(parts)


def write_json(run: Run, path: Path) -> None:
    """Write all results as JSON, with the time of each round."""
    results = [
        {**vars(result), "question": result.question._asdict(), "microseconds": result.microseconds}
        for result in run.results
    ]
    text = json.dumps(
        {"facts": run.facts, "peak": asdict(run.peak), "absent": run.absent, "results": results}, indent=1
    )
    path.write_text(text + "\n", encoding="utf-8")


def write_plot(run: Run, path: Path) -> None:
    """Draw bars of the ratios to cyrnn, or of times if cyrnn was not measured. Each number of threads has a panel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    questions, contenders, counts = _axes(run)
    relative = OURS in contenders
    bars = [name for name in contenders if not (relative and name == OURS)]
    size = (6.5 * len(counts), 1.8 + 0.13 * len(questions) * (len(bars) + 1))
    figure, panels = plt.subplots(
        1, len(counts), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    start = 1.0 if relative else 0.0  # bars of ratios begin at 1, which is "as fast as cyrnn"
    height = 1 / (len(bars) + 1)
    for panel, threads in zip(panels[0], counts, strict=True):
        for i, name in enumerate(bars):
            found = [run.find(name, threads, question) for question in questions]
            ours = [run.find(OURS, threads, question) for question in questions]
            values = [
                _quotient(theirs, our) if relative else theirs and theirs.microseconds
                for theirs, our in zip(found, ours, strict=True)
            ]
            rows = [row + (i - (len(bars) - 1) / 2) * height for row in range(len(questions))]
            panel.barh(rows, [(v or float("nan")) - start for v in values], height, start, label=name)
        panel.set_xscale("log")
        panel.margins(y=0.01)
        panel.set_yticks(range(len(questions)), [_label(question) for question in questions])
        panel.set_title(_threads(threads))
        panel.set_xlabel(f"time / time of {OURS}" if relative else "microseconds a call")
        if relative:
            panel.axvline(1, color="black", linewidth=1)
    panels[0][0].invert_yaxis()
    figure.suptitle("By batch, timesteps, features, units")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4 * len(counts))
    figure.savefig(path, dpi=150)
