"""Draw the lines of the offline basemap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cartoframes_lite.maps.basemap.data import Basemap, natural_earth
from cartoframes_lite.maps.basemap.encoding import RINGS, Lines
from cartoframes_lite.maps.basemap.style import LINE_STYLES, BasemapTheme
from cartoframes_lite.maps.drawing.canvas import Canvas
from cartoframes_lite.maps.drawing.paths import Floats, lines_path, rings_path
from cartoframes_lite.maps.drawing.view import PictureView

_MAX_POINTS = 400_000


def basemap_of(view: PictureView, scale: float) -> Basemap:
    """Return the part of the basemap that a picture shows, in its detail."""
    detail = max(0.0, view.zoom + math.log2(scale))
    return natural_earth().around(view.bbox, _MAX_POINTS, detail)


def draw_ground(canvas: Canvas, basemap: Basemap, theme: BasemapTheme) -> None:
    """Draw water, land and lines within the displayed world."""
    view = canvas.view
    left, upper, right, lower = view.world_sides
    canvas.add_box(left, upper, right - left, lower - upper, theme.water)
    # Land of the copy to the west may extend beyond the antimeridian; other lines do not.
    offsets = [view.offsets[0] - view.world_pixels, *view.offsets]
    for name in RINGS:
        rings = _visible(basemap, basemap.lines[name], view, offsets)
        canvas.add_path(rings_path(rings, (left, upper, right, lower)), face=getattr(theme, name))
    for name, style in LINE_STYLES.items():
        if style.min_zoom <= view.zoom <= style.max_zoom:
            path = lines_path(_visible(basemap, basemap.lines[name], view, view.offsets))
            canvas.add_path(path, edge=getattr(theme, name), width_px=style.width_at(view.zoom))


def _visible(basemap: Basemap, lines: Lines, view: PictureView, offsets: Sequence[float]) -> list[Floats]:
    """Return the lines in pixels that are in the picture, displaced by each offset."""
    if not len(lines.lengths):
        return []
    starts = np.cumsum(lines.lengths) - lines.lengths
    unit = view.world_pixels / 2**basemap.bits
    found = []
    for offset in offsets:
        pixels = np.column_stack([lines.x * unit + offset - view.left, lines.y * unit - view.top])
        lowest, highest = (reduction.reduceat(pixels, starts) for reduction in (np.minimum, np.maximum))
        shown = np.all((highest >= 0) & (lowest <= [view.width, view.height]), axis=1)
        found += [
            pixels[start : start + length] for start, length in zip(starts[shown], lines.lengths[shown], strict=True)
        ]
    return found
