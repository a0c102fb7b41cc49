"""Warnings that name the line of the caller, however deep in this package they come from."""

import sys
import warnings


def warn(text: str) -> None:
    """Warn at the line of the code that is not of this package and has called it last."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "cyrnn":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
