"""The page that displays a map: its content, its document, and the scripts in the document."""

from cartoframes_lite.maps.page.content import (
    Instantiation,
    MapServer,
    PageLayer,
    TileLayer,
)
from cartoframes_lite.maps.page.document import MapPage, Theme, image_element

__all__ = [
    "Instantiation",
    "MapPage",
    "MapServer",
    "PageLayer",
    "Theme",
    "TileLayer",
    "image_element",
]
