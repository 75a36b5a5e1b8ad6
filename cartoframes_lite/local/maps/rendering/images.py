"""Tiles and static pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cartoframes_lite.local.maps.mapnik_library import mapnik
from cartoframes_lite.local.maps.rendering.features import Box, RenderedLayer, RenderingError, SortedFeatures, sort_rows
from cartoframes_lite.local.maps.rendering.mapnik_xml import MapnikXML

_FORMATS: Final = {"png": "png32", "jpg": "jpeg85", "jpeg": "jpeg85"}


def render(
    layers: Sequence[RenderedLayer],
    box: Box,
    width: int,
    height: int,
    *,
    scale: float = 1,
    zoom: float,
    background: str | None = None,
    format: str = "png",
    buffer: int = 64,
) -> bytes:
    """Draw layers over each other.

    Safe to call from several threads: each call has a map of its own.

    Parameters
    ----------
    layers : sequence of RenderedLayer
        The lowest first.
    box : tuple of float
        West, south, east and north of the picture in EPSG:3857, meters.
    width, height : int
        At scale 1: the picture has `width * scale` by `height * scale` pixels.
    scale : float, default 1
        2 for a picture of a retina screen, in which everything is twice as large in pixels.
    zoom : float
        That the filters on zoom see.
    background : str, optional
        Color behind the layers; None for that of the lowest style that has one, or else transparent (white in JPEG).
    format : {"png", "jpg", "jpeg"}, default "png"
    buffer : int, default 64
        How far beyond the picture, in pixels at scale 1, rows are asked for whose symbols may reach into it.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    RenderingError
        Mapnik cannot draw it.
    """
    own = (layer.style.background for layer in layers if layer.style.background)
    behind = background or next(own, None) or ("white" if format != "png" else None)
    drawn = prepared(layers, box, width, height, scale=scale, zoom=zoom, buffer=buffer)[0]
    image = mapnik.Image(drawn.width, drawn.height)
    try:
        if behind:
            drawn.background = mapnik.Color(behind.encode("ascii", "replace").decode())
        mapnik.render(drawn, image, scale)
    except RuntimeError as error:
        raise RenderingError(str(error)) from error
    encoded: bytes = image.to_string(_FORMATS[format])
    return encoded


def prepared(
    layers: Sequence[RenderedLayer],
    box: Box,
    width: int,
    height: int,
    *,
    scale: float = 1,
    zoom: float,
    buffer: int,
    key: str | None = None,
) -> tuple[mapnik.Map, list[SortedFeatures]]:
    """Return a map that Mapnik can draw, and the rows of its layers."""
    margin = buffer * (box[2] - box[0]) / width
    wide = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
    sheet, found = MapnikXML(), []
    for layer in layers:
        style = layer.style.at(zoom)
        rows = sort_rows(style, layer.rows(wide) if style.definitions else (), key=key)
        sheet.add(rows.cases, style.attachments)
        found.append(rows)
    drawn = mapnik.Map(round(width * scale), round(height * scale))
    drawn.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    try:
        mapnik.load_map_from_string(drawn, str(sheet), True)
    except RuntimeError as error:
        raise RenderingError(str(error)) from error
    for layer, rows in zip(drawn.layers, found, strict=True):
        layer.datasource = rows.source
    drawn.buffer_size = round(buffer * scale)
    drawn.zoom_to_box(mapnik.Box2d(*box))
    return drawn, found
