"""Pictures that matplotlib draws, in files: what is needed for them is asked for before the work that they show."""

from pathlib import Path
from typing import Any

from cyrnn.saving.atomic import checked_target, written_at_once


def check_picture(path: Path) -> None:
    """Raises ImportError, ValueError or OSError where `write_picture` would fail."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ImportError('a plot needs matplotlib: pip install "cyrnn[plot]"') from error
    checked_target(path)
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path} must end in one of {', '.join(f'.{kind}' for kind in kinds)}")


def write_picture(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib, at once and whole; the end of the name says the format."""
    with written_at_once(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
