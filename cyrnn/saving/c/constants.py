"""Numbers and weights in C, without loss."""

import math
from collections.abc import Iterator, Sequence

from cyrnn.layers.base.arguments import Array

_WIDTH = 120  # of a line of weights


def literal(value: float, real: str) -> str:
    """A number of the C type `real`, float or double; so wide that points stand under points."""
    sign = "-" if math.copysign(1, value) < 0 else " "
    if not math.isfinite(value):
        return " NAN" if math.isnan(value) else f"{sign}INFINITY"
    digits = abs(value).hex()  # 13 digits; a float has 6, and 7 zeros behind them
    return sign + (digits.replace("0000000p", "p") + "f" if real == "float" else digits)


def constant(name: str, comment: str, array: Array, real: str) -> str:
    """The definition of an array of one or two axes."""
    literals = [f"{literal(value, real)}," for value in array.ravel().tolist()]
    column = max(map(len, literals))
    literals = [f"{text:<{column}}" for text in literals]
    sizes = "".join(f"[{size}]" for size in array.shape)
    lines = [f"/* {comment} */", f"static const {real} {name}{sizes} = {{"]
    if array.ndim == 1:
        lines += _wrapped(literals, 4)
    else:
        units = array.shape[1]
        for start in range(0, array.size, units):
            lines += ["    {", *_wrapped(literals[start : start + units], 8), "    },"]
    return "\n".join([*lines, "};", ""])


def _wrapped(literals: Sequence[str], indent: int) -> Iterator[str]:
    """Lines of literals that are all of one width."""
    count = max(1, (_WIDTH - indent) // (len(literals[0]) + 1))
    for start in range(0, len(literals), count):
        yield (" " * indent + " ".join(literals[start : start + count])).rstrip()
