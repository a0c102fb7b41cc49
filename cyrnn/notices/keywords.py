"""Keywords that a method does not have: its error says which one is meant."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from cyrnn.notices.names import suggestion

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def suggesting_keywords(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The function, whose TypeError for a keyword that it does not have ends in the one that is meant.

    From version 3.13 on Python says so itself.
    """

    @functools.wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            message, trace = str(error), error.__traceback__
            if trace is not None and trace.tb_next is None and "unexpected keyword" in message and "?" not in message:
                known = inspect.signature(function).parameters
                unknown = next(name for name in kwargs if name not in known)
                raise TypeError(f"{message}{suggestion(unknown, known)}") from None
            raise

    return called
