"""Rows of another PostgreSQL, copied into a new table of the account."""

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

from cartoframes_lite.local.imports.allowed_addresses import resolve
from cartoframes_lite.local.imports.files import ImportRefused, normalize_columns
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

_FAILED, _INVALID, _TOO_MANY_COLUMNS, _TOO_MANY_ROWS = 1500, 1502, 2004, 6668
_CONNECT_TIMEOUT_S = 15
# How values are written is up to the other database; these are what every PostgreSQL reads.
_SETTINGS = "SET datestyle = ISO; SET intervalstyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex"
_NO_FILE = f"{os.devnull}/none"  # libpq warns of one that is there and no file
# Types that are kept are those that every PostgreSQL has, and reads from the text that another one writes.
_DESCRIBE_TYPE = """
SELECT t.typname AS name, n.nspname AS schema, format_type(t.oid, %(modifier)s) AS declared,
       n.nspname = 'pg_catalog' AND coalesce(e.typname, t.typname) = ANY('{
           bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,bytea,bit,varbit,uuid,json,jsonb,xml,
           date,time,timetz,timestamp,timestamptz,interval,inet,cidr,macaddr,macaddr8,point,line,lseg,box,path,
           polygon,circle,tsvector,tsquery,int4range,int8range,numrange,daterange,tsrange,tstzrange}') AS is_kept
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE t.oid = %(oid)s
"""
# A geometry in EPSG:4326; without SRID it is taken to be there already.
_AS_4326: LiteralString = """
CASE WHEN {postgis}.st_srid(g::{postgis}.geometry) IN (0, 4326) THEN {postgis}.st_setsrid(g::{postgis}.geometry, 4326)
     ELSE {postgis}.st_transform(g::{postgis}.geometry, 4326) END
"""

Remote = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """Where the other database is, and who logs in. The host may be the directory of a socket."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the other database: how it is read there, and the type it has here; None is a geometry."""

    name: str
    value: sql.Composable
    declared: str | None


class _RemoteError(Exception):
    """The other database has refused."""


def copy(
    server: Server,
    query: sql.Composable,
    connection: psycopg.Connection[Any],
    plan: Plan,
    cancellation: Cancellation,
) -> tuple[str, int]:
    """Copy the rows of a query.

    Parameters
    ----------
    server : Server
    query : psycopg.sql.Composable
        In parentheses.
    connection : psycopg.Connection
        Of the account's owner, in a transaction.
    plan : Plan
    cancellation : Cancellation
        Ends the connection to the other database.

    Returns
    -------
    (str, int)
        Name of the new table in the schema ``public``, and the number of its rows.

    Raises
    ------
    ImportRefused
        1500 if the other database refuses, 2004 for too many columns, 6668 for too many rows.
    """
    try:
        with _connect(server, connection, plan) as remote, cancellation.ends(lambda: _shut(remote)):
            columns = _columns(remote, query)
            if len(columns) > plan.columns:
                raise ImportRefused(_TOO_MANY_COLUMNS, f"{len(columns)} columns, allowed are {plan.columns}")
            table = f"import_{secrets.token_hex(16)}"
            return table, _copy(remote, connection, query, columns, table, plan.rows)
    except _RemoteError as error:
        raise ImportRefused(_FAILED, str(error)) from error
    except psycopg.DataError as error:  # from the account's database
        raise ImportRefused(_FAILED, f"unreadable value: {error.diag.message_primary}") from error


@contextmanager
def _connect(server: Server, own: psycopg.Connection[Any], plan: Plan) -> Iterator[Remote]:
    """Connect to the other database, in a transaction that may only read."""
    addresses = None
    if server.host.startswith(("/", "@")):
        _refuse_own(server.host, own)
    else:
        addresses = resolve(server.host, server.port, plan)
    with _remote_errors():
        remote = psycopg.connect(
            host=",".join([server.host] * len(addresses)) if addresses else server.host,
            hostaddr=",".join(addresses) if addresses else None,
            port=server.port,
            dbname=server.database,
            user=server.user,
            password=server.password,  # not None: that would be the one of the environment
            passfile=_NO_FILE,
            sslmode=server.sslmode,
            connect_timeout=_CONNECT_TIMEOUT_S,
            row_factory=dict_row,
        )
    with remote:
        remote.read_only = True
        with _remote_errors():
            remote.execute(_SETTINGS)
        yield remote


def _shut(remote: Remote) -> None:
    """End a connection from another thread; libpq's own way to do so would not be safe then."""
    with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(remote.fileno())) as connected:
        connected.shutdown(socket.SHUT_RDWR)


