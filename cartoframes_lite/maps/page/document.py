"""A self-contained web page that displays a map: its scripts are embedded, and only data is requested."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Any, Literal, Protocol

from cartoframes_lite.maps.basemap import THEMES
from cartoframes_lite.maps.page.content import MapServer, PageLayer
from cartoframes_lite.maps.page.static_legend import static_legend
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDGETS_PIXELS, WIDTH_PIXELS, Viewport

Theme = Literal["light", "dark"]

_LEAFLET = "xstatic/pkg/leaflet/data"
# One script for each concept; the last one starts the page.
_SCRIPTS = (
    *("format.js", "view.js", "picture.js", "legend.js", "popup.js", "server.js", "tiles.js"),
    *("shapes.js", "features.js", "images.js", "rows.js", "widgets.js", "../basemap/basemap.js", "page.js"),
)
_LEGEND_STYLE = (
    "position:absolute;right:10px;bottom:10px;max-height:380px;overflow:auto;border-radius:8px;padding:6px 12px;"
    "font:13px/1.5 system-ui,sans-serif;"
)
_LEGEND_COLORS = {"light": "background:#fff;color:#26323c", "dark": "background:#1d242b;color:#e4e9ee"}
_STYLES = ("page.css", "widgets.css")
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}  # so that no text can end the script element


class PagePicture(Protocol):
    """A picture of the initial view, as PNG; the page displays title, legends and attribution itself."""

    @property
    def plain(self) -> bytes:
        """Basemap and layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPage:
    """A page that displays a map.

    Attributes
    ----------
    view : Viewport
        Initial view.
    layers : sequence of PageLayer
        From bottom to top.
    server : MapServer, optional
        None: no layer has tiles.
    title : str, optional
        Displayed on the map. None: no title.
    name : str
        Title of the document, if ``title`` is None.
    theme : {"light", "dark"}
    attribution : str
        HTML.
    basemap : mapping, optional
        Content for the script of the basemap. None: no basemap.
    widgets : sequence of mapping
        Widgets under the map.
    picture : PagePicture, optional
        PNG of the initial view, displayed if the tiles cannot be loaded.
    """

    view: Viewport
    layers: Sequence[PageLayer]
    server: MapServer | None = None
    title: str | None = None
    name: str = "Map"
    theme: Theme = "light"
    attribution: str = ""
    basemap: Mapping[str, Any] | None = None
    widgets: Sequence[Mapping[str, Any]] = ()
    picture: PagePicture | None = None

    def standalone_html(self) -> str:
        """Return the page as an HTML document."""
        return self._render(self._image('id="picture"'))

    def iframe_html(self) -> str:
        """Return the page in an iframe, to be embedded in another page such as a notebook.

        Where iframes are removed, as on GitHub, the picture behind the iframe and the legends remain visible.
        """
        outside = "position:absolute;left:0;top:0;width:100%;height:100%;object-fit:contain"
        # An iframe of another color scheme than its document gets an opaque background, which would hide the picture.
        inside = f"position:absolute;left:0;top:0;width:100%;height:100%;border:0;color-scheme:{self.theme}"
        height = HEIGHT_PIXELS + (WIDGETS_PIXELS if self.widgets else 0)
        legend = static_legend(self.layers)
        if legend:
            legend = f'<div style="{_LEGEND_STYLE}{_LEGEND_COLORS[self.theme]}">{legend}</div>'
        return (
            f'<div style="position:relative;width:100%;height:{height}px;overflow:hidden;'
            f'background:{THEMES[self.theme].background}">{self._image(f"""style="{outside}" """)}{legend}'
            f'<iframe style="{inside}" title="{escape(self._document_title)}" srcdoc="{escape(self._render(""))}">'
            "</iframe></div>"
        )

    @property
    def _document_title(self) -> str:
        return self.title or self.name

    def _image(self, attributes: str) -> str:
        return image_element(self.picture.plain, attributes) if self.picture else ""

    def _render(self, picture: str) -> str:
        """Render the page template."""
        scripts = "\n".join(_read_asset(name) for name in _SCRIPTS)
        return Template(_read_asset("page.html")).substitute(
            title=escape(self._document_title),
            label=escape(f"Map: {self.title}" if self.title else "Map"),
            heading=f'<h1 id="title" class="card">{escape(self.title)}</h1>' if self.title else "",
            theme=self.theme,
            background=THEMES[self.theme].background,
            leaflet_css=_leaflet("leaflet.css"),
            leaflet_js=_leaflet("leaflet.js"),
            style="\n".join(_read_asset(name) for name in _STYLES),
            script=scripts,
            picture=picture,
            content=json.dumps(self._content()).translate(_ESCAPES),
        )

    def _content(self) -> dict[str, Any]:
        """Return the data that the scripts read."""
        longitude, latitude = self.view.center
        bounds = self.view.bounds
        return {
            "title": self.title,
            "theme": self.theme,
            "attribution": self.attribution,
            "center": [latitude, longitude],
            "zoom": self.view.zoom,
            "bounds": None if bounds is None else [[bounds[1], bounds[0]], [bounds[3], bounds[2]]],
            "padding": self.view.padding_pixels,
            "hasPicture": self.picture is not None,
            "basemap": self.basemap,
            "server": None if self.server is None else self.server.content(),
            "layers": [layer.content(self.server) for layer in self.layers],
            "widgets": list(self.widgets),
        }


def image_element(picture: bytes, attributes: str = "") -> str:
    """Return an img element with a PNG as a data URL."""
    data = b64encode(picture).decode()
    return (
        f'<img {attributes} width="{WIDTH_PIXELS}" height="{HEIGHT_PIXELS}" alt="Picture of the map"'
        f' src="data:image/png;base64,{data}">'
    )


@cache
def _read_asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _leaflet(name: str) -> str:
    """Return a file of Leaflet from the package XStatic-Leaflet."""
    path = distribution("XStatic-Leaflet").locate_file(f"{_LEAFLET}/{name}")
    return Path(str(path)).read_text(encoding="utf-8")
