"""A self-contained web page that displays a map: Leaflet is embedded, and only tiles and attributes are requested."""

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

from cartoframes_lite._client.http.json_fields import drop_none
from cartoframes_lite._client.maps import build_url
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, Viewport
from cartoframes_lite.maps.styling import LegendItem

_TILE = "{z}/{x}/{y}"
_LEAFLET = "xstatic/pkg/leaflet/data"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}  # so that no text can end the script element


@dataclass(frozen=True, slots=True)
class Instantiation:
    """The request that instantiates a map. A page sends it each time it is opened.

    Attributes
    ----------
    path : str
        "" or ``"named/NAME"``.
    body : mapping
        MapConfig of an anonymous map, or parameters of a named map.
    query : mapping
        Query parameters of this and all following requests: the token of a named map, if it has any.
    """

    path: str
    body: Mapping[str, Any]
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_named_map(cls, name: str, params: Mapping[str, Any], auth_token: str | None) -> Instantiation:
        """Return the request that instantiates a named map."""
        return cls(f"named/{name}", params, drop_none(auth_token=auth_token))


@dataclass(frozen=True, slots=True)
class ClickableLayer:
    """A layer that displays the attributes of a clicked feature.

    Attributes
    ----------
    index : int
        Index of the layer, from 0.
    columns : sequence of str
        Columns to display first, in this order.
    id : str
        Column that identifies a feature.
    has_attributes : bool or None
        Whether the layer has the option ``attributes``, from which the page requests values that UTFGrids lack. None:
        unknown; the page requests them and ignores errors.
    """

    index: int
    columns: Sequence[str] = ()
    id: str = "cartodb_id"
    has_attributes: bool | None = None

    @classmethod
    def of(cls, index: int, options: Any) -> ClickableLayer:
        """Create from the options of a layer in a MapConfig, None if they are not known."""
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
    """A page that displays a map.

    Attributes
    ----------
    base_url : str
        URL of the account.
    instantiation : Instantiation
    interactive : sequence of ClickableLayer
        Layers that have UTFGrids, topmost first.
    view : Viewport
        Initial view.
    attribution : str
        HTML.
    legend : sequence of LegendItem
    basemap : TileProvider, optional
        Tiles below the map.
    picture : bytes, optional
        PNG of the initial view, displayed if the tiles cannot be loaded.
    """

    base_url: str
    instantiation: Instantiation
    interactive: Sequence[ClickableLayer]
    view: Viewport
    attribution: str
    legend: Sequence[LegendItem] = ()
    basemap: TileProvider | None = None
    picture: bytes | None = None

    def standalone_html(self) -> str:
        """Return the page as an HTML document."""
        return self._render(self._image('id="picture"'))

    def iframe_html(self) -> str:
        """Return the page in an iframe, to be embedded in another page such as a notebook.

        Where iframes are removed, as on GitHub, the static image behind the iframe remains visible.
        """
        outside = "position:absolute;left:50%;top:50%;transform:translate(-50%,-50%);max-width:none"
        inside = "position:absolute;left:0;top:0;width:100%;height:100%;border:0"
        return (
            f'<div style="position:relative;width:100%;height:{HEIGHT_PIXELS}px;overflow:hidden">'
            f'{self._image(f"""style="{outside}" """)}'
            f'<iframe style="{inside}" title="Map" srcdoc="{escape(self._render(""))}"></iframe></div>'
        )

    def _image(self, attributes: str) -> str:
        return image_element(self.picture, attributes) if self.picture else ""

    def _render(self, picture: str) -> str:
        """Render the page template."""
        return Template(_read_asset("page.html")).substitute(
            title="Map",
            leaflet_css=_leaflet("leaflet.css"),
            leaflet_js=_leaflet("leaflet.js"),
            style=_read_asset("page.css"),
            script=_read_asset("page.js"),
            picture=picture,
            content=json.dumps(self._content()).translate(_ESCAPES),
        )

    def _content(self) -> dict[str, Any]:
        """Return the data that page.js reads."""
        longitude, latitude = self.view.center
        return {
            "opening": {"url": self._url(self.instantiation.path), "body": dict(self.instantiation.body)},
            "tiles": {"usual": self._url(f"{{layergroup}}/{_TILE}.png")}
            | {"retina": self._url(f"{{layergroup}}/{_TILE}@2x.png")},
            "interactive": [self._layer_content(layer) for layer in self.interactive],
            "attribution": self.attribution,
            "center": [latitude, longitude],
            "zoom": self.view.zoom,
            "legend": [asdict(item) for item in self.legend],
            "basemap": None if self.basemap is None else _leaflet_layer(self.basemap),
            "hasPicture": self.picture is not None,
        }

    def _layer_content(self, layer: ClickableLayer) -> dict[str, Any]:
        """Return the URL templates and columns of a layer for page.js."""
        root = f"{{layergroup}}/{layer.index}"
        return {
            "grid": self._url(f"{root}/{_TILE}.grid.json"),
            "attributes": None if layer.has_attributes is False else self._url(f"{root}/attributes/{{id}}"),
            "hasAttributes": layer.has_attributes is True,
            "id": layer.id,
            "columns": list(layer.columns),
        }

    def _url(self, path: str) -> str:
        return build_url(self.base_url, path, self.instantiation.query, quoted=str)


def image_element(picture: bytes, attributes: str = "") -> str:
    """Return an img element with a PNG as a data URL."""
    data = b64encode(picture).decode()
    return (
        f'<img {attributes} width="{WIDTH_PIXELS}" height="{HEIGHT_PIXELS}" alt="Picture of the map"'
        f' src="data:image/png;base64,{data}">'
    )


def _leaflet_layer(provider: TileProvider) -> dict[str, Any]:
    """Return URL and options of a basemap for Leaflet."""
    leaflet_names = {"min_zoom": "minZoom", "max_zoom": "maxZoom", "subdomains": "subdomains"}
    options = {leaflet_names[name]: value for name, value in provider.items() if name in leaflet_names}
    options["attribution"] = provider.get("html_attribution") or provider.get("attribution", "")
    # Leaflet replaces these placeholders; {r} becomes "@2x" on high-resolution screens.
    url = provider.build_url(x="{x}", y="{y}", z="{z}", scale_factor="{r}", fill_subdomain=False)
    return {"url": url, "options": options}


@cache
def _read_asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _leaflet(name: str) -> str:
    """Return a file of Leaflet from the package XStatic-Leaflet."""
    path = distribution("XStatic-Leaflet").locate_file(f"{_LEAFLET}/{name}")
    return Path(str(path)).read_text(encoding="utf-8")
