"""What a map is instantiated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cartoframes_lite._client import Client
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite.maps.page import Instantiation, PageLayer
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem


class MapSource(Protocol):
    """What a map is instantiated from: a MapConfig, or a named map with values of its placeholders."""

    @property
    def name(self) -> str | None:
        """Name of the named map; None for a MapConfig."""

    @property
    def has_server(self) -> bool:
        """Whether a server has any of the layers; False if the page contains all of them."""

    @property
    def client(self) -> Client:
        """Client for the requests to the instantiated map; raises ValueError if no server has any of the layers."""

    @property
    def instantiation(self) -> Instantiation:
        """The request that instantiates the map."""

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters of all requests to the map: the token of a named map, if it has any."""

    @property
    def needs_key(self) -> bool:
        """Whether the map can be seen only with the API key; a map that cannot be instantiated at all may be either."""

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend of the colors and sizes; empty if it is not known."""

    def instantiate(self, filters: Filters | None) -> Layergroup:
        """Instantiate the map, with optional filters of its dataviews."""

    def layers(self) -> Sequence[PageLayer]:
        """Return the layers from bottom to top; empty if they are not known."""

    def embedded_layers(self) -> Sequence[PageLayer]:
        """Return the layers with the rows of those of the server that the page can draw itself."""

    def widgets(self) -> Sequence[Mapping[str, Any]]:
        """Return the widgets for the page."""

    def default_view(self) -> Viewport | None:
        """Return the initial view; None if it is not known."""

    def default_image(self) -> tuple[str, Mapping[str, str]] | None:
        """Return path and query of the static image of the default view; None if there is none."""
