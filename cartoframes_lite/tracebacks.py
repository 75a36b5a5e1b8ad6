"""Short tracebacks in IPython: the frames of this package are hidden, unless ``%xmode Verbose`` is on.

Only what IPython prints is shorter: the exceptions have their tracebacks and causes, also for ``%debug``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = __name__.partition(".")[0]
_IPYTHON = ("IPython", "ipykernel")


def short_traceback(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: IPython shows its TypeErrors and ValueErrors with a short traceback."""

    @wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*args, **keywords)
        except (TypeError, ValueError) as error:
            shorten(error)
            raise

    return call


def shorten(error: TypeError | ValueError) -> None:
    """Let IPython show an error with a short traceback, if IPython is in use."""
    if "IPython" in sys.modules and not hasattr(error, "_render_traceback_"):
        error.__dict__["_render_traceback_"] = partial(render, error)  # IPython calls it, if there is one


def render(error: BaseException) -> list[str]:
    """Return what IPython prints for an error: the frames of the user, and the message."""
    formatter = sys.modules["IPython"].get_ipython().InteractiveTB
    if formatter.mode == "Verbose":
        return _lines(formatter.structured_traceback(type(error), error, error.__traceback__, tb_offset=0))
    outside = _frames_outside(error.__traceback__)
    if outside is None:  # while IPython displays an object
        return _lines(formatter.get_exception_only(type(error), error))
    with _without_cause(error):
        return _lines(formatter.structured_traceback(type(error), error, outside, tb_offset=0))


def _lines(formatted: Any) -> list[str]:
    return [str(line) for line in formatted]


def _frames_outside(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the frames of IPython, up to the first frame of this package."""
    if traceback is None:
        return None
    module = str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0]
    if module == _PACKAGE:
        return None
    rest = _frames_outside(traceback.tb_next)
    if module in _IPYTHON:
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


@contextmanager
def _without_cause(error: BaseException) -> Iterator[None]:
    """Hide the exceptions that led to an error."""
    cause, is_suppressed = error.__cause__, error.__suppress_context__
    error.__cause__ = None
    try:
        yield
    finally:
        error.__cause__, error.__suppress_context__ = cause, is_suppressed
