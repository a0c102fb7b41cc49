"""Which arguments the methods of layers take."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

_parameters: weakref.WeakKeyDictionary[Callable[..., Any], tuple[str, ...]] = weakref.WeakKeyDictionary()


def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of its parameters in order; "**" last, if it takes any keyword."""
    if function not in _parameters:
        found = inspect.signature(function).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in found.values())
        _parameters[function] = (*found, *(["**"] if takes_all else []))
    return _parameters[function]


def accepted(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that the function has parameters for; all, if it takes any keyword."""
    names = names_of(function)
    return options if names[-1:] == ("**",) else {key: value for key, value in options.items() if key in names}


def required_arguments(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a method cannot be called without, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
