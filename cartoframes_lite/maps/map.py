"""Map: the everyday map of tables, queries and datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import geopandas as gpd

from cartoframes_lite._client import Client
from cartoframes_lite._client.publications import PublicationPrivacy, check_publication
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.maps import token_maps
from cartoframes_lite.maps.anonymous import AnonymousMap
from cartoframes_lite.maps.backgrounds import Basemap
from cartoframes_lite.maps.layers import HasName, Layer
from cartoframes_lite.maps.validation import BBox, check_title
from cartoframes_lite.maps.widgets import Widget
from cartoframes_lite.tracebacks import short_traceback

MapLayer: TypeAlias = Layer | HasName | str | gpd.GeoDataFrame | Mapping[str, Any]


class Map(AnonymousMap):
    """A map of one or more layers, which notebooks display as an interactive page.

    The page has a legend, layers that can be switched off, and the attributes of a feature on click. If the map is
    not public, because it has a private table, displaying it creates a named map ``cfl_shown_...``, which is deleted
    when Python exits; the notebook then contains a token for that named map, never the API key.

    Parameters
    ----------
    layers : Layer, Dataset, GeoDataFrame, GeoSeries, str, or list of these
        From bottom to top. A str is the name of a table or a query; a mapping is a layer of the Maps API. The page
        itself contains and draws the rows of a GeoDataFrame, up to 50,000 features and 500,000 vertices, without any
        server.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the credentials file.
    basemap : {"light", "dark", "osm"} or TileProvider, optional
        Map below the layers. "light" (default) and "dark" need no network; "osm" and a TileProvider, such as
        ``xyzservices.providers.OpenTopoMap``, are loaded from the internet. None: no basemap.
    bbox : tuple of (west, south, east, north), optional
        Initial view, in degrees; across the 180th meridian, with an east above 180. None: the extent of the data.
    title : str, optional
        Displayed on the map, and the title of the page.
    widgets : list of Histogram, Categories or Formula, optional
        Under the map, from left to right. They show the visible rows of their layer; what is selected in them filters
        the layer and the other widgets.

    Raises
    ------
    ValueError, TypeError
        If a layer, ``basemap``, ``bbox``, ``title`` or a widget is invalid.
    TableNotFoundError, SQLError
        If a table does not exist, or a query is invalid.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> shown = cfl.Map([cfl.Layer("stations", color_by="year")], title="Stations of Paris")
    >>> shown.title
    'Stations of Paris'
    """

    _checks_sources = True

    @short_traceback
    def __init__(
        self,
        layers: MapLayer | Sequence[MapLayer],
        credentials: Credentials | None = None,
        *,
        basemap: Basemap = "light",
        bbox: BBox | None = None,
        title: str | None = None,
        widgets: Widget | Sequence[Widget] = (),
    ) -> None:
        self.title = check_title(title)
        self._account = credentials
        super().__init__(_as_layers(layers), credentials, bbox=bbox, basemap=basemap, widgets=widgets)

    @short_traceback
    def publish(self, name: str, privacy: PublicationPrivacy = "link", password: str | None = None) -> str:
        """Publish the page of the map at a URL of the account; it needs the master key.

        The page loads the current data from the server. It never contains the API key: if the map is not public, the
        page contains a token for a named map ``cfl_published_...``, so that everybody who can open the page can see
        the map. ``list_publications`` lists the pages, and deletes and renames them.

        Parameters
        ----------
        name : str
            Name of the page. A page of the same name is replaced, and keeps its URL.
        privacy : {"link", "public", "password"}, default "link"
            "link" and "public": anyone who has the URL can open the page. "password": visitors are asked for it.
        password : str, optional
            Password of the page; ``privacy`` need not be given then.

        Returns
        -------
        str
            URL of the page.

        Raises
        ------
        PermissionDenied
            If the key is not the master key.
        ValueError
            If privacy and password contradict each other, or the page is too large (about 7.8 MB).
        """
        client = Client(self._account)
        check_publication(name, privacy, password)
        view = self._open()
        token_map = self._create_token_map(persistent=True, page=name)
        try:
            page = self._page(view, token_map)
            published = client.publications.create(
                page.standalone_html(), name=name, privacy=privacy, password=password, if_exists="replace"
            )
        except BaseException:
            if token_map is not None:
                token_map.delete()
            raise
        token_maps.delete_published(client.maps, name, keep=token_map)
        return published.url


def _as_layers(layers: Any) -> list[Layer | Mapping[str, Any]]:
    """Return layers of everything that can be one; raise ValueError or TypeError for anything else."""
    items = [layers] if not isinstance(layers, Sequence) or isinstance(layers, str) else list(layers)
    if not items:
        raise ValueError("a map needs at least one layer: pass a Layer, a Dataset, or the name of a table or a query")
    return [_as_layer(item) for item in items]


def _as_layer(item: Any) -> Layer | Mapping[str, Any]:
    """Return the layer of a table, a query or a dataset."""
    if isinstance(item, Layer):
        return item
    if isinstance(item, gpd.GeoDataFrame | gpd.GeoSeries):
        return Layer(item)
    if isinstance(item, Mapping):
        if "type" not in item:
            raise ValueError(
                f"a layer of the Maps API has a type and options, not {sorted(map(str, item))}; for a whole MapConfig,"
                " use cartoframes_lite.AnonymousMap"
            )
        return item
    if isinstance(item, str) or isinstance(getattr(item, "name", None), str):
        return Layer(item)
    raise TypeError(
        f"a layer of a map must be a Layer, a Dataset, a GeoDataFrame, or the name of a table or a query, not"
        f" {type(item).__name__}"
    )
