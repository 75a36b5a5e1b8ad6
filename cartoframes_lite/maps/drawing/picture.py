"""Draw a map as a PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Literal

import numpy as np

from cartoframes_lite.maps.basemap.style import THEMES
from cartoframes_lite.maps.drawing.canvas import Canvas
from cartoframes_lite.maps.drawing.ground import basemap_of, draw_ground
from cartoframes_lite.maps.drawing.legends import (
    BOX_THEMES,
    BoxTheme,
    Legend,
    draw_attribution,
    draw_legends,
    draw_title,
)
from cartoframes_lite.maps.drawing.names import draw_names
from cartoframes_lite.maps.drawing.shapes import Shapes, draw_shapes
from cartoframes_lite.maps.drawing.view import PictureView

_TAG = re.compile(r"<[^<>]*+>")
_PLAIN_BACKGROUND = "#ffffff"


@dataclass(frozen=True, slots=True)
class TileImage:
    """An image of a basemap.

    Attributes
    ----------
    image : bytes
        Content of a PNG or JPEG file, in Web Mercator.
    bbox : tuple of (west, south, east, north)
        In degrees.
    """

    image: bytes
    bbox: tuple[float, float, float, float]


def draw_map(
    view: PictureView,
    layers: Sequence[bytes | Shapes] = (),
    *,
    basemap: Literal["natural-earth"] | Sequence[TileImage] | None = "natural-earth",
    theme: Literal["light", "dark"] = "light",
    legends: Sequence[Legend] = (),
    title: str | None = None,
    attribution: str = "",
    scale: float = 1.0,
) -> bytes:
    """Draw a map with its basemap, legends, title and attribution.

    Parameters
    ----------
    view : PictureView
    layers : sequence of bytes or Shapes
        From bottom to top: a PNG with transparency, which covers the view, such as a static image of the Maps API with
        the same center, zoom and size; or geometries with their styles.
    basemap : "natural-earth", sequence of TileImage, or None
        Below the layers. The names of the offline basemap are above them. None: a white background.
    theme : {"light", "dark"}
        Of the offline basemap, title, legends and attribution.
    legends : sequence of Legend
        From top to bottom, drawn as far as there is room.
    title, attribution : str, optional
        Tags of HTML are removed from the attribution.
    scale : float, default 1.0
        Pixels of the file for each pixel of the view; 2 for high-resolution screens and print.

    Returns
    -------
    bytes
        Content of a PNG file.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    colors = THEMES[theme]
    background = colors.background if basemap == "natural-earth" else _PLAIN_BACKGROUND
    canvas = Canvas(view, scale, background)
    ground = basemap_of(view, scale) if basemap == "natural-earth" else None
    if ground:
        draw_ground(canvas, ground, colors)
    elif basemap:
        _draw_tiles(canvas, [tile for tile in basemap if isinstance(tile, TileImage)])
    for layer in layers:
        if isinstance(layer, bytes):
            canvas.add_image(layer)
            _cover_beyond_world(canvas, background)
        else:
            draw_shapes(canvas, layer)
    if ground:
        draw_names(canvas, ground, colors)
    _draw_boxes(canvas, BOX_THEMES[theme], legends, title, attribution)
    return canvas.to_png()


def annotate(
    view: PictureView,
    picture: bytes,
    *,
    theme: Literal["light", "dark"],
    legends: Sequence[Legend],
    title: str | None,
    attribution: str,
    scale: float,
) -> bytes:
    """Return a PNG of ``draw_map`` with legends, title and attribution; the words are those of ``draw_map``."""
    canvas = Canvas(view, scale, _PLAIN_BACKGROUND)
    canvas.add_image(picture)
    _draw_boxes(canvas, BOX_THEMES[theme], legends, title, attribution)
    return canvas.to_png()


def _draw_boxes(
    canvas: Canvas, theme: BoxTheme, legends: Sequence[Legend], title: str | None, attribution: str
) -> None:
    """Draw attribution, legends and title."""
    text = unescape(_TAG.sub("", attribution)).strip()
    bottom = draw_attribution(canvas, text, theme) if text else 0.0
    draw_legends(canvas, legends, theme, bottom)
    if title:
        draw_title(canvas, title, theme)


def _draw_tiles(canvas: Canvas, tiles: Sequence[TileImage]) -> None:
    """Draw the images of a basemap."""
    for tile in tiles:
        west, south, east, north = tile.bbox
        [[left, upper], [right, lower]] = canvas.view.to_pixels(np.array([[west, north], [east, south]])).tolist()
        canvas.add_image(tile.image, (left, upper, right, lower))


def _cover_beyond_world(canvas: Canvas, background: str) -> None:
    """Hide what a server draws beyond 85° N and S, where the basemap ends."""
    view = canvas.view
    _, upper, _, lower = view.world_sides
    for top, bottom in ((0.0, upper), (lower, view.height)):
        if bottom > top:
            canvas.add_box(0, top, view.width, bottom - top, background)
