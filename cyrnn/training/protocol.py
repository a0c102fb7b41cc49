"""What training knows of a model."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from cyrnn.layers.base.arguments import Array


class Pullback(Protocol):
    """What goes back from gradients of outputs to those of weights."""

    def __call__(self, dy: Any, inputs: bool = ..., losses: bool = ...) -> Any: ...


class Results(Protocol):
    """What a call returns for a loss: see `cyrnn.models.programs.parts`."""

    @property
    def outputs(self) -> Any: ...

    @property
    def masks(self) -> Any: ...

    @property
    def logits(self) -> list[Array | None]:
        """For each output what its softmax or sigmoid was applied to, where that is known; it may be empty."""
        ...


class CompiledStep(Protocol):
    """A step of training as one compiled call."""

    def up_to_date(self) -> bool:
        """Whether the model is still the one that the step was made of."""
        ...

    def gradients(self, batch: Any) -> Any:
        """Find the gradients of a batch. What they are of; None for arrays that it does not take."""
        ...

    def move(self) -> float:
        """Move the weights along the last gradients. The penalties on them, before it."""
        ...


class Trainable(Protocol):
    """A model, or a layer, that can be trained."""

    name: str
    stop_training: bool
    history: Any

    @property
    def built(self) -> Any: ...

    @property
    def losses(self) -> list[Any]: ...

    @property
    def trainable_weights(self) -> Sequence[Any]: ...

    @property
    def names_of_targets(self) -> list[str]:
        """For each output the name that losses, metrics and targets have it by."""
        ...

    @property
    def output_rank(self) -> int:
        """The number of axes of the first output."""
        ...

    @property
    def stateful(self) -> bool: ...

    @property
    def optimizer(self) -> Any: ...

    @property
    def metric_directions(self) -> dict[str, Any]: ...

    def predict_inputs(self, x: Any) -> list[Array]:
        """The arrays that are cut into batches."""
        ...

    def in_structure(self, parts: list[Any], like: Any = None) -> Any:
        """The argument of a call, of the parts for these arrays."""
        ...

    def shapes_of_outputs(self, shapes: list[Any], like: Any) -> list[tuple[int, ...]] | None:
        """For inputs of these shapes, in the structure of `like`; None where that is not known before a call."""
        ...

    def tables_of_inputs(self) -> Sequence[tuple[int, Any]]:
        """The layers that look up an input as it is, as far as they are known, each with the number of that input."""
        ...

    def stateful_rows(self) -> int | None: ...

    @property
    def takes_one_input(self) -> bool: ...

    @property
    def known_input_shape(self) -> Any: ...

    def misfits(self, shape: Any, built_for: Any) -> Iterator[str]:
        """What is wrong with calling the model, built for one shape, with inputs of another: other weight shapes."""
        ...

    def lengths_of_inputs(self, lengths: Any, count: int) -> Sequence[Any]:
        """For each of the inputs its lengths, or None."""
        ...

    def taped(self, x: Any, mask: Any = ...) -> tuple[Results, Pullback]:
        """What a call in training returns for a loss, and its pullback.

        That takes a pair: the gradients of the outputs, and for each output that of its logits, or None.
        """
        ...

    def called(self, x: Any, mask: Any = ...) -> Results:
        """What a call in inference returns for a loss."""
        ...

    def compiled_step(self, compiled: Any, masked: tuple[bool, ...] = ...) -> "CompiledStep | None":
        """A step of training as one compiled call, where these inputs have masks; None where there is none."""
        ...

    def layers_within(self) -> tuple[Any, ...]: ...

    def get_weights(self) -> list[Array]: ...

    def set_weights(self, weights: Sequence[Any]) -> None: ...

    def save(self, filepath: str) -> None: ...

    def save_weights(self, filepath: str) -> None: ...

    def load_weights(self, filepath: str) -> None: ...
