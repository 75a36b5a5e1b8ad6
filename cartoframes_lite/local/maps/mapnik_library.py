"""Import of Mapnik that does not affect other libraries in this process."""

from __future__ import annotations

import os
from functools import lru_cache

# On import, the Mapnik wheel sets these to its own versions of the GDAL and PROJ data, which pyogrio, pyproj and child
# processes would use too. Rendering needs neither.
_OVERWRITTEN = ("GDAL_DATA", "PROJ_LIB")
_before = {name: os.environ.get(name) for name in _OVERWRITTEN}

import mapnik  # noqa: E402 - the environment must be saved before the import

for _name, _value in _before.items():
    if _value is None:
        os.environ.pop(_name, None)

__all__ = ["expression", "faces", "is_expression", "mapnik"]


@lru_cache(maxsize=1024)
def expression(text: str) -> mapnik.Expression:
    """Return a compiled Mapnik expression.

    Raises
    ------
    RuntimeError
        If the text is not a Mapnik expression.
    """
    return mapnik.Expression(text)


def is_expression(text: str) -> bool:
    """Return whether a text is a valid Mapnik expression."""
    try:
        expression(text)
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=1)
def faces() -> frozenset[str]:
    """Return the names of the available fonts."""
    return frozenset(mapnik.FontEngine.face_names())
