"""Pictures of maps: Mapnik draws rows as CartoCSS says."""

from .grids import grid
from .pictures import draw
from .rows import Box, DrawingError, Drawn, RenderTimeout, Row

__all__ = ["Box", "DrawingError", "Drawn", "RenderTimeout", "Row", "draw", "grid"]
