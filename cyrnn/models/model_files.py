"""Whole models from files, and into them."""

import os
from collections.abc import Mapping
from typing import Any

from cyrnn import budget, notices, objects
from cyrnn.layers import Layer
from cyrnn.layers.base.arguments import checked_bool
from cyrnn.layers.base.building import deferred_building
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.serialization import from_envelope, from_json
from cyrnn.models.trained import Trained
from cyrnn.saving.errors import CAUSED_BY_CONTENTS, ModelFileError, Reason, reason_of
from cyrnn.saving.file_format import ModelFile
from cyrnn.saving.opened import opened
from cyrnn.saving.registry import read_model
from cyrnn.saving.training_state import optimizer_of, read_variables
from cyrnn.saving.weight_paths import fill, places


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> ModelOfLayers:
    """The model in a file of Keras. No code from the file runs.

    Parameters
    ----------
    filepath : str or os.PathLike
        A ``.keras`` file (Keras 3, and 2 from 2.12 on), or ``.h5`` (Keras 1, 2 and 3). The contents decide which it is.
    custom_objects : mapping of str to class or function, optional
        Custom classes and functions by the name that the file has for them. Others come from a fixed list.
    compile : bool, default True
        Whether to compile the model as it was when it was saved, with the state of its optimizer: training continues
        with the same next step. If the file has none, or another number of variables, there is a warning, and the
        optimizer begins anew.
    safe_mode : bool, default True
        Accepted as in Keras. False changes nothing: code from a file never runs.

    Returns
    -------
    Sequential, Functional or a custom model
        The model, built, with the file's weights.

    Raises
    ------
    ModelFileError
        The file is damaged, or holds something else; the message names the layer, and `reason` says what kind of fault
        it is.
    ValueError
        `compile` or `safe_mode` is no bool.
    OSError
        There is no such file, or it cannot be read.

    Notes
    -----
    The time is proportional to the size of the file, and the memory, the model included, is at most 8 times its size
    and 100 MB; 11 times for float64 models with weights of 16 bits. Nothing is allocated because the config names a
    size: the weights must be in the file. A config may have 8 MB, and 20,000 layers and calls.
    """
    compiled = checked_bool("compile", compile)
    checked_bool("safe_mode", safe_mode)
    with opened(filepath) as file:
        return model_from_file(read_model(file), custom_objects, compiled)


def model_from_file(
    file: ModelFile, custom_objects: Mapping[str, Any] | None = None, compiled: bool = False
) -> ModelOfLayers:
    """The model of a file that has been read, compiled if that is asked for and it was so."""
    try:
        model = _unbuilt(file, custom_objects)
        with budget.limited():  # custom layers make weights of the sizes that the config names
            of_the_model = places(model, _input_shape(model, file.config))
    except ValueError as error:
        raise ModelFileError(str(error), reason_of(error, Reason.UNSUPPORTED)) from error
    fill(of_the_model, file.weights(of_the_model))
    file.load_assets(of_the_model)
    if compiled and isinstance(model, Trained):
        _compile(model, file, custom_objects)
    return model


def _compile(model: Trained, file: ModelFile, custom_objects: Mapping[str, Any] | None) -> None:
    config = file.compile_config()
    if not config:
        return
    cls = type(model)
    if cls.compile is not Trained.compile and cls.compile_from_config is Trained.compile_from_config:
        notices.warn(
            f"`compile()` was not called as part of model loading, because {cls.__name__} has its own: define "
            "`get_compile_config()` and `compile_from_config(config)` too, or call it now"
        )
        return
    try:
        with budget.limited(), objects.custom_object_scope(custom_objects):
            model.compile_from_config(config)
    except CAUSED_BY_CONTENTS as error:
        raise ModelFileError(
            f"the model cannot be compiled as it was when it was saved: {error}. Pass what is yours in custom_objects, "
            "or load it with compile=False",
            reason_of(error, Reason.UNSUPPORTED),
        ) from error
    optimizer = optimizer_of(model)
    if optimizer is None:
        return
    try:
        values = read_variables(optimizer, model, file.variables())
        if values is not None:
            optimizer.load_variables(model, values)
    except ValueError as error:
        if not file.wrong_variables_are_left or reason_of(error, Reason.MISMATCH) is not Reason.MISMATCH:
            raise
        notices.warn(f"the optimizer {optimizer.name!r} begins anew: {error}")


