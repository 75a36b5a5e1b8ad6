"""Tables in the schema ``public`` that an import makes, and what PostgreSQL's refusals mean for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.imports.files.error_codes import ImportRefused

# Lost connections, deadlocks, locks that were not given, and statements that somebody has cancelled.
_NOT_OURS = ("08", "40", "55P03", "57")
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A table that is filled, but not under its name yet.

    Attributes
    ----------
    table : str
        Name in the schema public, ``import_<hex>``; exists only inside of the transaction so far.
    name : str
        The name that it wants, normalized.
    rows : int
    """

    table: str
    name: str
    rows: int


def staging_name() -> str:
    """Draw a name for a staged table."""
    return f"import_{secrets.token_hex(12)}"


def public(table: str) -> sql.Identifier:
    """Return the identifier of a table in the schema public."""
    return sql.Identifier("public", table)


def regclass(connection: Connection, table: str) -> str:
    """Return the name as PostgreSQL's regclass reads it."""
    return public(table).as_string(connection)


def scalar(connection: Connection, query: sql.SQL | sql.Composed, parameters: tuple[object, ...] | None = None) -> Any:
    """Return the only value of a query, whatever rows of the connection look like."""
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        row = cursor.execute(query, parameters).fetchone()
    return None if row is None else row[0]


@contextmanager
def postgres_errors(code: int, **codes: int) -> Iterator[None]:
    """Turn errors of PostgreSQL into codes.

    Parameters
    ----------
    code : int
        Of an error that is in no way special.
    **codes : int
        By names of classes in `psycopg.errors`.
    """
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(_NOT_OURS):
            raise
        message = error.diag.message_primary or ""
        if "Quota exceeded" in message:
            raise ImportRefused(8001, message) from None
        if "invalid cartodb_id" in message:
            raise ImportRefused(2011) from None
        found = (codes[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in codes)
        raise ImportRefused(next(found, code), message) from None


def cartodbfy(connection: Connection, table: str) -> None:
    """Make a table one of CARTO's: cartodb_id, the_geom, indexes and triggers.

    Parameters
    ----------
    connection : psycopg.Connection
        The owner's.
    table : str
        In the schema public.

    Raises
    ------
    ImportRefused
        2011 if there is a column cartodb_id that cannot be the key, 8001 if the quota is exceeded.
    """
    with postgres_errors(2001):
        connection.execute("SELECT cartodb.cdb_cartodbfytable('public', %s::regclass)", (regclass(connection, table),))
