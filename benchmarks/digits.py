"""How long the training of the demo takes in cyrnn and in Keras: `python benchmarks/digits.py`.

Each of cyrnn, Keras on TensorFlow and Keras on JAX has a process of its own, on all processors, and they take turns.
What is timed is `fit`, with all that a library makes in its first step, as in `cyrnn demo --train`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

CONTENDERS = {"cyrnn": "", "Keras on TensorFlow": "tensorflow", "Keras on JAX": "jax"}  # names, backends of Keras


def train(backend: str, seed: int) -> None:
    """Print seconds, accuracy in percent, and versions."""
    os.environ.update({"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"} if backend else {})
    import cyrnn
    from cyrnn.demo import digits

    keras = cyrnn
    if backend:
        import keras
    images, targets = digits.data(digits.to_learn_from(), seed)
    held_out, _ = digits.held_out()
    keras.utils.set_random_seed(seed)
    validation = held_out.x, digits.one_hot(held_out.labels)
    began = perf_counter()
    model = digits.fitted(keras, images, targets, validation_data=validation, verbose=0)
    seconds = perf_counter() - began
    correct = (model.predict(held_out.x, verbose=0).argmax(axis=1) == held_out.labels).mean()
    library = __import__(backend).__version__ if backend else ""
    print(seconds, 100 * correct, keras.__version__, library)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/digits.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--backend", choices=list(CONTENDERS.values()), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend is not None:
        train(arguments.backend, arguments.seed)
        return 0
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    found: dict[str, list[list[str]]] = {}
    for name, backend in CONTENDERS.items():
        if backend and not all(map(importlib.util.find_spec, ("keras", backend))):
            print(f"{name}: not installed")
        else:
            found[name] = []
    for seed in range(arguments.rounds):
        for name, answers in found.items():
            command = [sys.executable, "-P", str(Path(__file__)), "--backend", CONTENDERS[name], "--seed", str(seed)]
            answers.append(subprocess.run(command, env=environment, check=True, stdout=-1, text=True).stdout.split())
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    print(f"processor:{names[0].partition(':')[2]}, load average {os.getloadavg()[0]:.1f}")
    ours = [float(seconds) for seconds, *_ in found["cyrnn"]]
    for name, answers in found.items():
        times = [float(seconds) for seconds, *_ in answers]
        ratio = statistics.median(theirs / our for theirs, our in zip(times, ours, strict=True))
        accuracies = ", ".join(f"{float(percent):.1f}" for _, percent, *_ in answers)
        versions = " ".join(answers[0][2:])
        print(
            f"{name} {versions}: {statistics.median(times):.1f} s, {ratio:.1f} times cyrnn's; accuracy {accuracies} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
