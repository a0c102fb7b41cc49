"""Evaluation with averages of weights."""

import numpy as np

from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.protocols import Logs
from cyrnn.layers.base.arguments import Array


class SwapEMAWeights(Callback):
    """Evaluate and predict with the averages of weights that an optimizer with ``use_ema=True`` keeps.

    Parameters
    ----------
    swap_on_epoch : bool
        Whether the model has the averages between epochs too, for callbacks after this one, such as `ModelCheckpoint`.

    Raises
    ------
    ValueError
        In evaluation, if the optimizer keeps no averages.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._weights: list[Array] | None = None  # of the model, while it has the averages

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._weights = None  # what an interrupted training may have left

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._weights = None  # training ends with the averages

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap_back()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap_back()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._swap()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._swap_back()

    def put_back(self) -> None:
        self._swap_back()

    def _swap(self) -> None:
        optimizer = self.model.optimizer
        if not optimizer.use_ema:
            raise ValueError(
                "SwapEMAWeights must be used when `use_ema=True` is set on the optimizer. "
                f"Received: use_ema={optimizer.use_ema}"
            )
        if self._weights is None:
            self._weights = [np.array(weight) for weight in self.model.get_weights()]
            optimizer.finalize_variable_values(self.model)

    def _swap_back(self) -> None:
        if self._weights is not None:
            self.model.set_weights(self._weights)
        self._weights = None
