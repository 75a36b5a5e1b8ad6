"""The accessor ``DataFrame.carto``: delegates to the functions and classes of the package.

The package registers it, and imports this module at its first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import geopandas as gpd
import pandas as pd

from cartoframes_lite._client.imports import Privacy, PrivacyOfTable
from cartoframes_lite._client.syncs import Sync
from cartoframes_lite._codec.whole_tables import describe_difference
from cartoframes_lite.credentials import Credentials, last_used, resolve
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.errors import CartoError
from cartoframes_lite.maps import Layer, Map
from cartoframes_lite.maps.backgrounds import Basemap
from cartoframes_lite.maps.layers import layer_keywords
from cartoframes_lite.maps.styling.options import LayerOptions
from cartoframes_lite.maps.validation import BBox
from cartoframes_lite.maps.widgets import Widget
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.options import FrameOptions, frame_keywords


class CartoAccessor:
    """Accessor ``df.carto``: write a frame to a table, and get the Dataset of a frame.

    ``privacy`` and ``sync`` concern the whole table, so the frame has to be the table: the object that ``read_carto``
    returned for a table with all of its rows, or that was written as a whole table, with the same columns, rows and
    values. For any other frame, such as a filtered one, they raise a CartoError that names the table. ``dataset`` also
    works for these, and ``map`` works for all GeoDataFrames.

    Parameters
    ----------
    frame : DataFrame or GeoDataFrame

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> gdf.carto.to_table("Stations of Paris", privacy="link").name
    'stations_of_paris'
    >>> gdf.carto.privacy
    'link'
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @frame_keywords
    def to_table(self, name: str, credentials: Credentials | None = None, **keywords: Unpack[FrameOptions]) -> Dataset:
        """Write the frame to a table, atomically, as ``cartoframes_lite.to_carto`` does, and with its errors.

        Parameters
        ----------
        name : str
            Normalized like column names: lower case, ASCII letters, digits and underscores.
        credentials : Credentials, optional
            Default: those of ``set_default_credentials``, else of the environment, else of the file.
        **keywords
            See ``FrameOptions``.

        Returns
        -------
        Dataset
            The table.

        Examples
        --------
        >>> gdf.carto.to_table("stations", if_exists="replace").columns()["year"]
        'int8'
        """
        resolved = resolve(credentials)  # the Dataset must not depend on the default at a later time
        return Dataset(to_carto(self._frame, name, resolved, **keywords), resolved)

    @property
    def dataset(self) -> Dataset:
        """The Dataset that this frame, or the frame that it was derived from, was read from or written to.

        Raises
        ------
        CartoError
            If the frame was not read from or written to a table; or if the credentials of its account are neither
            in use nor the default.
        """
        origin = self._frame.attrs.get("carto")
        if not isinstance(origin, dict) or not {"table", "schema", "base_url"} <= origin.keys():
            raise CartoError(
                "the frame was neither read from a table nor written to one: write it with "
                "df.carto.to_table(name), or use cartoframes_lite.Dataset(name)"
            )
        name = origin["table"] if origin["schema"] is None else f"{origin['schema']}.{origin['table']}"
        credentials = last_used(origin["base_url"]) or resolve(None)
        if credentials.base_url != origin["base_url"]:  # never use the table of this name in another account
            raise CartoError(
                f"the frame belongs to {origin['base_url']}, and no credentials for it are in use: "
                f"use cartoframes_lite.Dataset({name!r}, credentials)"
            )
        return Dataset(name, credentials)

    def _whole_table(self) -> Dataset:
        """Return the Dataset; raise CartoError if the frame is not all of its rows."""
        dataset = self.dataset
        difference = describe_difference(self._frame)
        if difference is not None:
            raise CartoError(
                f"this frame is not the table {dataset.name!r}: {difference}. For the table, use"
                f" cartoframes_lite.Dataset({dataset.name!r}); to make a table of the frame, df.carto.to_table(name)"
            )
        return dataset

    @property
    def privacy(self) -> PrivacyOfTable:
        """Privacy of the table of this frame: "public", "private" or "link". Can be set; see ``Dataset.privacy``."""
        return self._whole_table().privacy

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        self._whole_table().privacy = privacy

    @property
    def sync(self) -> Sync | None:
        """Synchronization of the table of this frame, or None."""
        return self._whole_table().sync

    @layer_keywords
    def map(
        self,
        cartocss: str | None = None,
        *,
        bbox: BBox | None = None,
        basemap: Basemap = "light",
        widgets: Widget | Sequence[Widget] = (),
        **keywords: Unpack[LayerOptions],
    ) -> Map:
        """Create a map of the frame, which a notebook displays.

        If the frame is the whole table, the server draws the table, as ``Dataset.map`` does. The page itself contains
        and draws the rows of any other frame, such as a filtered one or one that is on no server: without a request,
        without credentials, and up to 50,000 features and 500,000 vertices.

        Parameters
        ----------
        cartocss : str, optional
            Style sheet, if the frame is the whole table.
        bbox, basemap, widgets
            Initial extent, background, and widgets under the map, as in ``Map``.
        **keywords
            As in ``Layer``; ``title`` is also that of the map. Without ``popup`` and ``interactivity``, the popup shows
            all columns except geometries.

        Raises
        ------
        ValueError
            If the frame has no geometry or no CRS, has too many features to be drawn by a page, or lacks a column.

        Examples
        --------
        >>> recent = gdf[gdf["year"] > 2010].carto.map(color_by="name")
        >>> recent
        <Map of GeoDataFrames>
        """
        if self._is_whole_table():
            return self.dataset.map(cartocss, bbox=bbox, basemap=basemap, widgets=widgets, **keywords)
        if not isinstance(self._frame, gpd.GeoDataFrame):
            raise ValueError(
                "a map needs geometries, and the frame is not a GeoDataFrame: make it one, for example with"
                " geopandas.GeoDataFrame(df, geometry=geopandas.points_from_xy(df.lng, df.lat), crs=4326)"
            )
        layer = Layer(self._frame, cartocss, **keywords)
        return Map(layer, bbox=bbox, basemap=basemap, title=keywords["title"], widgets=widgets)

    def _is_whole_table(self) -> bool:
        """Return whether the frame is all of a table, for whose account credentials are in use."""
        try:
            self._whole_table()
        except CartoError:
            return False
        return True
