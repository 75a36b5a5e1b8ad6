"""Dataset: a table of an account, with methods to import, read, change, share, export and map it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal, Self, Unpack, cast, get_args, overload
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from cartoframes_lite import user_warnings
from cartoframes_lite._client import Client
from cartoframes_lite._client.connectors import redact_secrets, unwrap_connector
from cartoframes_lite._client.http.json_fields import drop_none, parsed
from cartoframes_lite._client.http.uploads import File, name_after_import
from cartoframes_lite._client.import_codes import describe
from cartoframes_lite._client.imports import (
    OPTION_DEFAULTS,
    ImportJob,
    ImportOptions,
    Privacy,
    PrivacyOfTable,
    complete_options,
)
from cartoframes_lite._client.keywords import shared_keywords
from cartoframes_lite._client.nonpublic import suppress_warnings
from cartoframes_lite._client.sql import SQL, Format
from cartoframes_lite._client.syncs import Sync, check_interval
from cartoframes_lite._client.visualizations import (
    Access,
    CatalogChanges,
    Permission,
    Visualization,
    catalog_changes,
    check_changes,
    require_privacy,
)
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import carto_table_name, normalize, qualify, quote, split_schema
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.placeholders import Params, fill
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ImportFailed,
    IncompleteImportWarning,
    PermissionDenied,
    SQLError,
    TableExistsError,
    TableNotFoundError,
)
from cartoframes_lite.geoparquet import SUFFIXES, read_parquet, write_parquet
from cartoframes_lite.maps import Map
from cartoframes_lite.maps.backgrounds import Basemap
from cartoframes_lite.maps.layers import DatasetLayer, layer_keywords
from cartoframes_lite.maps.styling import LayerOptions
from cartoframes_lite.maps.widgets import Widget
from cartoframes_lite.read import read_arrow
from cartoframes_lite.read.frames import check_read, read_source
from cartoframes_lite.read.options import ChunkedRead, ReadOptions, WholeRead, check_sql, read_keywords
from cartoframes_lite.read.source import filtered, single_condition, table_source
from cartoframes_lite.tables import drop_table, existing_entry, rename_table
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.deletion import delete_rows
from cartoframes_lite.write.frames import normalized_table_name, set_privacy, write_to_existing
from cartoframes_lite.write.staging_names import is_staging


class _JobKeywords(ImportOptions, total=False):
    timeout_s: float | None
    progress: bool | None
    name: str | None


class _Wait(_JobKeywords, total=False):
    wait: Literal[True]


class _NoWait(_JobKeywords):
    wait: Literal[False]


class ImportKeywords(_JobKeywords, total=False):
    """Keywords of the class methods of ``Dataset`` that import: these, and those of ``ImportOptions``.

    Parameters
    ----------
    wait : bool, default True
        Wait until the import has finished. False: return an ``ImportJob`` immediately.
    timeout_s : float, default 600
        Maximum time to wait, in seconds. None: no limit.
    progress : bool, optional
        Show a progress bar. None: after two seconds; True: immediately; False: never.
    name : str, optional
        Name of the table, which CARTO changes more than ``to_carto`` does: all characters but a-z, 0-9 and ``_`` become
        ``_``, ``table_`` is put before a name that begins with none of a-z, and ``_t`` after a reserved word. The
        ``name`` of the result counts. None: derived from the source.
    """

    wait: bool


_import_keywords = shared_keywords(
    ImportKeywords,
    ImportOptions,
    defaults=ImportKeywords(wait=True, timeout_s=600.0, progress=None, name=None, **OPTION_DEFAULTS),
)

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


_EDGES = ("xmin", "ymin", "xmax", "ymax")
# Rows of plain tables may have other SRIDs. As bytes, because text and JSON depend on settings of the database role.
_WGS84 = f"CASE WHEN ST_SRID({THE_GEOM}) IN (0, 4326) THEN {THE_GEOM} ELSE ST_Transform({THE_GEOM}, 4326) END"
_BOUNDS = ", ".join(f"encode(float8send(ST_{edge}(ST_Extent({_WGS84}))), 'hex') AS {edge}" for edge in _EDGES)
_COORDINATE_DECIMALS = 15  # enough decimals to write any double in degrees without loss


class Dataset:
    """A table of an account. Creating the object sends no request.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
        None: looked up at each use, in this order: ``set_default_credentials``, environment variables, credentials
        file.

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
    ``from_file``, ``from_url``, ``from_query``, ``from_table`` and ``from_connector`` create a dataset with the Import
    API. They raise:

    ImportFailed
        If the import failed. ``code`` and ``title`` contain the reason, ``source`` who can fix it. The failed import
        leaves no table.
    JobTimeout
        If the import has not finished in time. It continues on the server.
    PermissionDenied
        If the API key is not the master key, which imports require.
    RateLimited
        If more imports are running than the account allows.
    """

    __slots__ = ("_credentials", "_name")

    def __init__(self, name: str, credentials: Credentials | None = None) -> None:
        split_schema(name)  # raises TypeError or ValueError for an invalid name
        self._name, self._credentials = name, credentials

    @property
    def name(self) -> str:
        """Name of the table."""
        return self._name

    @property
    def credentials(self) -> Credentials | None:
        """Account and API key. None: the default credentials."""
        return self._credentials

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, credentials={self.credentials!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (self.name, self.credentials) == (other.name, other.credentials)

    def __hash__(self) -> int:
        return hash((self.name, self.credentials))

    @overload
    @classmethod
    def from_file(cls, file: File, credentials: Credentials | None = None, **keywords: Unpack[_Wait]) -> Self: ...

    @overload
    @classmethod
    def from_file(
        cls, file: File, credentials: Credentials | None = None, **keywords: Unpack[_NoWait]
    ) -> ImportJob[Self]: ...

    @classmethod
    @_import_keywords
    def from_file(
        cls, file: File, credentials: Credentials | None = None, **keywords: Unpack[ImportKeywords]
    ) -> Self | ImportJob[Self]:
        """Import a file in any format that CARTO reads: CSV, XLSX, GeoJSON, GPKG, KML, GPX, zipped shapefile and more.

        CARTO does not read Parquet: a file ``.parquet``, with geometries as in GeoParquet, is written by ``to_carto``
        in parts, in bounded memory and one transaction. Without ``collision_strategy`` its table must not exist, and
        the keywords for guessing have no effect.

        CARTO names the table after the file, which is sent under ``name``, and the tables of an archive after its
        members. The table of an archive is therefore renamed after the import: there, ``name`` requires ``wait=True``
        and cannot be combined with ``collision_strategy``.

        Parameters
        ----------
        file : path or binary file
            Streamed in blocks, so the size is not limited by memory. A file object is sent from its beginning, and
            needs a name with a file extension: its ``name`` attribute or the keyword ``name``.
        credentials : Credentials, optional
        **keywords
            Those of ``ImportKeywords``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``
            If an archive contains several tables, one of them; none is renamed to ``name``.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the keywords cannot be combined.
        ConversionError
            If a Parquet file is invalid, or has a value that PostgreSQL cannot store.
        TableExistsError
            If the table of an archive would be renamed to ``name``, and this table exists; or that of a Parquet file,
            without ``collision_strategy``.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> path = cfl.Dataset("stations").to_file("stations.gpkg")
        >>> cfl.Dataset.from_file("stations.gpkg", name="again", privacy="private").name
        'again'
        """
        options, name, progress = _import_options(keywords), keywords["name"], keywords["progress"]
        if _is_parquet(file):
            return cls._from_parquet(file, credentials, keywords)
        new_name = name_after_import(file, name)
        if new_name is not None:
            _check_rename(new_name, options, keywords["wait"])
        client = Client(credentials, progress=progress)
        if new_name is not None:
            _require_free_name(client, new_name)
        import_id = client.imports.create_from_file(file, options, name=name, progress=progress)
        return cls._finish_import(client, import_id, keywords, new_name=new_name)

    @classmethod
    def _from_parquet(cls, file: File, credentials: Credentials | None, keywords: ImportKeywords) -> Self:
        """Write a Parquet file to a table."""
        if not keywords["wait"] or keywords["create_map"]:
            raise ValueError("a Parquet file is not imported by CARTO: omit wait=False and create_map")
        client = Client(credentials, progress=keywords["progress"])
        table = normalized_table_name(keywords["name"] or Path(str(getattr(file, "name", file))).stem)
        strategy = keywords["collision_strategy"]
        if strategy == "skip" and client.sql.has_table(None, table):
            return cls(table, client.credentials)
        try:
            written = to_carto(
                read_parquet(file),
                table,
                client.credentials,
                if_exists="replace" if strategy == "overwrite" else "fail",
                privacy=keywords["privacy"],
                progress=keywords["progress"],
            )
        except TableExistsError:
            raise TableExistsError(
                f'table {table!r} already exists: pass collision_strategy="overwrite" to replace its rows,'
                ' collision_strategy="skip" to keep them, or another name='
            ) from None
        return cls(written, client.credentials)

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[_Wait],
    ) -> Self: ...

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[_NoWait],
    ) -> ImportJob[Self]: ...

    @classmethod
    @_import_keywords
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[ImportKeywords],
    ) -> Self | ImportJob[Self]:
        """Import a file from a URL that the server downloads, once or periodically.

        The Import API accepts no name for a URL, so the table is renamed after the import: ``name`` requires
        ``wait=True`` and cannot be combined with ``collision_strategy``.

        Parameters
        ----------
        url : str
            URL of the file, http, https or ftp, as seen from the server.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Download the file again at this interval, in seconds, at least 900. ``dataset.sync`` returns the state of
            the synchronization. Cannot be combined with ``collision_strategy`` or ``name``. The privacy is set after
            the first import.
        **keywords
            Those of ``ImportKeywords``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the URL is invalid, the interval is shorter than 900 seconds, or the keywords cannot be combined.
        TableExistsError
            If a table ``name`` exists.
        PrivacyNotSet
            If the privacy of a synchronized dataset could not be set after the import.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options, name, wait = _import_options(keywords), keywords["name"], keywords["wait"]
        if sync_interval_s is not None:
            _check_sync(sync_interval_s, name, options, wait)
        new_name = None if name is None else carto_table_name(name)
        if new_name is not None:
            _check_rename(new_name, options, wait)
        _check_url(url)
        client = Client(credentials, progress=keywords["progress"])
        if new_name is not None:
            _require_free_name(client, new_name)
        if sync_interval_s is not None:
            return cls._create_sync(client, url, sync_interval_s, options, keywords)
        import_id = client.imports.create_from_url(url, options)
        return cls._finish_import(client, import_id, keywords, new_name=new_name)

    @overload
    @classmethod
    def from_query(cls, query: str, credentials: Credentials | None = None, **keywords: Unpack[_Wait]) -> Self: ...

    @overload
    @classmethod
    def from_query(
        cls, query: str, credentials: Credentials | None = None, **keywords: Unpack[_NoWait]
    ) -> ImportJob[Self]: ...

    @classmethod
    @_import_keywords
    def from_query(
        cls, query: str, credentials: Credentials | None = None, **keywords: Unpack[ImportKeywords]
    ) -> Self | ImportJob[Self]:
        """Create a dataset from the rows of a query, on the server; no rows are downloaded.

        Parameters
        ----------
        query : str
            The default ``name`` of the table is "query".
        credentials : Credentials, optional
        **keywords
            Those of ``ImportKeywords``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = _import_options(keywords)
        statement = query.strip().rstrip(";")
        if not statement:
            raise ValueError(f"query must not be empty, got {query!r}")
        client = Client(credentials, progress=keywords["progress"])
        name = carto_table_name(keywords["name"] or "query")
        import_id = client.imports.create_from_query(statement, name, _without_overwrite(client, name, options))
        return cls._finish_import(client, import_id, keywords)

    @overload
    @classmethod
    def from_table(cls, table: str, credentials: Credentials | None = None, **keywords: Unpack[_Wait]) -> Self: ...

    @overload
    @classmethod
    def from_table(
        cls, table: str, credentials: Credentials | None = None, **keywords: Unpack[_NoWait]
    ) -> ImportJob[Self]: ...

    @classmethod
    @_import_keywords
    def from_table(
        cls, table: str, credentials: Credentials | None = None, **keywords: Unpack[ImportKeywords]
    ) -> Self | ImportJob[Self]:
        """Copy a dataset of the account, on the server; no rows are downloaded.

        Parameters
        ----------
        table : str
            The default ``name`` of the copy is this name followed by ``_copy``.
        credentials : Credentials, optional
        **keywords
            Those of ``ImportKeywords``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = _import_options(keywords)
        client = Client(credentials, progress=keywords["progress"])
        client.sql.require_table(None, table)
        name = carto_table_name(keywords["name"] or f"{table}_copy")
        import_id = client.imports.create_from_table(table, name, _without_overwrite(client, name, options))
        return cls._finish_import(client, import_id, keywords)

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[_Wait],
    ) -> Self: ...

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[_NoWait],
    ) -> ImportJob[Self]: ...

    @classmethod
    @_import_keywords
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        **keywords: Unpack[ImportKeywords],
    ) -> Self | ImportJob[Self]:
        """Import a table or the rows of a query from another database, once or periodically.

        Parameters
        ----------
        connector : mapping
            ``provider`` ("postgres", "mysql", "sqlserver", "hive" ...), ``connection`` (a mapping with ``server``,
            ``port``, ``database``, ``username``, ``password`` ...), and either ``schema`` and ``table``, or
            ``sql_query`` and ``import_as``. Also accepted as the body of a request of the Import API: nested in a
            member ``connector``, next to ``interval`` and other members. No repr or log contains the password.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Import it again at this interval, in seconds, at least 900; as in ``from_url``.
        **keywords
            Those of ``ImportKeywords``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords cannot be combined.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = _import_options(keywords)
        source = unwrap_connector(connector, keywords["name"])
        interval_s = source.pop("interval", None) if sync_interval_s is None else sync_interval_s
        if interval_s is not None:
            _check_sync(interval_s, None, options, keywords["wait"])
        client = Client(credentials, progress=keywords["progress"])
        with redact_secrets(source):
            if interval_s is not None:
                return cls._create_sync(client, source, interval_s, options, keywords)
            import_id = client.imports.create_from_connector(source, options)
            requested = source.get("import_as") or source.get("table")
            return cls._finish_import(client, import_id, keywords, requested=requested)

    @classmethod
    def _create_sync(
        cls,
        client: Client,
        source: str | Mapping[str, Any],
        interval_s: int,
        options: ImportOptions,
        keywords: ImportKeywords,
    ) -> Self | ImportJob[Self]:
        """Create a synchronization; delete it if its first import fails."""
        privacy = options["privacy"]
        if privacy is not None:
            client.visualizations.require_privacy_permission()
        sync, import_id = client.syncs.create(source, interval_s, {**options, "privacy": None})
        try:
            result = cls._finish_import(client, import_id, keywords)
        except ImportFailed:
            client.syncs.delete(sync.id)
            raise
        if not isinstance(result, ImportJob) and privacy is not None:
            set_privacy(client, result.name, privacy)
        return result

    @classmethod
    def _finish_import(
        cls,
        client: Client,
        import_id: str,
        keywords: ImportKeywords,
        *,
        new_name: str | None = None,
        requested: str | None = None,
    ) -> Self | ImportJob[Self]:
        """Wait for an import, rename its table if necessary, and return its dataset; with ``wait=False`` the job."""
        if not keywords["wait"]:
            return replace(client.imports.read(import_id), open_dataset=cls)
        job = client.imports.wait(import_id, timeout_s=keywords["timeout_s"], progress=keywords["progress"])
        dataset: Self | None = replace(job, open_dataset=cls, credentials=client.credentials).dataset
        if dataset is None and requested is not None:
            dataset = cls(carto_table_name(requested), client.credentials)
        if dataset is None or (job.table_name is None and not client.sql.has_table(None, dataset.name)):
            title, what_about, source = describe(job.error_code)
            raise ImportFailed(
                f"{job.display_name}: {title} (code {job.error_code}); the response contains no table name: open the"
                " table with Dataset(name)",
                code=job.error_code,
                title=title,
                what_about=what_about,
                source=source,
            )
        if new_name is None or new_name == dataset.name:
            return dataset
        return cls(_rename_imported(client, job, dataset.name, new_name), client.credentials)

    @overload
    def read(self, **keywords: Unpack[WholeRead]) -> pd.DataFrame: ...

    @overload
    def read(self, **keywords: Unpack[ChunkedRead]) -> Iterator[pd.DataFrame]: ...

    @read_keywords
    def read(self, **keywords: Unpack[ReadOptions]) -> pd.DataFrame | Iterator[pd.DataFrame]:
        """Read the rows. Result and errors are those of ``read_carto``.

        Parameters
        ----------
        **keywords
            Those of ``read_carto``.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> cfl.Dataset("stations").read(columns=["name"], where="year > %(year)s", params={"year": 1950})
              name
        0    South
        1  Harbour
        """
        check_read(keywords)
        schema, table = self._schema_and_table
        asked = keywords["schema"]
        if asked is not None and schema is not None and asked != schema:
            raise ValueError(f"schema={asked!r} is not the schema of the dataset {self.name!r}: omit it")
        origin = filtered(table_source(schema or asked, table), params=keywords["params"], where=keywords["where"])
        return read_source(origin, self.name, self.credentials, keywords)

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first rows. A table has no order: they are those that the server returns first.

        Parameters
        ----------
        n : int, default 5
            Number of rows.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise TypeError(f"n must be an integer, not {n!r}")
        return self.read(limit=int(n))

    def __len__(self) -> int:
        """Count the rows.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        """
        row = Client(self.credentials).sql.table_row(*self._schema_and_table, "count(*)::text AS rows", "rows")
        return parsed(int, row["rows"], self.name)

    def __bool__(self) -> bool:
        """Return True: without this method, ``if dataset:`` would count the rows."""
        return True

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """Bounds of ``the_geom``, (minx, miny, maxx, maxy) in EPSG:4326; None if there is no geometry."""
        sql = Client(self.credentials).sql
        try:
            row = sql.table_row(*self._schema_and_table, _BOUNDS, *_EDGES)
        except SQLError:
            names = [column.name for column in self._columns(sql)]
            if THE_GEOM in names:
                raise
            raise ValueError(f"{self.name!r} has no column {THE_GEOM!r}, and so no bounds: it has {names}") from None
        if None in row.values():
            return None
        west, south, east, north = (parsed(_float_of_hex, row[edge], self.name) for edge in _EDGES)
        return west, south, east, north

    def append(self, dataframe: pd.DataFrame | Iterable[pd.DataFrame], *, progress: bool | None = None) -> None:
        """Append rows to the table: all of them, or none if an error is raised.

        Parameters
        ----------
        dataframe : DataFrame, GeoDataFrame, or an iterable of them
            Each of its columns must exist in the table. Other columns of the table get their default values.
        progress : bool, optional
            As in ``to_carto``.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ConversionError
            If a column does not fit the table.
        ValueError
            If the table name is not normalized, as ``to_carto`` requires.
        """
        client = Client(self.credentials)
        table = self._table_to_write(client)
        if normalize(table) != table:
            raise ValueError(
                f"cannot append to {table!r}: its name is not normalized; rename it to {normalize(table)!r} first"
            )
        write_to_existing(dataframe, table, client.credentials, if_exists="append", progress=progress)

    def delete_rows(self, where: str, params: Params | None = None) -> int:
        """Delete the rows that meet a condition: all of them, or none if an error is raised.

        Parameters
        ----------
        where : str
            SQL condition, for example ``"year < 2000"``; ``"true"`` deletes all rows.
        params : mapping or sequence, optional
            Values of the placeholders in ``where``: a mapping for ``%(name)s``, a sequence for ``%s``, as in
            ``read_carto``.

        Returns
        -------
        int
            Number of rows that were deleted.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        SQLError
            If PostgreSQL rejects the condition, or a foreign key forbids to delete a row.
        PublishUnknown
            If the connection is lost, and it cannot be determined whether the rows were deleted.
        ConnectionFailed
            If the server cannot be reached. With an API key that may not create tables, the rows may have been deleted.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> cfl.Dataset("stations").delete_rows("name = %(name)s", {"name": "Harbour"})
        1
        """
        if not isinstance(where, str) or not where.strip():
            raise TypeError(f'where must be an SQL condition, not {where!r}; "true" deletes all rows')
        check_sql("where", where)
        condition = single_condition(*fill([where], params))
        client = Client(self.credentials)
        return delete_rows(client, self._table_to_write(client), condition)

    def columns(self) -> dict[str, str]:
        """Return the columns and their types.

        Returns
        -------
        dict of str to str
            Column name to type name as in ``pg_type``, in the order of the table.

        Raises
        ------
        TableNotFoundError
        """
        return {column.name: column.pgtype for column in self._columns(Client(self.credentials).sql)}

    def rename(self, new_name: str) -> Dataset:
        """Rename the table. This object keeps the old name; use the one that is returned.

        Parameters
        ----------
        new_name : str
            Normalized as in ``to_carto``, and never numbered.

        Returns
        -------
        Dataset
            The table under the name that it has now.

        Raises
        ------
        TableNotFoundError, TableExistsError
        """
        client = Client(self.credentials)
        renamed = rename_table(self._table_to_write(client), new_name, client.credentials)
        return Dataset(renamed, client.credentials)

    def delete(self, *, force: bool = False) -> None:
        """Delete the table.

        Parameters
        ----------
        force : bool, default False
            Delete the table even if maps use it: maps that show only this table are deleted, other maps lose its
            layers. False requires the master key, because the maps are not visible to other keys.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        CartoError
            If maps depend on it; nothing is deleted.
        SQLError
            If a view depends on it.
        """
        client = Client(self.credentials)
        table = self._table_to_write(client)
        try:
            is_dropped = drop_table(
                client, table, (lambda: None) if force else partial(_require_no_maps, client, table)
            )
        except (PermissionDenied, SQLError):  # nothing was dropped
            client.sql.require_table(None, table)
            raise
        if not is_dropped:
            raise client.sql.missing_table(table)

    @layer_keywords
    def map(
        self,
        cartocss: str | None = None,
        *,
        bbox: tuple[float, float, float, float] | None = None,
        basemap: Basemap = "light",
        widgets: Widget | Sequence[Widget] = (),
        **keywords: Unpack[LayerOptions],
    ) -> Map:
        """Create a map of the table, which a notebook displays.

        Parameters
        ----------
        cartocss : str, optional
            Style sheet, as in ``Layer``.
        bbox, basemap, widgets
            Initial extent, background, and widgets under the map, as in ``Map``.
        **keywords
            As in ``Layer``; ``title`` is also that of the map. Without ``popup`` and ``interactivity``, the popup shows
            all columns except geometries, if the table has the column ``cartodb_id``.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ValueError
            If a column does not exist, or as for ``Layer``.
        """
        layer = DatasetLayer(self, cartocss, **keywords)
        return Map(layer, self.credentials, bbox=bbox, basemap=basemap, title=keywords["title"], widgets=widgets)

    @property
    def sync(self) -> Sync | None:
        """Synchronization of the table, or None."""
        client = Client(self.credentials)
        schema, table = self._schema_and_table
        if schema is not None and schema != client.sql.schema():
            return None  # the API lists only the synchronizations of the account itself
        return next((sync for sync in client.syncs.list() if sync.name == table), None)

    def to_file(self, path: str | os.PathLike[str], format: Format | Literal["parquet"] | None = None) -> Path:
        """Export the table to a file, which is created only when it is complete.

        The server generates the file, within its time limit for queries, except Parquet, which this machine writes
        while it reads the rows, as ``read_arrow`` does. ``read().to_file`` has no such limit either.

        Parameters
        ----------
        path : path
        format : {"csv", "geojson", "gpkg", "shp", "kml", "svg", "spatialite", "parquet"}, optional
            None: derived from the file extension, where .zip is a shapefile and .sqlite is spatialite. A shapefile
            consists of several files and is always zipped. "parquet" is GeoParquet 1.1, with a column ``bbox`` for
            spatial filters.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ValueError
            If the format is unknown, or cannot be derived from the file extension.
        """
        target = Path(path)
        if format == "parquet" or (format is None and target.suffix.lower() in SUFFIXES):
            client = Client(self.credentials)
            client.sql.require_table(*self._schema_and_table)
            write_parquet(read_arrow(f"TABLE {qualify(*self._schema_and_table)}", client.credentials), target)
            return target
        chosen = format or _FORMATS.get(target.suffix.lower())
        if chosen is None or chosen not in _FORMATS.values():
            known = sorted({*_FORMATS.values(), "parquet"})
            raise ValueError(
                f"unknown format of {target.name!r} (format={format!r}): pass format= as one of {known}"
                + ("; a shapefile is exported as .zip" if target.suffix.lower() == ".shp" else "")
            )
        sql = Client(self.credentials).sql
        schema, table = self._schema_and_table
        names = [column.name for column in self._columns(sql) if column.name != WEB_MERCATOR]
        query = f"SELECT {', '.join(map(quote, names))} FROM {qualify(schema, table)}"
        sql.send_to_file(query, target, format=chosen, dp=_COORDINATE_DECIMALS, filename=table)
        return target

    def info(self) -> Visualization:
        """Return the catalog entry: size, description, tags, privacy, permissions, and the maps that use the dataset.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        PermissionDenied
            If the dataset is private and the key is not the master key.
        """
        return self._entry(Client(self.credentials))

    @catalog_changes
    def update(self, **keywords: Unpack[CatalogChanges]) -> Visualization:
        """Update the catalog entry. Arguments that are None leave their value unchanged.

        Parameters
        ----------
        **keywords
            Those of ``CatalogChanges``.

        Returns
        -------
        Visualization
            The updated entry, as returned by ``info``.
        """
        client = Client(self.credentials)
        check_changes(keywords)
        return client.visualizations.update_entry(self._entry(client), **drop_none(**keywords))

    @property
    def privacy(self) -> PrivacyOfTable:
        """Privacy of the table: "public", "private" or "link". Can be set with the master key."""
        return cast(Privacy, self.info().privacy)

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        require_privacy(privacy)
        client = Client(self.credentials)
        client.visualizations.update_entry(self._entry(client), privacy=privacy)

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """Permissions of users and organizations other than the owner."""
        return self.info().permissions

    def share(self, user_or_org: str, access: Access | None = "r") -> tuple[Permission, ...]:
        """Grant a user of the organization, or the whole organization, access to the dataset.

        Parameters
        ----------
        user_or_org : str
            Name of a user, or of the organization.
        access : {"r", "rw"} or None
            "r": read; "rw": read and write; None: revoke.

        Returns
        -------
        tuple of Permission
            All permissions after the change.

        Raises
        ------
        CartoError
            If the account does not belong to an organization, or the organization has no such user.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        client = Client(self.credentials)
        kind, entity_id = client.users.find_entity(user_or_org)
        client.visualizations.share(client.visualizations.get(self.name), kind, entity_id, access)
        return self.permissions

    def _columns(self, sql: SQL) -> list[SourceColumn]:
        """Request the columns; raise TableNotFoundError if the table does not exist."""
        return sql.table_columns(*self._schema_and_table)

    def _entry(self, client: Client) -> Visualization:
        """Request the catalog entry; raise TableNotFoundError if the table does not exist."""
        return existing_entry(client, self.name)

    def _own_table(self, client: Client) -> str:
        """Return the name of the table; raise TableNotFoundError unless it is in the schema of the account."""
        schema, table = self._schema_and_table
        client.sql.require_table(schema, table)
        if schema is not None and schema != client.sql.schema():
            raise TableNotFoundError(
                f"cannot change {self.name!r}: it belongs to another account; use the credentials of its owner"
            )
        return table

    def _table_to_write(self, client: Client) -> str:
        """Return the name of the table as ``_own_table`` does, but leave it to the write whether the table exists."""
        schema, table = self._schema_and_table
        return table if schema is None else self._own_table(client)

    @property
    def _schema_and_table(self) -> tuple[str | None, str]:
        """Schema (None: the schema of the account) and name of the table."""
        return split_schema(self.name)

    def _repr_html_(self) -> str:
        """Return the catalog entry as HTML, or the repr if it cannot be requested."""
        try:
            with suppress_warnings():
                entry = Client(self.credentials).visualizations.find(self.name)
        except CartoError:
            entry = None
        if entry is None:
            return f"<code>{escape(repr(self))}</code>"
        return entry._repr_html_()


