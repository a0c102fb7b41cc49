"""What is given for each output of a model: losses, metrics, targets and weights, in lists or by name."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

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
        count = f", got {len(given)}" if isinstance(given, list | tuple) else f", got {shown(given)}"
        raise ValueError(
            f"{what} must be a list of one for each of the {len(names)} outputs {', '.join(map(repr, names))}, "
            f"or a dict by their names{count}"
        )
    return list(given)
