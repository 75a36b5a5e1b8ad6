"""A web page that shows a map, complete in itself: Leaflet is in it, and only tiles come from a server."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from html import escape
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Any

from xyzservices import TileProvider

from cartoframes_lite._client.maps import build_url
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, Viewport
from cartoframes_lite.maps.styling import LegendItem

_PLACE = "{z}/{x}/{y}"
_LEAFLET = "xstatic/pkg/leaflet/data"
_BROKEN_OUT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}  # no text can end the script


@dataclass(frozen=True, slots=True)
class Instantiation:
    """How a page asks the server for its map, each time that it is looked at.

    Attributes
    ----------
    path : str
        "" or ``"named/NAME"``.
    body : mapping
        The MapConfig of an anonymous map, the parameters of a named one.
    query : mapping
        For this request and all that follow: the token of a named map, if it wants one.
    """

    path: str
    body: Mapping[str, Any]
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClickableLayer:
    """A layer whose features a click shows.

    Attributes
    ----------
    index : int
        Number of the layer, from 0.
    columns : sequence of str
        In the order in which they are shown; others follow.
    id : str
        The column that identifies a feature.
    has_attributes : bool or None
        Whether the server is asked for the attributes of a feature, which have values that grids have not. None: it is,
        but may know none.
    """

    index: int
    columns: Sequence[str] = ()
    id: str = "cartodb_id"
    has_attributes: bool | None = None

    @classmethod
    def of(cls, index: int, options: Any) -> ClickableLayer:
        """Read the options of a layer in a MapConfig, if they are known."""
        if not isinstance(options, Mapping):
            return cls(index)
        columns = options.get("interactivity") or ()
        columns = columns.split(",") if isinstance(columns, str) else columns
        names = [str(name).strip() for name in columns] if isinstance(columns, Sequence) else []
        attributes = options.get("attributes")
        if not isinstance(attributes, Mapping) or not isinstance(attributes.get("id"), str):
            return cls(index, names, has_attributes=False)
        more = attributes.get("columns")
        names += [str(name) for name in more if name not in names] if isinstance(more, list) else []
        return cls(index, names, attributes["id"], has_attributes=True)


@dataclass(frozen=True, slots=True)
class MapPage:
    """What a page shows.

    Attributes
    ----------
    base_url : str
        Of the account.
    opening : Instantiation
    interactive : sequence of ClickableLayer
        The layers that tell which feature is where, the highest first.
    view : Viewport
        What is shown first.
    attribution : str
        HTML.
    legend : sequence of LegendItem
    basemap : TileProvider, optional
        Shown below the map.
    picture : bytes, optional
        PNG of the view, for when the tiles are not to be had.
    """

    base_url: str
    opening: Instantiation
    interactive: Sequence[ClickableLayer]
    view: Viewport
    attribution: str
    legend: Sequence[LegendItem] = ()
    basemap: TileProvider | None = None
    picture: bytes | None = None

    def alone(self) -> str:
        """Write the page as a file of its own."""
        return self._written(self._image('id="picture"'))

    def framed(self) -> str:
        """Write the page as part of another one, such as a notebook.

        Where frames and scripts are taken out, as on GitHub, the picture is left.
        """
        outside = "position:absolute;left:50%;top:50%;transform:translate(-50%,-50%);max-width:none"
        inside = "position:absolute;left:0;top:0;width:100%;height:100%;border:0"
        return (
            f'<div style="position:relative;width:100%;height:{HEIGHT_PIXELS}px;overflow:hidden">'
            f'{self._image(f"""style="{outside}" """)}'
            f'<iframe style="{inside}" title="Map" srcdoc="{escape(self._written(""))}"></iframe></div>'
        )

    def _image(self, attributes: str) -> str:
        return picture_element(self.picture, attributes) if self.picture else ""

    def _written(self, picture: str) -> str:
        """Fill in the page."""
        return Template(_own("page.html")).substitute(
            title="Map",
            leaflet_css=_leaflet("leaflet.css"),
            leaflet_js=_leaflet("leaflet.js"),
            style=_own("page.css"),
            script=_own("page.js"),
            picture=picture,
            content=json.dumps(self._content()).translate(_BROKEN_OUT),
        )

    def _content(self) -> dict[str, Any]:
        """Return what the script of the page needs to know."""
        longitude, latitude = self.view.center
        return {
            "opening": {"url": self._address(self.opening.path), "body": dict(self.opening.body)},
            "tiles": {"usual": self._address(f"{{layergroup}}/{_PLACE}.png")}
            | {"retina": self._address(f"{{layergroup}}/{_PLACE}@2x.png")},
            "interactive": [self._clickable(layer) for layer in self.interactive],
            "attribution": self.attribution,
            "center": [latitude, longitude],
            "zoom": self.view.zoom,
            "legend": [asdict(item) for item in self.legend],
            "basemap": None if self.basemap is None else _leaflet_layer(self.basemap),
            "hasPicture": self.picture is not None,
        }

    def _clickable(self, layer: ClickableLayer) -> dict[str, Any]:
        """Return where the script of the page finds the features of a layer."""
        root = f"{{layergroup}}/{layer.index}"
        return {
            "grid": self._address(f"{root}/{_PLACE}.grid.json"),
            "attributes": None if layer.has_attributes is False else self._address(f"{root}/attributes/{{id}}"),
            "hasAttributes": layer.has_attributes is True,
            "id": layer.id,
            "columns": list(layer.columns),
        }

    def _address(self, path: str) -> str:
        return build_url(self.base_url, path, self.opening.query, quoted=str)


def picture_element(picture: bytes, attributes: str = "") -> str:
    """Write a PNG of a view into HTML."""
    data = b64encode(picture).decode()
    return (
        f'<img {attributes} width="{WIDTH_PIXELS}" height="{HEIGHT_PIXELS}" alt="Picture of the map"'
        f' src="data:image/png;base64,{data}">'
    )


def _leaflet_layer(provider: TileProvider) -> dict[str, Any]:
    """Say of a basemap what Leaflet wants to know."""
    kept = {"min_zoom": "minZoom", "max_zoom": "maxZoom", "subdomains": "subdomains"}
    options = {kept[name]: value for name, value in provider.items() if name in kept}
    options["attribution"] = provider.get("html_attribution") or provider.get("attribution", "")
    # Leaflet replaces these itself, {r} by whether the screen is one of double resolution.
    url = provider.build_url(x="{x}", y="{y}", z="{z}", scale_factor="{r}", fill_subdomain=False)
    return {"url": url, "options": options}


@cache
def _own(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _leaflet(name: str) -> str:
    """Read a file of Leaflet, from the package that brings it."""
    path = distribution("XStatic-Leaflet").locate_file(f"{_LEAFLET}/{name}")
    return Path(str(path)).read_text(encoding="utf-8")
