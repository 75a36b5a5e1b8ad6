"""Colors of the basemap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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
            countries="#7d858a",
            cities="#5a6368",
            halo="#fbfaf8",
        ),
        "dark": BasemapTheme(
            background="#15191d",
            water="#15191d",
            land="#272c31",
            lakes="#15191d",
            rivers="#1e2327",
            states="#31373d",
            borders="#454c53",
            countries="#818b93",
            cities="#a7b0b7",
            halo="#1b2024",
        ),
    }
)
