"""What a file format is: how its files are recognised, and what can be done with them.

A module of a format ends in a `Format`; `cyrnn.saving.registry` lists them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from cyrnn.layers.base.arguments import Array, size_of
from cyrnn.layers.base.layer import Layer
from cyrnn.saving.opened import OpenFile
from cyrnn.saving.training_state import StoredVariables, Training, Variables
from cyrnn.saving.weight_paths import Choice, Place


class ReadPlaces(Protocol):
    """Reads the weights for each place, by name; None for a place that is to keep its own."""

    def __call__(self, of_a_layer: list[Place], choice: Choice = ...) -> Sequence[dict[str, Array] | None]: ...


@dataclass(frozen=True)
class ModelFile:
    """A model in a file, whose weights are not read yet.

    Parameters
    ----------
    config : mapping
        That of the model.
    keras_version : str
        That of the Keras that wrote it.
    weights : callable
        A way to the weights.
    compile_config : callable
        Returns the arguments of `compile`; None, or nothing in it, if the model was not compiled.
    variables : callable
        Returns a way to the variables of the optimizer; None if there are none.
    load_assets : callable
        Gives the layers what the file holds for them beside weights, when they have these.
    wrong_variables_are_left : bool
        Whether variables of other shapes are left out with a warning, as Keras does for this format.
    """

    config: Mapping[str, Any]
    keras_version: str
    weights: ReadPlaces
    compile_config: Callable[[], Any] = lambda: None
    variables: Callable[[], StoredVariables | None] = lambda: None
    load_assets: Callable[[list[Place]], None] = lambda of_a_layer: None
    wrong_variables_are_left: bool = False


@dataclass(frozen=True)
class StoredArray:
    """An array in a file; `refusal` says why it cannot be read, if it cannot."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    refusal: str | None = None

    @property
    def size(self) -> int:
        """The number of elements; 0 where it is not known."""
        return 0 if self.shape is None else size_of(self.shape)

    @property
    def shape_text(self) -> str:
        return "?" if self.shape is None else str(self.shape)


@dataclass(frozen=True)
class Format:
    """A kind of file. A capability that is None is one that the format does not have.

    Parameters
    ----------
    name : str
        What messages call it.
    ends : tuple of str
        How the names of such files end, as ``.weights.h5``. They decide what is written; what is read is recognised by
        its contents.
    sniff : callable
        Whether an open file is one. It looks at `OpenFile.beginning` first, and reads more only where that fits. Raises
        ModelFileError for a file that is one and is damaged.
    read_weights, write_weights : callable, optional
        The weights of a layer, by the paths of its parts, from a file; and into a stream, with the variables of an
        optimizer, which a format may leave out.
    read_variables : callable, optional
        A way to the variables of an optimizer in such a file; None if there are none.
    read_model, write_model : callable, optional
        A model's config and weights, from a file; and a layer that is a model, into a stream, with its training if it
        is compiled.
    list_arrays : callable, optional
        The arrays in a file of weights without a model, none of them read.
    load, export : callable, optional
        The layer or model in a file, and one into the file of a path, for formats that are not Keras': what they hold
        is translated, layer by layer. Both may take the keyword arguments in `options`.
    fill : callable, optional
        Gives a model the weights in a file that names them in another way than Keras' files.
    options : tuple of str
        The keyword arguments of `load` and `export`.
    """

    name: str
    ends: tuple[str, ...]
    sniff: Callable[[OpenFile], bool]
    read_weights: Callable[[OpenFile, list[Place], Choice], Sequence[dict[str, Array] | None]] | None = None
    write_weights: Callable[[BinaryIO, list[Place], Variables], None] | None = None
    read_variables: Callable[[OpenFile], StoredVariables | None] | None = None
    read_model: Callable[[OpenFile], ModelFile] | None = None
    write_model: Callable[[BinaryIO, Layer, Training | None], None] | None = None
    list_arrays: Callable[[OpenFile], list[StoredArray]] | None = None
    load: Callable[..., Layer] | None = None
    export: Callable[..., None] | None = None
    fill: Callable[[Layer, OpenFile], None] | None = None
    options: tuple[str, ...] = ()
