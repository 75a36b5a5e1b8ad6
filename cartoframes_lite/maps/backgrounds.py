"""Basemaps by name or as a TileProvider: validation, and their content for pages."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args

from xyzservices import TileProvider, providers

from cartoframes_lite.maps.basemap import page_content
from cartoframes_lite.maps.page import Theme
from cartoframes_lite.maps.page.viewport import Viewport

BasemapName = Literal["light", "dark", "osm"]
Basemap: TypeAlias = BasemapName | TileProvider | None

_NAMES: tuple[str, ...] = get_args(BasemapName)
# Names that are usual elsewhere, and the basemap that resembles them.
_SIMILAR = {"positron": "light", "voyager": "light", "dark_matter": "dark", "openstreetmap": "osm", "none": "None"}


def check_basemap(basemap: Any) -> None:
    """Raise ValueError or TypeError, with a suggestion, if a value is not a basemap."""
    if basemap is None or (isinstance(basemap, str) and basemap in _NAMES):
        return
    if isinstance(basemap, TileProvider):
        if basemap.requires_token():
            raise ValueError(f"basemap {basemap['name']} needs an access token: pass it with basemap(accessToken=...)")
        return
    expected = f"basemap must be {', '.join(map(repr, _NAMES))}, None or an xyzservices.TileProvider"
    if not isinstance(basemap, str):
        raise TypeError(f"{expected}, not {type(basemap).__name__} {basemap!r}")
    raise ValueError(f"{expected}, not {basemap!r}{_suggestion(basemap)}")


def theme_of(basemap: Basemap) -> Theme:
    """Return the theme of the page and of the colors of its layers."""
    return "dark" if isinstance(basemap, str) and basemap == "dark" else "light"


def page_basemap(basemap: Basemap, view: Viewport) -> dict[str, Any] | None:
    """Return the content of a basemap for the page; None if there is no basemap."""
    if isinstance(basemap, TileProvider):
        return _tiles(basemap)
    if basemap == "osm":
        return _tiles(providers.OpenStreetMap.Mapnik)
    return None if basemap is None else {"type": "natural-earth", **page_content(basemap, view.bounds)}


def _tiles(provider: TileProvider) -> dict[str, Any]:
    """Return the URL and options of tiles for Leaflet."""
    leaflet_names = {"min_zoom": "minZoom", "max_zoom": "maxZoom", "subdomains": "subdomains"}
    options = {leaflet_names[name]: value for name, value in provider.items() if name in leaflet_names}
    options["attribution"] = provider.get("html_attribution") or provider.get("attribution", "")
    # Leaflet replaces these placeholders; {r} becomes "@2x" on high-resolution screens.
    url = provider.build_url(x="{x}", y="{y}", z="{z}", scale_factor="{r}", fill_subdomain=False)
    return {"type": "tiles", "url": url, "options": options}


def _suggestion(name: str) -> str:
    """Return the end of an error message: the basemap that was probably meant."""
    plain = name.strip().lower().rpartition(".")[2].replace("-", "_").replace(" ", "_")
    if plain in _SIMILAR:
        return f"; did you mean {_SIMILAR[plain] if plain == 'none' else repr(_SIMILAR[plain])}?"
    close = get_close_matches(plain, _NAMES, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    try:
        provider = providers.query_name(name)
    except ValueError:
        return ""
    return f"; did you mean xyzservices.providers.{provider['name']}?"
