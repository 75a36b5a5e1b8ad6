"""Warnings that name the line of the user's code that led to them."""

from __future__ import annotations

import sys
import warnings

from cartoframes_lite.errors import CartoWarning

_PACKAGE = "cartoframes_lite."


def warn(message: str, category: type[CartoWarning]) -> None:
    """Issue a warning for the first frame outside this package."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
