"""Warn once per undocumented API."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cartoframes_lite.errors import NonPublicAPIWarning

_PACKAGE = "cartoframes_lite."
_warned: set[str] = set()
_is_suppressed: ContextVar[bool] = ContextVar("is_suppressed", default=False)


def warn(api: str) -> None:
    """Emit a NonPublicAPIWarning, once per API and process.

    Parameters
    ----------
    api : str
        Path relative to the base URL, such as ``"api/v1/viz"``.
    """
    if api in _warned or _is_suppressed.get():
        return
    _warned.add(api)
    message = (
        f"{api} is not a documented API of CARTO and may change without notice; to silence this warning: "
        "warnings.simplefilter('ignore', cartoframes_lite.NonPublicAPIWarning)"
    )
    warnings.warn(message, NonPublicAPIWarning, stacklevel=_caller_stacklevel())


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warning for requests that the user did not make, such as for the display of an object."""
    token = _is_suppressed.set(True)
    try:
        yield
    finally:
        _is_suppressed.reset(token)


def _caller_stacklevel() -> int:
    """Return the stacklevel of the first frame outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
