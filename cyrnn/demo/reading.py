"""The demo: a model that real Keras trained reads handwritten digits, row by row."""

import time
from collections.abc import Callable
from functools import partial
from importlib import resources

import numpy as np

import cyrnn
from cyrnn.demo.digits import held_out
from cyrnn.demo.lines import accuracy_line, counted, engine_line
from cyrnn.saving import load_model

_TOLERANCE = 1e-5  # on the largest difference to the class probabilities that Keras itself gave


def run_demo() -> int:
    """Classify the held-out digits, compare with Keras' own outputs, and time it. Returns the exit code."""
    with resources.as_file(resources.files("cyrnn") / "data" / "digits.keras") as path:
        model = load_model(path)
    (x, labels), expected = held_out()
    outputs = model.predict(x)
    correct = int((outputs.argmax(axis=1) == labels).sum())
    difference = float(np.abs(outputs - expected).max())

    print("cyrnn demo: 8x8 handwritten digits, one row of pixels per timestep, a model trained by Keras")
    print(f"  model                  {' -> '.join(type(layer).__name__ for layer in model.layers)}")
    print(accuracy_line(correct, len(labels)))
    print(f"  difference to Keras    {difference:.1e} at most, in the probabilities (allowed: {_TOLERANCE:.0e})")
    many = np.tile(x, (20, 1, 1))
    for count in dict.fromkeys((1, cyrnn.get_num_threads())):
        seconds = _median_time(partial(model.predict, many, num_threads=count))
        print(f"  {counted(count, 'thread'):<22} {len(many) / seconds:,.0f} sequences per second")
    one = x[:1]
    print(f"  one sequence           {_median_time(lambda: model(one)) * 1e6:.1f} microseconds")
    print(engine_line())
    if not difference <= _TOLERANCE:
        print(f"FAILED: the outputs differ from Keras' by {difference:.1e}")
        return 1
    return 0


def _median_time(call: Callable[[], object], seconds: float = 0.5) -> float:
    """The median time of a call in seconds, over at least 5 calls and about `seconds`."""
    call()
    times: list[float] = []
    while len(times) < 5 or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
