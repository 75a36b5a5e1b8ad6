"""Mapnik, imported so that it leaves the other libraries of this process alone."""

from __future__ import annotations

import os
from functools import lru_cache

# On import, Mapnik's wheel points these at data of its own versions of GDAL and PROJ: pyogrio and pyproj would read
# them too, and so would every process that this one starts. What is drawn here needs neither.
_FOREIGN = ("GDAL_DATA", "PROJ_LIB")
_before = {name: os.environ.get(name) for name in _FOREIGN}

import mapnik  # noqa: E402 - the environment has to be remembered first

for _name, _value in _before.items():
    if _value is None:
        os.environ.pop(_name, None)

__all__ = ["expression", "faces", "is_expression", "mapnik"]


@lru_cache(maxsize=1024)
def expression(text: str) -> mapnik.Expression:
    """Return an expression, compiled.

    Raises
    ------
    RuntimeError
        It is none.
    """
    return mapnik.Expression(text)


def is_expression(text: str) -> bool:
    """Whether Mapnik can compile a text."""
    try:
        expression(text)
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=1)
def faces() -> frozenset[str]:
    """Return the names of the fonts that there are."""
    return frozenset(mapnik.FontEngine.face_names())
