"""Colors of the basemap, widths of its lines and sizes of its names; pages and pictures use the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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
    min_zoom : int
        Lowest zoom at which the lines are drawn.
    """

    width_px: float
    growth_px: float
    max_px: float
    min_zoom: int = 0

    def width_at(self, zoom: float) -> float:
        """Return the width in pixels."""
        return min(self.max_px, self.width_px + self.growth_px * zoom)


@dataclass(frozen=True, slots=True)
class LabelStyle:
    """Size of names by zoom.

    Attributes
    ----------
    size_px : float
        At the lowest zoom at which a name is drawn.
    growth_px : float
        For each further zoom.
    max_px : float
    spacing_px : float
        Between letters.
    """

    size_px: float
    growth_px: float
    max_px: float
    spacing_px: float = 0.0

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
    countries, cities : str
        Names of countries and of cities.
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
    halo: str


LINE_STYLES: Mapping[str, LineStyle] = MappingProxyType(
    {
        "rivers": LineStyle(0.4, 0.12, 1.6),
        "states": LineStyle(0.8, 0.0, 0.8, min_zoom=4),
        "borders": LineStyle(0.6, 0.1, 1.6),
    }
)
LABEL_STYLES: Mapping[str, LabelStyle] = MappingProxyType(
    {"countries": LabelStyle(10.5, 0.8, 15.0, spacing_px=1.2), "cities": LabelStyle(10.5, 0.5, 14.0)}
)
LABEL_KINDS = ("countries", "cities")  # the numbers of these kinds in the data
HALO_PX = 2.6
DOT_PX = 3.6  # of a city

THEMES: Mapping[str, BasemapTheme] = MappingProxyType(
    {
        "light": BasemapTheme(
            background="#d3dce0",
            water="#d3dce0",
            land="#f6f5f2",
            lakes="#d3dce0",
            rivers="#dbe3e6",
            states="#e5e2dc",
            borders="#cfc9c1",
            countries="#727a80",
            cities="#525b60",
            halo="#fbfaf8e6",
        ),
        "dark": BasemapTheme(
            background="#15191d",
            water="#15191d",
            land="#2a3036",
            lakes="#15191d",
            rivers="#20262b",
            states="#353c43",
            borders="#4d555d",
            countries="#9ba5ad",
            cities="#c3cad0",
            halo="#1b2024e6",
        ),
    }
)
