"""Pictures of maps: Mapnik draws rows as CartoCSS says."""

from .grids import grid
from .pictures import DrawingError, draw
from .rows import Box, Drawn, Row

__all__ = ["Box", "DrawingError", "Drawn", "Row", "draw", "grid"]
