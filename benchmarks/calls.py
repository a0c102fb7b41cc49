"""What common kinds of calls take, in steps of NumPy: `python benchmarks/calls.py`, or `python -m benchmarks --calls`.

With `--fit` what a step of `fit` takes, which is a part of `python -m benchmarks --fit`.

The unit is a step of NumPy, ``np.tanh(a @ w + b)`` with a (1, 40), w (40, 32) and b (32,): machines differ, and this
makes their results alike. In each round the unit and all calls of a table are timed in turn, in one process on one
thread. Times are the minima over the rounds: other work on the machine only adds to them. Beside each figure is what
cyrnn is meant to need at most, or of speed-ups to reach at least.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

SHAPES = [(1, 1, 8, 32), (1, 10, 8, 32)]  # batch, timesteps, features, units
PLAIN_WITHIN = {(1, 1, 8, 32): 0.4, (1, 10, 8, 32): 0.75}  # units
OVER_PLAIN_WITHIN = {"Bidirectional": 1.0, "Sequential.predict": 2.5}  # units
ALL_OTHERS_OVER_PLAIN_WITHIN = 0.35
STEP_OF_A_MODEL_WITHIN = 1.5  # times the step of its recurrent layer
OF_TWO_THREADS = (1, 1000, 128, 256)
TWO_THREADS_REACH = {"Bidirectional": 1.9, "RNN([cell, cell])": 1.35, "Sequential of two layers": 1.35}
OF_MASKS = [(64, 60, 32, 96), (256, 50, 64, 128)]
MASK_OF_ONES_WITHIN, OVER_THE_SHARE_WITHIN = 1.05, 0.07
STEP_OF_FIT_WITHIN = (8, 15)  # units, us
OF_READYING = [  # layer; batch, timesteps, features, units
    ("SimpleRNN", (32, 20, 8, 32)),
    ("SimpleRNN", (32, 50, 32, 64)),
    ("SimpleRNN", (32, 50, 64, 128)),
    ("LSTM", (32, 50, 32, 64)),
    ("GRU", (32, 50, 32, 64)),
]
READYING_WITHIN, READYING_FROM = 0.1, 64  # of a step; units

Call = Callable[[], Any]
SAMPLE = 5e-4  # seconds of calls that are timed at once: short, so that some samples are undisturbed


# ------------------------------------------------------------ timing


def _seconds(call: Call, repeats: int) -> float:
    """The mean time of a call."""
    began = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - began) / repeats


def times_of(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """The seconds of each call, by name. The calls take turns, in each of the rounds."""
    repeats = {}
    for name, call in calls.items():
        _seconds(call, 3)  # the first calls allocate, and pack weights
        repeats[name] = max(1, int(SAMPLE / min(_seconds(call, 3) for _ in range(3))))
    measured = [{name: _seconds(call, repeats[name]) for name, call in calls.items()} for _ in range(rounds)]
    return {name: min(times[name] for times in measured) for name in calls}


def table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    width = max(len(name) for name, *_ in rows)
    print(f"\n{title}\n")
    print(" " * width + "".join(f"{column:>16}" for column in columns))
    for name, *cells in rows:
        print(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


# ------------------------------------------------------------ calls of small layers and models


def step_of_numpy() -> Call:
    import numpy as np

    a, w, b = np.ones((1, 40), np.float32), np.full((40, 32), 0.01, np.float32), np.zeros(32, np.float32)
    return lambda: np.tanh(a @ w + b)


def calls_of(batch: int, timesteps: int, features: int, units: int) -> dict[str, Call]:
    """The calls by name, the plain call first. All recurrent layers have the same weights."""
    import numpy as np

    import cyrnn
    from cyrnn.layers import RNN, Bidirectional, Dense, Input, SimpleRNN, SimpleRNNCell

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, timesteps, features), np.float32)
    mask, state, double = np.ones((batch, timesteps), bool), np.zeros((batch, units), np.float32), x.astype("float64")
    plain = SimpleRNN(units)
    plain.build(x.shape)

    def alike(layer: Any, copies: int = 1) -> Any:
        layer.build(x.shape)
        layer.set_weights(plain.get_weights() * copies)
        return layer

    inputs, dense = Input((timesteps, features)), Dense(1)
    sequential = cyrnn.Sequential([Input((timesteps, features)), alike(SimpleRNN(units)), dense])
    functional = cyrnn.Model(inputs, dense(alike(SimpleRNN(units))(inputs)))
    returns_state, of_cell = alike(SimpleRNN(units, return_state=True)), alike(RNN([SimpleRNNCell(units)]))
    stateful, both = alike(SimpleRNN(units, stateful=True)), alike(Bidirectional(SimpleRNN(units)), copies=2)

    expected, begun = plain(x), stateful(x)
    for name, answer in {
        "mask": plain(x, mask=mask),
        "return_state": returns_state(x)[0],
        "stateful": begun,
        "initial_state": plain(x, initial_state=state),
        "float64": plain(double),
        "RNN": of_cell(x),
        "Bidirectional": both(x)[:, :units],
    }.items():
        np.testing.assert_allclose(answer, expected, atol=1e-5, err_msg=name)
    for answer in (sequential(x), functional(x), sequential.predict(x)):
        np.testing.assert_allclose(answer, dense(expected), atol=1e-5)
    return {
        "layer(x)": lambda: plain(x),
        "layer(x, mask=mask)": lambda: plain(x, mask=mask),
        "return_state=True": lambda: returns_state(x),
        "stateful=True": lambda: stateful(x),
        "layer(x, initial_state=h)": lambda: plain(x, initial_state=state),
        "float64 input": lambda: plain(double),
        "RNN([cell])": lambda: of_cell(x),
        "Sequential with a Dense": lambda: sequential(x),
        "Model with a Dense": lambda: functional(x),
        "Bidirectional": lambda: both(x),
        "Sequential.predict": lambda: sequential.predict(x),
    }


def show_calls(shape: tuple[int, ...], rounds: int) -> None:
    calls = calls_of(*shape)
    times = times_of({"np.tanh(a @ w + b)": step_of_numpy(), **calls}, rounds)
    unit, plain, *_ = times.values()
    rows = []
    for name, seconds in times.items():
        cells = [f"{seconds * 1e6:.2f}", f"{seconds / unit:.2f}"]
        if name == "layer(x)" and shape in PLAIN_WITHIN:
            cells += ["", f"{PLAIN_WITHIN[shape]:.2f}"]
        elif name in calls and name != "layer(x)":
            bound = OVER_PLAIN_WITHIN.get(name, ALL_OTHERS_OVER_PLAIN_WITHIN)
            cells += [f"{(seconds - plain) / unit:.2f}", f"{bound:.2f}"]
        rows.append((name, *cells))
    title = f"Calls of (batch, timesteps, features, units) {shape}, in us and units, and in units over layer(x):"
    table(title, ["us", "units", "over layer(x)", "at most"], rows)


# ------------------------------------------------------------ steps


def show_steps(batch: int, features: int, units: int, rounds: int) -> None:
    import numpy as np

    import cyrnn
    from cyrnn.layers import Dense, Input, SimpleRNN

    layer = SimpleRNN(units)
    layer.build((batch, None, features))
    model = cyrnn.Sequential([Input((None, features)), layer, Dense(1)])
    x_t = np.ones((batch, features), np.float32)
    calls: dict[str, Call] = {"np.tanh(a @ w + b)": step_of_numpy()}
    for name, stepped, width in (("SimpleRNN", layer, units), ("SimpleRNN, Dense", model, 1)):
        if hasattr(stepped, "stepper"):
            step, out = stepped.stepper(batch).step, np.empty((batch, width), np.float32)
            calls[name] = lambda step=step, out=out: step(x_t, out=out)
    times = times_of(calls, rounds)
    unit, of_layer, *of_model = times.values()
    rows = [(name, f"{seconds * 1e6:.3f}", f"{seconds / unit:.3f}") for name, seconds in times.items()]
    if of_model:
        rows[-1] += (f"{of_model[0] / of_layer:.2f}", f"{STEP_OF_A_MODEL_WITHIN:.2f}")
    else:
        rows.append(("SimpleRNN, Dense: this cyrnn has no steppers of models",))
    title = f"stepper().step(x_t, out=out) of (batch, features, units) {(batch, features, units)}:"
    table(title, ["us", "units", "times layer's", "at most"], rows)


# ------------------------------------------------------------ threads


def show_threads(rounds: int) -> None:
    import numpy as np

    import cyrnn
    from cyrnn.layers import RNN, Bidirectional, Input, SimpleRNN, SimpleRNNCell

    title = f"Time on 1 thread / time on 2, (batch, timesteps, features, units) {OF_TWO_THREADS}:"
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if processors < 2:
        print(f"\n{title} left out, this process may use only 1 processor")
        return
    batch, timesteps, features, units = OF_TWO_THREADS
    x = np.random.default_rng(0).standard_normal((batch, timesteps, features), np.float32)
    layers = {
        "Bidirectional": Bidirectional(SimpleRNN(units)),
        "RNN([cell, cell])": RNN([SimpleRNNCell(units), SimpleRNNCell(units)]),
        "Sequential of two layers": cyrnn.Sequential(
            [Input(x.shape[1:]), SimpleRNN(units, return_sequences=True), SimpleRNN(units)]
        ),
    }

    def call(layer: Any, threads: int) -> Call:
        def on_threads() -> Any:
            cyrnn.set_num_threads(threads)
            return layer(x)

        return on_threads

    calls = {f"{name} {threads}": call(layer, threads) for name, layer in layers.items() for threads in (1, 2)}
    times = times_of(calls, rounds)
    cyrnn.set_num_threads(1)
    rows = []
    for name in layers:
        alone, together = times[f"{name} 1"], times[f"{name} 2"]
        ratio, bound = f"{alone / together:.2f}", f"{TWO_THREADS_REACH[name]:.2f}"
        rows.append((name, f"{alone * 1e6:,.0f}", f"{together * 1e6:,.0f}", ratio, bound))
    table(title, ["1 thread, us", "2 threads, us", "1 / 2", "at least"], rows)


# ------------------------------------------------------------ masks


def masks_of(batch: int, timesteps: int) -> dict[str, Any]:
    """Masks (batch, timesteps) by name. The lengths of padded rows are spread evenly, from 1 to all timesteps."""
    import numpy as np

    lengths = np.linspace(timesteps, 1, batch).astype(int)
    right = np.arange(timesteps) < lengths[:, None]
    shuffled = np.random.default_rng(0).permutation(batch)
    return {
        "ones": np.ones((batch, timesteps), bool),
        "right-padded": right,
        "left-padded": np.ascontiguousarray(right[:, ::-1]),
        "right-padded, rows shuffled": right[shuffled],
        "left-padded, rows shuffled": np.ascontiguousarray(right[shuffled, ::-1]),
    }


def show_masks(shape: tuple[int, ...], rounds: int) -> None:
    import numpy as np

    from cyrnn.layers import SimpleRNN

    batch, timesteps, features, units = shape
    x = np.random.default_rng(0).standard_normal((batch, timesteps, features), np.float32)
    last, whole = SimpleRNN(units), SimpleRNN(units, return_sequences=True)
    masks = masks_of(batch, timesteps)
    calls: dict[str, Call] = {}
    for kind, layer in (("last", last), ("whole", whole)):
        calls[kind] = lambda layer=layer: layer(x)
        calls |= {f"{kind} {name}": lambda layer=layer, mask=mask: layer(x, mask=mask) for name, mask in masks.items()}
        np.testing.assert_allclose(calls[f"{kind} ones"](), layer(x), atol=1e-5)
    times = times_of(calls, rounds)
    rows = [("no mask, us", "", f"{times['last'] * 1e6:,.0f}", f"{times['whole'] * 1e6:,.0f}", "")]
    for name, mask in masks.items():
        shares = [f"{times[f'{kind} {name}'] / times[kind]:.2f}" for kind in ("last", "whole")]
        bound = MASK_OF_ONES_WITHIN if mask.all() else mask.mean() + OVER_THE_SHARE_WITHIN
        rows.append((name, f"{mask.mean():.2f}", *shares, f"{bound:.2f}"))
    title = f"Time with a mask / time without, (batch, timesteps, features, units) {shape}:"
    table(title, ["share live", "last output", "whole sequence", "at most"], rows)


# ------------------------------------------------------------ steps of fit


def fits_of(layer: str, batch: int, timesteps: int, features: int, units: int, steps: int) -> tuple[Any, list[Call]]:
    """A model, and calls of its `fit`: of one step, and of so many more."""
    import numpy as np

    import cyrnn

    rng = np.random.default_rng(0)
    x = rng.standard_normal(((1 + steps) * batch, timesteps, features), np.float32)
    y = rng.standard_normal((len(x), 1), np.float32)
    layers = cyrnn.layers
    model = cyrnn.Sequential([layers.Input(x.shape[1:]), getattr(layers, layer)(units), layers.Dense(1)])
    model.compile("adam", "mse")

    def call(rows: int) -> Call:
        return lambda: model.fit(x[:rows], y[:rows], batch_size=batch, verbose=0)

    return model, [call(batch), call(len(x))]


def show_steps_of_fit(rounds: int) -> None:
    steps = 300  # few, so that some calls are undisturbed
    calls: dict[str, Call] = {"np.tanh(a @ w + b)": step_of_numpy()}
    for layer in ("SimpleRNN", "LSTM", "GRU"):
        calls[f"{layer} once"], calls[layer] = fits_of(layer, 1, 1, 1, 1, steps)[1]
    unit, *times = times_of(calls, rounds).values()
    rows = [("np.tanh(a @ w + b)", f"{unit * 1e6:.2f}", "1.00")]
    for layer, once, many in zip(list(calls)[2::2], times[::2], times[1::2], strict=True):
        step = (many - once) / steps
        bounds = "{} units, {} us".format(*STEP_OF_FIT_WITHIN) if layer == "SimpleRNN" else ""
        rows.append((f"{layer}(1), Dense(1)", f"{step * 1e6:.2f}", f"{step / unit:.2f}", bounds, f"{once * 1e6:.0f}"))
    title = "A step of fit(verbose=0) with batches of one row, one timestep and one feature, mse and Adam:"
    table(title, ["us", "units", "at most", "fit of one, us"], rows)


def show_readying(rounds: int) -> None:
    """How much of a step it takes to make the weights ready for the next one."""
    steps = 12
    calls: dict[str, Call] = {}
    for layer, shape in OF_READYING:
        name = f"{layer} {', '.join(map(str, shape))}"
        model, (once, many) = fits_of(layer, *shape, steps)
        once()  # which makes the compiled step
        compiled, _ = model._compiled._step[1]._begun
        calls |= {f"{name} once": once, name: many, f"{name} refill": compiled.refill}
    times = times_of(calls, rounds)
    rows = []
    for name in list(calls)[1::3]:
        step, refill = (times[name] - times[f"{name} once"]) / steps, times[f"{name} refill"]
        bound = f"{READYING_WITHIN:.2f}" if int(name.split()[-1]) >= READYING_FROM else ""
        rows.append((name, f"{step * 1e6:.1f}", f"{refill * 1e6:.2f}", f"{refill / step:.3f}", bound))
    title = "Making weights ready, in a step of fit of (batch, timesteps, features, units), with a Dense(1):"
    table(title, ["step, us", "ready, us", "share", "at most"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/calls.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=75, help="default: %(default)s")
    parser.add_argument("--blas-core", metavar="NAME", help="OPENBLAS_CORETYPE; default: unset, BLAS chooses")
    parser.add_argument("--fit", action="store_true", help="steps of fit in the place of calls")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # before NumPy's and SciPy's BLAS are loaded
        os.environ.pop(name, None)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if arguments.blas_core:
        os.environ["OPENBLAS_CORETYPE"] = arguments.blas_core

    import numpy as np

    import cyrnn

    cyrnn.set_num_threads(1)
    facts = cyrnn.show_config("dicts")
    print(f"cyrnn {facts['cyrnn']} ({cyrnn.__file__}), NumPy {np.__version__}, load average {os.getloadavg()[0]:.1f}")
    print(f"engine {facts['engine']}, {facts['instruction_set']}; {facts['blas']}, core {facts['blas_core']}")
    if arguments.fit:
        show_steps_of_fit(arguments.rounds)
        show_readying(arguments.rounds)
        return 0
    for shape in SHAPES:
        show_calls(shape, arguments.rounds)
    show_steps(1, 8, 32, arguments.rounds)
    show_threads(arguments.rounds)
    for shape in OF_MASKS:
        show_masks(shape, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
