"""Which layers can be ops of a program, and why others cannot: the executor calls those, between programs."""

from cyrnn import objects
from cyrnn.layers.base.layer import Layer


class NotLoweredError(Exception):
    """A call cannot be ops of this program; the text is the reason."""


class UnfitError(Exception):
    """The arrays of a call are not such as the program takes: the executor makes its calls, and may raise an error."""


def why_not(layer: Layer, method: str = "lower", *, penalized: bool = False, rounded: bool = False) -> str | None:
    """The reason why the layer's calls are run by Python, as a text; None for a layer that can be ops of a program.

    A layer is lowered by its exact class: that of a user is, if all it changes is how the layer is made and its config.
    What depends on the inputs of a call is found when the call is lowered. `method` is what a class that the engine
    has ops for has. With `penalized` an activity regularizer is no reason, with `rounded` a policy of 16 bits is none.
    """
    cls = type(layer)
    known = next((base for base in cls.__mro__ if objects.is_builtin(base)), None)
    if known is None:
        return f"the class {cls.__name__} is a custom one"
    if not hasattr(known, method):
        return f"the engine has no op for {known.__name__}"
    own = cls._override or next((name for name in vars(layer).copy() if callable(getattr(known, name, None))), None)
    if own is not None:
        return f"it has its own {own!r}"
    if layer.activity_regularizer is not None and not penalized:
        return "it has an activity regularizer"
    policy = layer.dtype_policy
    if policy.compute_dtype != policy.engine_dtype and not rounded:
        return f"its results are rounded to {policy.compute_dtype.name}"
    return None if layer.built else "it is not built yet"
