"""Callbacks: what is done during training besides it, as in Keras.

A training loop that you write calls a `CallbackList`.
"""

from typing import TYPE_CHECKING

from cyrnn.callbacks.backup_and_restore import BackupAndRestore
from cyrnn.callbacks.callback import Callback
from cyrnn.callbacks.callback_list import CallbackList
from cyrnn.callbacks.early_stopping import EarlyStopping, TerminateOnNaN
from cyrnn.callbacks.history import CSVLogger, History
from cyrnn.callbacks.lambda_callback import LambdaCallback
from cyrnn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from cyrnn.callbacks.model_checkpoint import ModelCheckpoint
from cyrnn.callbacks.progbar_logger import ProgbarLogger
from cyrnn.callbacks.protocols import TrainedModel, TrainedOptimizer
from cyrnn.callbacks.swap_ema_weights import SwapEMAWeights
from cyrnn.notices.names import public

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TerminateOnNaN",
    "TrainedModel",
    "TrainedOptimizer",
]

# Callbacks of Keras that write for other programs, and what to do without them.
_LEFT_OUT = {
    "TensorBoard": "CSVLogger writes the logs of each epoch, and a Callback that you write does all else",
    "RemoteMonitor": "a LambdaCallback sends logs anywhere",
    "OrbaxCheckpoint": "ModelCheckpoint and BackupAndRestore write files of Keras",
}

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__, _LEFT_OUT)
