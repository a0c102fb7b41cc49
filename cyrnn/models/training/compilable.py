"""What models are compiled with: Keras' `compile`, and what it leaves."""

from typing import TYPE_CHECKING, Any

from cyrnn.layers.base.arguments import Array
from cyrnn.models.model import ModelOfLayers
from cyrnn.notices.keywords import suggesting_keywords

if TYPE_CHECKING:  # imported when a model is trained
    from cyrnn.losses import Loss
    from cyrnn.metrics import Metric
    from cyrnn.optimizers import Optimizer
    from cyrnn.training.compiled import Compiled


class Compilable(ModelOfLayers):
    """A model that can be compiled."""

    _compiled: "Compiled | None" = None

    @suggesting_keywords
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose what the model is trained with. It replaces what was chosen before, as a whole.

        Parameters
        ----------
        optimizer : str, Optimizer, or config
            A name such as "adam", or an optimizer of `cyrnn.optimizers`, whose slots stay its own.
        loss : str, Loss, function, or a list or dict of them
            What is to become small, for each output; for several outputs a list in their order, or a dict by their
            names, with None for outputs that are not trained. A function ``(y_true, y_pred)`` has an attribute
            `gradient`: see `cyrnn.losses.LossFunction`.
        loss_weights : float, list or dict of float, optional
            What the loss of each output is multiplied by.
        metrics, weighted_metrics : list, or dict by output, optional
            Names, metrics of `cyrnn.metrics`, or functions ``(y_true, y_pred)``. The second follow sample weights.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted as in Keras; they change nothing.

        Raises
        ------
        ValueError, TypeError
            For unknown names, and for what is for other outputs than the model has. Nothing has changed then.
        """
        from cyrnn.training.compiled import Compiled

        self._compiled = Compiled(
            self,  # type: ignore[arg-type]  # what can be compiled can be trained
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> "Optimizer | None":
        """The optimizer; None before `compile`."""
        return None if self._compiled is None else self._compiled.optimizer

    @property
    def optimizer_variables(self) -> list[Array] | None:
        optimizer = self.optimizer
        return None if optimizer is None or not optimizer.built else [part.value for part in optimizer.variables]

    @property
    def loss(self) -> "str | Loss | Any":
        """What `compile` was given as loss."""
        return None if self._compiled is None else self._compiled.arguments["loss"]

    @property
    def metrics(self) -> "list[Metric]":
        """The metrics that the model was compiled with."""
        return [] if self._compiled is None else self._compiled.all_metrics

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        return [] if self._compiled is None else list(self._compiled.ordered_logs())

    def get_metrics_result(self) -> dict[str, Any]:
        """Loss and metrics since the last `reset_metrics`.

        Returns
        -------
        dict of str to float
            By sorted names; empty before `compile`.
        """
        return {} if self._compiled is None else self._compiled.logs()

    @property
    def metric_directions(self) -> dict[str, str]:
        """By the name of a log "min" or "max", whichever is better; what has no direction is not there."""
        return {} if self._compiled is None else self._compiled.directions

    def reset_metrics(self) -> None:
        """Let loss and metrics begin anew, as each epoch and each call for one batch does."""
        if self._compiled is not None:
            self._compiled.reset()

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was given, as files hold it.

        Returns
        -------
        dict or None
            None before `compile`.
        """
        return None if self._compiled is None else self._compiled.get_config()

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` has described it. Raises ValueError for unknown names.

        Parameters
        ----------
        config : dict
        """
        from cyrnn.training.compile_config import arguments_of

        self.compile(**arguments_of(config))
