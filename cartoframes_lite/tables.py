"""The tables of an account: list, describe, copy, rename, delete."""

from __future__ import annotations

from typing import Any, Literal

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.transaction import run
from cartoframes_lite._client.visualizations import require_privacy
from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.names import is_truncated, normalize, qualify, refuse_system_name
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    PublishUnknown,
    ServerError,
    TableChangedError,
    TableExistsError,
    TableNotFoundError,
)
from cartoframes_lite.write import tables_sql
from cartoframes_lite.write.publishing import publish
from cartoframes_lite.write.publishing_sql import Staged
from cartoframes_lite.write.staging_names import begin_write, end_write, is_staging
from cartoframes_lite.write.target import Destination, drop_staging_tables, require_schema

IfExists = Literal["fail", "replace"]

_NAMES = 5  # as often another table may take the name that a complete one is to have
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

    The very table that has the name now is deleted, however often the request arrives; not one that is made later.

    Returns
    -------
    bool
        False if there was none.

    Raises
    ------
    SQLError
        If a view depends on it.
    ConnectionFailed
        If the server cannot be reached; the table may still be deleted by a request that is on its way.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.delete_table("stations"), cfl.delete_table("stations")
    (True, False)
    """
    client = Client(credentials)
    schema, version = _find(client, table_name)
    if version is None:
        return False
    _change(client, tables_sql.drop_table(schema, table_name, version), "dropped", version)
    return True


def _change(client: Client, request: str, what: str, version: tables_sql.Version) -> None:
    """Run a request that changes a table once, however often it is sent, and check that the answer is to that."""
    row = client.sql.row(request, what)
    if row[what] != version.oid:
        raise ConnectionFailed("the answer is that to another request: look whether the table was changed")


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
        The new name is normalized.
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
    PublishUnknown
        If the connection broke, and the server does not say whether the table was renamed.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.rename_table("stations", "Old stations")
    'old_stations'
    """
    client = Client(credentials)
    check_new_name(new_table_name, if_exists)
    client.sql.require_table(None, table_name)
    new = free_name(client, table_name, new_table_name, if_exists)
    schema, version = _find(client, table_name)
    if version is None:
        raise TableNotFoundError(f"the table {table_name!r} was dropped just now")
    replaced = _find(client, new)[1] if if_exists == "replace" else None
    try:
        replaced_oid = None if replaced is None else replaced.oid
        _change(client, tables_sql.rename_table(schema, table_name, version, new, replaced_oid), "renamed", version)
    except (ConnectionFailed, ServerError) as error:
        if not _is_renamed(client, table_name, version.oid):
            raise PublishUnknown(
                f"the connection broke while {table_name!r} was renamed to {new!r}, and a request may still be on its"
                " way: look which of the two names there is"
            ) from error
    return new


def _is_renamed(client: Client, table: str, oid: int) -> bool:
    """Ask whether a table has another name by now; False if the server does not answer either."""
    try:
        row = client.sql.row(tables_sql.name_of(oid), "name")
    except CartoError:
        return False
    return row["name"] is not None and row["name"].rpartition(".")[2].strip('"') != table


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
        The new name is normalized.
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
    check_new_name(new_table_name, if_exists)
    client.sql.require_table(None, table_name)
    new = free_name(client, table_name, new_table_name, if_exists)
    schema, _ = _find(client, table_name)
    return _create(client, f"SELECT * FROM {qualify(schema, table_name)}", new, if_exists, cartodbfy)


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
        Normalized.
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
    count = client.sql.row(f"SELECT count(*)::int8 AS num_rows FROM {place}", "num_rows")
    kind = None
    if any((column.name, column.pgtype) == (THE_GEOM, "geometry") for column in client.sql.columns(place)):
        kinds = client.sql.rows(
            f"SELECT replace(GeometryType(the_geom), 'MULTI', '') AS kind FROM {place}"
            " WHERE the_geom IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        )
        kind = kinds[0]["kind"] if kinds else None
    named = table_name if schema is None or schema == client.sql.schema() else f"{schema}.{table_name}"
    privacy = client.visualizations.get(named).privacy
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
    require_privacy(privacy)
    client = Client(credentials)
    client.sql.require_table(None, table_name)
    client.visualizations.set_privacy(table_name, privacy)


def check_new_name(name: object, if_exists: object) -> None:
    """Refuse a name or an option that cannot be meant, before any request."""
    if if_exists not in ("fail", "replace"):
        raise ValueError(f'if_exists must be "fail" or "replace", not {if_exists!r}')
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"the new name of a table must be a text that is not empty, not {name!r}")


