"""Draw the site's pictures from the JSON files beside this script: ``python docs/pictures/draw.py``.

They can be read without colours: each peer has a marker of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

HERE = Path(__file__).parent
MARKERS = {
    "TensorFlow Lite": "o", "JAX": "s", "Keras on JAX": "s", "OpenVINO": "^", "ONNX Runtime": "D",
    "Keras on TensorFlow": "v", "torch": "x",
}  # fmt: skip


def read(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


def save(figure: Figure, name: str) -> None:
    figure.savefig(HERE / f"{name}.png", dpi=110, metadata={"Software": None})


def microseconds(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.0f} ms"
    return f"{value:,.0f} us" if value >= 100 else f"{value:.3g} us"


def look(name: str) -> dict[str, Any]:
    """A marker in black: hollow, so that one upon another is seen, or a cross."""
    marker = MARKERS[name]
    colours = {"color": "black"} if marker == "x" else {"facecolors": "none", "edgecolors": "black"}
    return {"marker": marker, "s": 38, "zorder": 2, **colours}


def peers() -> None:
    """The time of each peer over cyrnn's, run by run: a row for each question, with cyrnn's own time."""
    runs = read("peers")[::-1]
    lines = [line for run in runs for line in (run, *run["rows"])]
    figure = Figure(figsize=(9, 1.6 + 0.3 * len(lines)), layout="constrained")
    panel = figure.subplots()
    labels = []
    for place, line in enumerate(lines):
        if "rows" in line:  # a run
            speed = line["machine"]["processor"].rpartition(", ")[2].removesuffix(" of one core")
            labels.append("")
            panel.text(1.1, place + 0.15, f"{line['command']}, {line['date']}, {speed}", fontsize=8, color="0.3")
            continue
        labels.append(f"{line['what']}   [{microseconds(line['cyrnn'])}]")
        panel.axhline(place, color="0.85", linewidth=0.7, zorder=0)
        for name, value in line["peers"].items():
            panel.scatter(value / line["cyrnn"], place, **look(name))
    for name in MARKERS:
        if name != "Keras on JAX":
            panel.scatter([], [], label="JAX; in training Keras on JAX" if name == "JAX" else name, **look(name))
    panel.axvline(1, color="black", linewidth=1)
    panel.set_xscale("log")
    panel.set_xlim(0.8, 100)
    panel.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    panel.set_yticks(range(len(lines)), labels, fontsize=8)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(lines) - 0.4, -0.8)
    panel.set_xlabel("times as long as cyrnn, whose time is in brackets")
    figure.legend(loc="outside upper center", ncols=6, fontsize=8, frameon=False, handletextpad=0.1, columnspacing=1)
    machine = runs[0]["machine"]["processor"].partition(",")[0]
    text = "Numbers of a row: batch or rows, timesteps, features, units. GFLOP/s: of one core. float32, one thread"
    figure.supxlabel(f"{text}, {machine}.", fontsize=8, color="0.3")
    save(figure, "peers")


def floors() -> None:
    """The floors of the house, as the tests have them: imports go down only."""
    stored = read("floors")
    figure = Figure(figsize=(8, 0.62 * len(stored)), layout="constrained")
    panel = figure.subplots()
    for place, (name, rooms) in enumerate(stored.items()):
        panel.barh(place, 1, 0.86, color="white", edgecolor="black")
        panel.text(0.012, place, name, va="center", weight="bold", fontsize=9)
        panel.text(0.2, place, rooms, va="center", fontsize=9)
    panel.annotate("", (1.03, len(stored) - 0.6), (1.03, -0.4), arrowprops={"arrowstyle": "->"}, annotation_clip=False)
    panel.text(1.045, len(stored) / 2 - 0.5, "imports", rotation=270, va="center", fontsize=9)
    panel.set_xlim(-0.005, 1.08)
    panel.set_ylim(len(stored) - 0.5, -0.5)
    panel.axis("off")
    save(figure, "floors")


def below(figure: Figure, stored: dict[str, Any]) -> None:
    """Where and when it was measured, in small letters."""
    machine = f"{stored['machine'].partition(',')[0]}, {stored['instruction_set']}"
    text = f"{stored['what']}\n{machine}, one thread, {stored['date']}"
    figure.supxlabel(text, fontsize=7, color="0.3")


def latency() -> None:
    """How many calls take longer than a time, by cyrnn and its peers."""
    stored = read("latency")
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    panel = figure.subplots()
    looks = {"cyrnn": "-", "LiteRT": "--", "ONNX Runtime": ":"}
    for name, found in stored["microseconds"].items():
        percentiles = found["percentiles"]
        panel.plot(
            found["slowest"], [100 * share for share in stored["shares"]], looks[name], color="black", linewidth=1.3
        )
        said = ", ".join(f"p{q.removesuffix('.0')} {percentiles[q]:,.3g}" for q in ("50.0", "99.0", "99.9"))
        version = stored["versions"][name]
        panel.plot([], [], looks[name], color="black", label=f"{name} {version}: {said} us, {found['calls']:,} calls")
        for q in ("50.0", "99.0", "99.9"):
            panel.plot(percentiles[q], 100 - float(q), "o", color="black", markersize=4, fillstyle="none")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_yticks([100, 50, 10, 1, 0.1], ["all", "50 %", "10 %", "1 %", "0.1 %"])
    panel.minorticks_off()
    lowest = min(found["slowest"][0] for found in stored["microseconds"].values())
    highest = max(found["percentiles"]["99.9"] for found in stored["microseconds"].values())
    panel.set_xlim(lowest / 1.2, highest * 2)
    ticks = [n * 10**power for power in range(5) for n in (1, 2, 5) if lowest / 1.2 <= n * 10**power <= highest * 2]
    panel.set_xticks(ticks, [f"{tick:,} us" for tick in ticks])
    panel.set_ylabel("calls that take longer")
    panel.set_xlabel("time of a call")
    figure.legend(loc="outside upper left", fontsize=8, frameon=False)
    below(figure, stored)
    save(figure, "latency")


def limits() -> None:
    """The share of what a core does at most, over sizes."""
    stored = read("limits")
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    panels = figure.subplots(1, len(stored["shares"]), sharey=True)
    for panel, (layer, shares) in zip(panels, stored["shares"].items(), strict=True):
        for (batch, of_units), marker in zip(shares.items(), "osD", strict=True):
            panel.plot(stored["units"], [100 * share for share in of_units], f"-{marker}", color="black",
                       markersize=5, markerfacecolor="white", linewidth=1, label=f"batch {batch}")  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_xticks(stored["units"], [str(n) for n in stored["units"]])
        panel.minorticks_off()
        panel.set_ylim(0, 100)
        panel.set_title(layer, fontsize=10)
        panel.set_xlabel("units, and as many features")
        panel.grid(color="0.9")
    panels[0].set_ylabel(f"% of the {stored['gigaflops']:.0f} GFLOP/s of one core")
    panels[0].legend(fontsize=8)
    below(figure, stored)
    save(figure, "limits")


def training() -> None:
    """The right answers of a model that learns, over the seconds that it has been trained."""
    stored = read("training")
    passed, seconds = 0.0, [0.0]
    for each in stored["seconds_of_epochs"]:
        passed += each
        seconds.append(passed)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel = figure.subplots()
    panel.plot(seconds, [0, *(100 * share for share in stored["right"])], "-o", color="black", markersize=3.5)
    panel.axhline(99, color="0.6", linewidth=0.8, linestyle="--")
    panel.text(0, 96, "99 %", va="top", fontsize=8)
    panel.set_xlabel(f"seconds of fit, {len(seconds) - 1} epochs")
    panel.set_ylabel("% of 1,000 new sums right")
    panel.set_ylim(0, 103)
    below(figure, stored)
    save(figure, "training")


if __name__ == "__main__":
    pictures = {"peers": peers, "floors": floors, "latency": latency, "limits": limits, "training": training}
    for name in sys.argv[1:] or pictures:
        pictures[name]()
