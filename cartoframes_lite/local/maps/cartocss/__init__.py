"""Parser of the subset of CartoCSS that this server renders; see :func:`parse`."""

from cartoframes_lite.local.maps.cartocss.cascade import resolve
from cartoframes_lite.local.maps.cartocss.style import (
    COLOR,
    Definition,
    Style,
    StyleError,
    Symbolizer,
    fields,
    symbolizers,
)
from cartoframes_lite.local.maps.cartocss.syntax import parse_blocks

__all__ = ["COLOR", "Definition", "Style", "StyleError", "Symbolizer", "fields", "parse", "symbolizers"]


def parse(text: str, *, name: str, layer: str = "layer0") -> Style:
    """Parse the style sheet of a layer.

    Parameters
    ----------
    text : str
        CartoCSS. Every `#name` selects the layer, as in CARTO.
    name : str
        Name of the style sheet in error messages: `style0` for the first layer of a map.
    layer : str, default "layer0"
        Name that replaces each `#name` before the columns in error messages are counted, as in CARTO.

    Returns
    -------
    Style

    Raises
    ------
    StyleError
        If the text is not valid CartoCSS, or has a property that this server does not support.
    """
    return resolve(*parse_blocks(text, name=name, layer=layer))
