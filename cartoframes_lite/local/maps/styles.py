"""Parsing of the CartoCSS of a layer."""

from __future__ import annotations

from cartoframes_lite.local.maps.cartocss import Style, StyleError, parse
from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.errors import MapError

__all__ = ["Style", "parse_style"]


def parse_style(layer: MapLayer) -> Style:
    """Parse the CartoCSS of a layer; raise MapError if it is invalid or not supported."""
    try:
        return parse(layer.cartocss or "", name=f"style{layer.index}")
    except StyleError as error:
        raise MapError(str(error), status=400, kind="layer", layer=layer.context) from error
