"""Copy rows of another PostgreSQL database into a staging table."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from cartoframes_lite.local.catalog.names import sanitize_columns
from cartoframes_lite.local.imports.allowed_addresses import resolve
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

_FAILED, _INVALID, _TOO_MANY_COLUMNS, _TOO_MANY_ROWS = 1500, 1502, 2004, 6668
_CONNECT_TIMEOUT_S = 15
# Text formats that every PostgreSQL version reads, whatever the defaults of the remote database are.
_SETTINGS = "SET datestyle = ISO; SET intervalstyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex"
_NO_PASSFILE = f"{os.devnull}/none"  # must not exist: libpq warns about a path that is not a regular file
# Portable types exist in every PostgreSQL and have the same text format; other types become text.
_DESCRIBE_TYPE = """
SELECT t.typname AS name, n.nspname AS schema, format_type(t.oid, %(modifier)s) AS type_name,
       n.nspname = 'pg_catalog' AND coalesce(e.typname, t.typname) = ANY('{
           bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,bytea,bit,varbit,uuid,json,jsonb,xml,
           date,time,timetz,timestamp,timestamptz,interval,inet,cidr,macaddr,macaddr8,point,line,lseg,box,path,
           polygon,circle,tsvector,tsquery,int4range,int8range,numrange,daterange,tsrange,tstzrange}') AS is_portable
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE t.oid = %(oid)s
"""
# A geometry in EPSG:4326; one without SRID is assumed to be in EPSG:4326.
_AS_4326: LiteralString = """
CASE WHEN {postgis}.st_srid(g::{postgis}.geometry) IN (0, 4326) THEN {postgis}.st_setsrid(g::{postgis}.geometry, 4326)
     ELSE {postgis}.st_transform(g::{postgis}.geometry, 4326) END
"""

Remote = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """Connection parameters of the remote database. `host` may be the directory of a Unix socket."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the remote query: the expression that reads it and its local type (None for a geometry)."""

    name: str
    value: sql.Composable
    type_name: str | None


class _RemoteError(Exception):
    """The remote database returned an error."""


def copy(
    server: Server,
    query: sql.Composable,
    connection: psycopg.Connection[Any],
    plan: Plan,
    cancellation: Cancellation,
) -> tuple[str, int]:
    """Copy the result of a remote query into a new table.

    Parameters
    ----------
    server : Server
    query : psycopg.sql.Composable
        Query in parentheses.
    connection : psycopg.Connection
        Connection of the account's owner, in a transaction.
    plan : Plan
    cancellation : Cancellation
        Closes the connection to the remote database.

    Returns
    -------
    (str, int)
        Name of the new table in the schema ``public`` and its number of rows.

    Raises
    ------
    ImportJobError
        1500 for an error of the remote database, 2004 for too many columns, 6668 for too many rows.
    """
    try:
        with _connect(server, connection, plan) as remote, cancellation.on_cancel(lambda: _shut_down(remote)):
            columns = _describe_columns(remote, query)
            if len(columns) > plan.columns:
                raise ImportJobError(_TOO_MANY_COLUMNS, f"{len(columns)} columns, the limit is {plan.columns}")
            table = f"import_{secrets.token_hex(16)}"
            return table, _copy_rows(remote, connection, query, columns, table, plan.rows)
    except _RemoteError as error:
        raise ImportJobError(_FAILED, str(error)) from error
    except psycopg.DataError as error:  # from the account's database
        raise ImportJobError(_FAILED, f"unreadable value: {error.diag.message_primary}") from error


def list_tables(server: Server, connection: psycopg.Connection[Any], plan: Plan, *, limit: int) -> list[dict[str, Any]]:
    """Return ``schema`` and ``name`` of the tables of a remote database, by name; of none with a limit of 0.

    Parameters
    ----------
    server : Server
    connection : psycopg.Connection
        Connection of the account's owner.
    plan : Plan
    limit : int

    Raises
    ------
    ImportJobError
        1500 if the connection or the query fails.
    """
    query = (
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
        " AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2 LIMIT %s"
    )
    try:
        with _connect(server, connection, plan) as remote, _remote_errors():
            return remote.execute(query, (limit,)).fetchall()
    except _RemoteError as error:
        raise ImportJobError(_FAILED, str(error)) from error


@contextmanager
def _connect(server: Server, owner_connection: psycopg.Connection[Any], plan: Plan) -> Iterator[Remote]:
    """Connect to the remote database and begin a read-only transaction."""
    addresses = None
    if server.host.startswith(("/", "@")):
        _reject_own_socket(server.host, owner_connection)
    else:
        addresses = resolve(server.host, server.port, plan)
    with _remote_errors():
        remote = psycopg.connect(
            host=",".join([server.host] * len(addresses)) if addresses else server.host,
            hostaddr=",".join(addresses) if addresses else None,
            port=server.port,
            dbname=server.database,
            user=server.user,
            password=server.password,  # not None: libpq would read PGPASSWORD
            passfile=_NO_PASSFILE,
            sslmode=server.sslmode,
            connect_timeout=_CONNECT_TIMEOUT_S,
            row_factory=dict_row,
        )
    with remote:
        remote.read_only = True
        with _remote_errors():
            remote.execute(_SETTINGS)
        yield remote


