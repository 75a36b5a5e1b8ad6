"""The tables of an account: list, describe, copy, rename, delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.parallel import both
from cartoframes_lite._client.transaction import run
from cartoframes_lite._client.visualizations import Visualization, require_privacy
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import is_truncated, literal, normalize, qualify, refuse_system_name, split_schema
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    PublishUnknown,
    ServerError,
    TableChangedError,
    TableExistsError,
)
from cartoframes_lite.write import tables_sql
from cartoframes_lite.write.publishing import publish
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_names import begin_write, end_write, is_staging
from cartoframes_lite.write.target import Destination, drop_staging_tables, require_schema

IfExists = Literal["fail", "replace"]

_PUBLISH_ATTEMPTS = 5  # repeated when another client creates a table of the same name at the same time
_CARTO_COLUMNS = frozenset({"cartodb_id", THE_GEOM, WEB_MERCATOR})  # of cartodbfied tables
_TABLE_KINDS = frozenset("rpvmf")  # relkind of tables and views
_GEOM_TYPES = {"POINT": "point", "LINESTRING": "line", "POLYGON": "polygon"}


def list_tables(credentials: Credentials | None = None, *, include_views: bool = False) -> list[str]:
    """List the tables of the account.

    Parameters
    ----------
    credentials : Credentials, optional
    include_views : bool, default False
        Also list views and materialized views, without those of PostGIS. Requires the master key.

    Returns
    -------
    list of str
        In alphabetical order, without staging tables of running writes.

    Raises
    ------
    PermissionDenied
        If ``include_views`` is True and the key is not the master key.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.list_tables()
    ['stations']
    """
    sql = Client(credentials).sql
    names = sql.tables() + (sql.views() if include_views else [])
    found = sorted(name for name in names if not is_staging(name))
    return Listing(found, "tables", lambda name: {"name": name})


def has_table(table_name: str, credentials: Credentials | None = None, *, schema: str | None = None) -> bool:
    """Return whether a table or view of this name exists.

    Parameters
    ----------
    table_name : str
        Normalized name, e.g. as returned by ``to_carto``.
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

    A retried request deletes only the table that has the name at the time of the call, never one created later.

    Returns
    -------
    bool
        False if the table did not exist.

    Raises
    ------
    SQLError
        If a view depends on the table.
    ConnectionFailed
        If the connection failed. The server may still execute a request that it has received.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.delete_table("stations"), cfl.delete_table("stations")
    (True, False)
    """
    return drop_table(Client(credentials), table_name, lambda: None)


def drop_table(client: Client, table: str, check: Callable[[], None]) -> bool:
    """Drop a table; return False if it does not exist.

    Parameters
    ----------
    client : Client
    table : str
    check : callable
        May send requests, at the same time as those that look for the table. If it raises, nothing is dropped.
    """
    _, (schema, (version,)) = both(client.credentials, check, partial(_find, client, table))
    if version is None:
        return False
    _change(client, tables_sql.drop_table(schema, table, version), "dropped", version)
    return True


def _change(client: Client, request: str, what: str, version: tables_sql.Version) -> None:
    """Run an idempotent statement that changes a table, and check that the response belongs to it."""
    row = client.sql.row(request, what)
    if row[what] != version.oid:
        raise ConnectionFailed(
            f"the response belongs to another request (table {row[what]!r} instead of {version.oid}), perhaps from the"
            " cache of a proxy: check with list_tables() whether the change was made"
        )


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
        What to do if a table of the new name exists. "replace" deletes it in the same transaction.

    Returns
    -------
    str
        The new, normalized name.

    Raises
    ------
    TableNotFoundError, TableExistsError
    PublishUnknown
        If the connection failed, and it is unknown whether the table was renamed.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.rename_table("stations", "Old stations")
    'old_stations'
    """
    new = new_name(table_name, new_table_name, if_exists)
    client = Client(credentials)
    schema, version, replaced = _find_both(client, table_name, new, new_table_name, if_exists)
    try:
        replaced_oid = None if replaced is None else replaced.oid
        _change(client, tables_sql.rename_table(schema, table_name, version, new, replaced_oid), "renamed", version)
    except (ConnectionFailed, ServerError) as error:
        if not _is_renamed(client, table_name, version.oid):
            raise PublishUnknown(
                f"the connection failed while {table_name!r} was renamed to {new!r}, and the server may still execute"
                " the request: check with list_tables() which of the two names exists"
            ) from error
    return new


