"""Dataset: a table of an account, and what can be done with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, cast, get_args, overload

import pandas as pd
from xyzservices import TileProvider

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.uploads import File
from cartoframes_lite._client.import_codes import title
from cartoframes_lite._client.imports import (
    CollisionStrategy,
    ImportOptions,
    Privacy,
    without_passwords,
    wrap_connector,
)
from cartoframes_lite._client.nonpublic import suppressed
from cartoframes_lite._client.sql import SQL, Format
from cartoframes_lite._client.syncs import checked_interval
from cartoframes_lite._client.visualizations import Access, Entry, Permission, require_privacy
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite._codec.names import normalize, qualify, quote, split_schema
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.sql_text import is_query
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, ImportFailed, PermissionDenied, TableNotFoundError
from cartoframes_lite.imports import ImportJob
from cartoframes_lite.maps import AnonymousMap, Layer
from cartoframes_lite.read import read_carto
from cartoframes_lite.syncs import Sync
from cartoframes_lite.tables import delete_table, free_name, rename_table
from cartoframes_lite.visualizations import Visualization
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.frames import set_privacy


class Options(TypedDict, total=False):
    """What all imports take."""

    name: str | None
    privacy: Privacy | None
    collision_strategy: CollisionStrategy | None
    type_guessing: bool
    quoted_fields_guessing: bool
    content_guessing: bool
    create_map: bool
    timeout_s: float | None
    progress: bool | None


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


class Dataset:
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
        Of the table; normalized by the server. None: after the file.
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

    __slots__ = ("_credentials", "_name")

    def __init__(self, name: str, credentials: Credentials | None = None) -> None:
        split_schema(name)
        self._name, self._credentials = name, credentials

    @property
    def name(self) -> str:
        """Name of the table."""
        return self._name

    @property
    def credentials(self) -> Credentials | None:
        """Account and key, None for the default ones."""
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
    def from_file(
        cls,
        file: File,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...

    @overload
    @classmethod
    def from_file(
        cls, file: File, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob[Self]: ...

    @classmethod
    def from_file(
        cls,
        file: File,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob[Self]:
        """Import a file of any kind that CARTO reads: CSV, XLSX, GeoJSON, GPKG, KML, GPX, a zipped shapefile ...

        Parameters
        ----------
        file : path or binary file
            It is sent block by block, whatever its size. A file object is sent from its beginning, and needs a
            ``name`` with an ending, its own or as keyword.
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``
            Of an archive with several tables, one of them.

        Raises
        ------
        OSError
            If the file cannot be read.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> path = cfl.Dataset("stations").to_file("stations.gpkg")
        >>> cfl.Dataset.from_file("stations.gpkg", name="again", privacy="private").name
        'again'
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials, progress=progress)
        import_id = client.imports.create_from_file(file, options, name=name, progress=progress)
        return cls._finish_import(client, import_id, wait, timeout_s, progress)

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[False],
        **options: Unpack[Options],
    ) -> ImportJob[Self]: ...

    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob[Self]:
        """Let the server fetch a file, once or again and again.

        Parameters
        ----------
        url : str
            Where the server finds it, http or https.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Fetch it again at this interval, in seconds, at least 900; ``dataset.sync`` tells how it goes. The API
            takes neither ``collision_strategy`` nor ``name`` then, and the privacy is set after the first import.
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. The API takes no ``name``: the table is renamed after the import, which takes
            ``wait=True`` and no ``collision_strategy``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords do not go together.
        TableExistsError
            If there is a table ``name``.
        PrivacyNotSet
            If the privacy of a synchronized dataset could not be set after its import.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        if sync_interval_s is not None:
            _check_sync(sync_interval_s, name, options, wait)
        if name is not None and (not wait or collision_strategy is not None):
            raise ValueError("name= takes wait=True and no collision_strategy: the table is renamed after the import")
        if not isinstance(url, str) or not url.strip():
            raise ValueError(f"url must be the address of a file, not {url!r}")
        client = Client(credentials, progress=progress)
        new = None if name is None else free_name(client, None, name, "fail")
        if sync_interval_s is not None:
            return cls._synchronized(client, url, sync_interval_s, options, wait, timeout_s, progress)
        import_id = client.imports.create_from_url(url, options)
        made = cls._finish_import(client, import_id, wait, timeout_s, progress)
        if isinstance(made, ImportJob) or new is None or new == made.name:
            return made
        try:
            return cls(rename_table(made.name, new, client.credentials), client.credentials)
        except CartoError as error:
            error.add_note(f"The file was imported, as {made.name!r}.")
            raise

    @overload
    @classmethod
    def from_query(
        cls,
        query: str,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...

    @overload
    @classmethod
    def from_query(
        cls, query: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob[Self]: ...

    @classmethod
    def from_query(
        cls,
        query: str,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob[Self]:
        """Make a dataset of the rows of a query; they do not pass through this machine.

        Parameters
        ----------
        query : str
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. Without ``name`` it is "query".

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        statement = query.strip().rstrip(";")
        if not statement:
            raise ValueError("the query is empty")
        client = Client(credentials, progress=progress)
        import_id = client.imports.create_from_query(statement, name or "query", options)
        return cls._finish_import(client, import_id, wait, timeout_s, progress)

    @overload
    @classmethod
    def from_table(
        cls,
        table: str,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...

    @overload
    @classmethod
    def from_table(
        cls, table: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob[Self]: ...

    @classmethod
    def from_table(
        cls,
        table: str,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob[Self]:
        """Copy a dataset of the account; the rows do not pass through this machine.

        Parameters
        ----------
        table : str
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. Without ``name`` it is that of the table with ``_copy``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials, progress=progress)
        client.sql.require_table(None, table)
        import_id = client.imports.create_from_table(table, name or f"{table}_copy", options)
        return cls._finish_import(client, import_id, wait, timeout_s, progress)

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[False],
        **options: Unpack[Options],
    ) -> ImportJob[Self]: ...

    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob[Self]:
        """Let the server fetch a table or the rows of a query of another database, once or again and again.

        Parameters
        ----------
        connector : mapping
            ``provider`` ("postgres", "mysql", "sqlserver", "hive" ...), ``connection`` (a mapping with ``server``,
            ``port``, ``database``, ``username``, ``password`` ...), and ``schema`` with ``table``, or ``sql_query``
            with ``import_as``. It may be wrapped in a member ``connector``, with ``interval`` and others beside it. The
            password is in no repr and no log.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Fetch it again at this interval, in seconds, at least 900; as in ``from_url``.
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords do not go together.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        source = _checked(connector, name)
        interval_s = source.pop("interval", None) if sync_interval_s is None else sync_interval_s
        if interval_s is not None:
            _check_sync(interval_s, None, options, wait)
        client = Client(credentials, progress=progress)
        with without_passwords(source):
            if interval_s is not None:
                return cls._synchronized(client, source, interval_s, options, wait, timeout_s, progress)
            import_id = client.imports.create_from_connector(source, options)
            return cls._finish_import(client, import_id, wait, timeout_s, progress)

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
        schema, table = self._schema_and_table
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
        if normalize(table) != table:
            raise ValueError(f"to_carto writes to normalized names, {normalize(table)!r}: rename {table!r} first")
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
            The table under its new, normalized name.

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
        schema, table = self._schema_and_table
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
        schema, table = self._schema_and_table
        names = [column.name for column in self._columns(sql) if column.name != WEB_MERCATOR]
        query = f"SELECT {', '.join(map(quote, names))} FROM {qualify(schema, table)}"
        sql.send_to_file(query, target, format=chosen, dp=_ALL_DIGITS, filename=table)
        return target

    def info(self) -> Visualization:
        """Ask what CARTO's catalog says of it: size, description, tags, who may see it, which maps show it.

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        PermissionDenied
            If it is private and the key is not the master key.
        """
        client = Client(self.credentials)
        client.sql.require_table(*self._schema_and_table)
        return Visualization.of_entry(client.visualizations.get(self.name), client.credentials)

    def update(
        self,
        *,
        title: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        attributions: str | None = None,
        license: str | None = None,
        source: str | None = None,
        locked: bool | None = None,
    ) -> Visualization:
        """Change what the catalog says of it; what is not given stays.

        Parameters
        ----------
        title, description, attributions, license, source : str, optional
            "" empties them.
        tags : sequence of str, optional
        locked : bool, optional
            Protect it against changes on its page.

        Returns
        -------
        Visualization
            As ``info`` gives it.
        """
        return self.info().update(
            title=title,
            description=description,
            tags=tags,
            attributions=attributions,
            license=license,
            source=source,
            locked=locked,
        )

    @property
    def privacy(self) -> Privacy:
        """Who may see the table: "public", "private" or "link"; can be set, with the master key."""
        return cast(Privacy, self.info().privacy)

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        require_privacy(privacy)
        client = Client(self.credentials)
        client.sql.require_table(*self._schema_and_table)
        client.visualizations.set_privacy(self.name, privacy)

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """Who may see or change it beside its owner."""
        return self.info().permissions

    def share(self, user_or_org: str, access: Access | None = "r") -> tuple[Permission, ...]:
        """Let a user of the organization, or all of it, read the dataset, or change it, too.

        Parameters
        ----------
        user_or_org : str
            Name of a user, or of the organization.
        access : {"r", "rw"} or None
            "r" to read, "rw" also to write; None takes it back.

        Returns
        -------
        tuple of Permission
            Who may see or change it now.

        Raises
        ------
        CartoError
            If the account is in no organization, or there is no such user in it.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        client = Client(self.credentials)
        kind, entity_id = client.users.find_entity(user_or_org)
        client.visualizations.share(client.visualizations.get(self.name), kind, entity_id, access)
        return self.permissions

    @classmethod
    def _synchronized(
        cls,
        client: Client,
        source: str | Mapping[str, Any],
        interval_s: int,
        options: ImportOptions,
        wait: bool,
        timeout_s: float | None,
        progress: bool | None,
    ) -> Self | ImportJob[Self]:
        """Begin a synchronization; if its first import fails, there is to be none."""
        if options.privacy is not None:
            client.visualizations.require_settable()
        sync, import_id = client.syncs.create(source, interval_s, replace(options, privacy=None))
        try:
            made = cls._finish_import(client, import_id, wait, timeout_s, progress)
        except ImportFailed:
            client.syncs.delete(sync.id)
            raise
        if not isinstance(made, ImportJob) and options.privacy is not None:
            set_privacy(client, made.name, options.privacy)
        return made

    @classmethod
    def _finish_import(
        cls, client: Client, import_id: str, wait: bool, timeout_s: float | None, progress: bool | None
    ) -> Self | ImportJob[Self]:
        """Wait for the dataset of an import, or give the job."""
        if not wait:
            return ImportJob.of_import(client.imports.read(import_id), client.credentials, cls)
        job = client.imports.wait(import_id, timeout_s=timeout_s, progress=progress)
        if job.table_name is None:
            raise ImportFailed(
                f"{job.display_name}: {title(job.error_code)} (code {job.error_code}), and the server does not say "
                "which tables those are: use Dataset(name)",
                code=job.error_code,
                title=title(job.error_code),
            )
        return cls(job.table_name, client.credentials)

    def _columns(self, sql: SQL) -> list[SourceColumn]:
        """Ask for the columns; TableNotFoundError if there is no such table."""
        sql.require_table(*self._schema_and_table)
        return sql.columns(qualify(*self._schema_and_table))

    def _own_table(self, client: Client) -> str:
        """Return the name of the table if it is there, and in the schema of the account."""
        schema, table = self._schema_and_table
        client.sql.require_table(schema, table)
        if schema is not None and schema != client.sql.schema():
            raise TableNotFoundError(f"{self.name!r} is not in the schema of this account, and can only be read")
        return table

    @property
    def _schema_and_table(self) -> tuple[str | None, str]:
        """The schema, None for that of the account, and the table."""
        return split_schema(self.name)

    def _repr_html_(self) -> str:
        """Show what the catalog says, if there is an answer."""
        try:
            client = Client(self.credentials)
            with suppressed():
                entry = client.visualizations.find(self.name)
        except CartoError:
            entry = None
        if entry is None:
            return f"<code>{escape(repr(self))}</code>"
        return Visualization.of_entry(entry, client.credentials)._repr_html_()


def _check_sync(interval_s: int, name: str | None, options: ImportOptions, wait: bool) -> None:
    """Refuse what the API of synchronizations does not take."""
    checked_interval(interval_s)
    if name is not None or options.collision_strategy is not None:
        raise ValueError("a synchronization takes neither name nor collision_strategy")
    if options.privacy is not None and not wait:
        raise ValueError("privacy= of a synchronization takes wait=True: it is set after the first import")


def _checked(connector: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Unwrap a connector; refuse one that says neither what nor where."""
    found: dict[str, Any] = wrap_connector(connector)["connector"]
    if not found.get("provider") or not isinstance(found.get("connection"), Mapping):
        raise ValueError("a connector needs a provider, and a connection that is a mapping")
    return found if name is None else {**found, "import_as": name}


def _require_no_maps(client: Client, name: str) -> None:
    """Raise if maps show a dataset, or if that cannot be known."""
    entry: Entry | None = client.visualizations.find(name)
    if entry is None or entry.dependent_count is None:
        try:
            client.visualizations.require_master(f"asking which maps show {name!r}")
        except PermissionDenied as error:
            error.hint = "delete(force=True) does not ask"
            raise
        return  # not in the catalog yet, so on no map
    if entry.dependent_count:
        maps = ", ".join(entry.dependents)
        raise CartoError(f"{entry.dependent_count} maps show {name!r} ({maps}): delete them first, or pass force=True")
