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
    size_px : float
        At the lowest zoom at which a name is drawn.
    growth_px : float
        For each further zoom.
    max_px : float
    spacing_px : float
        Between letters.
    is_uppercase : bool
    """

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


LINE_STYLES: Mapping[str, LineStyle] = MappingProxyType(
    {
        "rivers": LineStyle(0.4, 0.12, 1.6, max_zoom=9),
        "states": LineStyle(0.8, 0.0, 0.8, min_zoom=4, max_zoom=10),
        "borders": LineStyle(0.6, 0.1, 1.6),
    }
)
LABEL_STYLES: Mapping[str, LabelStyle] = MappingProxyType(
    {
        "countries": LabelStyle(10.5, 0.8, 15.0, spacing_px=1.2, is_uppercase=True),
        "cities": LabelStyle(10.5, 0.5, 14.0),
        "regions": LabelStyle(9.5, 0.5, 12.5, spacing_px=0.8, is_uppercase=True),
    }
)
LABEL_KINDS = ("countries", "cities", "regions")  # the numbers of these kinds in the data
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
            regions="#8a9298",
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
            regions="#7f8a92",
            halo="#1b2024e6",
        ),
    }
)
