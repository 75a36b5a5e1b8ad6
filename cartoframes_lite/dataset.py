"""Dataset: a table of an account, and what can be done with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import FrozenInstanceError
from html import escape
from pathlib import Path
from typing import cast, get_args

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.sql import SQL, Format
from cartoframes_lite._client.visualizations import Access, Entry, Permission, check_privacy
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite._codec.names import normalise, qualify, quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite._synced import Synced
from cartoframes_lite.errors import CartoError, PermissionDenied, TableNotFoundError
from cartoframes_lite.read import read_carto
from cartoframes_lite.syncs import Sync
from cartoframes_lite.tables import delete_table, rename_table
from cartoframes_lite.visualizations import Visualization
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
_ALL_DIGITS = 15  # decimals of degrees that a double can have


class Dataset(Synced):
    """A table of an account; nothing is asked of the server before it is used.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file, when it is used.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.Dataset("stations").columns()  # doctest: +SKIP
    {'cartodb_id': 'int8', 'the_geom': 'geometry', 'name': 'text'}

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

    def __setattr__(self, name: str, value: object) -> None:
        """Set the privacy; all else is frozen."""
        if name != "privacy":
            raise FrozenInstanceError(f"cannot assign to {name!r}: only privacy can be set")
        object.__setattr__(self, name, value)

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
        return read_carto(
            self.name,
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

    def info(self) -> Visualization:
        """Ask what CARTO's catalogue says of it: size, description, tags, who may see it, which maps show it.

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        PermissionDenied
            If it is private and the key is not the master key.
        """
        client = Client(self.credentials)
        client.sql.require_table(*self._place)
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
        """Change what the catalogue says of it; what is not given stays.

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
        client = Client(self.credentials)
        check_privacy(privacy)
        client.sql.require_table(*self._place)
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

    @property
    def sync(self) -> Sync | None:
        """The synchronization that fills it, None if there is none."""
        client = Client(self.credentials)
        _, table = self._place
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

    @property
    def _place(self) -> tuple[str | None, str]:
        """The schema, None for that of the account, and the table."""
        schema, _, table = self.name.rpartition(".")
        return schema or None, table

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

    def _repr_html_(self) -> str:
        """Show what the catalogue says, if there is an answer."""
        try:
            client = Client(self.credentials)
            entry = client.visualizations.find(self.name)
        except CartoError:
            entry = None
        if entry is None:
            return f"<code>{escape(repr(self))}</code>"
        return Visualization.of_entry(entry, client.credentials)._repr_html_()


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
