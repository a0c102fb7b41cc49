"""The report of a run: text, JSON and a plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .runner import Result, Run, Shape

OURS = "cyrnn"


def _axes(run: Run) -> tuple[list[Shape], list[str], list[int]]:
    """The shapes, contenders and numbers of threads of the run, each once and in the order of the run."""
    shapes = dict.fromkeys(result.shape for result in run.results)
    contenders = dict.fromkeys(result.contender for result in run.results)
    counts = dict.fromkeys(result.threads for result in run.results)
    return list(shapes), list(contenders), list(counts)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _time(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.microseconds is None:
        return result.verdict
    return f"{result.microseconds:,.{0 if result.microseconds >= 100 else 2}f}"


def _quotient(above: Result | None, below: Result | None) -> float | None:
    if above is None or below is None or above.microseconds is None or below.microseconds is None:
        return None
    return above.microseconds / below.microseconds


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(title: str, shapes: Sequence[Shape], columns: Sequence[str], cell: Callable[[Shape, str], str]) -> str:
    """A Markdown table with aligned columns."""
    rows = [["batch, timesteps, features, units", *columns]]
    rows += [[", ".join(map(str, shape)), *(cell(shape, column) for column in columns)] for shape in shapes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([title, "", lines[0], rule, *lines[1:]])


def _shares(run: Run, shapes: Sequence[Shape]) -> str:
    """How much of one core cyrnn uses: for its products, and to read the recurrent kernel."""

    def cell(shape: Shape, column: str) -> str:
        batch, timesteps, features, units = shape
        result = run.find(OURS, 1, shape)
        if result is None or result.microseconds is None:
            return _time(result)
        gigaflops = 2e-3 * batch * timesteps * (features + units) * units / result.microseconds
        if column == "GFLOP/s":
            return f"{gigaflops:.1f}"
        if column in peaks:
            return f"{gigaflops / peaks[column]:.0%}"
        if batch > 1 or timesteps == 1:
            return "-"
        gigabytes = 4e-3 * (timesteps - 1) * units * units / result.microseconds  # the first step has no state
        if column == "kernel GB/s":
            return f"{gigabytes:.1f}"
        cache = run.peak.cache_for(4 * (features + units + 1) * units)
        return f"{gigabytes / cache.gigabytes:.0%} of {cache.name}" if cache else "-"

    peaks = {f"of {bits} bits": rate for bits, rate in run.peak.gigaflops.items()}
    reading = ["kernel GB/s", "of the cache"] if run.peak.caches else []
    title = f"GFLOP/s of {OURS}, 1 thread, and its share of the measured FMA peak of one core"
    if reading:
        title += (
            ";\nfor batch 1, the bytes of the recurrent kernel read per second, and their share of a cache's bandwidth"
        )
    return _table(f"{title}:", shapes, ["GFLOP/s", *peaks, *reading], cell)


def as_text(run: Run) -> str:
    """The machine, versions, times, ratios, the speed-up by threads, shares of the peak, and errors."""
    shapes, contenders, counts = _axes(run)
    peers = [name for name in contenders if name != OURS]
    parts = ["\n".join(f"{name}: {value}".replace("\n", "\n    ") for name, value in run.facts.items())]
    parts += [f"{name}: {reason}" for name, reason in run.absent.items()]

    def time(shape: Shape, name: str) -> str:
        return _time(run.find(name, threads, shape))

    def ratio(shape: Shape, name: str) -> str:
        return _number(_quotient(run.find(name, threads, shape), run.find(OURS, threads, shape)))

    def speed_up(shape: Shape, count: str) -> str:
        return _number(_quotient(run.find(OURS, 1, shape), run.find(OURS, int(count), shape)))

    for threads in counts:
        parts.append(_table(f"Microseconds a call, {_threads(threads)}, medians:", shapes, contenders, time))
        if OURS in contenders and peers:
            title = f"Time of the contender / time of {OURS}, {_threads(threads)} (over 1: {OURS} is faster):"
            parts.append(_table(title, shapes, peers, ratio))
    more = [str(threads) for threads in counts if threads != 1]
    if OURS in contenders and 1 in counts and more:
        title = f"Time of {OURS} at 1 thread / its time at as many threads:"
        parts.append(_table(title, shapes, more, speed_up))
    if OURS in contenders and 1 in counts and not run.peak.reason:
        parts.append(_shares(run, shapes))
    parts += [f"{r.contender} {r.shape}, {_threads(r.threads)}: {r.reason}" for r in run.results if r.verdict]
    return "\n\n".join(parts)


def write_json(run: Run, path: Path) -> None:
    """Write all results as JSON, with the time of each round."""
    results = [{**vars(result), "microseconds": result.microseconds} for result in run.results]
    text = json.dumps(
        {"facts": run.facts, "peak": asdict(run.peak), "absent": run.absent, "results": results}, indent=1
    )
    path.write_text(text + "\n", encoding="utf-8")


def write_plot(run: Run, path: Path) -> None:
    """Draw bars of the ratios to cyrnn, or of times if cyrnn was not measured. Each number of threads has a panel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shapes, contenders, counts = _axes(run)
    relative = OURS in contenders
    bars = [name for name in contenders if not (relative and name == OURS)]
    size = (6.5 * len(counts), 1.8 + 0.13 * len(shapes) * (len(bars) + 1))
    figure, panels = plt.subplots(
        1, len(counts), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    start = 1.0 if relative else 0.0  # bars of ratios begin at 1, which is "as fast as cyrnn"
    height = 1 / (len(bars) + 1)
    for panel, threads in zip(panels[0], counts, strict=True):
        for i, name in enumerate(bars):
            found = [run.find(name, threads, shape) for shape in shapes]
            ours = [run.find(OURS, threads, shape) for shape in shapes]
            values = [
                _quotient(theirs, our) if relative else theirs and theirs.microseconds
                for theirs, our in zip(found, ours, strict=True)
            ]
            rows = [row + (i - (len(bars) - 1) / 2) * height for row in range(len(shapes))]
            panel.barh(rows, [(v or float("nan")) - start for v in values], height, start, label=name)
        panel.set_xscale("log")
        panel.margins(y=0.01)
        panel.set_yticks(range(len(shapes)), [", ".join(map(str, s)) for s in shapes])
        panel.set_title(_threads(threads))
        panel.set_xlabel(f"time / time of {OURS}" if relative else "microseconds a call")
        if relative:
            panel.axvline(1, color="black", linewidth=1)
    panels[0][0].invert_yaxis()
    figure.suptitle("By batch, timesteps, features, units")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4 * len(counts))
    figure.savefig(path, dpi=150)
