"""Dataset: a table of an account, and what can be done with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from xyzservices import TileProvider

from cartoframes_lite._catalogued import Catalogued
from cartoframes_lite._client import Client
from cartoframes_lite._client.sql import SQL, Format
from cartoframes_lite._client.visualizations import Entry
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite._codec.names import normalise, qualify, quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.sources import is_query
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.errors import CartoError, PermissionDenied, TableNotFoundError
from cartoframes_lite.layers import Layer
from cartoframes_lite.maps import AnonymousMap
from cartoframes_lite.read import read_carto
from cartoframes_lite.syncs import Sync
from cartoframes_lite.tables import delete_table, rename_table
from cartoframes_lite.write import to_carto

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".geojson": "geojson",
    ".json": "geojson",
    ".gpkg": "gpkg",
    ".zip": "shp",
    ".kml": "kml",
    ".svg": "svg",
    ".sqlite": "spatialite",
}
_PLACES = ("geometry", "geography", "raster")
_ALL_DIGITS = 15  # decimals of degrees that a double can have


class Dataset(Catalogued):
    """A table of an account; nothing is asked of the server before it is used.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file, when it is used.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> stations = cfl.Dataset("stations")
    >>> stations.columns()
    {'cartodb_id': 'int8', 'the_geom': 'geometry', 'the_geom_webmercator': 'geometry', 'name': 'text', 'year': 'int8'}
    >>> stations.privacy = "link"
    >>> stations.read(columns=["name"], limit=1)
        name
    0  North

    Notes
    -----
    ``from_file``, ``from_url``, ``from_query``, ``from_table`` and ``from_connector`` import something and make it a
    dataset. They take the same keywords:

    name : str, optional
        Of the table; normalised by the server. None: after the file.
    privacy : {"public", "private", "link"}, optional
        None: the default of the account, which on a free plan is public.
    collision_strategy : {"skip", "overwrite"}, optional
        What to do if there is a table of this name: leave it as it is, or replace its rows if the columns agree.
        None: the new one gets a number, as ``stations_1``.
    type_guessing : bool, default True
        Guess the types of columns that have none, as those of CSV; else they are text.
    quoted_fields_guessing : bool, default True
        Guess the types of quoted CSV fields, too.
    content_guessing : bool, default False
        Look for columns that name places, such as countries, and turn them into geometries.
    create_map : bool, default False
        Make a map of the new dataset as well.
    wait : bool, default True
        Wait until it is done; else an ``ImportJob`` is returned.
    timeout_s : float, default 600
        Longest time to wait, in seconds; None: for ever.
    progress : bool, optional
        A progress bar: None shows one after two seconds, False never, True at once.

    And they raise

    ImportFailed
        If it failed; ``code`` and ``title`` say why, ``source`` who can mend it. Nothing is left of it then.
    JobTimeout
        If it is not done in time; it goes on on the server.
    PermissionDenied
        If the key is not the master key, the only one that may import.
    RateLimited
        If more imports are running than the account allows.
    """

    __slots__ = ()

    def read(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        decode_geom: bool = True,
        coerce_float: bool = True,
        dtype_backend: Backend | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Read the rows; parameters, result and errors are those of ``read_carto``."""
        schema, table = self._place
        return read_carto(
            f"TABLE {qualify(schema, table)}" if is_query(self.name) or self.name != self.name.strip() else self.name,
            self.credentials,
            columns=columns,
            limit=limit,
            decode_geom=decode_geom,
            coerce_float=coerce_float,
            dtype_backend=dtype_backend,
            progress=progress,
        )

    def append(self, dataframe: pd.DataFrame | Iterable[pd.DataFrame], *, progress: bool | None = None) -> None:
        """Add rows, all of them or none.

        Parameters
        ----------
        dataframe : DataFrame, GeoDataFrame, or an iterable of them
            Its columns are columns of the table; others of the table get their defaults.
        progress : bool, optional
            As in ``to_carto``.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ConversionError
            If a column does not fit the table.
        ValueError
            If the name of the table has to be quoted in SQL.
        """
        client = Client(self.credentials)
        table = self._own_table(client)
        if normalise(table) != table:
            raise ValueError(f"to_carto writes to normalised names, {normalise(table)!r}: rename {table!r} first")
        to_carto(dataframe, table, client.credentials, if_exists="append", progress=progress)

    def columns(self) -> dict[str, str]:
        """Give the columns and their types.

        Returns
        -------
        dict of str to str
            Names of ``pg_type`` by name of the column, in order.

        Raises
        ------
        TableNotFoundError
        """
        return {column.name: column.pgtype for column in self._columns(Client(self.credentials).sql)}

    def rename(self, new_name: str) -> Dataset:
        """Rename the table; this object goes on meaning the old name.

        Returns
        -------
        Dataset
            The table under its new, normalised name.

        Raises
        ------
        TableNotFoundError, TableExistsError
        """
        client = Client(self.credentials)
        new = rename_table(self._own_table(client), new_name, client.credentials)
        return Dataset(new, client.credentials)

    def delete(self, *, force: bool = False) -> None:
        """Delete the table.

        Parameters
        ----------
        force : bool, default False
            Delete it even if maps show it; they lose their data. Without it the master key is needed, for no other
            key is shown the maps.

        Raises
        ------
        TableNotFoundError
            If there is none.
        CartoError
            If maps depend on it; nothing is deleted then.
        SQLError
            If a view depends on it.
        """
        client = Client(self.credentials)
        table = self._own_table(client)
        if not force:
            _require_no_maps(client, table)
        delete_table(table, client.credentials)

    def map(
        self,
        cartocss: str | None = None,
        *,
        color_by: str | None = None,
        size_by: str | None = None,
        interactivity: Sequence[str] | None = None,
        bbox: tuple[float, float, float, float] | None = None,
        basemap: TileProvider | None = None,
    ) -> AnonymousMap:
        """Make a map of the table, which shows itself in a notebook.

        Parameters
        ----------
        cartocss, color_by, size_by
            How to draw it, as in ``Layer``.
        interactivity : sequence of str, optional
            Columns that a click on the map shows, found by the ``cartodb_id`` of the row. None: all but the geometries,
            or none if the table has no ``cartodb_id``.
        bbox, basemap
            What it shows first, and what below it, as in ``AnonymousMap``.

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        """
        client = Client(self.credentials)
        columns = self._columns(client.sql)
        if interactivity is None:
            names = [one.name for one in columns if one.pgtype not in _PLACES]
            interactivity = [name for name in names if name != "cartodb_id"] if "cartodb_id" in names else ()
        layer = Layer(self, cartocss, color_by=color_by, size_by=size_by, interactivity=interactivity)
        return AnonymousMap(layer, client.credentials, bbox=bbox, basemap=basemap)

    @property
    def sync(self) -> Sync | None:
        """The synchronization that fills it, None if there is none."""
        client = Client(self.credentials)
        schema, table = self._place
        if schema is not None and schema != client.sql.schema():
            return None  # those of others are not shown
        for found in client.syncs.list():
            if found.name == table:
                return Sync.of_synchronization(found, client.credentials)
        return None

    def to_file(self, path: str | os.PathLike[str], format: Format | None = None) -> Path:
        """Write the table to a file, which appears when it is complete.

        The server makes it, within its time limit for queries. ``read().to_file`` has no such limit.

        Parameters
        ----------
        path : path
        format : {"csv", "geojson", "gpkg", "shp", "kml", "svg", "spatialite"}, optional
            None: by the ending of the path; .zip is a shapefile, .sqlite spatialite. A shapefile is several files, and
            so always a zip.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        ValueError
            If the ending says no format.
        """
        target = Path(path)
        chosen = format or _FORMATS.get(target.suffix.lower())
        if chosen is None or chosen not in _FORMATS.values():
            known = sorted(set(_FORMATS.values()))
            raise ValueError(
                f"no format for {target.name!r}: give format= as one of {known}, not {format!r}"
                + (" (a shapefile is a .zip)" if target.suffix.lower() == ".shp" else "")
            )
        sql = Client(self.credentials).sql
        schema, table = self._place
        names = [column.name for column in self._columns(sql) if column.name != WEB_MERCATOR]
        query = f"SELECT {', '.join(map(quote, names))} FROM {qualify(schema, table)}"
        sql.send_to_file(query, target, format=chosen, dp=_ALL_DIGITS, filename=table)
        return target

    def _columns(self, sql: SQL) -> list[SourceColumn]:
        """Ask for the columns; TableNotFoundError if there is no such table."""
        sql.require_table(*self._place)
        return sql.columns(qualify(*self._place))

    def _own_table(self, client: Client) -> str:
        """Return the name of the table if it is there, and in the schema of the account."""
        schema, table = self._place
        client.sql.require_table(schema, table)
        if schema is not None and schema != client.sql.schema():
            raise TableNotFoundError(f"{self.name!r} is not in the schema of this account, and can only be read")
        return table


def _require_no_maps(client: Client, name: str) -> None:
    """Raise if maps show a dataset, or if that cannot be known."""
    entry: Entry | None = client.visualizations.find(name)
    if entry is None or entry.dependent_count is None:
        try:
            client.visualizations.require_master(f"asking which maps show {name!r}")
        except PermissionDenied as error:
            error.hint = "delete(force=True) does not ask"
            raise
        return  # not in the catalogue yet, so on no map
    if entry.dependent_count:
        maps = ", ".join(entry.dependents)
        raise CartoError(f"{entry.dependent_count} maps show {name!r} ({maps}): delete them first, or pass force=True")
