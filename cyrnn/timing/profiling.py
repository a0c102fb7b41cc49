"""A profile of a model: how long each of its layers takes when it is called alone."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.engine import threads
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import checked_number
from cyrnn.layers.base.carried import carried_states, put_back
from cyrnn.layers.base.layer import Layer
from cyrnn.models.calls import ModelOfCalls
from cyrnn.models.executor import Call, Losses, Place, Values, filled, masks_of

_LEAST_RUNS = 3


@dataclass(frozen=True)
class LayerTime:
    """What one call of a layer or operation takes.

    Attributes
    ----------
    name, class_name : str
    shape : str
        That of what it returned; several in brackets.
    seconds : float
        The median of its calls.
    """

    name: str
    class_name: str
    shape: str
    seconds: float


class Profile(Sequence[LayerTime]):
    """The times of a model's layers, in the order of running. Printed, it is a table.

    Attributes
    ----------
    seconds : float
        What a call of the whole model takes, the median. It is less than the sum of its layers, which run as parts of
        one program there.
    runs : int
        How often the model was called.
    """

    def __init__(self, layers: Sequence[LayerTime], seconds: float, runs: int) -> None:
        self._layers = tuple(layers)
        self.seconds = seconds
        self.runs = runs

    def __getitem__(self, index: Any) -> Any:
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def sum(self) -> float:
        """The seconds of all layers."""
        return sum(layer.seconds for layer in self._layers)

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """For each layer its name, class and output shape, its microseconds, and its part of the sum of all."""
        whole = self.sum or 1.0
        return [
            (layer.name, layer.class_name, layer.shape, f"{layer.seconds * 1e6:,.1f}", f"{layer.seconds / whole:.0%}")
            for layer in self._layers
        ]

    def summary(self) -> str:
        """The time of the whole model beside that of its layers."""
        whole, layers = self.seconds * 1e6, self.sum * 1e6
        return f"{whole:,.1f} microseconds for the whole model, {layers:,.1f} for its layers one by one"

    def __str__(self) -> str:
        rows = [("layer", "class", "output shape", "microseconds", "part"), *self.table()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            left = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)]
            right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
            lines.append("  ".join([*left, *right]))
        return "\n".join([*lines, self.summary()])

    __repr__ = __str__


def profile(model: Layer, x: Any, *, seconds: float = 0.5, num_threads: int | None = None) -> Profile:
    """How long each layer of a model takes, when they are called one after the other.

    Parameters
    ----------
    model : Layer
        A Sequential or Functional model; or a layer, which is one row then.
    x : array, or a list or dict of arrays
        What the model is called with.
    seconds : float, default 0.5
        For how long it is called, again and again.
    num_threads : int, optional
        The most threads to use. None is `cyrnn.get_num_threads()`.

    Returns
    -------
    Profile
        A sequence of `LayerTime`. Models in the model are one row each. The states that layers carry are as before.

    Raises
    ------
    TypeError
        The model is no layer of cyrnn.
    ValueError
        The input does not fit.

    Examples
    --------
    >>> print(cyrnn.profile(model, x))
    layer         class        output shape  microseconds  part
    simple_rnn    SimpleRNN    (1, 10, 32)            1.5   62%
    dense         Dense        (1, 10, 4)             0.9   38%
    1.7 microseconds for the whole model, 2.4 for its layers one by one
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer or model of cyrnn, got {type(model).__name__}")
    checked_number("seconds", seconds)
    before = carried_states(model)
    try:
        with threads.using(num_threads):
            return _profile(model, x, seconds)
    finally:
        put_back(before)


def _profile(model: Layer, x: Any, seconds: float) -> Profile:
    outputs = model(x)
    calls = _calls(model, x)
    of_the_whole: list[float] = []
    of_layers: list[list[float]] = [[] for _ in calls.parts] if calls is not None else []
    shapes: list[str] = []
    end = time.perf_counter() + seconds
    while len(of_the_whole) < _LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        model(x)
        of_the_whole.append(time.perf_counter() - start)
        if calls is not None:
            shapes = _run(calls, of_layers)
    whole = float(np.median(of_the_whole))
    if calls is None:
        return Profile([LayerTime(model.name, type(model).__name__, _shapes(outputs), whole)], whole, len(of_the_whole))
    layers = [
        LayerTime(call.layer.name, _class_name(call), shape, float(np.median(times)))
        for call, times, shape in zip(calls.parts, of_layers, shapes, strict=True)
    ]
    return Profile(layers, whole, len(of_the_whole))


@dataclass(frozen=True)
class _Calls:
    """The calls of a model, and the arrays that it is called with."""

    parts: Sequence[Any]
    given: dict[Place, tuple[Any, Any]]


def _calls(model: Layer, x: Any) -> _Calls | None:
    """The calls that a model is made of; None for a layer, and for a model with a `call` of its own."""
    if not isinstance(model, ModelOfCalls) or model.has_its_own_call:
        return None
    places, _ = model.known_inputs()
    partition = model.partition(Place() if places is None else places, False, programs=False)
    arrays = nest.leaves(model.checked_inputs(x))
    given = {place: (array, None) for place, array in zip(partition.inputs, arrays, strict=True)}
    return _Calls(partition.parts, given)


def _run(calls: _Calls, of_layers: list[list[float]]) -> list[str]:
    """Make the calls, and note what each took; the shapes of what they returned."""
    values: Values = dict(calls.given)
    losses: Losses = {}
    shapes = []
    for part, times in zip(calls.parts, of_layers, strict=True):
        start = time.perf_counter()
        part.run(values, losses)
        taken = time.perf_counter() - start
        times.append(_alone(part, values) or taken)
        shapes.append(_shapes([values[place][0] for place in part.fills]))
    return shapes


def _alone(call: Call, values: Values) -> float | None:
    """The seconds of ``layer(x)``, which is shorter than a call among others; None for a call that takes more."""
    if not isinstance(call.layer, Layer) or len(call.args) != 1 or call.options or call.mask is not None:
        return None
    if masks_of(call.args[0], values) is not None:
        return None
    x = filled(call.args[0], values)
    start = time.perf_counter()
    call.layer(x)
    return time.perf_counter() - start


def _class_name(call: Call) -> str:
    return type(call.layer).__name__ if isinstance(call.layer, Layer) else call.layer.class_name


def _shapes(outputs: Any) -> str:
    found = [str(np.shape(array)) for array in nest.leaves(outputs)]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"