def _is_renamed(client: Client, table: str, oid: int) -> bool:
    """Return whether a table has another name now; False if the request fails."""
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
    """Copy a table on the server; no rows are downloaded.

    Parameters
    ----------
    table_name, new_table_name : str
        The new name is normalized.
    credentials : Credentials, optional
    if_exists : {"fail", "replace"}
        What to do if a table of the new name exists.
    cartodbfy : bool, default True
        Make the copy a CARTO table.

    Returns
    -------
    str
        The normalized name of the copy.

    Raises
    ------
    TableNotFoundError, TableExistsError

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.copy_table("stations", "stations_2026")
    'stations_2026'
    """
    new = new_name(table_name, new_table_name, if_exists)
    client = Client(credentials)
    schema, _, replaced = _find_both(client, table_name, new, new_table_name, if_exists)
    query = f"SELECT * FROM {qualify(schema, table_name)}"
    return _create(Destination(client, schema, new), query, replaced, if_exists, cartodbfy)


def create_table_from_query(
    query: str,
    new_table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
    cartodbfy: bool = True,
) -> str:
    """Create a table from the rows of a query, on the server; no rows are downloaded.

    Parameters
    ----------
    query : str
    new_table_name : str
        Normalized before use.
    credentials : Credentials, optional
    if_exists : {"fail", "replace"}
        What to do if a table of this name exists.
    cartodbfy : bool, default True
        Make it a CARTO table.

    Returns
    -------
    str
        The normalized name of the table.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.create_table_from_query("SELECT * FROM stations WHERE year < 1900", "old_stations")
    'old_stations'
    """
    new, statement = new_name(None, new_table_name, if_exists), single_statement(query)
    client = Client(credentials)
    schema, (replaced,) = _find(client, new)
    _require_free(new, replaced, new_table_name, if_exists)
    return _create(Destination(client, schema, new), statement, replaced, if_exists, cartodbfy)


def describe_table(
    table_name: str, credentials: Credentials | None = None, *, schema: str | None = None
) -> dict[str, Any]:
    """Return privacy, number of rows and geometry type of a table.

    Returns
    -------
    dict
        ``privacy`` ("public", "private", "link" or "password"; None if it is not a dataset, but a view or a table that
        is not cartodbfied), ``num_rows``, and ``geom_type``: the most frequent one of "point", "line" and "polygon", or
        None if there are no geometries.

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
    columns = client.sql.table_columns(schema, table_name)
    is_carto_table = _CARTO_COLUMNS.issubset(column.name for column in columns)
    kind = "NULL::text"
    if any((column.name, column.pgtype) == (THE_GEOM, "geometry") for column in columns):
        kind = (
            f"(SELECT replace(GeometryType(the_geom), 'MULTI', '') FROM {qualify(schema, table_name)}"
            " WHERE the_geom IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)"
        )
    privacy, row = both(
        client.credentials,
        lambda: _privacy(client, schema, table_name) if is_carto_table else None,
        lambda: client.sql.table_row(
            schema, table_name, f"count(*)::int8 AS num_rows, {kind} AS kind", "num_rows", "kind"
        ),
    )
    geom_type = _GEOM_TYPES.get(row["kind"] or "", row["kind"])
    return {"privacy": privacy, "num_rows": row["num_rows"], "geom_type": geom_type}


def _privacy(client: Client, schema: str | None, table_name: str) -> str | None:
    """Return the privacy of a table with the columns of a dataset; None if it is none, such as a view."""
    is_own = schema is None or schema == client.sql.schema()
    name = table_name if is_own else f"{schema}.{table_name}"
    entry = client.visualizations.find(name)
    if entry is not None:
        return entry.privacy
    client.visualizations.require_master(f"reading the privacy of {name!r}")
    query = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgname = 'test_quota_per_row'"
        f" AND tgrelid = {literal(qualify(schema, table_name))}::regclass) AS is_cartodbfied"
    )
    if not is_own or not client.sql.row(query, "is_cartodbfied")["is_cartodbfied"]:
        return None
    return client.visualizations.get(name).privacy  # waits until CARTO has registered it


def update_privacy_table(
    table_name: str, privacy: Literal["public", "private", "link"], credentials: Credentials | None = None
) -> None:
    """Set the privacy of a table.

    Parameters
    ----------
    table_name : str
    privacy : {"public", "private", "link"}
        "link": readable by everyone who knows the name, but not listed.
    credentials : Credentials, optional
        Must use the master key.

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
    client.visualizations.update_entry(existing_entry(client, table_name), privacy=privacy)


def existing_entry(client: Client, name: str) -> Visualization:
    """Request the catalog entry of a table, also of another account; raise TableNotFoundError if there is no table."""
    schema, table = split_schema(name)
    try:
        entry, exists = both(
            client.credentials,
            partial(client.visualizations.find, name),
            partial(client.sql.has_table, schema, table),
        )
    except CartoError:
        client.sql.require_table(schema, table)
        raise
    if not exists:
        raise client.sql.missing_table(table)
    return entry or client.visualizations.get(name)


