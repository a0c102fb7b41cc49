"""Weights from files into a layer, and from a layer into files."""

import os

from cyrnn import notices
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.layers.base.layer import Layer
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.errors import ModelFileError, Reason, refusals_located
from cyrnn.saving.file_format import Format
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.registry import FORMATS, by_end, ends_of, recognised
from cyrnn.saving.training_state import SavedOptimizer, optimizer_of, read_variables, variables_of
from cyrnn.saving.weight_paths import EVERYTHING, Choice, fill, places


def load_weights(
    layer: Layer, filepath: str | os.PathLike[str], skip_mismatch: bool = False, *, by_name: bool | None = False
) -> None:
    """Give a built layer or model the weights of a file, whose order must be that of its weights.

    A model that is compiled takes the state of its optimizer too, also before the first step, from the formats of Keras
    3. If the file has another number of variables for it, the optimizer keeps its state, with a warning.

    Parameters
    ----------
    layer : Layer
        A built layer or model.
    filepath : str or os.PathLike
        Keras 3's ``.weights.h5`` or ``.keras``, a ``.h5`` of Keras 1 or 2 with weights or a whole model, or what
        `save_weights` writes: the contents decide, not the name.
    skip_mismatch : bool, default False
        Whether a layer keeps its weights, with a warning, where the file has another number of them, other shapes or
        none, instead of the error. A ``.h5`` of Keras 1 or 2 must have as many layers as the model nevertheless,
        unless they are found by name.
    by_name : bool, default False
        Whether the layers of a model take the weights of the layers that have their names in the file, and all others
        keep theirs. From ``.npz`` and ``.safetensors`` files, layers take the arrays that are called as theirs.

    Raises
    ------
    ModelFileError
        The file is damaged, or its weights do not fit. Nothing has changed then.
    ValueError
        The layer is not built, or an option is no bool.
    OSError
        There is no such file, or it cannot be read.

    Notes
    -----
    The time is proportional to the size of the file, and the memory, the weights included, is at most 8 times its size
    and 100 MB; 11 times for float64 layers and weights of 16 bits. Compressed ``.npz`` files may expand to the size of
    the layer's weights, members of other archives to 4 times their size.
    """
    choice = Choice(checked_bool("by_name", by_name or False), checked_bool("skip_mismatch", skip_mismatch))
    of_a_layer = places(_checked(layer))
    with opened(filepath) as file:
        form = recognised(file, FORMATS)
        if form is None or form.read_weights is None:
            raise _not_weights(file)
        values = form.read_weights(file, of_a_layer, choice)
        state = _state_of_training(file, form, layer, choice)
    if choice != EVERYTHING and not any(values):
        notices.warn(f"no layer of {layer.name!r} has taken weights of {os.fspath(filepath)}")
    if state is not None:
        optimizer, variables = state
        with refusals_located(filepath):
            optimizer.load_variables(layer, variables)
    fill(of_a_layer, values)


def save_weights(layer: Layer, filepath: str | os.PathLike[str]) -> None:
    """Write the weights of a built layer or model to a file, at once and whole.

    Parameters
    ----------
    layer : Layer
        A built layer or model.
    filepath : str or os.PathLike
        The end decides: ``.weights.h5`` is Keras 3's format (needs h5py), which has the state of the optimizer of a
        compiled model too; ``.npz`` and ``.safetensors`` hold arrays by name, as ``simple_rnn_1/cell/kernel``.

    Raises
    ------
    ValueError
        The path ends otherwise, or the layer is not built.
    OSError
        The file cannot be written.
    """
    of_a_layer = places(_checked(layer))
    form = by_end(filepath, [form for form in FORMATS if form.write_weights is not None])
    with written_at_once(filepath) as file:
        form.write_weights(file, of_a_layer, variables_of(layer))  # type: ignore[misc]


def _state_of_training(
    file: OpenFile, form: Format, layer: Layer, choice: Choice
) -> tuple[SavedOptimizer, list[Array]] | None:
    """The optimizer of a model, and what the file has for it. None if it keeps its state."""
    optimizer = optimizer_of(layer)
    if optimizer is None or form.read_variables is None or choice.by_name:
        return None
    stored = form.read_variables(file)
    values = choice.values(f"{optimizer.name} (optimizer)", lambda: read_variables(optimizer, layer, stored))
    return None if values is None else (optimizer, values)


def _not_weights(file: OpenFile) -> ModelFileError:
    if file.beginning.startswith(b"{"):
        return ModelFileError(
            "it lists shards, in other files: save the weights in one .weights.h5 file", Reason.UNSUPPORTED
        )
    ends = ends_of(form for form in FORMATS if form.read_weights is not None)
    return ModelFileError(f"it is none of {', '.join(ends[:-1])} and {ends[-1]}, or is damaged", Reason.UNKNOWN_FORMAT)


def _checked(layer: Layer) -> Layer:
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer or model, got {type(layer).__name__}")
    return layer
