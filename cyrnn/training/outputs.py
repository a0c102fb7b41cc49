"""What is given for each output of a model: losses, metrics, targets and weights, in lists or by name."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from cyrnn.arrays import shown


def for_each_output(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    """The parts of an argument, one for each output in order; None where there is none.

    Parameters
    ----------
    what : str
        The argument, for errors.
    given : any
        A dict by the names of outputs, a list or tuple of as many parts as outputs, or None.
    names : sequence of str

    Raises
    ------
    ValueError
        For unknown names, and for another number of parts.
    """
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping):
        for name in given:
            if name not in names:
                near = get_close_matches(str(name), list(names), 1)
                hint = f": did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{what} has no output {name!r} to be for, only {', '.join(map(repr, names))}{hint}")
        return [given.get(name) for name in names]
    if not isinstance(given, list | tuple) or len(given) != len(names):
        each = f"each of the {len(names)} outputs" if len(names) > 1 else "the output"
        raise ValueError(
            f"{what} must be a list of one for {each} {', '.join(map(repr, names))}, or a dict by name, "
            f"got {_described(given)}"
        )
    return list(given)


def _described(given: Any) -> str:
    if isinstance(given, list | tuple):
        return f"{len(given)}"
    return f"an array of the shape {np.shape(given)}" if hasattr(given, "__array__") else shown(given)