def _shut_down(remote: Remote) -> None:
    """Close a connection from another thread by its socket; libpq's PQfinish is not thread-safe."""
    with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(remote.fileno())) as connected:
        connected.shutdown(socket.SHUT_RDWR)


def _reject_own_socket(host: str, owner_connection: psycopg.Connection[Any]) -> None:
    """Reject the socket of the account's own database: it may accept any user without a password."""
    with suppress(OSError):  # one of the paths does not exist
        if os.path.samefile(host, owner_connection.info.host):
            raise ImportJobError(_INVALID, "server is the account's own database: import with sql instead")


@contextmanager
def _remote_errors() -> Iterator[None]:
    """Raise errors of the remote database as _RemoteError."""
    try:
        yield
    except psycopg.Error as error:
        raise _RemoteError(error.diag.message_primary or str(error).strip()) from error


def _describe_columns(remote: Remote, query: sql.Composable) -> list[_Column]:
    """Describe the columns of a query."""
    with _remote_errors():
        # A binary result needs the extended protocol, which accepts one statement only.
        described = remote.execute(sql.SQL("SELECT * FROM {} AS source LIMIT 0").format(query), binary=True)
    columns = []
    result = described.pgresult
    for position, column in enumerate(described.description or ()):
        modifier = result.fmod(position) if result is not None else -1
        row = _describe_type(remote, column.type_code, modifier)
        value = sql.Identifier(f"c{position}")
        if row["name"] in ("geometry", "geography"):
            expression = sql.SQL(_AS_4326.replace("g::", "{column}::")).format(
                postgis=sql.Identifier(row["schema"]), column=value
            )
            columns.append(_Column(column.name, expression, None))
        elif row["is_portable"]:
            columns.append(_Column(column.name, value, row["type_name"]))
        else:
            columns.append(_Column(column.name, sql.SQL("{}::text").format(value), "text"))
    return columns


def _describe_type(remote: Remote, oid: int, modifier: int) -> dict[str, Any]:
    """Return the row of `_DESCRIBE_TYPE` for a remote type."""
    with _remote_errors():
        row = remote.execute(_DESCRIBE_TYPE, {"oid": oid, "modifier": modifier}).fetchone()
    if row is None:
        raise _RemoteError(f"a column has the unknown type OID {oid}")
    return row


def _copy_rows(
    remote: Remote,
    connection: psycopg.Connection[Any],
    query: sql.Composable,
    columns: Sequence[_Column],
    table: str,
    limit: int,
) -> int:
    """Copy the rows of the remote query into a new table; return their number."""
    names = _column_names(columns)
    selected = [(name, column) for name, column in zip(names, columns, strict=True) if name != "the_geom_webmercator"]
    types = [sql.SQL(column.type_name) if column.type_name else _geometry_type(connection) for _, column in selected]
    definitions = [
        sql.SQL("{} {}").format(sql.Identifier(name), type_) for (name, _), type_ in zip(selected, types, strict=True)
    ]
    target = sql.Identifier("public", table)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(definitions)))
    read = sql.SQL("COPY (SELECT {} FROM {} AS source ({})) TO STDOUT (ENCODING 'UTF8')").format(
        sql.SQL(", ").join(column.value for _, column in selected),
        query,
        sql.SQL(", ").join(sql.Identifier(f"c{position}") for position in range(len(columns))),
    )
    rows = 0
    write = sql.SQL("COPY {} FROM STDIN (ENCODING 'UTF8')").format(target)
    with closing(_read_chunks(remote, read)) as chunks, connection.cursor().copy(write) as copy_in:
        for chunk in chunks:
            rows += bytes(chunk).count(b"\n")  # one per row: COPY escapes newlines in values
            if rows > limit:
                raise ImportJobError(_TOO_MANY_ROWS, f"more than {limit} rows")
            copy_in.write(chunk)
    return rows


def _read_chunks(remote: Remote, read: sql.Composed) -> Generator[bytes | bytearray | memoryview]:
    """Yield the output of COPY on the remote database."""
    with _remote_errors(), remote.cursor() as cursor, cursor.copy(read) as copy_out:
        yield from copy_out


def _column_names(columns: Sequence[_Column]) -> list[str]:
    """Return the normalized column names; the first geometry becomes the_geom if no column has that name."""
    names = [column.name for column in columns]
    if "the_geom" not in names:
        for position, column in enumerate(columns):
            if column.type_name is None and column.name != "the_geom_webmercator":
                names[position] = "the_geom"
                break
    return sanitize_columns(names)


def _geometry_type(connection: psycopg.Connection[Any]) -> sql.Composable:
    """Return the type of the_geom, qualified with the schema of PostGIS."""
    row = connection.execute(
        "SELECT nspname FROM pg_namespace n JOIN pg_extension e ON n.oid = e.extnamespace WHERE e.extname = 'postgis'"
    ).fetchone()
    assert row is not None  # created when the server starts
    return sql.SQL("{}.geometry(Geometry, 4326)").format(sql.Identifier(row[0]))
