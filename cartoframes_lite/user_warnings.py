"""Warnings that name the line of the user's code that led to them."""

from __future__ import annotations

import sys
import warnings

from cartoframes_lite.errors import CartoWarning

_PACKAGE = "cartoframes_lite."


def warn(message: str, category: type[CartoWarning]) -> None:
    """Issue a warning for the frame that called this package.

    There may be other packages in between: requests calls the function that converts rows while they are sent.
    """
    level, depth, frame = 1, 1, sys._getframe(0).f_back
    while frame is not None:
        depth += 1
        if str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
            level = depth + 1
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=level)
