"""``cyrnn bench MODEL``: how long calls of a model take, and each of its layers, beside ONNX Runtime."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cyrnn.cli.errors import during
from cyrnn.cli.text import print_table, printable
from cyrnn.engine import threads
from cyrnn.models.model import ModelOfLayers
from cyrnn.saving.interchange import load_model
from cyrnn.saving.pictures import check_picture, write_picture
from cyrnn.timing.latency import PERCENTILES, Latency, as_onnx, in_turn, onnx_runtime, random_inputs
from cyrnn.timing.profiling import profile

_OURS, _PEER = "cyrnn", "ONNX Runtime"


def run(options: argparse.Namespace) -> int:
    if options.plot is not None:
        check_picture(options.plot)
    with during(f"reading {options.model}"):
        model = load_model(options.model)
    counts = options.threads or list(dict.fromkeys([1, threads.get_num_threads()]))
    print(f"{printable(options.model, 500)}: {type(model).__name__}, {model.count_params():,} parameters")
    found: list[Latency] = []
    with _peer_file(model) as (path, reason):
        for batch in options.batch:
            x = random_inputs(model, batch, options.timesteps)
            for count in counts:
                calls = _calls(model, x, count, path)
                times = in_turn(calls, options.seconds)
                found += [Latency(name, batch, count, seconds) for name, seconds in times.items()]
    _print_latencies(found)
    if reason is not None:
        print(f"{_PEER} is not measured: {printable(reason, 500)}")
    for batch in options.batch:
        times_of_layers = profile(model, random_inputs(model, batch, options.timesteps), num_threads=counts[0])
        print(f"\nlayers, {batch} samples, {_threads(counts[0])}: {times_of_layers.summary()}")
        head = ("layer", "class", "output shape", "microseconds", "part")
        print_table(head, times_of_layers.table(), numbers=head[3:])
    if options.plot is not None:
        _draw(found, options.plot)
        print(
            f"\n{printable(options.plot, 500)}: the distribution of {sum(len(part.seconds) for part in found):,} calls"
        )
    return 0


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


@contextlib.contextmanager
def _peer_file(model: ModelOfLayers) -> Iterator[tuple[Path | None, str | None]]:
    """The model as a file for ONNX Runtime; or None, and why there is none."""
    with contextlib.ExitStack() as blocks:
        try:
            import onnxruntime  # noqa: F401  (before a file is made for it)

            made: tuple[Path | None, str | None] = blocks.enter_context(as_onnx(model)), None
        except (ImportError, ValueError) as error:
            made = None, str(error)
        yield made


def _calls(model: ModelOfLayers, x: Any, count: int, path: Path | None) -> dict[str, Callable[[], object]]:
    """The contenders."""

    def ours() -> object:
        with threads.using(count):
            return model(x)

    return {_OURS: ours} | ({} if path is None else {_PEER: onnx_runtime(path, x, count)})


def _print_latencies(found: list[Latency]) -> None:
    names = [f"p{percent:g}" for percent in PERCENTILES]
    head = ["batch", "threads", "contender", *names, "samples/s"]
    rows = []
    for part in found:
        times = [part.percentile(percent) for percent in PERCENTILES]
        texts = ["-" if seconds is None else f"{seconds * 1e6:,.1f}" for seconds in times]
        rows.append((part.batch, part.threads, part.contender, *texts, f"{part.samples_per_second:,.0f}"))
    print("microseconds that so many percent of the calls do not exceed:")
    print_table(head, rows, numbers=[name for name in head if name != "contender"])


# ---------------------------------------------------------------- the plot


def _draw(found: list[Latency], path: Path) -> None:
    """Draw for each line of the table how many of its calls take longer than a time."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panel = figure.subplots()
    for part in found:
        count = len(part.seconds)
        longer = (count - np.arange(count)) / count  # from all of them to one
        style = "--" if part.contender == _PEER else "-"
        label = f"{part.contender}, {part.batch} samples, {_threads(part.threads)}"
        panel.step(part.seconds * 1e6, longer, style, where="post", label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("microseconds of a call")
    panel.set_ylabel("part of the calls that take as long, or longer")
    panel.legend()
    write_picture(figure, path)
