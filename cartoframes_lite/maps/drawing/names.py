"""Write names of countries and cities where no other name is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cartoframes_lite.maps.basemap.data import Basemap
from cartoframes_lite.maps.basemap.style import DOT_PX, HALO_PX, LABEL_STYLES, BasemapTheme
from cartoframes_lite.maps.drawing.canvas import Canvas
from cartoframes_lite.maps.drawing.colors import rgba

_LINE_HEIGHT = 1.15
_MARGIN = 3.0
_FONT_WIDTH = 0.92  # DejaVu Sans is wider than the fonts of pages
_HAIR_SPACE = "\u200a"

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name with its place in the picture, in pixels."""

    rows: list[str]
    is_city: bool
    x: float
    y: float
    size_px: float
    width: float
    color: str

    @property
    def row_height(self) -> float:
        return self.size_px * _LINE_HEIGHT

    @property
    def height(self) -> float:
        return self.row_height * len(self.rows)

    def box_at(self, x: float, y: float) -> Box:
        """Return the box that the name covers around a center."""
        half_width, half_height = self.width / 2 + _MARGIN, self.height / 2
        return x - half_width, y - half_height, x + half_width, y + half_height

    def places(self) -> list[tuple[float, float]]:
        """Return where the center of the name may be, the best place first: for a city, around its dot."""
        if not self.is_city:
            return [(self.x, self.y)]
        above, beside = self.height / 2 + _MARGIN, self.width / 2 + _MARGIN + 2
        return [
            (self.x, self.y - above),
            (self.x, self.y + above),
            (self.x + beside, self.y),
            (self.x - beside, self.y),
        ]


def draw_names(canvas: Canvas, basemap: Basemap, theme: BasemapTheme) -> None:
    """Write the names, the most important ones first."""
    taken: list[Box] = []
    for name in _names(canvas, basemap, theme):
        dot = [(name.x - 3, name.y - 3, name.x + 3, name.y + 3)] if name.is_city else []
        if any(_overlap(box, other) for box in dot for other in taken):
            continue
        for x, y in name.places():
            box = name.box_at(x, y)
            if _is_within(box, canvas) and not any(_overlap(box, other) for other in taken):
                taken += [box, *dot]
                _write(canvas, name, x, y, theme)
                break


def _names(canvas: Canvas, basemap: Basemap, theme: BasemapTheme) -> Iterator[_Name]:
    """Yield the names that are in the picture, in each copy of the world."""
    view = canvas.view
    for label in basemap.labels:
        text, kind, longitude, latitude, min_zoom = label
        if view.zoom < min_zoom:
            continue
        [[x, y]] = view.to_pixels(np.array([[longitude, latitude]]))
        style, is_city = LABEL_STYLES[kind], kind == 1
        if not 0 <= y <= view.height:
            continue
        rows = [_HAIR_SPACE.join(row) for row in text.upper().split("\n")] if style.is_uppercase else text.split("\n")
        size_px = style.size_at(view.zoom - min_zoom) * _FONT_WIDTH
        width = max(canvas.text_width(row, size_px) for row in rows)
        color = getattr(theme, style.color)
        for offset in view.offsets:
            if 0 <= x + offset <= view.width:
                yield _Name(rows, is_city, float(x) + offset, float(y), size_px, width, color)


def _write(canvas: Canvas, name: _Name, x: float, y: float, theme: BasemapTheme) -> None:
    halo: tuple[Any, float] = (theme.halo, HALO_PX)
    for index, row in enumerate(name.rows):
        down = y + (index - (len(name.rows) - 1) / 2) * name.row_height
        canvas.add_text(x, down, row, name.color, name.size_px, align="center", halo=halo)
    if name.is_city:
        canvas.add_circles([(name.x, name.y)], [DOT_PX], faces=[rgba(name.color)], linewidths=0)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _is_within(box: Box, canvas: Canvas) -> bool:
    """Return whether the picture shows a whole name."""
    left, upper, right, lower = box
    return left >= 0 and upper >= 0 and right <= canvas.view.width and lower <= canvas.view.height
