"""The metrics of a model: of each output, with the names that logs have them by."""

from collections.abc import Mapping, Sequence
from typing import Any

from cyrnn import metrics
from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import Array
from cyrnn.metrics import MeanMetricWrapper, Metric
from cyrnn.training.compiled_loss import is_known, kind_by_shapes
from cyrnn.training.outputs import for_each_output

_BY_SHAPE = {"accuracy": "accuracy", "acc": "accuracy", "crossentropy": "crossentropy"}


class _Entry:
    """A metric of an output, once the shapes are known."""

    def __init__(self, given: Any, output: int, weighted: bool) -> None:
        self.output, self.weighted = output, weighted
        self.deferred = _BY_SHAPE.get(given.lower()) if isinstance(given, str) else None
        self.metric: Metric | None = None if self.deferred else _resolved(given)
        name = given if isinstance(given, str) else getattr(self.metric, "name", None)
        self.name: str = name or "metric"

    def resolved(self, t: Array, p: Array) -> Metric:
        """The metric; where its name leaves that to the shapes, the one that they tell from now on."""
        if self.metric is None:
            self.metric = _resolved(f"{kind_by_shapes(t, p)}_{self.deferred}")
        return self.metric


class CompiledMetrics:
    """The metrics of all outputs.

    Parameters
    ----------
    given, weighted : list, tuple or dict, optional
        The arguments `metrics` and `weighted_metrics` of `compile`.
    names : sequence of str
        Those of the outputs.

    Raises
    ------
    ValueError, TypeError
        For what is no metric, or is for other outputs.
    """

    def __init__(self, given: Any, weighted: Any, names: Sequence[str]) -> None:
        self.entries: list[_Entry] = []
        for what, values, is_weighted in (("metrics", given, False), ("weighted_metrics", weighted, True)):
            for output, part in enumerate(_for_outputs(what, values, names)):
                listed = part if isinstance(part, list | tuple) else [] if part is None else [part]
                self.entries += [_Entry(metric, output, is_weighted) for metric in listed if metric is not None]
        self._names = names
        self.names = self._named()

    def _named(self) -> list[str]:
        """The name of each in the logs, all different."""
        found: list[str] = []
        for entry in self.entries:
            prefix = f"{self._names[entry.output]}_" if len(self._names) > 1 else ""
            base = f"{prefix}{entry.name}"
            if base in found and entry.weighted:
                base = f"{prefix}weighted_{entry.name}"
            name, count = base, 0
            while name in found:
                count += 1
                name = f"{base}_{count}"
            found.append(name)
        return found

    @property
    def all(self) -> list[Metric]:
        """The metrics, without those that wait for the first batch."""
        return [entry.metric for entry in self.entries if entry.metric is not None]

    @property
    def directions(self) -> dict[str, str]:
        """By name "min" or "max", whichever is better; those that have no direction are not there."""
        kinds = {"up": "max", "down": "min"}
        found = {}
        for name, entry in zip(self.names, self.entries, strict=True):
            known = {"accuracy": "up", "crossentropy": "down"}.get(entry.deferred or "")
            direction = known or getattr(entry.metric, "direction", None)
            if direction in kinds:
                found[name] = kinds[direction]
        return found

    def update(
        self,
        y_true: Sequence[Array | None],
        y_pred: Sequence[Array],
        sample_weight: Sequence[Array | None],
        masks: Sequence[Array | None],
        only_known: bool = False,
    ) -> None:
        """Take a batch into account, of the arrays of each output; with `only_known` without the metrics of users."""
        for name, entry in zip(self.names, self.entries, strict=True):
            t, p = y_true[entry.output], y_pred[entry.output]
            if t is None:
                raise ValueError(f"y has nothing for output {self._names[entry.output]!r}, which has metrics")
            metric = entry.resolved(t, p)
            if only_known and not (is_known(metric) and is_known(getattr(metric, "_fn", metric))):
                continue
            try:
                metric.update(t, p, sample_weight[entry.output] if entry.weighted else None, masks[entry.output])
            except ValueError as error:
                raise ValueError(f"metric {name!r}: {error}") from error

    def results(self) -> dict[str, Any]:
        """The metrics by their names in the logs, in order. A metric whose result is a dict is there by its keys."""
        found: dict[str, Any] = {}
        for name, entry in zip(self.names, self.entries, strict=True):
            found |= _flat(name, 0.0 if entry.metric is None else entry.metric.result_for_logs())
        return found

    def reset(self) -> None:
        """Begin anew."""
        for metric in self.all:
            metric.reset_state()


def _flat(name: str, result: Any) -> dict[str, Any]:
    if not isinstance(result, Mapping):
        return {name: result}
    return {key: value for part, of_part in result.items() for key, value in _flat(str(part), of_part).items()}


def _for_outputs(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    if given is None:
        return [None] * len(names)
    if not isinstance(given, list | tuple | Mapping):
        raise ValueError(f"{what} must be a list of metrics, or a dict of them by output, got {shown(given)}")
    if isinstance(given, Mapping) or len(names) > 1:
        return for_each_output(what, given, names)
    nested = len(given) == 1 and isinstance(given[0], list | tuple)
    return [given[0] if nested else given]


def _resolved(given: Any) -> Metric:
    found = metrics.get(given)
    if isinstance(found, Metric):
        return found
    if not callable(found):
        raise ValueError(f"metrics must hold names, metrics or functions (y_true, y_pred), got {shown(given)}")
    name = given if isinstance(given, str) else getattr(found, "__name__", type(found).__name__)
    return MeanMetricWrapper(found, name=name)
