"""The offline basemap: land, water, borders and names from Natural Earth, in light and dark."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from cartoframes_lite.maps.basemap.data import BBox, compressed
from cartoframes_lite.maps.basemap.style import STYLE, THEMES, BasemapTheme

__all__ = ["ATTRIBUTION", "THEMES", "BasemapTheme", "page_content"]

ATTRIBUTION = 'Basemap: <a href="https://www.naturalearthdata.com">Natural Earth</a>'


def page_content(theme: str, bbox: BBox | None = None) -> dict[str, Any]:
    """Return what the function ``naturalEarth`` of basemap.js needs to draw the basemap.

    Parameters
    ----------
    theme : {"light", "dark"}
    bbox : tuple of (west, south, east, north), optional
        What the page shows first, in degrees; beyond 180, or with `west` > `east`, if it crosses the antimeridian. The
        basemap has more detail there, and less elsewhere. None: the world.

    Returns
    -------
    dict
        Can be converted to JSON; at most 150 kB.

    Raises
    ------
    ValueError
        If there is no such theme.
    """
    if theme not in THEMES:
        raise ValueError(f"there is no basemap theme {theme!r}; the themes are {', '.join(map(repr, THEMES))}")
    style = {name: value for name, value in STYLE.items() if name != "themes"}
    data = b64encode(compressed(bbox)).decode()
    return {**style, "theme": STYLE["themes"][theme], "attribution": ATTRIBUTION, "data": data}
