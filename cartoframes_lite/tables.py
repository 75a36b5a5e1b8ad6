"""The tables of an account: list, describe, copy, rename, delete."""

from __future__ import annotations

from typing import Any, Literal

from cartoframes_lite._client import Client
from cartoframes_lite._client.transaction import run
from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.names import is_cut, literal, normalise, qualify, quote
from cartoframes_lite._codec.sources import single_statement
from cartoframes_lite._staging_names import is_staging
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import TableExistsError

IfExists = Literal["fail", "replace"]

_SHAPES = {"POINT": "point", "LINESTRING": "line", "POLYGON": "polygon"}


def list_tables(credentials: Credentials | None = None) -> list[str]:
    """List the tables of the account.

    Parameters
    ----------
    credentials : Credentials, optional

    Returns
    -------
    list of str
        In alphabetical order; without those that a write is filling just now.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.list_tables()
    ['stations']
    """
    return [name for name in Client(credentials).sql.tables() if not is_staging(name)]


def has_table(table_name: str, credentials: Credentials | None = None, *, schema: str | None = None) -> bool:
    """Say whether there is a table or view of this name.

    Parameters
    ----------
    table_name : str
        As it is in the account, e.g. as ``to_carto`` returned it.
    credentials : Credentials, optional
    schema : str, optional
        None: the schema of the account.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.has_table("stations"), cfl.has_table("harbours")
    (True, False)
    """
    return Client(credentials).sql.has_table(schema, table_name)


def delete_table(table_name: str, credentials: Credentials | None = None) -> bool:
    """Delete a table.

    Returns
    -------
    bool
        False if there was none.

    Raises
    ------
    SQLError
        If a view depends on it.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.delete_table("stations"), cfl.delete_table("stations")
    (True, False)
    """
    client = Client(credentials)
    if not client.sql.has_table(None, table_name):
        return False
    client.sql.send(f"DROP TABLE IF EXISTS {_own(client, table_name)}", idempotent=True)
    return True


def rename_table(
    table_name: str,
    new_table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
) -> str:
    """Rename a table.

    Parameters
    ----------
    table_name, new_table_name : str
        The new name is normalised.
    credentials : Credentials, optional
    if_exists : {"fail", "replace"}
        What to do if there is a table of the new name. It is deleted in the same transaction.

    Returns
    -------
    str
        The new name.

    Raises
    ------
    TableNotFoundError, TableExistsError

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.rename_table("stations", "Old stations")
    'old_stations'
    """
    client = Client(credentials)
    client.sql.require_table(None, table_name)
    new = free_name(client, table_name, new_table_name, if_exists)
    schema = client.sql.schema()
    renaming = f"ALTER TABLE {qualify(schema, table_name)} RENAME TO {quote(new)}"
    client.sql.send(_dropping(qualify(schema, new), if_exists) + renaming)
    return new


def copy_table(
    table_name: str,
    new_table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
    cartodbfy: bool = True,
) -> str:
    """Copy a table inside the account; the rows do not pass through this machine.

    Parameters
    ----------
    table_name, new_table_name : str
        The new name is normalised.
    credentials : Credentials, optional
    if_exists : {"fail", "replace"}
    cartodbfy : bool, default True
        Make the copy a CARTO table.

    Returns
    -------
    str
        The name of the copy.

    Raises
    ------
    TableNotFoundError, TableExistsError

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.copy_table("stations", "stations_2026")
    'stations_2026'
    """
    client = Client(credentials)
    client.sql.require_table(None, table_name)
    new = free_name(client, table_name, new_table_name, if_exists)
    return _create(client, f"SELECT * FROM {_own(client, table_name)}", new, if_exists, cartodbfy)


def create_table_from_query(
    query: str,
    new_table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
    cartodbfy: bool = True,
) -> str:
    """Make a table of the rows of a query; they do not pass through this machine.

    Parameters
    ----------
    query : str
    new_table_name : str
        Normalised.
    credentials : Credentials, optional
    if_exists : {"fail", "replace"}
    cartodbfy : bool, default True
        Make it a CARTO table.

    Returns
    -------
    str
        The name of the table.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.create_table_from_query("SELECT * FROM stations WHERE year < 1900", "old_stations")
    'old_stations'
    """
    client = Client(credentials)
    new = free_name(client, None, new_table_name, if_exists)
    return _create(client, single_statement(query), new, if_exists, cartodbfy)


def describe_table(
    table_name: str, credentials: Credentials | None = None, *, schema: str | None = None
) -> dict[str, Any]:
    """Describe a table.

    Returns
    -------
    dict
        ``privacy`` ("public", "private" or "link"), ``num_rows``, and ``geom_type``: "point", "line", "polygon", the
        most frequent one, or None.

    Raises
    ------
    TableNotFoundError

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.describe_table("stations")
    {'privacy': 'private', 'num_rows': 3, 'geom_type': 'point'}
    """
    client = Client(credentials)
    client.sql.require_table(schema, table_name)
    place = qualify(schema, table_name)
    (count,) = client.sql.rows(f"SELECT count(*)::int8 AS num_rows FROM {place}")
    kind = None
    if any(column.name == THE_GEOM for column in client.sql.columns(place)):
        kinds = client.sql.rows(
            f"SELECT replace(GeometryType(the_geom), 'MULTI', '') AS kind FROM {place}"
            " WHERE the_geom IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        )
        kind = kinds[0]["kind"] if kinds else None
    privacy = client.visualizations.get(table_name).privacy
    return {"privacy": privacy, "num_rows": count["num_rows"], "geom_type": _SHAPES.get(kind or "", kind)}


def update_privacy_table(
    table_name: str, privacy: Literal["public", "private", "link"], credentials: Credentials | None = None
) -> None:
    """Set who may see a table.

    Parameters
    ----------
    table_name : str
    privacy : {"public", "private", "link"}
        "link": whoever knows the name.
    credentials : Credentials, optional
        With the master key.

    Raises
    ------
    TableNotFoundError

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.update_privacy_table("stations", "public")
    """
    client = Client(credentials)
    client.sql.require_table(None, table_name)
    client.visualizations.set_privacy(table_name, privacy)


def free_name(client: Client, old: str | None, name: str, if_exists: str) -> str:
    """Normalise a new name and check that it may be taken."""
    if if_exists not in ("fail", "replace"):
        raise ValueError(f'if_exists must be "fail" or "replace", not {if_exists!r}')
    new = normalise(name)
    if new == old:
        raise ValueError(f"the table is named {new!r} already")
    if (if_exists == "fail" or is_cut(name)) and client.sql.has_table(None, new):
        normalised = "" if new == name else f", which is what {name!r} becomes,"
        raise TableExistsError(
            f"the table {new!r}{normalised} exists already: choose another name, or replace {new!r} with"
            ' if_exists="replace"'
        )
    return new


def _own(client: Client, table: str) -> str:
    """Name a table of the account so that it is not looked for in the other schemas of the search path."""
    return qualify(client.sql.schema(), table)


def _dropping(place: str, if_exists: str) -> str:
    return f"DROP TABLE IF EXISTS {place};\n" if if_exists == "replace" else ""


def _create(client: Client, query: str, new: str, if_exists: str, cartodbfy: bool) -> str:
    place = _own(client, new)
    statements = _dropping(place, if_exists) + f"CREATE TABLE {place} AS (\n{query}\n)"
    if cartodbfy:
        statements += f";\nSELECT CDB_CartodbfyTable(current_schema(), {literal(place)}::regclass)"
    run(client.sql, client.batch, statements, what=f"creating {new!r}")
    return new
