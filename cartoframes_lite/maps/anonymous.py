"""AnonymousMap: a map that is instantiated from a MapConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cartoframes_lite.credentials import Credentials
from cartoframes_lite.maps.backgrounds import Basemap, check_basemap, theme_of
from cartoframes_lite.maps.composed import ComposedSource, Layers
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.validation import BBox, check_bbox
from cartoframes_lite.maps.widgets import Widget


class AnonymousMap(InstantiatedMap):
    """A map of layers or of a MapConfig, which the server keeps only while it is in use.

    Notebooks display it as an interactive map. If the map is not public, because it has a private table, displaying it
    creates a named map ``cfl_shown_...``, which is deleted when Python exits; the notebook then contains a token for
    that named map, never the API key.

    Parameters
    ----------
    layers_or_config : Layer, list of Layer or mapping, or mapping
        Layers from bottom to top, each a Layer or a layer of the Maps API; or a MapConfig with ``layers``,
        ``dataviews`` ...
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the credentials file. Not
        needed if all layers are GeoDataFrames.
    bbox : tuple of (west, south, east, north), optional
        Initial view, in degrees. None: the extent of the data.
    basemap : {"light", "dark", "osm"} or TileProvider, optional
        Map below the layers, as in ``Map``. None: no basemap.
    widgets : list of Histogram, Categories or Formula, optional
        Under the map, as in ``Map``.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> shown = cfl.AnonymousMap(cfl.Layer("stations", "#layer { marker-width: 7; }"))
    >>> tiles = shown.tile_provider()  # for gdf.explore(tiles=tiles), folium, ipyleaflet, contextily
    >>> picture = shown.static_image(400, 300, center=(2.35, 48.85), zoom=11)
    """

    _checks_sources: ClassVar[bool] = False  # whether a missing table is an error at once, or when it is displayed

    def __init__(
        self,
        layers_or_config: Layers | Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        bbox: BBox | None = None,
        basemap: Basemap = None,
        widgets: Widget | Sequence[Widget] = (),
    ) -> None:
        check_basemap(basemap)  # before the requests that check the layers
        bbox = None if bbox is None else check_bbox(bbox)
        theme, checks_sources = theme_of(basemap), self._checks_sources
        source = ComposedSource(layers_or_config, credentials, theme, widgets, checks_sources=checks_sources)
        super().__init__(source, bbox=bbox, basemap=basemap)
