"""Keras' `save`, `save_weights` and `load_weights` of models.

What they do is known one floor up, in `cyrnn.saving`, which hands it in here: imports go down only.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_provided: dict[str, Callable[[Any, Any], None]] = {}


def provide(**functions: Callable[[Any, Any], None]) -> None:
    """Hand in `save_model`, `save_weights` and `load_weights`, functions of a model and a path."""
    _provided.update(functions)


class InFiles:
    """What a model has for files."""

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the model to a ``.keras`` file; see `cyrnn.saving.save_model`.

        Raises FileExistsError where there is a file and `overwrite` is false.
        """
        _check_free(filepath, overwrite)
        _provided["save_model"](self, filepath)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights to a ``.weights.h5``, ``.npz`` or ``.safetensors`` file; see `cyrnn.saving.save_weights`.

        Raises FileExistsError where there is a file and `overwrite` is false.
        """
        _check_free(filepath, overwrite)
        _provided["save_weights"](self, filepath)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take the weights of a file; see `cyrnn.saving.load_weights`."""
        _provided["load_weights"](self, filepath)


def _check_free(filepath: str | os.PathLike[str], overwrite: bool) -> None:
    if not overwrite and Path(filepath).exists():
        raise FileExistsError(f"{os.fspath(filepath)} is there already, and overwrite is False")
