"""Pictures of maps: the layers of a server and of the page, with basemap, legends, title and attribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

from cartoframes_lite.maps.backgrounds import Basemap, theme_of
from cartoframes_lite.maps.basemap import ATTRIBUTION
from cartoframes_lite.maps.page import PageLayer
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import Legend, LegendItem

# Center, zoom, width and height to a PNG of all layers of the server.
StaticImage = Callable[[tuple[float, float], int, int, int], bytes]


@runtime_checkable
class HasFeatures(Protocol):
    """A layer whose features the page contains."""

    @property
    def features(self) -> Any:
        """The features with their styles."""


@dataclass(frozen=True, slots=True)
class MapPicture:
    """A picture of a map, as PNG.

    Attributes
    ----------
    plain : bytes
        Basemap and layers.
    complete : bytes
        With title, legends and attribution.
    """

    plain: bytes
    complete: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """What a picture shows.

    Attributes
    ----------
    view : Viewport
    layers : sequence of PageLayer
        From bottom to top.
    static_image : callable
    width, height : int
        In pixels.
    scale : float
        Pixels of the file for each of these pixels.
    basemap : Basemap
        Tiles of the internet are replaced by the basemap "light".
    title : str, optional
    attribution : str
        HTML.
    """

    view: Viewport
    layers: Sequence[PageLayer]
    static_image: StaticImage
    width: int
    height: int
    scale: float = 1.0
    basemap: Basemap = None
    title: str | None = None
    attribution: str = ""


def can_draw() -> bool:
    """Return whether Matplotlib is installed, which draws everything but the layers of the server."""
    return find_spec("matplotlib") is not None


def draw_picture(request: PictureRequest) -> MapPicture:
    """Draw a picture; raise ImportError if Matplotlib is not installed."""
    if not can_draw():
        raise ImportError("pictures of maps need Matplotlib: pip install 'cartoframes_lite[maps]'")
    from cartoframes_lite.maps.drawing import PictureView, annotate, draw_map  # Matplotlib takes a second to import

    center, zoom = request.view.fitted(request.width, request.height)
    view = PictureView(center, zoom, request.width, request.height)
    theme = theme_of(request.basemap)
    plain = draw_map(
        view,
        _drawn_layers(request, center, zoom),
        basemap=None if request.basemap is None else "natural-earth",
        theme=theme,
        scale=request.scale,
    )
    complete = annotate(
        view,
        plain,
        theme=theme,
        legends=_legends(request.layers),
        title=request.title,
        attribution=", ".join(filter(None, (request.attribution, request.basemap and ATTRIBUTION))),
        scale=request.scale,
    )
    return MapPicture(plain, complete)


def _drawn_layers(request: PictureRequest, center: tuple[float, float], zoom: float) -> list[Any]:
    """Return the layers that are drawn, from bottom to top.

    Those of the server are one image, in the place of the lowest. It renders whole zoom levels, so the image has
    another size than the picture, and shows the same.
    """
    drawn: list[Any] = []
    has_image = False
    for layer in request.layers:
        if isinstance(layer, HasFeatures):
            drawn.append(layer.features.at_zoom(zoom))
        elif not has_image:
            whole = round(zoom)
            pixels = (max(1, round(size * math.pow(2, whole - zoom))) for size in (request.width, request.height))
            drawn.append(request.static_image(center, whole, *pixels))
            has_image = True
    return drawn


def _legends(layers: Sequence[PageLayer]) -> list[Legend]:
    """Return the legends that are drawn, the top layer first; of several layers, each below the title of its layer."""
    drawn = []
    for layer in reversed(layers):
        legends = [_legend(legend) for legend in layer.legends]
        if len(layers) > 1 and layer.title and legends:
            drawn.append(Legend(layer.title, (), "classes"))
        drawn += legends
    return drawn


def _legend(legend: Mapping[str, Any]) -> Legend:
    """Return a legend that is drawn, of the content of a page."""
    return Legend(**{**legend, "items": [LegendItem(**item) for item in legend["items"]]})
