"""What `compile` makes of its arguments: the optimizer, the losses and the metrics, and what an epoch has come to."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from cyrnn import notices, objects, optimizers
from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import checked_int
from cyrnn.layers.base.carried import as_before_on_error
from cyrnn.layers.base.sublayers import looked_at
from cyrnn.metrics import Metric
from cyrnn.optimizers import Optimizer
from cyrnn.training.compile_config import ARGUMENTS, written
from cyrnn.training.compiled_loss import CompiledLoss, Predicted
from cyrnn.training.compiled_metrics import CompiledMetrics
from cyrnn.training.data import Batch
from cyrnn.training.protocol import CompiledStep, Trainable

_NO_STEP: tuple[int, CompiledStep | None] = (-1, None)


class Compiled:
    """What a model is trained with.

    Parameters
    ----------
    model : Trainable
    optimizer, loss, loss_weights, metrics, weighted_metrics, run_eagerly, steps_per_execution, jit_compile
        Arguments of `compile`.

    Raises
    ------
    ValueError, TypeError
        For unknown names, and for what is for other outputs than the model has.
    """

    def __init__(self, model: Trainable, **arguments: Any) -> None:
        checked_int("steps_per_execution", arguments["steps_per_execution"])
        self.arguments = arguments
        self.optimizer: Optimizer | None = optimizers.get(arguments["optimizer"])
        names = model.names_of_targets
        self.loss = CompiledLoss(arguments["loss"], arguments["loss_weights"], names)
        self.metrics = CompiledMetrics(arguments["metrics"], arguments["weighted_metrics"], names)
        self.fits: Any = None  # the shapes that `checks.check_shapes` has found to fit
        self._step = _NO_STEP  # the structure for which it was asked for
        self._masked: tuple[bool, ...] = ()  # for which inputs, as `Batch` says it
        self.reset()

    def arguments_again(self) -> dict[str, Any]:
        """The arguments for another model, with an optimizer and metrics of its own."""
        return {name: nest.mapped(_again, value) for name, value in self.arguments.items()}

    @property
    def all_metrics(self) -> list[Metric]:
        """The metrics of all outputs."""
        return self.metrics.all

    @property
    def directions(self) -> dict[str, str]:
        """By the name of a log "min" or "max", whichever is better."""
        losses = dict.fromkeys(["loss", *self.loss.names_of_losses], "min")
        return {**losses, **self.metrics.directions}

    @contextlib.contextmanager
    def open_again_on_error(self) -> Iterator[None]:
        """Context manager: losses and metrics that shapes decide are open as before, if its block fails before a batch
        is taken."""
        losses, metrics = list(self.loss.losses), [entry.metric for entry in self.metrics.entries]
        try:
            yield
        except BaseException:
            if not self._rows:
                self.loss.losses, self.fits, self._step = losses, None, _NO_STEP
                for entry, metric in zip(self.metrics.entries, metrics, strict=True):
                    entry.metric = metric
            raise

    # ------------------------------------------------------------ what an epoch has come to

    def reset(self) -> None:
        """Begin an epoch."""
        self._rows = 0
        self._total = 0.0
        self._each = [0.0] * len(self.loss.losses)
        self.metrics.reset()

    def note(self, total: float, each: list[float | None], rows: int) -> None:
        """Take the loss of a batch into account: it weighs as its rows."""
        self._rows += rows
        self._total += total * rows
        if len(each) > 1:  # else it is the total but for penalties, and nobody asks for it
            self._each = [known + (value or 0.0) * rows for known, value in zip(self._each, each, strict=True)]

    def ordered_logs(self) -> dict[str, Any]:
        """Loss and metrics since `reset`, in the order in which `evaluate` lists them."""
        rows = max(1, self._rows)
        pairs = zip(self.loss.losses, self._each, strict=True)
        each = [value / rows for loss, value in pairs if loss is not None]
        of_outputs = dict(zip(self.loss.names_of_losses, each, strict=False))
        found = self.metrics.results()
        if len(self.loss.names) > 1:  # with their prefixes they are sorted among each other, as in Keras
            return {"loss": self._total / rows, **of_outputs, **dict(sorted(found.items()))}
        return {"loss": self._total / rows, **found, **of_outputs}

    def logs(self) -> dict[str, Any]:
        """The same, by sorted names."""
        return dict(sorted(self.ordered_logs().items()))

    # ------------------------------------------------------------ a batch

    def train(self, model: Trainable, batch: Batch) -> None:
        """One step: the weights follow the gradients of a batch. Nothing has changed after an error.

        Raises
        ------
        ValueError
            For targets that the losses cannot follow, and where there are no gradients.
        """
        if self._masked != batch.masked:
            self._masked, self._step = batch.masked, _NO_STEP
        step = self._step_of(model)
        taken = None if step is None else step.gradients(batch)
        if step is not None and taken is not None:
            if self.metrics.entries:
                self.metrics.update(*taken.copies())
            self.note(taken.total + step.move(), taken.each, batch.rows)
            return
        optimizer = self._checked_optimizer()
        before = optimizer._iterations
        # An interrupt after the weights have moved finds a step that is whole.
        unless = lambda: optimizer._iterations != before  # noqa: E731
        with looked_at(model), as_before_on_error(model, unless):  # type: ignore[arg-type]  # it is a layer
            self._train_by_parts(model, batch, optimizer)

    def _train_by_parts(self, model: Trainable, batch: Batch, optimizer: Optimizer) -> None:
        results, pullback = model.taped(batch.x, batch.mask)
        predicted, penalties = Predicted.of(results), model.losses
        if not self.loss and not penalties:
            raise ValueError("there is no loss to train with: give compile() a loss")
        found = self.loss.of_batch(batch.y, predicted, batch.sample_weight, with_gradients=True)
        dy = nest.filled(results.outputs, found.gradients), found.of_logits
        found_gradients = pullback(dy, inputs=False, losses=True).weights
        gradients = [None if g is None else optimizer.scale_loss(g) for g in found_gradients]
        self._take(batch, predicted, found.total + _sum(penalties), found.each)
        if not model.trainable_weights:
            notices.warn(f"model {model.name!r} has no trainable weights")
            return
        optimizer.apply(gradients, model)  # type: ignore[arg-type]  # it is a layer

    def test(self, model: Trainable, batch: Batch) -> None:
        """Take the loss and the metrics of a batch in inference into account."""
        predicted = Predicted.of(model.called(batch.x, batch.mask))
        found = self.loss.of_batch(batch.y, predicted, batch.sample_weight)
        self._take(batch, predicted, found.total + _sum(model.losses), found.each)

    def _step_of(self, model: Trainable) -> CompiledStep | None:
        """The step of the model as one compiled call, if it has one."""
        made_at, step = self._step
        now = structure_now()
        if made_at != now:
            if step is None or not step.up_to_date():
                step = model.compiled_step(self, self._masked)
            if not self.loss.is_open:  # else there may be one as soon as a batch has said which losses these are
                self._step = (structure_now(), step)
        return step

    def _take(self, batch: Batch, predicted: Predicted, total: float, each: list[float | None]) -> None:
        self.metrics.update(batch.y, predicted.outputs, batch.sample_weight, predicted.masks)
        self.note(total, each, batch.rows)

    def _checked_optimizer(self) -> Optimizer:
        if self.optimizer is None:
            raise ValueError("the model was compiled without an optimizer: it cannot be trained")
        return self.optimizer

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_step": _NO_STEP}  # it is made again when it is needed

    # ------------------------------------------------------------ its config

    def get_config(self) -> dict[str, Any]:
        """The arguments of `compile`, as Keras writes them into files."""
        arguments = {**self.arguments, "optimizer": self.optimizer}
        return {name: written(arguments[name]) for name in ARGUMENTS}


def _sum(penalties: list[Any]) -> float:
    return float(sum(float(np.asarray(penalty)) for penalty in penalties))


def _again(argument: Any) -> Any:
    """A new object of the same config, where there is one with a state."""
    return objects.begun_anew(argument) if isinstance(argument, Optimizer | Metric) else argument
