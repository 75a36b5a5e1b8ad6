"""Say once of each API that CARTO does not document it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cartoframes_lite.errors import NonPublicAPIWarning

_PACKAGE = "cartoframes_lite."
_warned: set[str] = set()
_is_suppressed: ContextVar[bool] = ContextVar("is_silent", default=False)


def warn(api: str) -> None:
    """Warn, unless it was said before in this process.

    Parameters
    ----------
    api : str
        Path below the account, as ``"api/v1/viz"``.
    """
    if api in _warned or _is_suppressed.get():
        return
    _warned.add(api)
    message = (
        f"{api} is not a documented API of CARTO and may change without notice; to silence this: "
        "warnings.simplefilter('ignore', cartoframes_lite.NonPublicAPIWarning)"
    )
    warnings.warn(message, NonPublicAPIWarning, stacklevel=_caller_stacklevel())


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Let requests of our own pass, which nobody has written in a program: those of a notebook that shows an object."""
    token = _is_suppressed.set(True)
    try:
        yield
    finally:
        _is_suppressed.reset(token)


def _caller_stacklevel() -> int:
    """Count the calls up to the line of the user's that began it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
