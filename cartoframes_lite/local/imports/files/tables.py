"""Staging tables in the schema ``public``, and the mapping of PostgreSQL errors to import errors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.imports.files.error_codes import ImportJobError

# SQLSTATEs that are not caused by the data: lost connections, deadlocks, lock timeouts, cancelled statements.
_UNRELATED_ERRORS = ("08", "40", "55P03", "57")
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A loaded table that has not been renamed to its final name.

    Attributes
    ----------
    table : str
        Current name in the schema public, ``import_<hex>``; visible only inside of the transaction.
    name : str
        Requested name, normalized.
    rows : int
        Number of rows.
    """

    table: str
    name: str
    rows: int


@dataclass(slots=True)
class Staged:
    """Loaded tables of one source.

    Attributes
    ----------
    tables : list of StagedTable
        One or more, with different names.
    failures : list of ImportJobError
        Errors of the files of an archive that could not be loaded.
    truncated : bool
        Whether the source has more tables than one import may create.
    """

    tables: list[StagedTable]
    failures: list[ImportJobError] = field(default_factory=list)
    truncated: bool = False


def staging_name() -> str:
    """Return a random name for a staging table."""
    return f"import_{secrets.token_hex(12)}"


def public(table: str) -> sql.Identifier:
    """Return the identifier of a table in the schema public."""
    return sql.Identifier("public", table)


def regclass(connection: Connection, table: str) -> str:
    """Return the quoted name of a table in the schema public, for a cast to regclass."""
    return public(table).as_string(connection)


def scalar(connection: Connection, query: sql.SQL | sql.Composed, parameters: tuple[object, ...] | None = None) -> Any:
    """Return the single value of a query, regardless of the connection's row factory."""
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        row = cursor.execute(query, parameters).fetchone()
    return None if row is None else row[0]


@contextmanager
def postgres_errors(code: int, **codes: int) -> Iterator[None]:
    """Raise errors of PostgreSQL as ImportJobError.

    Parameters
    ----------
    code : int
        Default code.
    **codes : int
        Codes by class names of `psycopg.errors`.
    """
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(_UNRELATED_ERRORS):
            raise
        message = error.diag.message_primary or ""
        if "Quota exceeded" in message:
            raise ImportJobError(8001, message) from None
        if "invalid cartodb_id" in message:
            raise ImportJobError(2011) from None
        found = (codes[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in codes)
        raise ImportJobError(next(found, code), message) from None


def cartodbfy(connection: Connection, table: str) -> None:
    """Convert a table to a CARTO table: add cartodb_id, the_geom, indexes and triggers.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner.
    table : str
        Name in the schema public.

    Raises
    ------
    ImportJobError
        2011 if an existing column cartodb_id cannot be the primary key, 8001 if the quota is exceeded.
    """
    with postgres_errors(2001):
        connection.execute("SELECT cartodb.cdb_cartodbfytable('public', %s::regclass)", (regclass(connection, table),))
