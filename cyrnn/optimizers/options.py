"""The arguments that all optimizers have, and what values may be, given or set later."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from cyrnn.configurable import at_least_0, fraction, number, positive
from cyrnn.layers.base.arguments import checked_bool
from cyrnn.optimizers.checks import checked_count

Check = Callable[[str, Any], Any]  # of a name and a value: the value as it is kept; raises TypeError or ValueError

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


class Options(TypedDict, total=False):
    """The arguments that all optimizers have; `Optimizer` says what they mean."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


def or_none(check: Check) -> Check:
    """The check of what may be None too."""
    return lambda name, value: None if value is None else check(name, value)


def positive_fraction(name: str, value: Any) -> float:
    """A number over 0, at most 1."""
    return positive(name, fraction(name, value))


def at_most_0(name: str, value: Any) -> float:
    """A number that is not positive. Raises TypeError or ValueError."""
    value = number(name, value)
    if not value <= 0:
        raise ValueError(f"{name} must be at most 0, got {value}")
    return value


CHECKS: Mapping[str, Check] = {
    "weight_decay": or_none(at_least_0),
    "clipnorm": or_none(positive),
    "clipvalue": or_none(positive),
    "global_clipnorm": or_none(positive),
    "use_ema": checked_bool,
    "ema_momentum": fraction,
    "ema_overwrite_frequency": lambda name, value: checked_count(name, value, 1),
    "loss_scale_factor": or_none(positive),
    "gradient_accumulation_steps": lambda name, value: checked_count(name, value, 2),
}


def check_one_clip(clips: Mapping[str, float | None]) -> None:
    """Raise ValueError where more than one of the three is set."""
    if list(clips.values()).count(None) < len(clips) - 1:
        raise ValueError(
            "at most one of clipnorm, clipvalue and global_clipnorm can be set, got "
            + ", ".join(f"{name}={value}" for name, value in clips.items())
        )