def free_name(client: Client, old: str | None, name: str, if_exists: str) -> str:
    """Normalize a new name and check that it may be taken."""
    check_new_name(name, if_exists)
    new = normalize(name)
    if new == old:
        raise ValueError(f"the table is named {new!r} already")
    if is_staging(new):
        raise ValueError(f"{new!r} is a name of staging tables, which the next write drops: choose another one")
    refuse_system_name(new)
    if (if_exists == "fail" or is_truncated(name)) and client.sql.has_relation(None, new):
        normalized = "" if new == name else f", which is what {name!r} becomes,"
        raise TableExistsError(
            f"the table {new!r}{normalized} exists already: choose another name, or replace {new!r} with"
            ' if_exists="replace"'
        )
    return new


def _find(client: Client, table: str) -> tuple[str, tables_sql.Version | None]:
    """Ask for the schema of the account, and for a table or view in it."""

    def read(answer: Any) -> tuple[str | None, tables_sql.Version | None]:
        if answer["table"] != table:
            raise ValueError("the answer is that to another request")
        if answer["oid"] is None:
            return answer["schema"], None
        return str(answer["schema"]), tables_sql.Version(int(answer["oid"]), int(answer["changed_by"]))

    row = client.sql.row(tables_sql.find_table(table), "answer")
    schema, version = parsed(read, row["answer"], f"the table {table!r}")
    return require_schema(schema), version


def _create(client: Client, query: str, new: str, if_exists: str, cartodbfy: bool) -> str:
    """Fill a staging table with the rows of a query, and give it its name when it is complete."""
    schema, replaced = _find(client, new)
    replaced_oid = replaced.oid if replaced is not None and if_exists == "replace" else None
    destination, name, is_published = Destination(client, schema, new), begin_write(), False
    try:
        staging = tables_sql.stage_query(schema, name, query, make_carto=cartodbfy)
        run(client.sql, client.batch, staging, what=f"creating {new!r}")
        made = _find(client, name)[1]
        if made is None:
            raise CartoError(
                f"the table {new!r} was not created: somebody else dropped the staging table with its rows"
            )
        _publish(destination, Staged(name, made.oid, 0), replaced_oid, if_exists, cartodbfy)
        is_published = True
    except PublishUnknown:
        raise
    except BaseException:
        drop_staging_tables(destination, [name])
        raise
    finally:
        end_write(name, leaves_nothing=is_published)
    return new


def _publish(
    destination: Destination, staged: Staged, replaced_oid: int | None, if_exists: str, cartodbfy: bool
) -> None:
    """Give a staging table its name; again if somebody else has made a table of that name meanwhile."""
    for names_left in reversed(range(_NAMES)):
        publishing = tables_sql.publish_copy(
            destination.schema, staged, destination.table, replaced_oid, make_carto=cartodbfy
        )
        may_replan = if_exists == "replace" and names_left > 0
        try:
            publish(destination, staged, publishing, leaves_receipt=False, may_replan=may_replan)
        except TableChangedError as error:
            if if_exists == "fail":
                raise TableExistsError(f"somebody else has made a table {destination.table!r} meanwhile") from error
            if not may_replan:
                raise
            replaced = _find(destination.client, destination.table)[1]
            replaced_oid = None if replaced is None else replaced.oid
        else:
            return
