"""Functions as a callback."""

from collections.abc import Callable
from typing import Any

from cyrnn.arrays import shown
from cyrnn.callbacks.callback import HOOKS, Callback

_MORE = ("set_model", "set_params")


class LambdaCallback(Callback):
    """Call functions in the place of methods.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        ``f(epoch, logs)``
    on_train_begin, on_train_end : callable, optional
        ``f(logs)``
    on_train_batch_begin, on_train_batch_end : callable, optional
        ``f(batch, logs)``, where `logs` is passed by keyword.
    **kwargs
        Functions for other methods of `Callback`, by name.

    Raises
    ------
    TypeError
        If there is no method of a name, or what is given is not callable.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any] | None,
    ) -> None:
        functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in functions.items():
            if name not in (*HOOKS, *_MORE):
                raise TypeError(f"LambdaCallback takes functions for {', '.join((*HOOKS, *_MORE))}, got {name!r}")
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable, got {shown(function)}")
        vars(self).update({name: function for name, function in functions.items() if function is not None})
