"""Warnings that point at the line that called atomtune, however deep they are raised."""

import contextlib
import sys
import warnings
from pathlib import Path

from ..errors import AtomtuneWarning

_OURS = (str(Path(__file__).parents[1]), contextlib.__file__)


def warn(text: str, kind: type[AtomtuneWarning] = AtomtuneWarning) -> None:
    """Issue a warning of whoever called into this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, stacklevel=level)