def _refuse_own(host: str, own: psycopg.Connection[Any]) -> None:
    """Refuse the socket of the account's own database: it may let anybody in, as anybody."""
    with suppress(OSError):  # one of them is no directory
        if os.path.samefile(host, own.info.host):
            raise ImportRefused(_INVALID, "this is the account's own database: import with sql instead")


@contextmanager
def _remote_errors() -> Iterator[None]:
    """Tell errors of the other database from those of the account's."""
    try:
        yield
    except psycopg.Error as error:
        raise _RemoteError(error.diag.message_primary or str(error).strip()) from error


def _columns(remote: Remote, query: sql.Composable) -> list[_Column]:
    """Describe the columns of a query."""
    with _remote_errors():
        # Binary results come by the extended protocol, which takes one statement only.
        described = remote.execute(sql.SQL("SELECT * FROM {} AS source LIMIT 0").format(query), binary=True)
    columns = []
    result = described.pgresult
    for place, column in enumerate(described.description or ()):
        modifier = result.fmod(place) if result is not None else -1
        row = _type(remote, column.type_code, modifier)
        value = sql.Identifier(f"c{place}")
        if row["name"] in ("geometry", "geography"):
            expression = sql.SQL(_AS_4326.replace("g::", "{column}::")).format(
                postgis=sql.Identifier(row["schema"]), column=value
            )
            columns.append(_Column(column.name, expression, None))
        elif row["is_kept"]:
            columns.append(_Column(column.name, value, row["declared"]))
        else:
            columns.append(_Column(column.name, sql.SQL("{}::text").format(value), "text"))
    return columns


def _type(remote: Remote, oid: int, modifier: int) -> dict[str, Any]:
    """Describe a type of the other database."""
    with _remote_errors():
        row = remote.execute(_DESCRIBE_TYPE, {"oid": oid, "modifier": modifier}).fetchone()
    if row is None:
        raise _RemoteError(f"the type {oid} of a column is unknown")
    return row


def _copy(
    remote: Remote,
    connection: psycopg.Connection[Any],
    query: sql.Composable,
    columns: Sequence[_Column],
    table: str,
    limit: int,
) -> int:
    """Copy the rows into a new table; return their number."""
    names = _names(columns)
    kept = [(name, column) for name, column in zip(names, columns, strict=True) if name != "the_geom_webmercator"]
    types = [sql.SQL(column.declared) if column.declared else _geometry(connection) for _, column in kept]
    fields = [
        sql.SQL("{} {}").format(sql.Identifier(name), declared) for (name, _), declared in zip(kept, types, strict=True)
    ]
    into = sql.Identifier("public", table)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(into, sql.SQL(", ").join(fields)))
    read = sql.SQL("COPY (SELECT {} FROM {} AS source ({})) TO STDOUT (ENCODING 'UTF8')").format(
        sql.SQL(", ").join(column.value for _, column in kept),
        query,
        sql.SQL(", ").join(sql.Identifier(f"c{place}") for place in range(len(columns))),
    )
    rows = 0
    write = sql.SQL("COPY {} FROM STDIN (ENCODING 'UTF8')").format(into)
    with closing(_blocks(remote, read)) as blocks, connection.cursor().copy(write) as target:
        for block in blocks:
            rows += bytes(block).count(b"\n")  # those in values are written as \n, in two characters
            if rows > limit:
                raise ImportRefused(_TOO_MANY_ROWS, f"more than {limit} rows")
            target.write(block)
    return rows


def _blocks(remote: Remote, read: sql.Composed) -> Generator[bytes | bytearray | memoryview]:
    """Yield what COPY of the other database writes."""
    with _remote_errors(), remote.cursor() as cursor, cursor.copy(read) as source:
        yield from source


def _names(columns: Sequence[_Column]) -> list[str]:
    """Name the columns here: the first geometry is the_geom, unless another column is called so."""
    wanted = [column.name for column in columns]
    if "the_geom" not in wanted:
        for place, column in enumerate(columns):
            if column.declared is None and column.name != "the_geom_webmercator":
                wanted[place] = "the_geom"
                break
    return normalize_columns(wanted)


def _geometry(connection: psycopg.Connection[Any]) -> sql.Composable:
    """Return the type of the_geom, with the schema that PostGIS is in."""
    row = connection.execute(
        "SELECT nspname FROM pg_namespace n JOIN pg_extension e ON n.oid = e.extnamespace WHERE e.extname = 'postgis'"
    ).fetchone()
    assert row is not None  # the server has created it
    return sql.SQL("{}.geometry(Geometry, 4326)").format(sql.Identifier(row[0]))
