"""Maps as PNG pictures, drawn with Matplotlib: basemap, layers, names, legends, title and attribution."""

from cartoframes_lite.maps.drawing.legends import Legend, LegendItem
from cartoframes_lite.maps.drawing.picture import TileImage, annotate, draw_map
from cartoframes_lite.maps.drawing.shapes import Shapes, ShapeStyle
from cartoframes_lite.maps.drawing.view import PictureView

__all__ = ["Legend", "LegendItem", "PictureView", "ShapeStyle", "Shapes", "TileImage", "annotate", "draw_map"]
