"""The CartoCSS of a layer, parsed where the drawing is installed."""

from __future__ import annotations

from .cartocss import Style, StyleError, parse
from .config import Layer
from .refusals import MapError

__all__ = ["Style", "parse_style"]


def parse_style(layer: Layer) -> Style:
    """Parse the CartoCSS of a layer; raise MapError if it cannot be drawn."""
    try:
        return parse(layer.cartocss or "", name=f"style{layer.index}")
    except StyleError as error:
        raise MapError(str(error), status=400, kind="layer", layer=layer.context) from error
