"""Colors of the basemap, widths of its lines and sizes of its names; pages and pictures use the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class LineStyle:
    """Width of lines by zoom.

    Attributes
    ----------
    width_px : float
        At zoom 0.
    growth_px : float
        For each further zoom.
    max_px : float
    min_zoom, max_zoom : int
        Zooms at which the lines are drawn; lines of a small scale are far from their places at a high zoom.
    """

    width_px: float
    growth_px: float
    max_px: float
    min_zoom: int = 0
    max_zoom: int = 30

    def width_at(self, zoom: float) -> float:
        """Return the width in pixels."""
        return min(self.max_px, self.width_px + self.growth_px * zoom)


@dataclass(frozen=True, slots=True)
class LabelStyle:
    """Size of names by zoom.

    Attributes
    ----------
    color : str
        Attribute of the theme.
    size_px : float
        At the lowest zoom at which a name is drawn.
    growth_px : float
        For each further zoom.
    max_px : float
    spacing_px : float
        Between letters.
    is_uppercase : bool
    """

    color: str
    size_px: float
    growth_px: float
    max_px: float
    spacing_px: float = 0.0
    is_uppercase: bool = False

    def size_at(self, zooms: float) -> float:
        """Return the size in pixels, `zooms` above the lowest zoom."""
        return min(self.max_px, self.size_px + self.growth_px * zooms)


@dataclass(frozen=True, slots=True)
class BasemapTheme:
    """Colors of the basemap, as CSS colors.

    Attributes
    ----------
    background : str
        Of the page, above 85° N and below 85° S.
    water, land, lakes : str
        Fills.
    rivers, states, borders : str
        Lines.
    countries, cities, regions : str
        Names of countries, of cities and of states.
    halo : str
        Outline of the names.
    """

    background: str
    water: str
    land: str
    lakes: str
    rivers: str
    states: str
    borders: str
    countries: str
    cities: str
    regions: str
    halo: str


def _read_style() -> dict[str, Any]:
    """Read the file that pages and pictures share."""
    content: dict[str, Any] = json.loads(files(__package__).joinpath("style.json").read_text(encoding="utf-8"))
    return content


STYLE = _read_style()
THEMES: Mapping[str, BasemapTheme] = MappingProxyType(
    {name: BasemapTheme(**colors) for name, colors in STYLE["themes"].items()}
)
LINE_STYLES: Mapping[str, LineStyle] = MappingProxyType(
    {name: LineStyle(**style) for name, style in STYLE["lines"].items()}
)
LABEL_STYLES = tuple(LabelStyle(**style) for style in STYLE["labels"])  # countries, cities, regions
HALO_PX: float = STYLE["halo_px"]
DOT_PX: float = STYLE["dot_px"]  # of a city
