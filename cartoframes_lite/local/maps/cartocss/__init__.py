"""CartoCSS, as much of it as this server draws: a text becomes a :class:`Style`."""

from cartoframes_lite.local.maps.cartocss.cascade import styled
from cartoframes_lite.local.maps.cartocss.style import (
    COLOR,
    Definition,
    Style,
    StyleError,
    Symbolizer,
    fields,
    symbolizers,
)
from cartoframes_lite.local.maps.cartocss.syntax import read

__all__ = ["COLOR", "Definition", "Style", "StyleError", "Symbolizer", "fields", "parse", "symbolizers"]


def parse(text: str, *, name: str, layer: str = "layer0") -> Style:
    """Read a style sheet for one layer.

    Parameters
    ----------
    text : str
        CartoCSS. Any `#name` in it is the layer, as a real server has it.
    name : str
        What the sheet is called in refusals: `style0` for the first layer of a map.
    layer : str, default "layer0"
        The name of the layer: refusals count columns as if each `#name` were it.

    Returns
    -------
    Style

    Raises
    ------
    StyleError
        It is not CartoCSS, or it uses what this server does not draw: the message names the property.
    """
    return styled(*read(text, name=name, layer=layer))
