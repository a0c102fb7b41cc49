"""What callbacks use of a model and of its optimizer."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from cyrnn.layers.base.arguments import Array

Logs = dict[str, Any]  # results by name, such as "loss" and "val_loss": floats, mostly
Direction = Literal["min", "max"]


class TrainedOptimizer(Protocol):
    """An optimizer, as callbacks see it."""

    learning_rate: Any
    use_ema: bool

    @property
    def iterations(self) -> int: ...

    def get_config(self) -> dict[str, Any]: ...

    def finalize_variable_values(self, model: Any, /) -> None: ...


class TrainedModel(Protocol):
    """A model, as callbacks see it."""

    stop_training: bool  # whether training ends after this batch
    history: Any  # the `History` of the last training

    @property
    def built(self) -> bool: ...

    @property
    def optimizer(self) -> TrainedOptimizer: ...

    @property
    def metric_directions(self) -> Mapping[str, Direction]:
        """Whether a result is the better the smaller or the larger it is, by its name without ``val_``.

        Results of which that is not known are absent.
        """
        ...

    def get_weights(self) -> list[Array]: ...

    def set_weights(self, weights: list[Array], /) -> None: ...

    def save(self, filepath: str, /) -> None: ...

    def save_weights(self, filepath: str, /) -> None:
        """Write the weights and the state of the optimizer."""
        ...

    def load_weights(self, filepath: str, /) -> None:
        """Read what `save_weights` has written, also before the first step of the optimizer."""
        ...
