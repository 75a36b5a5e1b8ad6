"""Rendering of rows with Mapnik, styled by CartoCSS."""

from cartoframes_lite.local.maps.rendering.features import Box, RenderedLayer, RenderingError, RenderTimeout, Row
from cartoframes_lite.local.maps.rendering.images import render
from cartoframes_lite.local.maps.rendering.utfgrid import grid

__all__ = ["Box", "RenderTimeout", "RenderedLayer", "RenderingError", "Row", "grid", "render"]
