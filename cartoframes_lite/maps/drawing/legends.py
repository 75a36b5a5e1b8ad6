"""Draw title, legends and attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cartoframes_lite.maps.drawing.canvas import Canvas
from cartoframes_lite.maps.drawing.colors import rgba

_MARGIN = 10.0
_PADDING = 10.0
_ROW, _TITLE_ROW, _GAP = 18.0, 20.0, 8.0
_TEXT_PX, _TITLE_PX, _HEADING_PX, _SMALL_PX = 11.0, 11.5, 15.0, 9.0
_SWATCH = 13.0
_RADIUS = 7.0
_BAR = (150.0, 10.0)  # width and height of a gradient
_MAX_TEXT = 220.0


class LegendItem(Protocol):
    """An entry of a legend."""

    @property
    def color(self) -> str:
        """CSS color."""

    @property
    def label(self) -> str:
        """What the color or size means."""

    @property
    def size_px(self) -> float | None:
        """Diameter of the marker in pixels; None for a swatch."""


class Legend(Protocol):
    """The legend of the colors or sizes of a layer."""

    @property
    def title(self) -> str:
        """Title, may be empty."""

    @property
    def items(self) -> Sequence[LegendItem]:
        """Entries, from top to bottom."""

    @property
    def colors(self) -> Sequence[str]:
        """Colors of a gradient, evenly spaced; empty if there is none."""

    @property
    def limits(self) -> Sequence[str]:
        """Labels of the gradient, evenly spaced."""


@dataclass(frozen=True, slots=True)
class BoxTheme:
    """CSS colors of the boxes on a picture."""

    face: str
    edge: str
    text: str
    muted: str


BOX_THEMES = {
    "light": BoxTheme("#fffffff2", "#00000018", "#26323c", "#5c6b78"),
    "dark": BoxTheme("#1d242bf2", "#ffffff20", "#e4e9ee", "#a3b0bb"),
}


def draw_title(canvas: Canvas, title: str, theme: BoxTheme) -> None:
    """Draw a title at the top left."""
    text = _fit(canvas, title, _HEADING_PX, canvas.view.width - 2 * (_MARGIN + _PADDING + 2), "bold")
    width = canvas.text_width(text, _HEADING_PX, "bold") + 2 * _PADDING + 4
    canvas.add_box(_MARGIN, _MARGIN, width, 32, theme.face, radius=_RADIUS, edge=theme.edge)
    canvas.add_text(_MARGIN + _PADDING + 2, _MARGIN + 16, text, theme.text, _HEADING_PX, weight="bold")


def draw_attribution(canvas: Canvas, attribution: str, theme: BoxTheme) -> float:
    """Draw an attribution at the bottom right; return its height in pixels."""
    text = _fit(canvas, attribution, _SMALL_PX, canvas.view.width - 10)
    width, height = canvas.text_width(text, _SMALL_PX) + 10, 16.0
    left, upper = canvas.view.width - width, canvas.view.height - height
    canvas.add_box(left, upper, width, height, theme.face[:7] + "b3")
    canvas.add_text(left + 5, upper + height / 2, text, theme.muted, _SMALL_PX)
    return height


def draw_legends(canvas: Canvas, legends: Sequence[Legend], theme: BoxTheme, bottom: float) -> None:
    """Draw legends in one box at the bottom right, `bottom` pixels above the lower side."""
    room = canvas.view.height - bottom - 2 * _MARGIN - 2 * _PADDING
    shown = _within(legends, room)
    if not shown:
        return
    width = max(_width(canvas, legend, count) for legend, count in shown)
    height = sum(_height(legend, count) for legend, count in shown) + _GAP * (len(shown) - 1)
    left = canvas.view.width - _MARGIN - width - 2 * _PADDING
    upper = canvas.view.height - bottom - _MARGIN - height - 2 * _PADDING
    canvas.add_box(
        left, upper, width + 2 * _PADDING, height + 2 * _PADDING, theme.face, radius=_RADIUS, edge=theme.edge
    )
    y = upper + _PADDING
    for legend, count in shown:
        _draw(canvas, legend, count, left + _PADDING, y, theme)
        y += _height(legend, count) + _GAP


def _within(legends: Sequence[Legend], room: float) -> list[tuple[Legend, int]]:
    """Return the legends that fit into a height, with the number of items of each that do."""
    shown: list[tuple[Legend, int]] = []
    for legend in legends:
        count = len(legend.items)
        while count and _height(legend, count) > room:
            count -= 1
        if _height(legend, count) > room or (legend.items and not count):
            break
        shown.append((legend, count))
        room -= _height(legend, count) + _GAP
    return shown


def _height(legend: Legend, count: int) -> float:
    """Return the height of a legend with its first items; if it has more, a row says so."""
    more = count < len(legend.items)
    rows = sum(_row_height(item) for item in legend.items[:count])
    gradient = _BAR[1] + _ROW + 4 if legend.colors else 0
    return (_TITLE_ROW if legend.title else 0) + gradient + rows + (_ROW if more else 0)


def _row_height(item: LegendItem) -> float:
    return max(_ROW, (item.size_px or 0) + 4)


def _mark_width(legend: Legend) -> float:
    return max([_SWATCH, *(item.size_px or 0 for item in legend.items)])


def _width(canvas: Canvas, legend: Legend, count: int) -> float:
    labels = [canvas.text_width(_fit(canvas, item.label), _TEXT_PX) for item in legend.items[:count]]
    title = canvas.text_width(_fit(canvas, legend.title, _TITLE_PX, weight="bold"), _TITLE_PX, "bold")
    rows = [_mark_width(legend) + 8 + width for width in labels]
    return max([title, *rows, _BAR[0] if legend.colors else 0, 60])


def _draw(canvas: Canvas, legend: Legend, count: int, x: float, y: float, theme: BoxTheme) -> None:
    """Draw title, gradient and items of a legend below a point."""
    if legend.title:
        title = _fit(canvas, legend.title, _TITLE_PX, weight="bold")
        canvas.add_text(x, y + _TITLE_ROW / 2 - 2, title, theme.text, _TITLE_PX, weight="bold")
        y += _TITLE_ROW
    if legend.colors:
        _draw_gradient(canvas, legend, x, y, theme)
        y += _BAR[1] + _ROW + 4
    mark = _mark_width(legend)
    for item in legend.items[:count]:
        height = _row_height(item)
        _draw_mark(canvas, item, x, y + height / 2, mark, theme)
        canvas.add_text(x + mark + 8, y + height / 2, _fit(canvas, item.label), theme.text, _TEXT_PX)
        y += height
    if count < len(legend.items):
        canvas.add_text(x, y + _ROW / 2, f"and {len(legend.items) - count} more", theme.muted, _TEXT_PX)


def _draw_mark(canvas: Canvas, item: LegendItem, x: float, y: float, width: float, theme: BoxTheme) -> None:
    """Draw a circle of the size of an item, or a swatch of its color."""
    if item.size_px:
        faces, edges = [rgba(item.color)], [rgba(theme.edge)]
        canvas.add_circles([(x + width / 2, y)], [item.size_px], faces=faces, edgecolors=edges, linewidths=0.7)
    else:
        left = x + (width - _SWATCH) / 2
        canvas.add_box(left, y - _SWATCH / 2, _SWATCH, _SWATCH, item.color, radius=2.5, edge=theme.edge)


def _draw_gradient(canvas: Canvas, legend: Legend, x: float, y: float, theme: BoxTheme) -> None:
    """Draw the gradient of a continuous legend, with labels at its ends and between them."""
    width, height = _BAR
    steps = round(width * canvas.scale)
    colors = np.array([rgba(color) for color in legend.colors])
    positions = np.linspace(0, len(colors) - 1, steps)
    pixels = np.column_stack([np.interp(positions, np.arange(len(colors)), channel) for channel in colors.T])
    canvas.add_pixels((pixels[None] * 255).round().astype(np.uint8), (x, y, x + width, y + height))
    _write_limits(canvas, legend.limits, x, y + height + 4 + _ROW / 2 - 1, theme)


def _write_limits(canvas: Canvas, limits: Sequence[str], x: float, y: float, theme: BoxTheme) -> None:
    """Write labels below a gradient: the first and the last one, and those between them that have room."""
    size_px, last = _TEXT_PX - 1, len(limits) - 1
    widths = [canvas.text_width(label, size_px) for label in limits]
    centers = [x + _BAR[0] * index / max(1, last) for index in range(len(limits))]
    starts = [center - width / 2 for center, width in zip(centers, widths, strict=True)]
    if limits:
        starts[0], starts[last] = (x, x + _BAR[0] - widths[last]) if last else (x, x)
    free = x - _GAP  # where the text before ends
    for index, (label, start, width) in enumerate(zip(limits, starts, widths, strict=True)):
        is_end = index in (0, last)
        if is_end or (start >= free + _GAP and start + width + _GAP <= starts[last]):
            canvas.add_text(start, y, label, theme.muted, size_px)
            free = start + width


def _fit(
    canvas: Canvas, text: str, size_px: float = _TEXT_PX, max_width: float = _MAX_TEXT, weight: str = "normal"
) -> str:
    """Return the text in one line, shortened with an ellipsis if it is too wide."""
    text = " ".join(text.split())
    if canvas.text_width(text, size_px, weight) <= max_width:
        return text
    while text and canvas.text_width(f"{text}…", size_px, weight) > max_width:
        text = text[:-1].rstrip()
    return f"{text}…"
