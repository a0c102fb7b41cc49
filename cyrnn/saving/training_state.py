"""The state of training in files: how a model was compiled, and the variables of its optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from cyrnn import notices
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.saving.errors import ModelFileError, Reason

Variables = Sequence[tuple[str, Array]]  # paths, such as "adam/iteration", and values


class SavedVariable(Protocol):
    """A number or an array that an optimizer keeps."""

    path: str

    def numpy(self) -> Array: ...


@runtime_checkable
class SavedOptimizer(Protocol):
    """An optimizer, as files know it."""

    name: str

    @property
    def iterations(self) -> int: ...

    @property
    def variables(self) -> Sequence[SavedVariable]: ...

    def variables_of(self, model: Any, /) -> list[tuple[str, tuple[int, ...]]]:
        """The names and shapes of the variables that there are after the first step of a model."""
        ...

    def load_variables(self, model: Any, values: Sequence[Any], /) -> None:
        """Replace the values of these. Raises ValueError, and changes nothing, if they do not fit."""
        ...


@runtime_checkable
class Compiled(Protocol):
    """A model that may be compiled, as files know it."""

    @property
    def optimizer(self) -> Any: ...

    def get_compile_config(self) -> dict[str, Any] | None: ...


class StoredVariables(Protocol):
    """The variables of an optimizer in a file, none of them read yet."""

    def __len__(self) -> int: ...

    def shape(self, number: int) -> tuple[int, ...]: ...

    def read(self, number: int) -> Array: ...


@dataclass(frozen=True)
class Training:
    """What a file of a model has of its training.

    Parameters
    ----------
    compile_config : dict
        The arguments of `compile`.
    variables : list of (str, array)
        Those of the optimizer.
    """

    compile_config: Mapping[str, Any]
    variables: Variables


def optimizer_of(layer: Layer) -> SavedOptimizer | None:
    """The optimizer of a model that is compiled; None for other layers."""
    optimizer = layer.optimizer if isinstance(layer, Compiled) else None
    return optimizer if isinstance(optimizer, SavedOptimizer) else None


def variables_of(layer: Layer) -> Variables:
    """The variables of the optimizer of a model; none for other layers."""
    optimizer = optimizer_of(layer)
    return [] if optimizer is None else [(variable.path, variable.numpy()) for variable in optimizer.variables]


def training_of(layer: Layer) -> Training | None:
    """What a file is to have of the training of a model; None if it is not compiled."""
    config = layer.get_compile_config() if isinstance(layer, Compiled) else None
    return Training(config, variables_of(layer)) if config else None


def read_variables(optimizer: SavedOptimizer, model: Layer, stored: StoredVariables | None) -> list[Array] | None:
    """The values of the variables that a file has for the optimizer of a model; None, with a warning, if it has others.

    Raises ModelFileError for other shapes.
    """
    expected, count = optimizer.variables_of(model), 0 if stored is None else len(stored)
    if stored is None or count != len(expected):
        if stored is None or not _is_before_the_first_step(optimizer, stored):
            notices.warn(
                f"Skipping variable loading for optimizer {optimizer.name!r}, because it has {len(expected)} variables "
                f"whereas the saved optimizer has {count} variables."
            )
        return None
    values = []
    for number, (name, shape) in enumerate(expected):
        found = stored.shape(number)
        if found != shape:
            raise ModelFileError(
                f"variable {name!r} of the optimizer has the shape {shape}, the file has {found}", Reason.MISMATCH
            )
        values.append(stored.read(number))
    return values


def _is_before_the_first_step(optimizer: SavedOptimizer, stored: StoredVariables) -> bool:
    """Whether neither the optimizer nor the saved one has made a step: it had numbers alone then."""
    if optimizer.iterations or not 1 <= len(stored) <= 2:
        return False
    return all(stored.shape(number) == () for number in range(len(stored))) and not stored.read(0).any()