def new_name(old: str | None, name: str, if_exists: str) -> str:
    """Normalize a new table name; raise TypeError or ValueError if it, or ``if_exists``, is invalid."""
    if if_exists not in ("fail", "replace"):
        raise ValueError(f'if_exists must be "fail" or "replace", not {if_exists!r}')
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"the new table name must be a non-empty str, not {name!r}")
    new = normalize(name)
    if new == old:
        raise ValueError(f"the table is already named {new!r}: choose another name")
    if is_staging(new):
        raise ValueError(f"{new!r} is reserved for staging tables, which later writes drop: choose another name")
    refuse_system_name(new)
    return new


def _require_free(new: str, existing: tables_sql.Version | None, name: str, if_exists: str) -> None:
    """Raise TableExistsError if a new name, normalized from ``name``, is taken and must not be replaced."""
    if existing is not None and (if_exists == "fail" or is_truncated(name)):
        normalized_from = "" if new == name else f" (normalized from {name!r})"
        raise TableExistsError(
            f"the table {new!r}{normalized_from} exists already: choose another name, or replace {new!r} with"
            ' if_exists="replace"'
        )


def _find(client: Client, *tables: str) -> tuple[str, list[tables_sql.Version | None]]:
    """Return the schema of the account, and the versions of relations in it (None: there is none of this name)."""

    def version(found: Any) -> tables_sql.Version | None:
        if found["oid"] is None:
            return None
        return tables_sql.Version(int(found["oid"]), int(found["changed_by"]), found["kind"] in _TABLE_KINDS)

    def read(answer: Any) -> tuple[str | None, list[tables_sql.Version | None]]:
        return answer["schema"], [version(answer["tables"][table]) for table in tables]

    row = client.sql.row(tables_sql.find_tables(tables), "answer")
    schema, versions = parsed(read, row["answer"], f"the table {tables[0]!r}")
    return require_schema(schema), versions


def _find_both(
    client: Client, table: str, new: str, name: str, if_exists: str
) -> tuple[str, tables_sql.Version, tables_sql.Version | None]:
    """Return the schema of the account, the version of a table, and that of the relation with its new name, if any.

    Raises
    ------
    TableNotFoundError
        If the table does not exist.
    TableExistsError
        If the new name, normalized from ``name``, is taken and must not be replaced.
    """
    schema, (version, replaced) = _find(client, table, new)
    if version is None or not version.is_table:
        raise client.sql.missing_table(table)
    _require_free(new, replaced, name, if_exists)
    return schema, version, replaced


def _create(
    destination: Destination, query: str, replaced: tables_sql.Version | None, if_exists: str, cartodbfy: bool
) -> str:
    """Fill a staging table with the rows of a query, and rename it when it is complete."""
    client, new = destination.client, destination.table
    replaced_oid = replaced.oid if replaced is not None and if_exists == "replace" else None
    name, is_published = begin_write(), False
    try:
        staging = tables_sql.stage_query(destination.schema, name, query, make_carto=cartodbfy)
        response = run(client.sql, client.batch, staging, what=f"creating {new!r}")
        _publish(destination, Staged(name, _oid_of(destination, name, response), 0), replaced_oid, if_exists, cartodbfy)
        is_published = True
    except PublishUnknown:
        raise
    except BaseException:
        drop_staging_tables(destination, [name])
        raise
    finally:
        end_write(name, leaves_nothing=is_published)
    return new


def _oid_of(destination: Destination, staging: str, response: Any) -> int:
    """Return the oid of a staging table, which the response contains unless a batch job has created it."""
    if rows := response.get("rows"):
        return parsed(lambda found: int(found[0]["oid"]), rows, staging)
    _, (staged,) = _find(destination.client, staging)
    if staged is None:
        raise CartoError(
            f"the table {destination.table!r} was not created, because another client dropped its staging table: try"
            " again"
        )
    return staged.oid


def _publish(
    destination: Destination, staged: Staged, replaced_oid: int | None, if_exists: str, cartodbfy: bool
) -> None:
    """Rename a staging table to its final name; retry if another client creates a table of that name."""
    for attempts_left in reversed(range(_PUBLISH_ATTEMPTS)):
        publishing = tables_sql.publish_copy(
            destination.schema, staged, destination.table, replaced_oid, make_carto=cartodbfy
        )
        may_replan = if_exists == "replace" and attempts_left > 0
        try:
            publish(destination, staged, publishing, leaves_receipt=False, may_replan=may_replan)
        except TableChangedError as error:
            if if_exists == "fail":
                raise TableExistsError(
                    f"another client created the table {destination.table!r} during this call: choose another name, or"
                    ' pass if_exists="replace"'
                ) from error
            if not may_replan:
                raise
            _, (replaced,) = _find(destination.client, destination.table)
            replaced_oid = None if replaced is None else replaced.oid
        else:
            return