def _unbuilt(file: ModelFile, custom_objects: Mapping[str, Any] | None) -> ModelOfLayers:
    with deferred_building():
        model = from_envelope(file.config, custom_objects, file.keras_version)
    if not isinstance(model, ModelOfLayers):
        raise ModelFileError(f"the file holds a {type(model).__name__}, which is not a model", Reason.NOT_A_MODEL)
    return model


def _input_shape(model: ModelOfLayers, envelope: Mapping[str, Any]) -> Any:
    """The shape that the model is built for. Raises ValueError if neither the model nor the file says it."""
    config, shape = envelope.get("config"), model.input_shape
    if shape is None and isinstance(config, Mapping):
        shape = config.get("build_input_shape")
    if shape is None and isinstance(build_config := envelope.get("build_config"), Mapping):  # of a custom class
        shape = build_config.get("input_shape")
    if not isinstance(shape, (list, tuple, dict)):
        raise ValueError("the model was saved before it was built: the file does not say what its input looks like")
    return tuple(shape) if isinstance(shape, list) else shape


def save_model(
    model: object,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: bool | None = None,
    *,
    include_optimizer: bool = True,
) -> None:
    """Write a built model to a ``.keras`` or ``.h5`` file that Keras 3 opens, at once and whole. Needs h5py.

    A model that is compiled is so in the file, with the state of its optimizer. Of a ``.keras`` file Keras continues
    the training with the same next step. Of a ``.h5`` file cyrnn does; Keras does not, as of those that it writes.

    Custom functions and classes are in the file by name: a reader needs them as `custom_objects`. So is the
    hard_sigmoid of Keras 2, which no Keras 3 has: as ``hard_sigmoid_keras2``, which `load_model` knows.

    Parameters
    ----------
    model : Sequential, Functional or a custom model
        A built model.
    filepath : str or os.PathLike
        A name that ends in ``.keras``, or in ``.h5`` for Keras' old format.
    overwrite : bool, default True
        Whether to replace a file that is there.
    zipped : bool, optional
        Only True, and None for the same, are supported: the file is an archive, not a folder.
    include_optimizer : bool, default True
        Whether to write how the model is compiled, and the state of its optimizer.

    Raises
    ------
    ValueError
        The layer is not a model, is not built, or has the time axis first, as Keras 2 could; or another argument has a
        value that it cannot have.
    FileExistsError
        There is a file, and `overwrite` is false.
    TypeError
        `model` is no layer at all.
    OSError
        The file cannot be written.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a model, got {type(model).__name__}")
    if not isinstance(model, ModelOfLayers):
        raise ValueError(f"layer {model.name!r} is not a model: put it into a Sequential, or use save_weights")
    model.save(filepath, overwrite, zipped, include_optimizer=include_optimizer)


def model_from_json(json_string: str | bytes, custom_objects: Mapping[str, Any] | None = None) -> ModelOfLayers:
    """The model that a text describes, as ``model.to_json()`` of cyrnn or Keras returns it.

    Parameters
    ----------
    json_string : str or bytes
        The config of a model as JSON.
    custom_objects : mapping of str to class or function, optional
        Custom classes and functions by the names that the text has for them.

    Returns
    -------
    Sequential, Functional or a custom model
        With new weights, if the text says what its input looks like; else not built.

    Raises
    ------
    ValueError
        The text is no such config, describes a layer that is not a model, or names anything unknown.
    """
    model = from_json(json_string, custom_objects)
    if not isinstance(model, ModelOfLayers):
        raise ValueError(f"json_string must describe a model, got that of a {type(model).__name__}")
    return model
