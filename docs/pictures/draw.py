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
    """A marker in black: hollow, or a cross."""
    marker = MARKERS[name]
    colours = {"color": "black"} if marker == "x" else {"facecolors": "white", "edgecolors": "black"}
    return {"marker": marker, "s": 38, "zorder": 2, **colours}


def peers() -> None:
    """The time of each peer over cyrnn's: a row for each question, with cyrnn's own time."""
    rows = [row for run in reversed(read("peers")) for row in run["rows"]]
    figure = Figure(figsize=(9, 1.4 + 0.3 * len(rows)), layout="constrained")
    panel = figure.subplots()
    for place, row in enumerate(rows):
        panel.axhline(place, color="0.85", linewidth=0.7, zorder=0)
        for name, value in row["peers"].items():
            panel.scatter(value / row["cyrnn"], place, **look(name))
    for name in MARKERS:
        if name != "Keras on JAX":
            panel.scatter([], [], label="JAX; in training Keras on JAX" if name == "JAX" else name, **look(name))
    panel.axvline(1, color="black", linewidth=1)
    panel.set_xscale("log")
    panel.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    panel.set_yticks(range(len(rows)), [f"{row['what']}   [{microseconds(row['cyrnn'])}]" for row in rows], fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("time of the peer / time of cyrnn, which is in brackets")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
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
    panel.set_xlim(0, 1.08)
    panel.invert_yaxis()
    panel.axis("off")
    save(figure, "floors")


if __name__ == "__main__":
    pictures = {"peers": peers, "floors": floors}
    for name in sys.argv[1:] or pictures:
        pictures[name]()