def _import_options(keywords: Mapping[str, object]) -> ImportOptions:
    """Return the options among the keywords of an import; raise TypeError or ValueError for invalid keywords."""
    name = keywords["name"]
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if name is not None and not name.strip():
        raise ValueError(f"name must not be blank, got {name!r}")
    return complete_options({name: keywords[name] for name in OPTION_DEFAULTS})


def _float_of_hex(text: str) -> float:
    """Return a float8 that the server has sent as the hexadecimal digits of its bytes."""
    number: float
    (number,) = struct.unpack(">d", bytes.fromhex(text))
    return number


def _is_parquet(file: object) -> bool:
    """Return whether a path or file object has a name of a Parquet file."""
    return str(getattr(file, "name", file)).lower().endswith(SUFFIXES)


def _check_url(url: object) -> None:
    """Raise ValueError for a URL that CARTO cannot download."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        parts = urlsplit("")
    is_encoded = isinstance(url, str) and url.isascii() and not any(map(str.isspace, url))
    if not (is_encoded and parts.scheme.lower() in ("http", "https", "ftp") and parts.netloc):
        raise ValueError(
            f"url must be a URL of http, https or ftp with blanks and non-ASCII characters percent-encoded, not {url!r}"
        )


def _check_rename(new_name: str, options: ImportOptions, wait: bool) -> None:
    """Raise ValueError if a table that CARTO names after a URL or a member of an archive cannot be renamed."""
    if not wait or options["collision_strategy"] is not None:
        raise ValueError(
            f"name={new_name!r} requires wait=True and no collision_strategy, because the table is renamed after the"
            " import: change those, or omit name"
        )
    if is_staging(new_name):
        raise ValueError(f"{new_name!r} is reserved for staging tables, which later writes drop: choose another name")


def _require_free_name(client: Client, new_name: str) -> None:
    """Raise TableExistsError if a table cannot be renamed, before it is imported."""
    if client.sql.has_relation(None, new_name):
        raise TableExistsError(f"the table {new_name!r} exists already: choose another name")


def _rename_imported(client: Client, job: ImportJob[Any], table: str, new_name: str) -> str:
    """Rename the table of an import; return the name that it has now."""
    if job.tables_created is not None and job.tables_created > 1:
        user_warnings.warn(
            f"{job.display_name} contains {job.tables_created} tables, which CARTO names after its files: "
            f"name={new_name!r} was not used",
            IncompleteImportWarning,
        )
        return table
    try:
        # By the catalog: it renames the layers of a map that the import has created, too.
        return client.visualizations.update(table, name=new_name).name
    except CartoError as error:
        error.add_note(f"The file was imported as {table!r}, but not renamed to {new_name!r}.")
        raise


def _without_overwrite(client: Client, name: str, options: ImportOptions) -> ImportOptions:
    """Drop "overwrite" if there is nothing to overwrite, because CARTO then fails to create the table of a query."""
    if options["collision_strategy"] != "overwrite" or client.sql.has_table(None, name):
        return options
    return {**options, "collision_strategy": None}


def _check_sync(interval_s: int, name: str | None, options: ImportOptions, wait: bool) -> None:
    """Raise ValueError for options that the API of synchronizations does not support."""
    check_interval(interval_s)
    privacy, collision_strategy = options["privacy"], options["collision_strategy"]
    if name is not None or collision_strategy is not None:
        raise ValueError(
            f"name={name!r} and collision_strategy={collision_strategy!r} cannot be combined with a sync "
            "interval: omit them"
        )
    if privacy is not None and not wait:
        raise ValueError(f"privacy={privacy!r} of a synchronization is set after the first import: pass wait=True")


def _require_no_maps(client: Client, name: str) -> None:
    """Raise if maps use a dataset, or if the key does not permit to find out."""
    try:
        entry = client.visualizations.find(name)
        if entry is None or entry.dependent_count is None:
            client.visualizations.require_master(f"checking which maps use {name!r}")
            return  # not yet in the catalog, so no map uses it
    except PermissionDenied as error:
        error.hint = "delete(force=True) skips this check"
        raise
    if entry.dependent_count:
        maps = ", ".join(entry.dependents) or "not visible to this key"
        raise CartoError(f"{entry.dependent_count} maps show {name!r} ({maps}): delete them first, or pass force=True")
