"""Keras' `save`, `save_weights` and `load_weights` of models: thin methods over the files floor.

They import that floor when they are called: most programs run models without it, and its formats need much of the
standard library.
"""

import os

from cyrnn.layers.base.arguments import checked_bool
from cyrnn.layers.base.layer import Layer


class InFiles(Layer):
    """A layer that is a model, as far as files are concerned."""

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: bool | None = None,
        *,
        include_optimizer: bool = True,
    ) -> None:
        """Write the model to a ``.keras`` or ``.h5`` file; see `cyrnn.saving.save_model`.

        Parameters
        ----------
        filepath : str or os.PathLike
            It ends in ``.keras`` or ``.h5``.
        overwrite : bool, default True
            Whether a file that is there is replaced.
        zipped : bool, optional
            As in Keras; False is refused.
        include_optimizer : bool, default True
            Whether the state of the optimizer is written.
        """
        from cyrnn.saving.registry import write_model
        from cyrnn.saving.training_state import training_of

        include_optimizer = checked_bool("include_optimizer", include_optimizer)
        if zipped is not None and not checked_bool("zipped", zipped):
            raise ValueError("zipped must be True or None: models are written to one file, not to a folder")
        _check_free(filepath, overwrite)
        write_model(self, filepath, training_of(self) if include_optimizer else None)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights to a ``.weights.h5``, ``.npz`` or ``.safetensors`` file; see `cyrnn.saving.save_weights`.

        Raises FileExistsError where there is a file and `overwrite` is false.

        Parameters
        ----------
        filepath : str or os.PathLike
            Its end decides about the format.
        overwrite : bool, default True
            Whether a file that is there is replaced.
        """
        from cyrnn.saving.weight_files import save_weights

        _check_free(filepath, overwrite)
        save_weights(self, filepath)

    def load_weights(
        self, filepath: str | os.PathLike[str], skip_mismatch: bool = False, *, by_name: bool | None = False
    ) -> None:
        """Take the weights of a file; see `cyrnn.saving.load_weights`.

        Parameters
        ----------
        filepath : str or os.PathLike
            The contents decide about the format.
        skip_mismatch : bool, default False
            Whether layers whose weights do not fit keep their own.
        by_name : bool, default False
            Whether to take the weights of layers of the same names.
        """
        from cyrnn.saving.weight_files import load_weights

        load_weights(self, filepath, skip_mismatch, by_name=by_name)


def _check_free(filepath: str | os.PathLike[str], overwrite: bool) -> None:
    from pathlib import Path

    if not overwrite and Path(filepath).exists():
        raise FileExistsError(f"{os.fspath(filepath)} is there already, and overwrite is False")
