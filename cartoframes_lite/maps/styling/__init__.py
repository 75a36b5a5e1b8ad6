"""Styling of layers by words: colors, sizes, legends, and the CartoCSS and SQL that draw them."""

from cartoframes_lite.maps.styling.legend import Legend, LegendItem
from cartoframes_lite.maps.styling.options import LayerOptions

__all__ = ["LayerOptions", "Legend", "LegendItem"]
